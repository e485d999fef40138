"""
The dbt project, parsed once: ``manifest.json`` and the file that dbt itself reads back, kept in ``PHLO_HOME``.

DAG files and tasks only read them. They are made again when a file of the project has changed. The demo calls this
module so that the first DAG parse finds them: ``python -m airflow_provider_phlo.dbt.manifest [PROJECT]``.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from airflow_provider_phlo.dbt.files import files_of, variables_named
from airflow_provider_phlo.dbt.packages import require_packages
from airflow_provider_phlo.dbt.parsing import parse
from airflow_provider_phlo.dbt.profiles import DEFAULT_TARGET
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.private_files import protect
from airflow_provider_phlo.terms import table_of_source

MANIFEST = "manifest.json"
PARSED = "partial_parse.msgpack"
RENDERED = "render.json"
_STAMP = "fingerprint"
# the version of what is rendered: files of an earlier one are made again
_RENDERED_VERSION = "7"
_VERSIONS = f"{importlib.metadata.version('dbt-core')} {_RENDERED_VERSION}"
# of the largest project on a slow machine
_MOST_SECONDS = 1800
_SAID = "phlo: "
# how many folders of a project that was parsed with other variables stay
_VARIANTS_KEPT = 20
_NOT_RENDERED = frozenset({"checksum", "columns", "compiled_code", "raw_code", "unrendered_config"})
# the packages of macros that adapters bring
_OF_ADAPTERS = ("dbt_phlo", "dbt_duckdb", "dbt_trino")
_STRATEGY = re.compile(r"get_incremental_(?P<name>.+)_sql")
_MATERIALIZATION = re.compile(r"materialization_(?P<name>.+)_(default|duckdb|phlo|trino)")


def parsed_projects(home: Path) -> list[Path]:
    """Return the folders of the projects and targets that are parsed."""
    return sorted(path.parent for path in (home / "dbt").glob(f"*/*/{PARSED}"))


def ensure_manifest(project: Project) -> Path:
    """
    Return the path of a project's ``manifest.json``, after parsing the project if it has changed.

    :raises ConfigurationError: there is no such project, or dbt cannot parse it; quotes the end of dbt's output.
    """
    folder, wanted = project.folder, fingerprint(project)
    if stamp_of(folder) == wanted:
        return folder / MANIFEST
    protect(project.home)
    folder.mkdir(parents=True, exist_ok=True)
    require_packages(project.directory)
    if _is_timed():
        _make_elsewhere(project)
    else:
        _make(project, wanted)
    return folder / MANIFEST


def _is_timed() -> bool:
    """Return whether Airflow ends what is done here after some time, as it does the import of a Dag file."""
    seconds_left, _ = signal.getitimer(signal.ITIMER_REAL)
    ends_by = getattr(signal.getsignal(signal.SIGALRM), "__module__", "")
    return seconds_left > 0 and str(ends_by).startswith("airflow.")


def _make_elsewhere(project: Project) -> None:
    """
    Parse in a process of its own, which goes on when this one is interrupted, or killed.

    An import has 30 seconds by default: what takes longer would begin anew with every import. A fork would be quicker,
    but what dbt parses with waits in it for threads that only its parent has.
    """
    command = [sys.executable, "-m", __name__, "--of-an-import", json.dumps(project.to_json())]
    # left alone when there is an exception, as `subprocess.run` would not leave it
    parsing = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output, _ = parsing.communicate()
    if parsing.returncode:
        said = output.rpartition(_SAID)[2] if _SAID in output else f"exit code {parsing.returncode}"
        raise ConfigurationError(said.strip())


def _make(project: Project, wanted: str) -> None:
    """Parse into a temporary folder, then move the results: a task never reads half a file."""
    folder = project.folder
    with _lock(folder):
        if stamp_of(folder) == wanted:  # another process has done it meanwhile
            return
        for left in folder.glob("parse-*"):  # of one that was killed
            shutil.rmtree(left)
        fresh = Path(mkdtemp(prefix="parse-", dir=folder))
        try:
            lost = parse(project, fresh)
            rendered = _slim(json.loads((fresh / MANIFEST).read_bytes()))
            rendered["variables"] = variables_named(project.directory)
            rendered["lost_tests"] = sorted(lost)
            (fresh / RENDERED).write_text(json.dumps(rendered))
            for name in (PARSED, RENDERED, MANIFEST):
                (fresh / name).replace(folder / name)
        finally:
            shutil.rmtree(fresh)
        (folder / _STAMP).write_text(wanted)
        _forget_old_variants(folder)


def _forget_old_variants(folder: Path) -> None:
    """Remove what was parsed long ago with other variables: runs may come with any."""
    variants = [stamp for stamp in folder.parent.glob(f"*-*/{_STAMP}") if stamp.parent != folder]
    for stamp in sorted(variants, key=lambda stamp: stamp.stat().st_mtime_ns, reverse=True)[_VARIANTS_KEPT:]:
        shutil.rmtree(stamp.parent, ignore_errors=True)


def rendered_path(manifest: Path) -> Path:
    """Return the path of what DAG files read: models, sources, and the names of tests; a twentieth of the manifest."""
    return manifest.with_name(RENDERED)


def read_manifest(path: Path) -> Mapping[str, Any]:
    """Return the content of a manifest; a process reads an unchanged file only once."""
    return _read(path, path.stat().st_mtime_ns)


def is_ephemeral(node: Mapping[str, Any]) -> bool:
    """Return whether a node has no table of its own: its SQL is part of that of its readers."""
    return bool(node.get("config", {}).get("materialized") == "ephemeral")


def table_of(node: Mapping[str, Any]) -> str:
    """
    Return the table that a model, seed, snapshot or source is.

    A source is the ingested table that it stands for, see :func:`.terms.table_of_source`.
    """
    if node["resource_type"] != "source":
        return f"{node['schema']}.{node['alias']}"
    meta = {**node["meta"], **node["config"].get("meta", {})}
    return table_of_source(node["schema"], node["identifier"], meta)


def tables_read(nodes: Mapping[str, Mapping[str, Any]], unique_id: str) -> Iterator[str]:
    """
    Yield the ids of what a node reads, through ephemeral models.

    :param nodes: the models and sources of a manifest.
    """
    for parent in nodes[unique_id].get("depends_on", {}).get("nodes", ()):
        if is_ephemeral(nodes[parent]):
            yield from tables_read(nodes, parent)
        else:
            yield parent


def tables_named(manifest: Mapping[str, Any], unique_id: str) -> dict[str, str]:
    """Return what a node reads, through ephemeral models: the table of the catalog for each name in its SQL."""
    nodes = {**manifest["nodes"], **manifest["sources"]}
    read = [nodes[parent] for parent in tables_read(nodes, unique_id)]
    return {f"{node['schema']}.{node.get('identifier') or node['alias']}": table_of(node) for node in read}


def tables_tested(manifest: Mapping[str, Any], tested: Iterable[str]) -> list[str]:
    """Return the tables of the catalog that these models and sources are."""
    nodes = {**manifest["nodes"], **manifest["sources"]}
    return [table_of(nodes[each]) for each in tested if each in nodes and not is_ephemeral(nodes[each])]


def fingerprint(project: Project) -> str:
    """Return a hash of everything that affects how a project is parsed: its files, profile, dbt's version, and ours."""
    digest = blake2b(f"{_VERSIONS}\n{project.profile.text()}".encode(), digest_size=16)
    directory = project.directory
    digest.update(str(directory.resolve()).encode())
    for file in sorted(files_of(directory)):
        with open(file, "rb") as opened:
            content = opened.read()
        digest.update(f"\n{file.removeprefix(f'{directory}/')}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _read(path: Path, _modified: int) -> Mapping[str, Any]:
    return json.loads(path.read_bytes())


def stamp_of(folder: Path) -> str | None:
    """Return the fingerprint of the project that was parsed into a folder."""
    try:
        return (folder / _STAMP).read_text() if (folder / MANIFEST).exists() else None
    except FileNotFoundError:
        return None


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _slim(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out macros and SQL; of tests, only their names and what they read are kept."""
    tests = _tests_of_models(manifest)
    nodes = {
        unique_id: {
            **{key: value for key, value in node.items() if key not in _NOT_RENDERED},
            "columns": {name: {"data_type": column.get("data_type")} for name, column in node["columns"].items()},
            "phlo_tests": tests.get(unique_id, []),
        }
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "seed", "snapshot")
    }
    return {
        "metadata": manifest["metadata"],
        "nodes": nodes,
        "sources": manifest["sources"],
        "exposures": {},
        "tests": {
            unique_id: {
                "name": node["name"],
                "resource_type": "test",
                "original_file_path": node["original_file_path"],
                "depends_on": {"nodes": node["depends_on"]["nodes"]},
            }
            for unique_id, node in manifest["nodes"].items()
            if node["resource_type"] == "test"
        },
        "unit_tests": {
            unique_id: {"depends_on": {"nodes": test["depends_on"]["nodes"]}}
            for unique_id, test in manifest.get("unit_tests", {}).items()
        },
        "materializations": sorted(_materializations(manifest)),
        "strategies": sorted(_strategies(manifest)),
    }


def _strategies(manifest: Mapping[str, Any]) -> set[str]:
    """Return the strategies of incremental models that the project and its packages add to dbt's, as dbt names them."""
    macros = (macro for macro in manifest["macros"].values() if macro["package_name"] not in ("dbt", *_OF_ADAPTERS))
    return {match["name"] for macro in macros if (match := _STRATEGY.fullmatch(macro["name"]))}


def _materializations(manifest: Mapping[str, Any]) -> set[str]:
    """Return those that a model may have here: dbt's, the adapter's, and those of the project and its packages."""
    found = (_MATERIALIZATION.fullmatch(macro["name"]) for macro in manifest["macros"].values())
    return {match["name"] for match in found if match}


def _tests_of_models(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the tests of each model, in words: ``not_null(entry_id)``."""
    tests: dict[str, list[str]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test" and node.get("attached_node"):
            generic = (node.get("test_metadata") or {}).get("name")
            name = f"{generic}({node.get('column_name') or ''})" if generic else node["name"]
            tests.setdefault(node["attached_node"], []).append(name)
    return {model: sorted(names) for model, names in tests.items()}


def main() -> None:
    """Parse the given project, or ``include/dbt``."""
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_phlo.dbt.manifest", description=main.__doc__)
    parser.add_argument("project", nargs="?", default=os.environ.get("PHLO_DBT_PROJECT") or "include/dbt", type=Path)
    parser.add_argument("--target", default=os.environ.get("PHLO_DBT_TARGET") or DEFAULT_TARGET)
    parser.add_argument("--of-an-import", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    home = Path(os.environ.get("PHLO_HOME") or ".phlo").resolve()
    project = Project(arguments.project.resolve(), home, arguments.target)
    if arguments.of_an_import:
        signal.alarm(_MOST_SECONDS)  # nobody may be waiting any more
        project = Project.from_json(json.loads(arguments.of_an_import))
    try:
        ensure_manifest(project)
    except PhloError as error:
        raise SystemExit(f"{_SAID}{error}") from error


if __name__ == "__main__":
    main()
