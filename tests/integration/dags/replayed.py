"""Two tables of one Dag; one of them has bad records until the test raises the limit in a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from airflow.sdk import dag

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.quality import CountCheck, RangeCheck

SHARED = {"unique_key": "id", "group": "test", "max_retries": 0, "strict_validation": False}


def read(name):
    folder = Path(os.environ["TEST_SOURCES"])
    with (folder / f"{name}.calls").open("a") as calls:
        calls.write("called\n")
    return json.loads((folder / f"{name}.json").read_text())


@phlo_ingestion(
    "replayed",
    validation_schema="dags.limited:Limited",
    audit=[RangeCheck(column="value", max_value=400), CountCheck(min_count=1)],
    **SHARED,
)
def replayed(partition_date):
    return read("replayed")


@phlo_ingestion("beside", validation_schema="dags.readings:Reading", merge_strategy="replace", **SHARED)
def beside(partition_date):
    """A partition that a run without its rows must not replace."""
    return [{"id": "a", "number": 1, "value": 1.0}]


@dag(schedule=None)
def replayed_platform():
    replayed()
    beside()


replayed_platform()
