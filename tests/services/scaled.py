"""Airflow with CeleryExecutor on Redis: the demo's processes and two workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from airflow_provider_phlo.services.demo.run import Demo
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.postgres.server import ensure_airflow_database
from tests.patience import PATIENCE

WORKERS = ("one", "two")
WARM = {"extra_celery_config": json.dumps({"imports": ["airflow_provider_phlo.plugins.celery_worker"]})}


class Scaled(Demo):
    """
    The demo's processes with another configuration, and two workers.

    :param home: prepared, with its metadata in Postgres.
    :param broker: the URL of Redis.
    :param variables: more environment variables.
    :param warm: whether workers import what tasks need before they fork.
    """

    def __init__(self, home: Path, root: Path, broker: str, variables: Mapping[str, str], *, warm: bool = True) -> None:
        super().__init__(home, root)
        metadata = ensure_airflow_database(home).airflow_url
        celery = {
            "broker_url": broker,
            "result_backend": f"db+{metadata}",
            "worker_concurrency": "4",
            **(WARM if warm else {}),
        }
        self.environment |= {
            **variables,
            **{f"AIRFLOW__CELERY__{name.upper()}": value for name, value in celery.items()},
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            # a task whose worker is gone is missed after this long, not after five minutes; and one that the worker
            # had taken from the queue and not begun, not after ten
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "40",
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "12",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        }
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start_workers(self) -> None:
        for name in WORKERS:
            options = ["--skip-serve-logs", "--celery-hostname", name, "--without-mingle", "--without-gossip"]
            self.workers[name] = processes.start(
                [sys.executable, "-m", "airflow", "celery", "worker", *options],
                mark=self.mark,
                environment=self.environment,
                log=self.worker_log(name),
            )

    def worker_log(self, name: str) -> Path:
        return self.home / "logs" / f"worker-{name}.log"

    def wait_for_workers(self) -> None:
        self._wait(
            lambda: all(" ready." in self.worker_log(name).read_text() for name in WORKERS), "The workers are not ready"
        )

    def kill_one_with_a_task(self) -> str:
        """Kill the first worker that runs a task, with all of its processes; return its name."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for name, worker in self.workers.items():
                children = psutil.Process(worker.pid).children(recursive=True)
                # the processes of the pool fork tasks
                if any(child.ppid() != worker.pid for child in children):
                    for process in (psutil.Process(worker.pid), *children):
                        os.kill(process.pid, signal.SIGKILL)
                    worker.wait()
                    return name
            time.sleep(0.05)
        raise AssertionError("no worker ran a task")
