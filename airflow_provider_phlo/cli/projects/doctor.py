"""``phlo doctor``: is everything as runs need it, and what to do if not."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path

from airflow_provider_phlo.cli.terminal.errors import FAILED
from airflow_provider_phlo.cli.terminal.output import Result, show, write_lines
from airflow_provider_phlo.cli.terminal.words import plural
from airflow_provider_phlo.diagnosis import Check, Finding, Verdict, guarded, machine
from airflow_provider_phlo.services.environment.projects import Project, find_project

_SIGNS = {Verdict.OK: "✓", Verdict.SKIPPED: "-", Verdict.WARNING: "!", Verdict.PROBLEM: "✗"}
_QUICK, _SLOW, _CONNECTING = 30, 240, 30


def doctor(args: argparse.Namespace) -> None:
    """Check everything, and say of each what to do; the exit code is 0 only if there is no problem."""
    project = find_project(Path.cwd())
    found: list[Finding] = []

    def noted() -> Iterator[Finding]:
        for finding in _findings(project):
            found.append(finding)
            yield finding

    if args.output == "json":
        columns = ["check", "verdict", "found", "advice", "seconds"]
        rows = [(each.check, str(each.verdict), each.found, each.advice, each.seconds) for each in noted()]
        show(Result(columns, rows), args.output)
    else:
        write_lines((line for finding in noted() for line in _lines(finding)), live=True)
        write_lines([_summary(found)])
    if any(finding.verdict is Verdict.PROBLEM for finding in found):
        raise SystemExit(FAILED)


def _findings(project: Project) -> Iterator[Finding]:
    """Yield what the checks find, each as soon as it is known; the quick ones first."""
    yield from guarded("Python", machine.check_python, seconds=_QUICK)
    yield from guarded("packages", partial(machine.check_packages, _constraints(project.root)), seconds=_QUICK)
    yield Finding("phlo.yaml", Verdict.OK, f"project {project.name} in {project.root}")
    yield from guarded("PHLO_HOME", partial(machine.check_home, project.home), seconds=_QUICK)
    yield from guarded("clock", partial(machine.check_clock, project.home), seconds=_QUICK)
    from airflow_provider_phlo.diagnosis import project as checks
    from airflow_provider_phlo.services.environment import embedded

    yield from guarded("services", partial(checks.check_services, project), seconds=_QUICK)
    yield from guarded("Airflow's database", partial(checks.check_metadata, project.home), seconds=_QUICK)
    embedded.prepare(project.home)
    own = embedded.shell_environment(project.home, project.root, os.environ)
    recorded = embedded.running_recordings(project.home, project.root, {**os.environ, **own})
    variables = embedded.added_to(os.environ, {**own, **recorded})
    os.environ.clear()
    os.environ.update(variables)
    yield from _connections(project.home)
    yield from guarded("plugins", checks.check_plugins, seconds=_SLOW)
    yield from guarded("contracts", partial(checks.check_contracts, project), seconds=_SLOW)
    yield from guarded("alerts", partial(checks.check_alerts, project), seconds=_SLOW)
    yield from guarded("dbt", partial(checks.check_dbt, project), seconds=_SLOW)
    yield from guarded("DAG files", partial(checks.check_dags, project, variables), seconds=_SLOW)


def _connections(home: Path) -> Iterator[Finding]:
    from airflow_provider_phlo.cli.terminal import connecting

    checks: dict[str, tuple[str, Check]] = {
        "catalog": ("iceberg_default", connecting.check_catalog),
        "postgres_default": ("postgres_default", partial(connecting.check_postgres, home)),
        **{conn_id: (conn_id, check) for conn_id, check in connecting.OWN.items()},
        **{each: (each, partial(connecting.check_other, each)) for each in connecting.other_connections()},
    }
    for name, (conn_id, check) in checks.items():
        advice = f"Is its server up, and is {connecting.variable(conn_id)} right? .env or the shell sets it."
        yield from guarded(name, check, seconds=_CONNECTING, advice=advice)


def _constraints(root: Path) -> Path | None:
    """Return the project's own constraints, else those that this package was tested with."""
    shipped = Path(str(files("airflow_provider_phlo"))) / "scaffolding" / "repository" / "constraints.txt"
    return next((path for path in (root / "constraints.txt", shipped) if path.is_file()), None)


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{_SIGNS[finding.verdict]} {finding.check}: {finding.found}"
    if finding.advice and finding.verdict is not Verdict.OK:
        yield f"    {finding.advice}"


def _summary(found: list[Finding]) -> str:
    counts = {verdict: sum(each.verdict is verdict for each in found) for verdict in Verdict}
    problems, warnings = counts[Verdict.PROBLEM], counts[Verdict.WARNING]
    if not problems and not warnings:
        return "Everything is as it should be."
    words = [plural(count, noun) for count, noun in ((problems, "problem"), (warnings, "warning")) if count]
    return f"{' and '.join(words)}."
