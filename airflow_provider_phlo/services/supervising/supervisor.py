"""
The supervisor of a project's services: a process in the background that keeps Airflow's own and Postgres running.

``phlo services start`` starts it (:mod:`.control`):
``python -m airflow_provider_phlo.services.supervising.supervisor <root> [--dev]``. It holds the lock of its home, so
there is one of them, and no demo beside it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

import psutil  # type: ignore[import-untyped]

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.environment.projects import Project, find_project
from airflow_provider_phlo.services.machine import ports, processes
from airflow_provider_phlo.services.machine.log_rotation import LogRotation
from airflow_provider_phlo.services.postgres.server import ensure_postgres, postgres_pid, stop_postgres
from airflow_provider_phlo.services.supervising import airflow_processes
from airflow_provider_phlo.services.supervising.code_changes import CodeWatcher, Reloading
from airflow_provider_phlo.services.supervising.setting_up import LOCK, parse_models, set_up_databases
from airflow_provider_phlo.services.supervising.state import (
    SupervisorState,
    read_wanted,
    write_state,
)
from airflow_provider_phlo.services.supervising.supervision import Keeper, Part, Program

_PAUSE = 0.25
# to end by themselves, before they are killed
_PATIENCE = 5
# a scheduler that is asked to end waits for its tasks
_TASKS_PATIENCE = 86_400
_RENEWAL_PATIENCE = 10
# who works on DAG files wants new ones at once
_DEV_VARIABLES = {"AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2"}
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class BundledPostgres:
    """The bundled Postgres as a part to keep running."""

    def __init__(self, home: Path, port: int | None) -> None:
        self.log = home / "postgres" / "log"
        self._home = home
        self._port = port

    def version(self) -> str:
        return ""

    def start(self) -> None:
        ensure_postgres(self._home, self._port)

    def pid(self) -> int | None:
        return postgres_pid(self._home)

    def ending(self) -> str:
        return "ended"

    def ask_to_end(self) -> None:
        self.stop()

    def stop(self) -> None:
        stop_postgres(self._home)


class Supervisor:
    """
    Runs the services of one project, until a signal ends it.

    :param dev: whether it picks up changed code.
    """

    def __init__(self, project: Project, *, dev: bool = False) -> None:
        self.project = project
        self.home = project.home
        self._rotation = LogRotation()
        this = psutil.Process()
        self.state = SupervisorState(this.pid, this.create_time(), str(project.root), "setting up", dev=dev)
        write_state(self.home, self.state)

    def run(self) -> None:
        """Set up what is not there yet, and keep everything running."""
        processes.stop(embedded.secret(self.home, "mark"), patience=_PATIENCE)  # what a killed one left behind
        port = self._choose_port()
        postgres_port = self._fixed_port("postgres")
        environment = set_up_databases(self.project, say, postgres_port)
        if self.state.dev:
            environment |= _DEV_VARIABLES
        self._change(phase="running", url=f"http://{ports.HOST}:{port}")
        keeper = Keeper(self._parts(environment, postgres_port), say)
        reloading = self._reloading(keeper, environment) if self.state.dev else None
        while True:
            if reloading:
                reloading.look()
            self._change(parts=keeper.look(read_wanted(self.home)))
            self._rotate_logs()
            time.sleep(_PAUSE)

    def stop(self) -> None:
        """End every process of the home."""
        if self.state.phase != "failed":
            self._change(phase="stopping")
        processes.stop(embedded.secret(self.home, "mark"), patience=_PATIENCE)
        stop_postgres(self.home)
        if self.state.phase != "failed":
            self._change(phase="stopped", parts={})

    def fail(self, problem: str) -> None:
        """Write down why nothing can be run."""
        say(problem)
        self._change(phase="failed", problem=problem)

    def _reloading(self, keeper: Keeper, environment: Mapping[str, str]) -> Reloading:
        def renew(name: str) -> None:
            keeper.renew(name, _TASKS_PATIENCE if name == "scheduler" else _RENEWAL_PATIENCE)

        watcher = CodeWatcher(self.project.root)
        return Reloading(watcher, partial(parse_models, self.project, environment), renew, say)

    def _parts(self, environment: Mapping[str, str], postgres_port: int | None) -> dict[str, Part]:
        mark = embedded.secret(self.home, "mark")
        parts: dict[str, Part] = {"postgres": BundledPostgres(self.home, postgres_port)}
        for name in airflow_processes.AIRFLOW_PROCESSES:
            launch = partial(airflow_processes.start, self.home, name, environment)
            log = airflow_processes.log_path(self.home, name)
            parts[name] = Program(launch, mark, log, airflow_processes.installed_version)
        return parts

    def _choose_port(self) -> int:
        fixed = self._fixed_port("api-server")
        return embedded.choose_ui_port(self.home, fixed) if fixed else airflow_processes.usable_ui_port(self.home)

    def _fixed_port(self, name: str) -> int | None:
        """
        Return the port that ``phlo.yaml`` gives a service of this machine.

        :raises ConfigurationError: something else listens there.
        """
        service = self.project.configuration.infrastructure.services.get(name)
        if service is None or service.port is None or service.host not in (ports.HOST, "localhost"):
            return None
        if name == "postgres" and self.project.chosen_port(name) != service.port:
            stop_postgres(self.home)  # it may run where it was before phlo.yaml said so
        ours = name == "postgres" and postgres_pid(self.home)
        if not ours and not ports.is_free(service.port):
            raise ConfigurationError(
                f"Port {service.port} of {name} (infrastructure.services.{name}.port in phlo.yaml) is taken by another "
                "program. End that, or write another port, or none: a free one is chosen then."
            )
        return service.port

    def _rotate_logs(self) -> None:
        logs = (self.home / "logs" / "processes").glob("*.log")
        try:
            self._rotation.look([*logs, self.home / "postgres" / "log"])
        except OSError as error:  # a full disk: what runs goes on
            say(f"a log cannot be rotated: {error.strerror}")

    def _change(self, **fields: object) -> None:
        changed = replace(self.state, **fields)  # type: ignore[arg-type]
        if changed == self.state:
            return
        self.state = changed
        try:
            write_state(self.home, changed)
        except OSError as error:  # a full disk: what runs goes on
            say(f"the state cannot be written: {error.strerror}")


def say(line: str) -> None:
    """Write a line into the supervisor's log, which is its output; on a full disk it is lost."""
    with contextlib.suppress(OSError):
        print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}", flush=True)


def main() -> None:
    """Run the services of a project: its folder is the argument."""
    for number in _ENDING:
        signal.signal(number, _leave)
    try:
        project = find_project(Path(sys.argv[1]))
        os.chdir(project.root)
        embedded.prepare(project.home)
        with processes.hold_lock(project.home / LOCK):
            _run(project, dev="--dev" in sys.argv[2:])
    except PhloError as error:
        say(str(error))
        raise SystemExit(1) from error


def _run(project: Project, *, dev: bool) -> None:
    supervisor = Supervisor(project, dev=dev)
    try:
        supervisor.run()
    except PhloError as error:
        supervisor.fail(str(error))
        raise
    finally:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        supervisor.stop()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
