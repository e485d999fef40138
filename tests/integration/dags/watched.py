"""The watcher, and a DAG whose runs are late: Airflow's own deadline says so while the run goes on."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference, dag, task

from airflow_provider_phlo import phlo_watch_dag

SAID = Path(os.environ.get("TEST_SOURCES", "")) / "late.txt"

phlo_watch_dag("watched", schedule=None)


async def say_that_it_is_late(dag_id: str, context: dict) -> None:
    """Write down which run is late; it runs in the triggerer."""
    SAID.write_text(f"{dag_id} {context['dag_run']['dag_run_id']}")


@dag(
    schedule=None,
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=1),
        callback=AsyncCallback("tests.integration.dags.watched.say_that_it_is_late", kwargs={"dag_id": "late_runs"}),
    ),
)
def late_runs():
    @task
    def wait_for_the_alert():
        while not SAID.exists():
            time.sleep(0.2)

    wait_for_the_alert()


late_runs()
