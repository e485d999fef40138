"""How the services of a project are: what their supervisor says, what the system says, and what they say themselves."""

from __future__ import annotations

import contextlib
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.environment.projects import BUNDLED, Project
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.postgres import server as postgres
from airflow_provider_phlo.services.supervising import airflow_processes
from airflow_provider_phlo.services.supervising.state import PartState, SupervisorState
from airflow_provider_phlo.services.supervising.supervision import Status

HEALTHY = "healthy"
STARTING = "starting"
UNHEALTHY = "unhealthy"
#: Its supervisor was killed, and it goes on.
UNSUPERVISED = "unsupervised"
# as long as Airflow itself waits for a heartbeat, and a start on a busy machine
_STARTING_SECONDS = 90
_PATIENCE = 3

_Components = dict[str, tuple[str, datetime | None]]


@dataclass(frozen=True)
class ServiceReport:
    """
    How a service is.

    :param health: ``healthy``, ``starting`` or ``unhealthy``; empty if it does not run.
    :param started: when it was last started, in seconds since 1970.
    :param uptime: seconds.
    :param memory: bytes of it and of what it has started; what they share is counted once.
    :param problem: how it ended last.
    :param version: of what runs.
    :param installed_version: of what runs after the next start.
    """

    name: str
    state: str
    health: str
    pid: int | None
    port: int | None
    started: float | None
    uptime: float | None
    memory: int | None
    restarts: int
    problem: str
    log: Path
    version: str | None = None
    installed_version: str | None = None

    @property
    def is_outdated(self) -> bool:
        """Return whether another version is installed than the one that runs."""
        return None not in (self.version, self.installed_version) and self.version != self.installed_version


def report(project: Project, state: SupervisorState | None, *, memory: bool = False) -> list[ServiceReport]:
    """
    Return how every service is.

    :param state: what the supervisor wrote last, dead or alive.
    :param memory: whether to measure that, too: the system takes a moment for it.
    """
    components: _Components = {}
    if state and state.phase == "running":
        api = AirflowApi(state.url, embedded.UI_USER, "", patience=_PATIENCE)  # health is public
        components = api.components()
    return [_report_one(project, state, name, components, memory=memory) for name in BUNDLED]


def _report_one(
    project: Project, state: SupervisorState | None, name: str, components: _Components, *, memory: bool
) -> ServiceReport:
    part = state.parts.get(name) if state else None
    status, pid = _status(project, state, name, part)
    began = _began(pid)
    # the supervisor's clock, not the system's, which counts from its start
    started = (part.started if part else 0) or began
    version = _running_version(project, name, part) if pid else None
    return ServiceReport(
        name=name,
        state=status,
        health=_health(name, began, components, answers=version is not None) if pid else "",
        pid=pid,
        port=project.chosen_port(name),
        started=started,
        uptime=time.time() - began if began else None,
        memory=_memory(pid) if pid and memory else None,
        restarts=part.restarts if part else 0,
        problem=part.problem if part else "",
        log=airflow_processes.service_log(project.home, name),
        version=version or None,
        installed_version=_installed_version(name),
    )


def _running_version(project: Project, name: str, part: PartState | None) -> str | None:
    """Return the version of what runs; None for a Postgres that does not answer."""
    if name == "postgres":
        return postgres.running_version(project.home)
    return part.version if part else ""


def _installed_version(name: str) -> str | None:
    with contextlib.suppress(ConfigurationError, PackageNotFoundError, OSError, subprocess.CalledProcessError):
        return postgres.installed_version() if name == "postgres" else airflow_processes.installed_version()
    return None


def _status(
    project: Project, state: SupervisorState | None, name: str, part: PartState | None
) -> tuple[str, int | None]:
    """Return what a service is doing, and its process id if it runs."""
    if name == "postgres":
        # it may have been started by whoever needed it first
        pid = postgres.postgres_pid(project.home)
        if pid or part is None or not (state and state.is_alive):
            return (Status.RUNNING if pid else Status.STOPPED), pid
        return part.status, None
    if state and state.is_alive:
        if part is None:
            return STARTING, None
        if part.status == Status.RUNNING and not _lives(part.pid):
            return Status.RESTARTING, None  # it has just died: its supervisor will see in a moment
        return part.status, part.pid
    if part and part.pid in _marked(project):
        return UNSUPERVISED, part.pid
    return Status.STOPPED, None


def _marked(project: Project) -> set[int]:
    return {process.pid for process in processes.find_marked(embedded.secret(project.home, "mark"))}


def _lives(pid: int | None) -> bool:
    with contextlib.suppress(psutil.Error):
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _began(pid: int | None) -> float | None:
    with contextlib.suppress(psutil.Error):
        return float(psutil.Process(pid).create_time()) if pid else None
    return None


def _memory(pid: int) -> int | None:
    """Return the bytes that a process and its children use."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return sum(map(_share, (process, *process.children(recursive=True))))
    return None


def _share(process: psutil.Process) -> int:
    """Return the bytes of one process; what several share is divided among them."""
    with contextlib.suppress(psutil.Error):
        info = process.memory_full_info()
        return int(getattr(info, "pss", 0) or info.uss)
    return 0


def _health(name: str, started: float | None, components: _Components, *, answers: bool) -> str:
    if name == "postgres":
        healthy = answers
    elif name == "api-server":
        healthy = components.get("metadatabase", ("", None))[0] == HEALTHY
    else:
        status, beat = components.get(name.replace("-", "_"), ("", None))
        # an earlier process may have sent the last heartbeat
        healthy = status == HEALTHY and beat is not None and beat.timestamp() >= (started or 0)
    if healthy:
        return HEALTHY
    return STARTING if started and time.time() - started < _STARTING_SECONDS else UNHEALTHY
