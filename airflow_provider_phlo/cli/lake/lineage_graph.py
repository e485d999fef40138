"""
The graph that ``phlo lineage`` shows: read from DAG files, catalog and dbt projects, kept until one of them changes.

Reading DAG files takes Airflow's imports, so what they say is kept in ``PHLO_HOME/lineage`` with the state of every
file that was read for it. The same goes for the embedded catalog; another one is read each time.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import __version__, settings
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.lineage.graph import Graph
from airflow_provider_phlo.lineage.kept import VERSION, write_atomically
from airflow_provider_phlo.task_facts import Facts

if TYPE_CHECKING:
    from airflow_provider_phlo.dbt.project import Project

_GRAPH = "graph.json"
_FACTS = "airflow_provider_phlo.cli.lake.facts"
_DAGS, _CATALOG = "dags", "catalog"
# a DAG file that meets a changed dbt project has it parsed: on a busy machine that takes more than Airflow's 30 s
_PATIENT = {"AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600"}
# what decides how DAG files are read, besides their content
_VARIABLES = ("AIRFLOW", "PHLO", "DBT", "PYTHONPATH")


def load_graph(given: Sequence[str] = ()) -> Graph:
    """
    Return the lineage of the project in the current folder.

    :param given: folders of dbt projects, besides those that DAGs run and ``include/dbt``.
    :raises ConfigurationError: a given folder is not a dbt project.
    """
    folder = settings.home() / "lineage"
    dags, catalog = _kept_or_read(folder)
    facts = Facts.from_json(dags["facts"])
    projects = _projects(facts, given)
    fingerprints, problems = _fingerprints(projects)
    key = _key(__version__, dags["facts"], catalog["facts"], fingerprints)
    kept = _load(folder / _GRAPH)
    if kept.get("key") == key:
        return Graph.from_json(kept["graph"])
    tables = Facts.from_json(catalog["facts"])
    facts = Facts(facts.tasks, facts.schedules, tables.tables, (*facts.problems, *tables.problems, *problems))
    graph = _build(facts, [projects[name] for name in fingerprints], folder)
    write_atomically(folder / _GRAPH, {"key": key, "graph": graph.to_json()})
    return graph


def _build(facts: Facts, projects: Iterable[Project], folder: Path) -> Graph:
    from airflow_provider_phlo.dbt.compilation import compiled_sql
    from airflow_provider_phlo.dbt.manifest import ensure_manifest, read_manifest
    from airflow_provider_phlo.lineage.building import build
    from airflow_provider_phlo.lineage.dbt_project import DbtProject

    found, problems = [], list(facts.problems)
    for project in projects:
        try:
            compiled = compiled_sql(project)
            found.append(DbtProject(project.directory, read_manifest(ensure_manifest(project)), compiled))
        except PhloError as error:
            problems.append(str(error))
    return build(Facts(facts.tasks, facts.schedules, facts.tables, tuple(problems)), found, folder)


# --- dbt projects


def _projects(facts: Facts, given: Sequence[str]) -> dict[str, Project]:
    """Return the projects by the folders that dbt writes to; one with other variables is another one."""
    from airflow_provider_phlo.dbt.profiles import DEFAULT_TARGET
    from airflow_provider_phlo.dbt.project import Project

    home = settings.home()
    said = [task.lineage.project for task in facts.tasks if task.lineage.project is not None]
    found = [Project(Path(each.folder), home, each.target, each.vars, each.env) for each in said]
    named = [Path(each).resolve() for each in given]
    for folder in named:
        if not (folder / "dbt_project.yml").is_file():
            raise ConfigurationError(f"{folder} is not a dbt project: it does not have a dbt_project.yml.")
    usual = Path(os.environ.get("PHLO_DBT_PROJECT") or "include/dbt").resolve()
    named += [usual] if (usual / "dbt_project.yml").is_file() else []
    target = os.environ.get("PHLO_DBT_TARGET") or DEFAULT_TARGET
    known = {project.directory for project in found}
    found += [Project(folder, home, target) for folder in named if folder not in known]
    return {str(project.folder): project for project in found}


def _fingerprints(projects: Mapping[str, Project]) -> tuple[dict[str, str], list[str]]:
    """Return the fingerprints of the projects that can be read, and what is wrong with the others."""
    from airflow_provider_phlo.dbt.manifest import fingerprint

    found, problems = {}, []
    for name, project in projects.items():
        try:
            found[name] = fingerprint(project)
        except (OSError, PhloError) as error:
            problems.append(f"The dbt project {project.directory} cannot be read ({type(error).__name__}).")
    return found, problems


# --- what DAGs and the catalog say


@dataclass(frozen=True)
class _Reading:
    """A process that reads facts."""

    wanted: str
    path: Path
    process: subprocess.Popen[str]


def _kept_or_read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what DAGs and the catalog say; both are read at the same time, where they have changed."""
    paths = {wanted: folder / f"{wanted}.json" for wanted in (_DAGS, _CATALOG)}
    kept = {wanted: _load(path) for wanted, path in paths.items()}
    readings = [
        _start(wanted, paths[wanted]) for wanted, each in kept.items() if not each or each["state"] != _state(each)
    ]
    for reading in readings:
        kept[reading.wanted] = _finish(reading)
    return kept[_DAGS], kept[_CATALOG]


def _start(wanted: str, path: Path) -> _Reading:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    process = subprocess.Popen(
        [sys.executable, "-m", _FACTS, str(fresh), wanted],
        env={**os.environ, **_PATIENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return _Reading(wanted, fresh, process)


def _finish(reading: _Reading) -> dict[str, Any]:
    """Return what a process read, and keep it; what cannot be read is a problem, not an error."""
    said, _ = reading.process.communicate()
    try:
        read = _load(reading.path)
    finally:
        reading.path.unlink(missing_ok=True)
    if not read:
        last = said.strip().splitlines()[-1] if said.strip() else f"exit code {reading.process.returncode}"
        problem = f"The {'DAG files' if reading.wanted == _DAGS else 'catalog'} cannot be read: {last}"
        return {"facts": Facts(problems=(problem,)).to_json(), "state": ""}
    kept = {**read, "state": ""}
    # the next time there may be time enough
    if not any("Timeout" in problem for problem in read["facts"]["problems"]):
        kept["state"] = _state(kept)
    write_atomically(settings.home() / "lineage" / f"{reading.wanted}.json", kept)
    return kept


def _state(kept: Mapping[str, Any]) -> str:
    """Return the state of everything that was read, now; another one each time if that cannot be seen."""
    files = kept.get("read")
    if files is None:
        return secrets.token_hex()
    variables = {name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)}
    folders = sorted({os.path.dirname(each) for each in files})
    return _key(
        __version__, sorted(variables.items()), [_file_state(each) for each in files], [*map(_listing, folders)]
    )


def _file_state(path: str) -> list[Any]:
    try:
        found = os.stat(path)
    except OSError:
        return [path]
    return [path, found.st_mtime_ns, found.st_size]


def _listing(folder: str) -> list[str]:
    """Return the Python files of a folder: a new DAG file lies beside others."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".py") or os.path.isdir(f"{folder}/{name}"))
    except OSError:
        return []


def _key(*parts: Any) -> str:
    return blake2b(json.dumps([VERSION, *parts]).encode(), digest_size=16).hexdigest()


def _load(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError):
        return {}
