"""A real Airflow for tests: api-server, scheduler, dag-processor, on loopback, in a folder of its own."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine import processes
from tests.lake import open_lake
from tests.patience import until
from tests.services.downloads import cache

ROOT = Path(__file__).parents[1]
COMPONENTS = {"api-server": (), "scheduler": ("--skip-serve-logs",), "dag-processor": ()}
FINAL = ("success", "failed")


class RunningAirflow:
    """
    What the tests ask of it.

    :param start: starts one of its components, with options; it ends with the others; None if others start them.
    """

    def __init__(self, home: Path, api: AirflowApi, start: Callable[..., None] | None = None) -> None:
        self.home = home
        self.api = api
        self.start = start

    @property
    def catalog(self):
        return open_lake(self.home)

    def wait(self, what: Any) -> Any:
        """Return the first true answer of ``what``."""
        # each question costs the api-server work that the tests' tasks wait for
        return until(what, every=0.4, said=lambda: f"logs: {self.home / 'logs'}")

    def trigger(self, dag_id: str, **body: Any) -> str:
        """Start a run; return its id. SQLite may be locked for a moment, of which Airflow makes an error 500."""

        def attempt() -> Any:
            with contextlib.suppress(TransientError):
                return self.api.call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, **body})

        return str(self.wait(attempt)["dag_run_id"])

    def events(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return what the asset events of a run carry; each has a twin with a partition key, which is left out."""
        query = urlencode({"source_dag_id": dag_id, "source_run_id": run_id})
        found = self.api.call("GET", f"/assets/events?{query}")["asset_events"]
        plain = [event for event in found if event["partition_key"] is None]
        return [event["extra"] for event in plain or found]

    def runs(self, dag_id: str, run_type: str) -> list[dict[str, Any]]:
        answer = self.api.call("GET", f"/dags/{dag_id}/dagRuns?run_type={run_type}&order_by=run_after")
        return list(answer["dag_runs"])

    def finished(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Wait for a run to end; return the states of its tasks."""
        self.wait(lambda: self.api.run_state(dag_id, run_id) in FINAL)
        return {task["task_id"]: task["state"] for task in self.api.task_instances(dag_id, run_id)}

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value?deserialize=true"
        return self.api.call("GET", path)["value"]

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))


def migrated_database() -> Path:
    """Return the metadata database of a new Airflow: made once for a machine and each version, copied by tests."""
    version = importlib.metadata.version("apache-airflow-core")
    made = cache() / f"airflow-{version}.db"
    with made.with_suffix(".lock").open("w") as lock, tempfile.TemporaryDirectory() as place:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            home = Path(place)
            embedded.prepare(home)
            inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
            embedded.migrate(home, {**inherited, **embedded.airflow_environment(home, ROOT)})
            part = made.with_suffix(".part")
            shutil.copyfile(home / "airflow" / "airflow.db", part)
            part.replace(made)
    return made


@contextlib.contextmanager
def running_airflow(
    home: Path, folder: Path, dags: set[str], variables: Mapping[str, str] | None = None
) -> Iterator[RunningAirflow]:
    """
    Start Airflow on ``folder / "dags"``; every process ends with the block.

    :param dags: the Dags that must be parsed before the block begins.
    :param variables: more environment variables.
    """
    embedded.prepare(home)
    shutil.copyfile(migrated_database(), home / "airflow" / "airflow.db")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    environment = {
        **inherited,
        **embedded.airflow_environment(home, folder),
        **embedded.tool_paths(ROOT, inherited),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        # no file changes: none is parsed again while the tests run
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        **(variables or {}),
    }
    url = f"http://{embedded.HOST}:{embedded.ui_port(home)}"
    mark = embedded.secret(home, "mark")
    started = []

    def start(name: str, *options: str) -> None:
        command = [sys.executable, "-m", "airflow", name, *options]
        log = home / "logs" / f"{name}.log"
        started.append(processes.start(command, mark=mark, environment=environment, log=log))

    running = RunningAirflow(home, AirflowApi(url, embedded.UI_USER, embedded.secret(home, "ui_password")), start)
    try:
        for name, options in COMPONENTS.items():
            start(name, *options)
        running.wait(lambda: running.api.health().get("scheduler") == "healthy")
        running.wait(lambda: running.api.dag_ids() >= dags or running.api.import_errors())
        errors = running.api.import_errors()
        assert not errors, errors
        yield running
    finally:
        processes.stop(mark)
        for process in started:
            process.wait()
