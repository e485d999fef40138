"""Tasks that fail and that are killed, for alerts."""

from __future__ import annotations

import os
import signal
from datetime import datetime, timedelta

from airflow.sdk import DAG, task

with DAG("failing_tasks", schedule=None, start_date=datetime(2024, 1, 1), tags=["failing"]):

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def fails(dag_run=None):
        if "fail" in (dag_run.conf or {}):
            raise ValueError("a value: 4711")

    @task
    def dies(dag_run=None):
        if "fail" in (dag_run.conf or {}):
            os.kill(os.getpid(), signal.SIGKILL)

    fails()
    dies()
