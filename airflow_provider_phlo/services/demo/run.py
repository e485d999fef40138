"""
``make demo``: the example pipelines under Airflow itself, on recorded API traffic, with nothing to install.

Starts the replay server, the bundled Postgres and Airflow's own processes on loopback, triggers the Dags through
Airflow's API, prints what they built, and stays up or (``DEMO_EXIT=1``) exits. While it stays, schedules fire, assets
start Dags and deferred tasks are waited for. It always ends all of these processes. ``LIVE=1`` runs the same on the
connections of the shell or ``.env``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.events.paths import event_paths
from airflow_provider_phlo.events.terms import INGEST_DAG
from airflow_provider_phlo.exceptions import PhloError
from airflow_provider_phlo.services.demo import report
from airflow_provider_phlo.services.demo.alert_receiver import WEBHOOK_VARIABLE, AlertReceiver
from airflow_provider_phlo.services.environment import embedded, live
from airflow_provider_phlo.services.environment.replay import Replay
from airflow_provider_phlo.services.machine import ports, processes
from airflow_provider_phlo.services.postgres.server import ensure_postgres, stop_postgres
from airflow_provider_phlo.services.supervising import airflow_processes

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

READY_SECONDS = 120
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RUN_SECONDS = 300
LIVE_RUN_SECONDS = 1800
_DONE = {"success": "✓", "failed": "✗", "skipped": "-", "upstream_failed": "✗"}


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
    :param connections: to live sources; None replays recordings.
    """

    def __init__(self, home: Path, root: Path, connections: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.root = root
        self.mark = embedded.secret(home, "mark")
        self.recorded = connections is None
        self.dags = set(live.ALL_DAGS) if connections is None else live.filled_dags(connections)
        port = airflow_processes.usable_ui_port(home)
        self.api = AirflowApi(f"http://{ports.HOST}:{port}", embedded.UI_USER, embedded.secret(home, "ui_password"))
        self.environment = {**_environment(home, root), **(connections or {})}
        self.replay: Replay | None = None
        self.alerts: AlertReceiver | None = None
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def prepare(self) -> None:
        """Start what Airflow needs: its database, Postgres for the marts, the dbt manifest, the replayed APIs."""
        if self.recorded:
            self.replay = embedded.start_replay(self.home, self.root)
            self.replay.misread()
            self.alerts = AlertReceiver()
            self.environment |= {**self.replay.connections(), WEBHOOK_VARIABLE: self.alerts.url}
        with ThreadPoolExecutor() as pool:
            models = pool.submit(embedded.parse_models, self.environment)
            airflow_processes.set_up(self.home, self.environment)
            models.result()

    def start_airflow(self) -> None:
        """Start Airflow's processes and wait until all report healthy."""
        for name in ("api-server", "scheduler", "dag-processor"):
            self._start(name, self.environment)
        wanted = {"metadatabase", "scheduler", "dag_processor"}

        def healthy() -> bool:
            health = self.api.health()
            return all(health.get(name) == "healthy" for name in wanted)

        self._wait(lambda: bool(self.api.health()), "Airflow's api-server does not answer")
        with ThreadPoolExecutor() as pool:
            pool.submit(self.api.warm_up)
            self._wait(healthy, "Airflow is not healthy")

    def start_clock(self) -> None:
        """Let schedules fire and assets start Dags from now on, and deferred tasks be waited for."""
        scheduler = self.running.pop("scheduler")
        scheduler.terminate()
        scheduler.wait()
        environment = {**self.environment, "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True"}
        self._start("scheduler", environment)
        self._start("triggerer", environment)
        self._wait(lambda: set(self.api.health().values()) == {"healthy"}, "Airflow is not healthy")

    def pause_others(self) -> None:
        """Pause the Dags whose sources have no connection."""
        for dag_id in live.ALL_DAGS - self.dags:
            self.api.call("PATCH", f"/dags/{dag_id}?update_mask=is_paused", {"is_paused": True})

    def wait_for_dags(self, dag_ids: Set[str]) -> None:
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

    def run(self, confs: Mapping[str, Mapping[str, Any]], seconds: float | None = None) -> None:
        """
        Trigger the Dags, wait for their runs, and print how long each task took.

        :param confs: Dag → the configuration of its run.
        :param seconds: how long to wait at most; by default what recordings, or live sources, may take.
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

        patience = seconds or (RUN_SECONDS if self.recorded else LIVE_RUN_SECONDS)
        self._wait(finished, "The runs did not end", patience, pause=0.5)

    def watch(self, catalog: Catalog) -> None:
        """Let the watcher look at the tables once, as the DAG ``phlo_watch`` does, and print what it sends."""
        from airflow_provider_phlo.watching.round import watch  # heavy: only when needed

        if self.alerts is None:
            return
        os.environ[WEBHOOK_VARIABLE] = self.alerts.url
        watch(catalog, self.root, datetime.now(UTC), base_url=self.api.url)
        self._print_alerts()

    def _print_alerts(self) -> None:
        for message in self.alerts.taken() if self.alerts else ():
            print(textwrap.indent(message, "  | "), flush=True)

    def last_day(self) -> str:
        """Return the last day that is over, in UTC."""
        return self.replay.last_day() if self.replay else str(datetime.now(UTC).date() - timedelta(days=1))

    def stay(self) -> None:
        """
        Stay up until a signal.

        :raises DemoError: one of the processes ended by itself.
        """
        while True:
            self._check()
            self._print_alerts()
            time.sleep(1)

    def stop(self) -> None:
        """End every process of the demo, even if more signals arrive meanwhile."""
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        print("Stopping …", flush=True)
        processes.stop(self.mark, patience=5)
        if self.alerts is not None:
            self.alerts.close()
        for process in self.running.values():
            process.wait()
        stop_postgres(self.home)

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

    def _start(self, name: str, environment: Mapping[str, str]) -> None:
        self.running[name] = airflow_processes.start(self.home, name, environment)

    def _log(self, name: str) -> Path:
        return airflow_processes.log_path(self.home, name)

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


def _environment(home: Path, root: Path) -> dict[str, str]:
    """Return the variables of the demo's processes: no Airflow setting or connection of the shell leaks in."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    return {
        **inherited,
        **embedded.airflow_environment(home, root),
        **embedded.tool_paths(root, inherited),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        # what the demo reports is what it has triggered: schedules fire after that
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    }


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Print what is being done, and afterwards how long it took."""
    started = time.monotonic()
    print(f"{name} …", flush=True)
    yield
    print(f"  {time.monotonic() - started:.1f} s", flush=True)


def play(demo: Demo) -> None:
    """Start everything and run the pipelines: a whole month, then, of recordings, the last day again."""
    with phase(f"Starting {'the replayed APIs, ' if demo.recorded else ''}Postgres and Airflow's database"):
        demo.prepare()
    with phase("Starting Airflow: api-server, scheduler, dag-processor"):
        demo.start_airflow()
        demo.wait_for_dags(live.ALL_DAGS)
        demo.pause_others()
    last_day = demo.last_day()
    confs: dict[str, dict[str, Any]] = {
        live.GLUCOSE_DAG: {"partition_date": last_day, "lookback_days": 29},
        live.STATS_DAG: {"partition_date": last_day},
        INGEST_DAG: {},
        live.PULLS_DAG: {},
    }
    titles = {live.GLUCOSE_DAG: "glucose_platform (30 days)"}
    with phase(f"Running {', '.join(titles.get(dag_id, dag_id) for dag_id in confs if dag_id in demo.dags)}"):
        demo.run({dag_id: conf for dag_id, conf in confs.items() if dag_id in demo.dags})
    from airflow_provider_phlo.iceberg.catalogs.opening import (  # heavy: only when needed
        embedded_properties,
        open_catalog,
    )

    catalog = open_catalog("phlo", embedded_properties(demo.home))
    before = report.lake_counts(catalog)
    if demo.replay:
        with phase("Watching: the sensor misread once, which breaks a contract"):
            demo.watch(catalog)
        with phase("The source edits old readings: running glucose_platform again for its last day"):
            demo.replay.advance()
            demo.run({live.GLUCOSE_DAG: {"partition_date": last_day}})
        with phase("Watching again: the reading was corrected"):
            demo.watch(catalog)
    server = ensure_postgres(demo.home)
    counts, bad = report.lake_counts(catalog), report.quarantine_counts(catalog)
    day = report.glucose_overview(catalog) if live.GLUCOSE_DAG in demo.dags else {}
    events = report.event_counts(event_paths(demo.home, demo.environment).database)
    print(report.summary(counts, before, bad, day, report.postgres_counts(server), events))
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
    connections = live_connections(home, root) if _is_set("LIVE") else None
    live.claim(home, live=connections is not None)
    print(embedded.choose_metadata_database(home, root, change=True), end="", flush=True)
    demo = Demo(home, root, connections)
    try:
        play(demo)
        print(f"Everything took {time.monotonic() - started:.0f} s.", flush=True)
        if not _is_set("DEMO_EXIT"):
            with phase("Starting the clock: schedules, asset triggers, triggerer"):
                demo.start_clock()
            print("Press Ctrl-C to stop.", flush=True)
            demo.stay()
    finally:
        demo.stop()


def live_connections(home: Path, root: Path) -> dict[str, str]:
    """
    Return the connections to live sources.

    :raises DemoError: none is set.
    """
    shell = live.without_recordings(home, embedded.secret(home, "replay_secret"), os.environ)
    connections = live.own_connections(root, shell)
    if not connections:
        raise DemoError(
            "LIVE=1 needs a source: set NIGHTSCOUT_URL and NIGHTSCOUT_API_SECRET, GITHUB_USERNAME or "
            "GITHUB_ORGANIZATIONS, in .env (see .env.example), or export AIRFLOW_CONN_NIGHTSCOUT_DEFAULT or "
            "AIRFLOW_CONN_GITHUB_DEFAULT."
        )
    return connections


def _is_set(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
