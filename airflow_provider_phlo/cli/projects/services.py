"""``phlo services``: Airflow and the bundled Postgres of a project, in the background."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.errors import FAILED, exit_with
from airflow_provider_phlo.cli.terminal.output import Result, show, write_lines
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.printable_text import printable
from airflow_provider_phlo.services.environment.embedded import UI_USER
from airflow_provider_phlo.services.environment.projects import BUNDLED, Project, find_project
from airflow_provider_phlo.services.machine.log_rotation import part_of
from airflow_provider_phlo.services.supervising import compose, control
from airflow_provider_phlo.services.supervising.health import HEALTHY, UNSUPERVISED, ServiceReport, report
from airflow_provider_phlo.services.supervising.setting_up import initialise
from airflow_provider_phlo.services.supervising.state import read_state

_FOLLOW_PAUSE = 0.3


def init(args: argparse.Namespace) -> None:
    """Set up what the services need, without starting them."""
    project = find_project(Path.cwd())
    if args.mode == "compose":
        _say(compose.initialise(project))
        return
    initialise(project, _say)
    if args.output == "json":
        _show(project, (), args.output)


def start(args: argparse.Namespace) -> None:
    """Start the services in the background, and wait until they are healthy."""
    project = find_project(Path.cwd())
    _check_mode(args)
    if args.mode == "compose":
        compose.start(project, args.names)
    else:
        with _explained_interrupt():
            control.start(project, args.names, _say, dev=args.dev)
        _show(project, args.names, args.output)
        _say_where(project)


def stop(args: argparse.Namespace) -> None:
    """End the services, also after a crash."""
    project = find_project(Path.cwd())
    if args.mode == "compose":
        compose.stop(project, args.names)
        return
    _say(control.stop(project, args.names))
    if args.output == "json":
        _show(project, args.names, args.output)


def restart(args: argparse.Namespace) -> None:
    """Start services again."""
    project = find_project(Path.cwd())
    _check_mode(args)
    if args.mode == "compose":
        compose.restart(project, args.names)
    else:
        with _explained_interrupt():
            control.restart(project, args.names, _say, dev=args.dev)
        _show(project, args.names, args.output)


def status(args: argparse.Namespace) -> None:
    """Show how the services are; the exit code is 0 only if all of them are healthy."""
    project = find_project(Path.cwd())
    if args.mode == "compose":
        if not compose.status(project, args.names, args.output):
            raise SystemExit(FAILED)
        return
    control.check_names(args.names)
    found = _show(project, args.names, args.output)
    state = read_state(project.home)
    if state and state.problem:
        exit_with("services status", state.problem, FAILED)
    if any(service.health != HEALTHY for service in found):
        raise SystemExit(FAILED)


def logs(args: argparse.Namespace) -> None:
    """Show what the services write."""
    project = find_project(Path.cwd())
    if args.mode == "compose":
        compose.logs(project, args.names, args.lines, follow=args.follow)
        return
    control.check_names([name for name in args.names if name != control.SUPERVISOR])
    names = args.names or [control.SUPERVISOR, *BUNDLED]
    paths = {name: control.service_log(project, name) for name in names}
    lines = _followed(paths, args.lines) if args.follow else _last(paths, args.lines)
    width = max(map(len, names)) if len(names) > 1 else 0
    write_lines((_log_line(name, line, width, args.output) for name, line in lines), live=args.follow)


def _check_mode(args: argparse.Namespace) -> None:
    if args.dev and args.mode == "compose":
        raise ConfigurationError("--dev is for embedded services: containers run the code of their images.")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _explained_interrupt() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _say("The services go on starting in the background. End them with: phlo services stop")
        raise


def _say_where(project: Project) -> None:
    state = read_state(project.home)
    if state and state.url:
        _say(f"Airflow: {state.url} (user {UI_USER}, password in {_short(project.home / 'secrets' / 'ui_password')})")


def _short(path: Path) -> str:
    """Return a path as seen from the working directory, if it is in there."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _show(project: Project, names: Sequence[str], output: str) -> list[ServiceReport]:
    """Print how services are, in raw values for programs and in words for people; return it."""
    state = read_state(project.home)
    found = [each for each in report(project, state, memory=True) if not names or each.name in names]
    described = [_raw(each) if output == "json" else _in_words(each) for each in found]
    rows = [tuple(each.values()) for each in described]
    show(Result(list(described[0]), rows, right=("pid", "port", "memory")), output)
    if any(each.state == UNSUPERVISED for each in found):
        _say(
            "Their supervisor was killed. phlo services start starts them again with one, phlo services stop ends them."
        )
    _say_outdated(found)
    for each in found:
        if each.problem and output != "json":
            _say(f"{each.name} {each.problem} the last time. Log: {each.log}")
    return found


