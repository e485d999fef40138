"""Where the batches of events are, and the database that they are loaded into."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError


@dataclass(frozen=True)
class EventPaths:
    """
    Where events are.

    :param raw: the folder of batches: a path, or a URL of an object store.
    :param database: the DuckDB file.
    :param published: the folder of what readers are served.
    :param memory: the file that remembers what GitHub said of the next reading.
    """

    raw: str
    database: Path
    published: Path
    memory: Path


def event_paths(
    home: Path, variables: Mapping[str, str] | None = None, *, folder: str | None = None, database: str | None = None
) -> EventPaths:
    """
    Return the paths of ``DATA_DIR``, ``RAW_DIR`` and ``DUCKDB_PATH``, below ``home`` where they are not set.

    :param home: the folder of all local state.
    :param variables: of the environment.
    :param folder: a task's own, in the place of ``RAW_DIR``.
    :param database: a task's own, in the place of ``DUCKDB_PATH``.
    :raises ConfigurationError: one of them is relative, and processes run in different folders; or the database lies
        below the folder of batches, where it and what is published would be taken for files to load.
    """
    given = os.environ if variables is None else variables
    data = _path(given, "DATA_DIR", home / "events")
    raw = folder or given.get("RAW_DIR", "").strip()
    path = _absolute("database", database) if database else _path(given, "DUCKDB_PATH", data / "github_events.duckdb")
    if "://" not in raw:
        raw = str(_absolute("folder", folder) if folder else _path(given, "RAW_DIR", data / "raw"))
    local = raw.removeprefix("file://")
    if "://" not in local and path.resolve().is_relative_to(Path(local).resolve()):
        raise ConfigurationError(
            f"The database {path} lies in the folder of files to load, {raw}, and what is published beside it. Give "
            "RAW_DIR or DUCKDB_PATH (a task's folder or database) a folder of its own."
        )
    return EventPaths(raw, path, published_folder(path), path.with_suffix(".poll.json"))


def published_folder(database: Path) -> Path:
    """Return the folder of what readers of ``database`` are served, which lies beside it."""
    return database.with_suffix(".published")


def _path(variables: Mapping[str, str], name: str, otherwise: Path) -> Path:
    given = variables.get(name, "").strip()
    return _absolute(name, given) if given else otherwise


def _absolute(name: str, given: str) -> Path:
    path = Path(given).expanduser()
    if not path.is_absolute():
        raise ConfigurationError(
            f"{name} is {given}: a relative path, and tasks may run in any folder. Give an absolute one."
        )
    return path
