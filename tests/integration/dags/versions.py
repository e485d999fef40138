"""Late data and deletions, by column and by dlt's hint, and the table's maintenance behind it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from airflow.sdk import dag

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.operators.maintenance import MaintenanceOperator
from airflow_provider_phlo.quality import CountCheck


@phlo_ingestion(
    "versions",
    unique_key="id",
    validation_schema="dags.readings:Version",
    group="test",
    merge_config={"order_by": "updated_at"},
    partition_by="bucket(4, id)",
    sort_by=["updated_at desc"],
    audit=[CountCheck(min_count=1)],
    retry_delay_seconds=0,
)
def versions():
    import dlt

    @dlt.resource(name="versions", columns={"isGone": {"hard_delete": True}})
    def rows():
        yield json.loads(Path(os.environ["TEST_SOURCES"], "versions.json").read_text())

    return rows


@dag(schedule=None, catchup=False)
def versions_maintained():
    versions() >> MaintenanceOperator(task_id="maintenance", tables=["raw.vers*"])


versions_maintained()
