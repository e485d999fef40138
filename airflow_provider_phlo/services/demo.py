"""
``make demo``: the example pipelines under Airflow itself, on recorded API traffic, with nothing to install.

Starts the replay server, the bundled Postgres and Airflow's own processes on loopback, triggers the Dags through
Airflow's API, prints what they built, and stays up or (``DEMO_EXIT=1``) exits. It always ends all of these processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from airflow_provider_phlo.exceptions import PhloError
from airflow_provider_phlo.services import embedded, processes, report
from airflow_provider_phlo.services.airflow_api import AirflowApi
from airflow_provider_phlo.services.postgres import ensure_postgres, stop_postgres

GITHUB_LOGIN = "octo-phlo"
READY_SECONDS = 120
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RUN_SECONDS = 300
_DONE = {"success": "✓", "failed": "✗", "skipped": "-", "upstream_failed": "✗"}
_AIRFLOW_PROCESSES = {
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
}


class DemoError(PhloError):
    """The demo cannot go on; the message says what happened and where its log is."""


@dataclass(frozen=True)
class Run:
    """A Dag run that the demo waits for."""

    dag_id: str
    run_id: str


class Demo:
    """
    The processes of one demo.

    :param home: the folder of all local state.
    :param root: the project.
    """

    def __init__(self, home: Path, root: Path) -> None:
        self.home = home
        self.root = root
        self.mark = embedded.secret(home, "mark")
        self.replay_url = f"http://{embedded.HOST}:{embedded.free_port()}"
        self.api = AirflowApi(
            f"http://{embedded.HOST}:{_fresh_ui_port(home)}", embedded.UI_USER, embedded.secret(home, "ui_password")
        )
        self.environment = _environment(home, root, self.replay_url)
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def prepare(self) -> None:
        """Start what Airflow needs: its database, Postgres for the marts, the dbt manifest, the replayed APIs."""
        port, recordings = self.replay_url.rpartition(":")[2], str(self.home / "replay")
        options = ["--port", port, "--home", recordings, "--login", GITHUB_LOGIN]
        self._start("replay", [sys.executable, "-m", "include.replay", *options])
        with ThreadPoolExecutor() as pool:
            postgres = pool.submit(ensure_postgres, self.home)
            models = pool.submit(embedded.parse_models, self.environment)
            embedded.migrate(self.home, self.environment)
            postgres.result()
            models.result()

    def start_airflow(self) -> None:
        """Start Airflow's processes and wait until all report healthy."""
        for name, options in _AIRFLOW_PROCESSES.items():
            self._start(name, [sys.executable, "-m", "airflow", name, *options])
        wanted = {"metadatabase", "scheduler", "dag_processor"}

        def healthy() -> bool:
            health = self.api.health()
            return all(health.get(name) == "healthy" for name in wanted)

        self._wait(lambda: bool(self.api.health()), "Airflow's api-server does not answer")
        with ThreadPoolExecutor() as pool:
            pool.submit(self.api.warm_up)
            self._wait(healthy, "Airflow is not healthy")

    def wait_for_dags(self, dag_ids: set[str]) -> None:
        """
        Wait until the Dags are parsed.

        :raises DemoError: they are not in time; carries the import errors.
        """

        def settled() -> bool:
            broken = {Path(file).stem for file in self.api.import_errors()}
            return dag_ids <= self.api.dag_ids() or bool(dag_ids & broken)

        names = ", ".join(sorted(dag_ids))
        self._wait(settled, f"Airflow has not parsed {names}")
        if not dag_ids <= self.api.dag_ids():
            traces = "\n".join(f"{file}:\n{trace}" for file, trace in self.api.import_errors().items())
            raise DemoError(f"Airflow could not parse all of {names}.\n{traces}")

    def run(self, confs: Mapping[str, Mapping[str, Any]]) -> None:
        """
        Trigger the Dags, wait for their runs, and print how long each task took.

        :param confs: Dag → the configuration of its run.
        :raises DemoError: a run failed; carries the end of the failed tasks' logs.
        """
        runs = [Run(dag_id, self.api.trigger(dag_id, conf)) for dag_id, conf in confs.items()]
        reported: set[tuple[str, str, str, int]] = set()
        waiting = set(runs)

        def finished() -> bool:
            for run in sorted(waiting, key=runs.index):
                state = self.api.run_state(run.dag_id, run.run_id)
                self._report_tasks(run, reported)
                if state == "failed":
                    instances = self.api.task_instances(run.dag_id, run.run_id)
                    raise DemoError(report.failure_report(self.home / "logs", run.dag_id, run.run_id, instances))
                if state == "success":
                    waiting.discard(run)
            return not waiting

        self._wait(finished, "The runs did not end", RUN_SECONDS, pause=0.5)

    def advance_replay(self) -> None:
        """Let the replayed APIs return their later state: readings that are edited, late or new."""
        self._replay("POST", "/replay/advance")

    def last_day(self) -> str:
        """Return the last recorded day."""
        return str(self._replay("GET", "/replay/health")["end"])

    def stay(self) -> None:
        """
        Stay up until a signal.

        :raises DemoError: one of the processes ended by itself.
        """
        while True:
            self._check()
            time.sleep(1)

    def stop(self) -> None:
        """End every process of the demo, even if more signals arrive meanwhile."""
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        print("Stopping …", flush=True)
        processes.stop(self.mark, patience=5)
        for process in self.running.values():
            process.wait()
        stop_postgres(self.home)

    def _replay(self, method: str, path: str) -> Any:
        data = b"" if method == "POST" else None
        # as Nightscout asks for it
        secret = hashlib.sha1(embedded.secret(self.home, "replay_secret").encode()).hexdigest()  # noqa: S324
        request = urllib.request.Request(  # noqa: S310 - our own
            self.replay_url + path, method=method, data=data, headers={"api-secret": secret}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return json.load(answer)

    def _report_tasks(self, run: Run, reported: set[tuple[str, str, str, int]]) -> None:
        for task in self.api.task_instances(run.dag_id, run.run_id):
            state, tries = task["state"], task["try_number"]
            event = (run.run_id, task["task_id"], state, tries)
            if event in reported or state not in {*_DONE, "up_for_retry"}:
                continue
            reported.add(event)
            sign, note = _DONE.get(state, "↻"), "" if state == "success" else f" {state.replace('_', ' ')}"
            print(f"  {sign} {run.dag_id}.{task['task_id']}  {task['duration'] or 0:.1f} s{note}", flush=True)
            if state == "up_for_retry":
                print(report.failure_report(self.home / "logs", run.dag_id, run.run_id, [task]), flush=True)

    def _start(self, name: str, command: list[str]) -> None:
        self.running[name] = processes.start(command, mark=self.mark, environment=self.environment, log=self._log(name))

    def _log(self, name: str) -> Path:
        return self.home / "logs" / "processes" / f"{name}.log"

    def _wait(
        self, done: Callable[[], bool], otherwise: str, seconds: float = READY_SECONDS, pause: float = 0.25
    ) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            self._check()
            if time.monotonic() > deadline:
                raise DemoError(f"{otherwise} after {seconds:.0f} s. Logs: {self._log('')}".removesuffix("/.log"))
            time.sleep(pause)

    def _check(self) -> None:
        for name, process in self.running.items():
            if process.poll() is not None:
                tail = "\n".join(self._log(name).read_text(errors="replace").splitlines()[-15:])
                raise DemoError(f"{name} ended with {process.returncode}. The end of {self._log(name)}:\n{tail}")


def _fresh_ui_port(home: Path) -> int:
    """Return the port of the last demo if it is still free, else a new one."""
    port = embedded.ui_port(home)
    return port if embedded.is_free(port) else embedded.choose_ui_port(home)


def _environment(home: Path, root: Path, replay_url: str) -> dict[str, str]:
    """Return the variables of the demo's processes: no Airflow setting or connection of the shell leaks in."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    secret = embedded.secret(home, "replay_secret")
    return {
        **inherited,
        **embedded.airflow_environment(home, root),
        **embedded.tool_paths(root, inherited),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        # the recordings end: runs start when somebody triggers them, not by the clock
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        "AIRFLOW_CONN_GITHUB_DEFAULT": embedded.connection(f"{replay_url}/github", login=GITHUB_LOGIN),
        "AIRFLOW_CONN_NIGHTSCOUT_DEFAULT": embedded.connection(f"{replay_url}/nightscout", password=secret),
        "REPLAY_API_SECRET": secret,
    }


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Print what is being done, and afterwards how long it took."""
    started = time.monotonic()
    print(f"{name} …", flush=True)
    yield
    print(f"  {time.monotonic() - started:.1f} s", flush=True)


def play(demo: Demo) -> None:
    """Start everything and run the pipelines: the whole recorded month, then the last day again."""
    with phase("Starting the replayed APIs, Postgres and Airflow's database"):
        demo.prepare()
    with phase("Starting Airflow: api-server, scheduler, dag-processor"):
        demo.start_airflow()
        demo.wait_for_dags({"glucose_platform", "github_stats"})
    last_day = demo.last_day()
    with phase("Running glucose_platform (30 days) and github_stats"):
        month = {"partition_date": last_day, "lookback_days": 29}
        demo.run({"glucose_platform": month, "github_stats": {"partition_date": last_day}})
    from airflow_provider_phlo.iceberg.catalogs.opening import (  # heavy: only when needed
        embedded_properties,
        open_catalog,
    )

    catalog = open_catalog("phlo", embedded_properties(demo.home))
    before = report.lake_counts(catalog)
    with phase("The source edits old readings: running glucose_platform again for its last day"):
        demo.advance_replay()
        demo.run({"glucose_platform": {"partition_date": last_day}})
    server = ensure_postgres(demo.home)
    counts, bad, day = report.lake_counts(catalog), report.quarantine_counts(catalog), report.glucose_overview(catalog)
    print(report.summary(counts, before, bad, day, report.postgres_counts(server)))
    print(report.where_to_look(demo.api.url, embedded.UI_USER, embedded.secret(demo.home, "ui_password"), server))


def main() -> None:
    """Run the demo; the exit code is 0 only if everything succeeded."""
    root = Path.cwd()
    for number in _ENDING:  # Ctrl-C too: a shell's background job would ignore it
        signal.signal(number, _leave)
    try:
        home = embedded.resolve_home(root, os.environ)
        embedded.prepare(home)
        with processes.hold_lock(home / "demo.lock"):
            _run(home, root)
    except PhloError as error:
        raise SystemExit(f"phlo demo: {error}") from error


def _run(home: Path, root: Path) -> None:
    processes.stop(embedded.secret(home, "mark"))  # what a killed demo left behind
    started = time.monotonic()
    demo = Demo(home, root)
    try:
        play(demo)
        print(f"Everything took {time.monotonic() - started:.0f} s.", flush=True)
        if os.environ.get("DEMO_EXIT", "0") in ("", "0"):
            print("Press Ctrl-C to stop.", flush=True)
            demo.stay()
    finally:
        demo.stop()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
