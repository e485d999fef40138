"""One table whose source is a file of the test, and the same with the operators alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

from airflow.sdk import dag

from airflow_provider_phlo import phlo_ingestion, phlo_quality
from airflow_provider_phlo.operators.ingest import phlo_ingest_task
from airflow_provider_phlo.operators.merge import MergeOperator
from airflow_provider_phlo.quality import CountCheck, RangeCheck

DECLARED = {"unique_key": "id", "validation_schema": "dags.readings:Reading", "group": "test", "retry_delay_seconds": 0}


def read(name):
    """Return what the test put into the file, and note that it was read."""
    folder = Path(os.environ["TEST_SOURCES"])
    with (folder / f"{name}.calls").open("a") as calls:
        calls.write("called\n")
    return json.loads((folder / f"{name}.json").read_text())


@phlo_quality("ingested", [RangeCheck(column="value", max_value=500), CountCheck(min_count=1)])
def ingested_quality():
    """Checked on the branch, and once more on main."""


@phlo_ingestion("ingested", audit=ingested_quality, max_retries=2, **DECLARED)
def ingested(partition_date):
    """Rows with a number above the last one that was published."""
    import dlt

    from airflow_provider_phlo.exceptions import SourceUnavailableError

    rows = read("ingested")
    if rows == "unavailable":
        Path(os.environ["TEST_SOURCES"], "ingested.json").write_text("[]")
        raise SourceUnavailableError("The server is down.")
    if rows is None:
        return None

    @dlt.resource(name="rows", write_disposition="replace")
    def numbered(number=dlt.sources.incremental("number", initial_value=0)):  # noqa: B008 - that is how dlt declares it
        yield [row for row in rows if row["number"] > number.last_value]

    return numbered


@dag(schedule=None)
def with_checks_behind():
    ingested() >> ingested_quality()


ingested.dag()
with_checks_behind()


@dag(schedule=None)
def operators_alone():
    @phlo_ingest_task(table="alone", unique_key="id")
    def extracted(name, partition_date):
        return [{"id": row["id"], "day": partition_date} for row in read(name)]

    MergeOperator(task_id="merged", staged=extracted("alone"), table="alone", unique_key="id")


operators_alone()
