"""A table whose tasks die by kill -9 once, at the step that the run's conf names, and one that reads a server."""

from __future__ import annotations

import functools
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import Param, dag, get_current_context

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.dbt.adapter import lakehouse
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches import commits
from airflow_provider_phlo.iceberg.merge import copy_on_write
from airflow_provider_phlo.ingestion import staged_batches
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.publishing import postgres
from airflow_provider_phlo.quality import NullCheck

SOON = timedelta(seconds=0.5)
KILLS = Path(os.environ["TEST_KILLS"])


def die_once(step: str) -> None:
    """Kill this process at ``step`` if the run asks for it and it has not happened yet."""
    try:
        run = get_current_context()["dag_run"]
    except RuntimeError:  # the file is being parsed
        return
    mark = KILLS / f"{run.run_id}-{step}".replace("/", "_")
    if (run.conf or {}).get("kill_at") == step and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def dying(owner: object, name: str, step: str) -> None:
    """Make ``owner.name`` die before and after it does its work."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        die_once(f"before {step}")
        result = function(*args, **kwargs)
        die_once(f"after {step}")
        return result

    setattr(owner, name, wrapper)


dying(staged_batches.BatchWriter, "finish", "staged")
dying(copy_on_write, "commit_files", "commit")
dying(branches, "move_main", "publish")
dying(lakehouse, "overwrite_if_changed", "model")
dying(postgres, "publish_together", "mart")
assert commits.commit_files is not copy_on_write.commit_files


@phlo_ingestion(
    table_name="glucose_entries",
    unique_key="_id",
    validation_schema="include.schemas.glucose:RawGlucoseEntries",
    group="faults",
    retry_delay_seconds=0.5,
    max_retries=2,
    audit=[NullCheck(columns=["_id"])],
)
def glucose_entries(context):
    """Readings ``first`` to ``last`` of the conf, with the conf's value, in two pages."""
    given = context["params"]
    numbers = range(given["first"], given["last"])
    rows = [
        {"_id": f"{number:024d}", "sgv": given["value"], "date": 1705276800000 + 300000 * number, "type": "sgv"}
        for number in numbers
    ]
    yield rows[: len(rows) // 2]
    die_once("extraction")
    yield rows[len(rows) // 2 :]


@dag(
    schedule=None,
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    params={
        "first": Param(0, type="integer"),
        "last": Param(10, type="integer"),
        "value": Param(100, type="integer"),
        "kill_at": Param(None, type=["null", "string"]),
    },
)
def killed():
    models = phlo_dbt_task_group(
        select="stg_glucose_entries", group_id="models", retries=2, retry_delay=SOON, project_dir=os.environ["TEST_DBT"]
    )
    publish = PublishOperator(
        task_id="marts", tables={"entries": "bronze.stg_glucose_entries"}, retries=2, retry_delay=SOON
    )
    glucose_entries() >> models >> publish


killed()
