"""A GitHub user's profile, repositories and events to audited marts in Postgres, every day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag

from airflow_provider_phlo import phlo_ingestion, phlo_quality
from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.operators.reconcile import ReconcileOperator
from airflow_provider_phlo.quality import CountCheck, FreshnessCheck, NullCheck, UniqueCheck
from airflow_provider_phlo.quality.reconciliation import (
    AggregateSpec,
    KeyParityCheck,
    MultiAggregateConsistencyCheck,
    ReconciliationCheck,
)

GITHUB = {"api": "github_default"}


def _resource(api, name):
    from airflow_provider_phlo.sources.github import connection_arguments, github

    return github(**connection_arguments(api)).with_resources(name)


@phlo_ingestion(
    table_name="user_profile",
    unique_key="id",
    validation_schema="include.schemas.github:UserProfile",
    group="github",
    audit=[CountCheck(min_count=1)],
    resources=GITHUB,
)
def user_profile(api):
    """The user as GitHub shows them today."""
    return _resource(api, "user_profile")


@phlo_ingestion(
    table_name="user_repos",
    unique_key="id",
    validation_schema="include.schemas.github:UserRepos",
    group="github",
    audit=[NullCheck(columns=["id", "full_name"])],
    resources=GITHUB,
)
def user_repos(api):
    """All public repositories of the user."""
    return _resource(api, "user_repos")


@phlo_ingestion(
    table_name="user_events",
    unique_key="id",
    validation_schema="include.schemas.github:UserEvents",
    group="github",
    merge_strategy="append",
    merge_config={"deduplication": True, "deduplication_method": "hash"},
    strict_validation=False,
    audit=[NullCheck(columns=["id", "created_at"])],
    resources=GITHUB,
)
def user_events(api):
    """Every event that the API returns, whatever its day: it keeps the last 300 or 90 days."""
    return _resource(api, "user_events")


@phlo_quality(
    table="raw.user_events",
    checks=[UniqueCheck(columns=["id"]), FreshnessCheck(column="created_at", max_age_hours=24 * 30)],
    group="github",
    blocking=False,
)
def events_quality():
    """GitHub's events do not change: an id with two contents is worth a look, and so is a month without any."""


def reconcile_events():
    """Every raw event is in bronze, under the day of the run that brought it."""
    return ReconcileOperator(
        task_id="reconcile_events",
        source="raw.user_events",
        target="bronze.github_events",
        checks=[
            ReconciliationCheck(
                partition_column="partition_date", source_columns={"partition_date": "_phlo_partition_date"}
            ),
            KeyParityCheck(key_columns=["event_id"], source_columns={"event_id": "id"}),
        ],
    )


def reconcile_days():
    """The daily figures are those of the events."""
    return ReconcileOperator(
        task_id="reconcile_days",
        source="gold.fct_github_events",
        target="gold.fct_daily_github_activity",
        checks=[
            MultiAggregateConsistencyCheck(
                group_by="activity_date",
                aggregates=[
                    AggregateSpec("events", "count(*)", "total_events"),
                    AggregateSpec("repositories", "count(distinct repo_id)", "distinct_repos"),
                ],
            )
        ],
    )


@dag(
    schedule="30 6 * * *",
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["github"],
    doc_md=__doc__,
)
def github_stats():
    models = phlo_dbt_task_group(select="path:models/github", group_id="github_models")
    [user_profile(), user_repos(), user_events() >> events_quality()] >> models
    checked = [reconcile_events(), reconcile_days()]
    (
        models
        >> checked
        >> PublishOperator(
            task_id="publish_marts",
            tables={"mrt_github_activity": "marts.mrt_github_activity", "mrt_github_repos": "marts.mrt_github_repos"},
        )
    )


github_stats()
