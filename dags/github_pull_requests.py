"""Pull requests of organisations: read in parallel, staged as Parquet, loaded into the warehouse, and their models."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from airflow.sdk import Param, dag, task

from airflow_provider_phlo import settings
from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.hooks.github import github_connection
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.operators.pull_requests import PlanPullRequestsOperator
from airflow_provider_phlo.operators.record_repositories import RecordRepositoriesOperator
from airflow_provider_phlo.operators.stage_load import StageLoadOperator
from airflow_provider_phlo.operators.stage_pull_requests import StagePullRequestsOperator
from airflow_provider_phlo.sources.github_pulls.tables import PREFIX, PULL_REQUEST_TABLES

GITHUB = "github_default"
# tasks that read at the same time; each has its share of the token's limits
PARALLEL_TASKS = 4
PARAMS = {
    "organizations": Param(
        [],
        type="array",
        items={"type": "string"},
        description="organisations and users; empty: those of the connection's extra `organizations`",
    ),
    "since": Param(
        None,
        type=["null", "string"],
        description="read what was updated since then: a date (UTC) or a time with its offset; empty: since last time",
    ),
    "from_stage": Param(False, type="boolean", description="load what is staged already, and ask GitHub nothing"),
}


@task.phlo_ingest(
    task_id="read",
    table="pull_request_readings",
    unique_key=["repository_id", "number"],
    validation_schema="airflow_provider_phlo.sources.github_pulls.models:PullRequestReading",
    strict_validation=False,
    source_resources={"github": partial(github_connection, GITHUB)},
    max_active_tis_per_dag=PARALLEL_TASKS,
)
def read_pull_requests(chunk, github):
    """Read a chunk's pull requests with their reviews and files."""
    from airflow_provider_phlo.hooks.dlt import DltHook
    from airflow_provider_phlo.sources.github_pulls.reading import read_chunk

    return read_chunk(chunk, github, DltHook().staging_root)


@dag(
    schedule="0 5 * * *",
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={
        "retries": settings.io_retries(),
        "retry_delay": timedelta(seconds=settings.io_retry_delay_seconds()),
    },
    tags=["pulls"],
    params=PARAMS,
    doc_md=__doc__,
)
def github_pull_requests():
    plan = PlanPullRequestsOperator(task_id="plan", github_conn_id=GITHUB, parallel_tasks=PARALLEL_TASKS)
    readings = read_pull_requests.expand(chunk=plan.output)
    stage = StagePullRequestsOperator(
        task_id="stage",
        plan=plan.output["plan"],
        readings=readings,
        # nothing new to read is not a reason to forget how far everything has been read
        trigger_rule="none_failed",
    )
    load = StageLoadOperator(
        task_id="load",
        batches=stage.output["batches"],
        tables=PULL_REQUEST_TABLES,
        prefix=PREFIX,
        # one title that a database cannot hold is not a reason to have none
        strict_validation=False,
    )
    record = RecordRepositoriesOperator(task_id="record", plan=plan.output["plan"], loaded=load.output)
    stage >> load >> record
    if settings.warehouse() == "iceberg":
        (
            record
            >> phlo_dbt_task_group(select="path:models/pulls", group_id="pulls_models")
            >> PublishOperator(
                task_id="publish_marts",
                tables={
                    name: f"marts.{name}"
                    for name in ("mrt_review_turnaround", "mrt_pull_request_throughput", "mrt_stale_pull_requests")
                },
            )
        )


github_pull_requests()
