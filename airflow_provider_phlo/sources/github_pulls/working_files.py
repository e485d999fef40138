"""
Files that the tasks of one run leave for each other and for their retries: JSON lines, compressed, whole or absent.

They are written once and never changed, so that they may lie in an object store.
"""

from __future__ import annotations

import errno
import gzip
import json
import logging
import uuid
import zlib
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_phlo.broken_files import error_of_store
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError

log = logging.getLogger(__name__)
ROOM = "github_pulls"
_DAMAGED = (EOFError, OSError, zlib.error, ValueError)
_FAST = 1


def run_folder(day: date, token: str) -> str:
    """
    Return where the files of a run lie, below the staging root.

    :param day: on which the run started.
    :param token: the run's own; its retries have the same.
    """
    return f"{ROOM}/{day.isoformat()}/{token}"


def write(path: Any, records: Iterable[Any]) -> None:
    """
    Write ``records`` as one file, which is there when all of it is.

    :param path: a ``Path`` or an ``ObjectStoragePath``.
    :raises TransientError: the disk is full.
    :raises ConfigurationError: the bucket is refused.
    """
    lines = "".join(f"{json.dumps(record, separators=(',', ':'))}\n" for record in records)
    content = gzip.compress(lines.encode(), _FAST)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(path, Path):
            path.write_bytes(content)  # an object is there when all of it is
            return
        fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            fresh.write_bytes(content)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        if answered := error_of_store(error, path.parent, "staging_path"):
            raise answered from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TransientError(
            f"No space left for working files below {path.parent}: free some, or point [phlo] staging_path elsewhere. "
            "What was read before is kept; a retry goes on from there."
        ) from error


def read(path: Any) -> Iterator[Any]:
    """
    Yield the records of a file that another task wrote.

    :raises ConfigurationError: it is not there (any more).
    :raises TransientError: it is damaged.
    """
    found = read_if_whole(path)
    if found is None:
        raise ConfigurationError(
            f"{path}: the working files of this run are gone or damaged: they are kept for [phlo] "
            "staging_retention_days. Clear the run's first task, which writes them."
        )
    yield from found


def read_if_whole(path: Any) -> list[Any] | None:
    """
    Return the records of a file, None if it is not there, or was cut by a power cut.

    A store or disk that does not answer is neither: what the file says would be forgotten.

    :raises TransientError: the store does not answer.
    :raises ConfigurationError: it refuses.
    """
    try:
        return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    except FileNotFoundError:
        return None
    except _DAMAGED as error:
        if answered := error_of_store(error, path, "staging_path"):
            raise answered from error
        if isinstance(error, OSError) and error.errno is not None:
            raise
        log.warning("%s is damaged (%s) and is not used", path, type(error).__name__)
        return None


def names(folder: Any, prefix: str = "") -> list[Any]:
    """Return the files of a folder whose names begin with ``prefix``, by name."""
    try:
        found = [path for path in folder.iterdir() if path.name.startswith(prefix)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((path for path in found if not path.name.startswith(".")), key=lambda path: str(path.name))


def remove_expired(root: Any, today: date, days: int) -> int:
    """
    Remove the working files of runs that started more than ``days`` days before ``today``.

    :returns: how many days' files were removed.
    """
    removed = 0
    for folder in names(root / ROOM):
        try:
            expired = date.fromisoformat(folder.name) < today - timedelta(days=days)
        except ValueError:
            continue  # not ours
        if expired:
            remove(folder)
            removed += 1
    return removed


def remove(path: Any) -> None:
    """Remove a file or folder; another process may be removing it too."""
    try:
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        for child in list(path.iterdir()):
            remove(child)
        path.rmdir()
    except OSError as error:
        log.info("%s is left: %s", path, type(error).__name__)
