"""A project: its files, ports, services, dbt projects and DAG files."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from airflow_provider_phlo.contract_files import FOLDER as CONTRACTS
from airflow_provider_phlo.contract_files import find_contracts
from airflow_provider_phlo.diagnosis.findings import Finding, Verdict
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.extensions.states import State, judge
from airflow_provider_phlo.installed_plugins import installed_plugins
from airflow_provider_phlo.services.environment.projects import BUNDLED, Project
from airflow_provider_phlo.services.machine import ports
from airflow_provider_phlo.services.postgres import metadata
from airflow_provider_phlo.services.postgres.server import postgres_pid
from airflow_provider_phlo.services.supervising.health import HEALTHY, UNSUPERVISED, report
from airflow_provider_phlo.services.supervising.state import read_state
from airflow_provider_phlo.terms import ALERT_RULES

#: What the program that imports DAG files prints before its answer.
ANSWER = "phlo-dag-imports:"
_IMPORT_SECONDS = 180
_ELSEWHERE = frozenset({"dbt_packages", "node_modules", "site-packages", "target"})


def check_services(project: Project) -> Iterator[Finding]:
    """Check the services that run, and the ports of those that do not."""
    state = read_state(project.home)
    found = report(project, state)
    running = [service for service in found if service.pid]
    if not any(service.name != "postgres" for service in running):
        yield Finding("services", Verdict.SKIPPED, "none runs", "phlo services start")
    elif any(service.state == UNSUPERVISED for service in found):
        yield Finding("services", Verdict.WARNING, "they run without their supervisor", "phlo services start")
    elif ill := [
        f"{service.name} is {service.health or service.state}" for service in found if service.health != HEALTHY
    ]:
        stopped = any(not service.pid for service in found)
        advice = "phlo services start" if stopped else "phlo services status, phlo services logs"
        yield Finding("services", Verdict.PROBLEM, ", ".join(ill), advice)
    else:
        yield Finding("services", Verdict.OK, "all are healthy")
    names = {service.name for service in running}
    for name, service in project.configuration.infrastructure.services.items():
        if name not in BUNDLED or service.port is None or service.host not in (ports.HOST, "localhost"):
            continue
        if name in names or (name == "postgres" and postgres_pid(project.home)):
            continue
        if ports.is_free(service.port):
            yield Finding("port", Verdict.OK, f"{service.port} of {name} is free")
        else:
            advice = f"End that, or change infrastructure.services.{name}.port in phlo.yaml."
            yield Finding("port", Verdict.PROBLEM, f"another program listens on {service.port} of {name}", advice)


def check_metadata(home: Path) -> Iterator[Finding]:
    """Check that Airflow's metadata database is there, and of this version of Airflow."""
    where = metadata.used(home)
    version = importlib.metadata.version("apache-airflow-core")
    stamped = metadata.migrated_version(home)
    if where is None or stamped is None:
        yield Finding("Airflow's database", Verdict.SKIPPED, "not made yet: phlo services start makes it")
    elif stamped != version:
        yield Finding(
            "Airflow's database", Verdict.WARNING, f"of Airflow {stamped}, and {version} is installed",
            "phlo services restart upgrades it; copy it before (docs/operations.md).",
        )  # fmt: skip
    else:
        yield Finding("Airflow's database", Verdict.OK, f"in {where}, of Airflow {version}")


def check_dbt(project: Project) -> Iterator[Finding]:
    """Let dbt parse every project that is in the folder."""
    from airflow_provider_phlo.dbt.manifest import ensure_manifest, read_manifest
    from airflow_provider_phlo.dbt.project import Project as DbtProject

    folders = sorted(_dbt_projects(project.root))
    if not folders:
        yield Finding("dbt", Verdict.SKIPPED, "no dbt project here")
    for folder in folders:
        name = str(folder.relative_to(project.root))
        try:
            manifest = read_manifest(ensure_manifest(DbtProject(folder, project.home)))
        except PhloError as error:
            yield Finding("dbt", Verdict.PROBLEM, f"{name}: {error}", f"phlo test, or dbt parse in {name}")
            continue
        models = sum(node["resource_type"] == "model" for node in manifest["nodes"].values())
        yield Finding("dbt", Verdict.OK, f"{name} parses (models: {models})")


