"""
What dbt selects: asked of dbt itself, in its own grammar, and kept with the parsed project until that changes.

dbt is imported for that: parsing and all selections of a Dag file share what that takes.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from airflow_provider_phlo.dbt.manifest import (
    MANIFEST,
    ensure_manifest,
    read_manifest,
    rendered_path,
    stamp_of,
    tables_read,
)
from airflow_provider_phlo.dbt.project import Project, require_no_flags
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.process import process_as_before

_FOLDER = "selections"
_KEPT = 200


@dataclass(frozen=True)
class Selection:
    """
    What to select, as on dbt's command line.

    :param select: selectors, any of which; everything when empty.
    :param exclude: what is left out of that.
    :param selector: one of the project's ``selectors.yml`` instead.
    :param state: a folder with the ``manifest.json`` that ``state:`` compares with.
    """

    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    selector: str | None = None
    state: Path | None = None

    def arguments(self) -> list[str]:
        """Return it as arguments of dbt's command line."""
        found = ["--select", *self.select] if self.select else []
        found += ["--exclude", *self.exclude] if self.exclude else []
        found += ["--selector", self.selector] if self.selector else []
        return [*found, "--state", str(self.state)] if self.state else found

    def __str__(self) -> str:
        return " ".join(self.arguments()) or "everything"

    def key(self) -> str:
        """Return what differs when another selection, or another state, is asked for."""
        indirect = os.environ.get("DBT_INDIRECT_SELECTION")
        asked = [*self.arguments(), *([f"--indirect-selection={indirect}"] if indirect else [])]
        digest = blake2b(json.dumps(asked).encode(), digest_size=12)
        state = self.state or Path(os.environ.get("DBT_STATE") or os.environ.get("DBT_ARTIFACT_STATE_PATH") or "")
        manifest = state / MANIFEST if state != Path() else None
        if manifest is not None and manifest.is_file():
            digest.update(manifest.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Selected:
    """
    What dbt selects.

    :param nodes: the ids of models, seeds, snapshots, sources, tests, unit tests, …; also of the tests on the sources
        that the selected models read.
    :param manifest: a file like ``manifest.json`` with the selected models, seeds and snapshots only.
    """

    nodes: frozenset[str]
    manifest: Path


def ask(project: Project, selection: Selection) -> Selected:
    """
    Ask dbt what it selects.

    :raises ConfigurationError: dbt does not understand the selection; quotes what it says. Or the environment selects,
        too.
    """
    require_no_flags({**os.environ, **project.env})
    rendered = rendered_path(ensure_manifest(project))
    stamp, file = stamp_of(project.folder), project.folder / _FOLDER / f"{selection.key()}.json"
    kept = _read(file, file.stat().st_mtime_ns) if file.is_file() else None
    if kept is not None and kept["fingerprint"] == stamp:
        return Selected(frozenset(kept["selected"]), file)
    nodes = _nodes(project, selection)
    # dbt's locks are semaphores of the machine, of which Python complains when a process of a Dag file ends with them
    gc.collect()
    manifest = read_manifest(rendered)
    found = {name: node for name, node in manifest["nodes"].items() if name in nodes}
    content = {"fingerprint": stamp, "selected": sorted(nodes), "metadata": manifest["metadata"], "nodes": found}
    file.parent.mkdir(exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}.fresh")
    fresh.write_text(json.dumps({**content, "sources": {}, "exposures": {}}))
    fresh.replace(file)
    _forget_old(file.parent)
    return Selected(frozenset(nodes), file)


@lru_cache(maxsize=64)
def _read(file: Path, _modified: int) -> Mapping[str, Any]:
    return json.loads(file.read_bytes())


def _forget_old(folder: Path) -> None:
    """Leave the newest: a selection that no DAG asks for any more is not kept for ever."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for file in files[_KEPT:]:
        file.unlink(missing_ok=True)


def _nodes(project: Project, selection: Selection) -> set[str]:
    with project.environment():
        found = _list(project, selection)
        sources = sorted(_sources_read(project, found))
        if sources:
            # tests on sources belong to the models that read them, whatever has selected these
            wider = replace(selection, select=(*selection.select, *sources), selector=None)
            found |= {name for name in _list(project, wider) if name.startswith("test.")}
    return found


def _list(project: Project, selection: Selection) -> set[str]:
    with process_as_before():
        from dbt.adapters.factory import reset_adapters
        from dbt.cli.main import dbtRunner

        from airflow_provider_phlo.dbt.projects import load_manifest

    arguments = [
        *("--quiet", "--no-use-colors", "--log-level=none", "--log-level-file=none", "--no-write-json", "ls"),
        *project.arguments(),
        *("--output=json", "--output-keys=unique_id"),
        *selection.arguments(),
    ]
    try:
        done = dbtRunner(manifest=load_manifest(project.folder)).invoke(arguments)
    finally:
        reset_adapters()
    if done.result is None:
        raise ConfigurationError(f"dbt cannot select {selection} in {project.directory}: {done.exception}")
    return {json.loads(line)["unique_id"] for line in done.result}


def _sources_read(project: Project, selected: Collection[str]) -> set[str]:
    """Return selectors of the sources that selected nodes read, through ephemeral models, and that lack tests."""
    manifest = read_manifest(rendered_path(project.folder / MANIFEST))
    nodes = {**manifest["sources"], **manifest["nodes"]}
    read = {parent for name in selected if name in manifest["nodes"] for parent in tables_read(nodes, name)}
    missing = {name: test for name, test in manifest["tests"].items() if name not in selected}
    tested = {each for test in missing.values() for each in test["depends_on"]["nodes"]}
    sources = (nodes[name] for name in read & manifest["sources"].keys() & tested)
    return {f"source:{each['package_name']}.{each['source_name']}.{each['name']}" for each in sources}