def _say_outdated(found: Sequence[ServiceReport]) -> None:
    outdated = [each for each in found if each.is_outdated]
    for each in outdated:
        _say(f"{each.name}: version {each.version} runs, {each.installed_version} is installed.")
    if outdated:
        _say("phlo services restart runs what is installed.")


def _raw(each: ServiceReport) -> dict[str, object]:
    return {
        "service": each.name,
        "state": each.state,
        "health": each.health or None,
        "pid": each.pid,
        "port": each.port,
        "version": each.version,
        "installed_version": each.installed_version,
        "uptime": each.uptime,
        "memory": each.memory,
        "restarts": each.restarts,
        "problem": each.problem or None,
        "log": str(each.log),
    }


def _in_words(each: ServiceReport) -> dict[str, object]:
    return {
        "service": each.name,
        "state": each.state,
        "health": each.health,
        "pid": str(each.pid or ""),
        "port": str(each.port or ""),
        "version": each.version or "",
        "up": "" if each.uptime is None else words.span(each.uptime),
        "memory": words.size(each.memory) if each.memory else "",
        "restarts": each.restarts,
        "log": _short(each.log),
    }


def _log_line(name: str, line: str, width: int, output: str) -> str:
    if output == "json":
        return json.dumps({"service": name, "line": line}, ensure_ascii=False)
    return f"{name:{width}} | {printable(line)}" if width else printable(line)


def _last(paths: Mapping[str, Path], count: int) -> Iterator[tuple[str, str]]:
    """Yield the last lines of each file, also those of its part before the last rotation."""
    for name, path in paths.items():
        lines: deque[str] = deque(maxlen=count)
        for part in (path, part_of(path, 1)):
            if part.exists() and len(lines) < count:
                with part.open(errors="replace") as file:
                    # the earlier part comes second, and fills up what is left
                    earlier = deque(file, maxlen=count - len(lines))
                lines.extendleft(reversed(earlier))
        for line in lines:
            yield name, line.rstrip("\n")


def _followed(paths: Mapping[str, Path], count: int) -> Iterator[tuple[str, str]]:
    """Yield the last lines of each file, and then without end those that are added to them."""
    seen = {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()}
    yield from _last(paths, count)
    while True:
        for name, path in paths.items():
            if not path.exists():
                continue
            if path.stat().st_size < seen[name]:  # rotated: what was not seen of it yet is in its earlier part
                yield from ((name, line) for line in _added(part_of(path, 1), seen[name])[0])
                seen[name] = 0
            lines, seen[name] = _added(path, seen[name])
            yield from ((name, line) for line in lines)
        time.sleep(_FOLLOW_PAUSE)


def _added(path: Path, begin: int) -> tuple[list[str], int]:
    """Return the lines from a place of a file on, and where they end; one not written to its end comes whole, later."""
    if not path.exists():
        return [], begin
    with path.open("rb") as file:
        file.seek(begin)
        content, newline, _ = file.read().rpartition(b"\n")
    whole = content + newline
    return [line.decode(errors="replace") for line in whole.splitlines()], begin + len(whole)
