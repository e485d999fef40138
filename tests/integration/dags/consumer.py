"""A Dag that is scheduled on a table of another file: it says nothing of the table's asset but its name."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from airflow_provider_phlo.assets.iceberg import iceberg_asset


@dag(schedule=[iceberg_asset("raw.untimed")], start_date=datetime(2020, 1, 1, tzinfo=UTC), catchup=False)
def elsewhere():
    @task
    def look():
        return "seen"

    look()


elsewhere()
