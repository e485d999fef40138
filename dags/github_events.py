"""GitHub's public events: immutable batches on disk, loaded into DuckDB, and from there into Iceberg and its models."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Param, dag

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.events.terms import INGEST_DAG, LOAD_DAG, LOAD_TASK
from airflow_provider_phlo.operators.fetch_events import FetchEventsOperator
from airflow_provider_phlo.operators.file_load import FileLoadOperator
from airflow_provider_phlo.quality import NullCheck, UniqueCheck

VERIFY = {
    "verify": Param(
        False,
        type="boolean",
        description="hash every batch, and compare what is published",
    )
}


@phlo_ingestion(
    table_name="public_events",
    unique_key="event_id",
    validation_schema="include.schemas.public_events:PublicEvents",
    group="events",
    merge_config={"deduplication_method": "first"},
    audit=[NullCheck(columns=["event_id", "source_file"]), UniqueCheck(columns=["event_id"])],
)
def public_events():
    """Every public event that was loaded from a batch, once."""
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.events.lakehouse import loaded_events
    from airflow_provider_phlo.events.paths import event_paths

    return loaded_events(event_paths(settings.home()).database)


def load_batches():
    """Load what is new of the batches; a broken one fails the task when all others are loaded."""
    return FileLoadOperator(task_id=LOAD_TASK, verify="{{ params.verify }}")


@dag(
    dag_id=INGEST_DAG,
    schedule="*/5 * * * *",
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["events"],
    params=VERIFY,
    doc_md=__doc__,
)
def github_events():
    (
        FetchEventsOperator(task_id="fetch")
        >> load_batches()
        >> public_events()
        >> phlo_dbt_task_group(select="path:models/events", group_id="events_models")
    )


@dag(
    dag_id=LOAD_DAG,
    schedule=None,
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["events"],
    params=VERIFY,
    doc_md="Load the batches of public events that are new into DuckDB; `github_events` does that too.",
)
def github_events_load():
    load_batches()


github_events()
github_events_load()