def check_dags(project: Project, variables: Mapping[str, str]) -> Iterator[Finding]:
    """
    Import the DAG files, in a process of its own.

    :param variables: those of the project's Airflow.
    """
    folder = project.root / "dags"
    if not folder.is_dir():
        yield Finding("DAG files", Verdict.SKIPPED, f"no folder {folder}")
        return
    command = [sys.executable, "-m", "airflow_provider_phlo.cli.projects.dag_imports", str(folder)]
    environment = {**os.environ, **variables}
    done = subprocess.run(
        command, env=environment, cwd=project.root, capture_output=True, text=True, timeout=_IMPORT_SECONDS
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith(ANSWER)]
    if not answers:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        yield Finding("DAG files", Verdict.PROBLEM, f"Airflow cannot import them: {last}", "phlo doctor --verbose")
        return
    said = json.loads(answers[0].removeprefix(ANSWER))
    for file, problem in sorted(said["errors"].items()):
        yield Finding("DAG files", Verdict.PROBLEM, f"{_short(file, project.root)}: {problem}", "phlo test")
    if said["dags"]:
        yield Finding("DAG files", Verdict.OK, f"they import: {', '.join(said['dags'])}")
    elif not said["errors"]:
        yield Finding("DAG files", Verdict.WARNING, f"no DAG in {folder}", "A file needs the words dag and airflow.")


def check_plugins() -> Iterator[Finding]:
    """Check that the plugins of installed packages can be used."""
    found = judge(installed_plugins())
    if not found:
        yield Finding("plugins", Verdict.SKIPPED, "no installed package brings any")
        return
    wrong = [each for each in found if each.state is not State.OK]
    for each in wrong:
        yield Finding("plugins", Verdict.WARNING, f"the {each.plugin} is {each.state}: {each.why}", "phlo plugin list")
    if not wrong:
        yield Finding("plugins", Verdict.OK, f"all can be used: {', '.join(each.plugin.name for each in found)}")


def check_contracts(project: Project) -> Iterator[Finding]:
    """Check that the contracts of a project can be read."""
    paths = find_contracts(project.root / CONTRACTS)
    if not paths:
        yield Finding("contracts", Verdict.SKIPPED, f"none in {CONTRACTS}")
        return
    from airflow_provider_phlo.contracts import read_contract

    wrong = False
    for path in paths:
        try:
            read_contract(path)
        except ConfigurationError as error:
            wrong = True
            yield Finding("contracts", Verdict.PROBLEM, _short_text(str(error), project.root), "phlo contract list")
    if not wrong:
        yield Finding("contracts", Verdict.OK, f"all can be read: {len(paths)}")


def check_alerts(project: Project) -> Iterator[Finding]:
    """Check that the rules for alerts can be read, and that destinations take their arguments; nothing is sent."""
    from airflow_provider_phlo.alerts import read_configuration
    from airflow_provider_phlo.alerts.delivery.hindrances import hindrances

    try:
        found = read_configuration(project.root)
    except ConfigurationError as error:
        yield Finding("alerts", Verdict.PROBLEM, _short_text(str(error), project.root), "phlo alerts list --rules")
        return
    if found is None:
        yield Finding("alerts", Verdict.SKIPPED, f"no {ALERT_RULES}: nobody is notified")
        return
    held = list(hindrances(found, datetime.now(UTC)))
    for each in held:
        verdict, cure = (Verdict.SKIPPED, "") if each.off else (Verdict.WARNING, f"correct it in {ALERT_RULES}")
        yield Finding("alerts", verdict, each.text, cure)
    if not held:
        rules, destinations = len(found.rules), ", ".join(found.destinations) or "none"
        yield Finding("alerts", Verdict.OK, f"the rules can be read: {rules}; destinations: {destinations}")


def _short_text(text: str, root: Path) -> str:
    return "; ".join(line.replace(f"{root}{os.sep}", "") for line in text.splitlines())


def _dbt_projects(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".") and name not in _ELSEWHERE]
        if "dbt_project.yml" in files:
            yield Path(folder)
            below.clear()  # its local packages are part of it


def _short(file: str, root: Path) -> str:
    path = Path(file)
    return str(path.relative_to(root)) if path.is_relative_to(root) else file
