"""Parsed projects as dbt reads them back; what was read before a task was forked is there when it begins."""

from __future__ import annotations

from pathlib import Path

from dbt.contracts.graph.manifest import Manifest
from dbt.parser.manifest import extended_mashumuro_decoder

from airflow_provider_phlo.dbt.inputs import REPEATABLE
from airflow_provider_phlo.dbt.manifest import PARSED
from airflow_provider_phlo.dbt.templates import TEMPLATES

#: Manifests that nobody has used yet, by their file and its state when it was read.
_prepared: dict[tuple[Path, int, int], Manifest] = {}


def load_manifest(folder: Path) -> Manifest:
    """
    Return a parsed project; the one that was prepared if there is one and the project is the same.

    dbt changes a manifest while it runs nodes, so that each is given away only once per process.

    :param folder: its target path.
    """
    return _prepared.pop(_state(folder), None) or _read(folder)


def prepare(folder: Path) -> None:
    """
    Read a parsed project, and what tasks have kept of it, for the processes that this one forks.

    :param folder: its target path.
    """
    for kept in (TEMPLATES, REPEATABLE):
        kept.load(folder)
    state = _state(folder)
    for other in [known for known in _prepared if known[0] == state[0] and known != state]:
        del _prepared[other]
    if state not in _prepared:
        _prepared[state] = _read(folder)


def _state(folder: Path) -> tuple[Path, int, int]:
    path = folder / PARSED
    found = path.stat()
    return path, found.st_ino, found.st_mtime_ns


def _read(folder: Path) -> Manifest:
    manifest = Manifest.from_msgpack((folder / PARSED).read_bytes(), decoder=extended_mashumuro_decoder)
    manifest.build_flat_graph()
    return manifest
