"""``phlo services``, embedded: start, stop and ask the supervisor of a project's home."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.environment.projects import BUNDLED, Project
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.supervising import airflow_processes
from airflow_provider_phlo.services.supervising.health import HEALTHY, ServiceReport, report
from airflow_provider_phlo.services.supervising.state import SupervisorState, read_state, want
from airflow_provider_phlo.services.supervising.supervision import Status
from airflow_provider_phlo.suggestions import did_you_mean

SUPERVISOR = "supervisor"
_READY_SECONDS = 180
_STOP_SECONDS = 60
_PAUSE = 0.3

Say = Callable[[str], None]


def check_names(names: Sequence[str]) -> None:
    """
    Check that these are services.

    :raises ConfigurationError: one is not.
    """
    for name in names:
        if name not in BUNDLED:
            raise ConfigurationError(
                f"{name!r} is not a service.{did_you_mean(name, BUNDLED)} Services: {', '.join(BUNDLED)}."
            )


def start(project: Project, names: Sequence[str], say: Say, *, dev: bool = False) -> None:
    """
    Start the services in the background, and wait until they are healthy.

    :param names: only these; all if there are none.
    :param say: gets a line about everything that happens.
    :param dev: whether changed code is picked up from now on.
    :raises ConfigurationError: they run already, and do not pick it up.
    :raises TransientError: one does not run or is not healthy in time; says why and where its log is.
    """
    check_names(names)
    embedded.prepare(project.home)
    state = _wait_for_stopping(project.home)
    began = time.time()
    names = names or BUNDLED
    if state:
        _check_root(project, state)
        _check_dev(state, dev=dev)
        failed = {name for name, part in state.parts.items() if part.status == Status.FAILED}
        want(project.home, failed & set(names), run=True, again=True)
        want(project.home, set(names) - failed, run=True)
        _wait_until_healthy(project, names, say, since=began if failed & set(names) else 0)
        return
    want(project.home, names, run=True)
    want(project.home, set(BUNDLED) - set(names), run=False)
    _wait_until_healthy(project, names, say, launched=_launch(project, dev=dev))


def stop(project: Project, names: Sequence[str]) -> str:
    """
    End the services, also those that a killed supervisor left behind.

    :param names: only these; all if there are none.
    :return: what was ended, in words.
    """
    check_names(names)
    if not names:
        return embedded.end_all(project.home) if project.home.exists() else f"{project.home}: nothing was running."
    _running(project)
    want(project.home, names, run=False)
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        state = read_state(project.home)
        if state is None or all(state.parts[name].status == Status.STOPPED for name in names if name in state.parts):
            return f"{project.home}: stopped {', '.join(names)}."
        time.sleep(_PAUSE)
    raise TransientError(f"{', '.join(names)}: not stopped after {_STOP_SECONDS} s. Log: {supervisor_log(project)}")


def restart(project: Project, names: Sequence[str], say: Say, *, dev: bool = False) -> None:
    """
    Start services again; without names all, with their supervisor, which reads ``phlo.yaml`` and ``.env`` again.

    :param dev: as :func:`start`.
    :raises ConfigurationError: as :func:`start`.
    :raises TransientError: as :func:`start`.
    """
    check_names(names)
    if not names:
        say(stop(project, ()))
        start(project, (), say, dev=dev)
        return
    _check_dev(_running(project), dev=dev)
    began = time.time()
    want(project.home, names, run=True, again=True)
    _wait_until_healthy(project, names, say, since=began)


def supervisor_log(project: Project) -> Path:
    """Return the file in which the supervisor says what it does."""
    return airflow_processes.log_path(project.home, SUPERVISOR)


def service_log(project: Project, name: str) -> Path:
    """Return the file with the output of a service, or of the supervisor."""
    return airflow_processes.service_log(project.home, name)


def _launch(project: Project, *, dev: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "airflow_provider_phlo.services.supervising.supervisor", str(project.root)]
    if dev:
        command.append("--dev")
    environment = {**os.environ, "PHLO_HOME": str(project.home)}
    mark = embedded.secret(project.home, "mark")
    return processes.start(command, mark=mark, environment=environment, log=supervisor_log(project))


def _wait_for_stopping(home: Path) -> SupervisorState | None:
    """Return the state of the running supervisor; wait for one that is about to end."""
    deadline = time.monotonic() + _STOP_SECONDS
    while True:
        state = read_state(home)
        if state is None or not state.is_alive:
            return None
        if state.phase in ("setting up", "running"):
            return state
        if time.monotonic() > deadline:
            raise TransientError(f"The services of {home} do not end. End them with: phlo services stop")
        time.sleep(_PAUSE)


def _running(project: Project) -> SupervisorState:
    state = read_state(project.home)
    if state is None or not state.is_alive:
        raise ConfigurationError(f"No services run in {project.home}. Start them with: phlo services start")
    _check_root(project, state)
    return state


def _check_root(project: Project, state: SupervisorState) -> None:
    if state.root != str(project.root):
        raise ConfigurationError(
            f"{project.home} is in use by the services of {state.root}. Give this project a folder of its own: unset "
            "PHLO_HOME, or set it to another."
        )


def _check_dev(state: SupervisorState, *, dev: bool) -> None:
    if dev and not state.dev:
        raise ConfigurationError("The services run without --dev. Start them again with: phlo services restart --dev")


def _wait_until_healthy(
    project: Project,
    names: Sequence[str],
    say: Say,
    *,
    since: float = 0,
    launched: subprocess.Popen[bytes] | None = None,
) -> None:
    """
    Wait until services are healthy.

    :param since: when their start was asked for; what is known from before that does not count.
    :param launched: the supervisor, if this process started it; another's may have been first.
    """
    began = time.monotonic()
    healthy: set[str] = set()
    while time.monotonic() - began < _READY_SECONDS:
        state = _followed(project, launched)
        found = [service for service in report(project, state) if service.name in names]
        for service in found:
            if service.started is None or service.started < since:
                continue
            if service.state == Status.FAILED:
                raise TransientError(f"{service.name} {service.problem}. {_tail(service.log)}")
            if service.health == HEALTHY and service.name not in healthy:
                healthy.add(service.name)
                say(f"{service.name} is healthy ({time.monotonic() - began:.0f} s)")
        if healthy >= set(names) and all(service.health == HEALTHY for service in found):
            return
        time.sleep(_PAUSE)
    late = ", ".join(sorted(set(names) - healthy))
    raise TransientError(f"Not healthy after {_READY_SECONDS} s: {late}. Logs: {supervisor_log(project).parent}")


def _followed(project: Project, launched: subprocess.Popen[bytes] | None) -> SupervisorState | None:
    """
    Return the state of the supervisor that runs; None while it starts.

    :raises TransientError: none runs any more; says why.
    """
    deadline = time.monotonic() + 3  # the one that was first writes its state in a moment
    while True:
        state = read_state(project.home)
        if state and state.is_alive:
            _check_root(project, state)
            return state
        if launched and launched.poll() is None:
            return None
        if time.monotonic() > deadline:
            break
        time.sleep(_PAUSE)
    if state and state.problem:
        raise TransientError(state.problem)
    raise TransientError(f"The services do not run. {_tail(supervisor_log(project))}")


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
    return f"The end of {log}:\n" + "\n".join(lines)


__all__ = ["ServiceReport", "check_names", "report", "restart", "service_log", "start", "stop", "supervisor_log"]
