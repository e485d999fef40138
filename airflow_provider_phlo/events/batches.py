"""
Immutable batches of events: files of JSON lines, each written whole under a name that was never used before.

A batch is written under a hidden name, flushed to the disk and then given its own by a hard link, which fails where
that name is taken: two processes that start in one second never write to one file, and nobody sees half of one.
"""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

from airflow_provider_phlo.durable_files import flush
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError

BATCH_SIZE = 150


def write_batches(
    folder: Any, events: Sequence[dict[str, Any]], *, size: int = BATCH_SIZE, now: datetime | None = None
) -> list[str]:
    """
    Write events as batches, each event with ``ingested_at``; return the names of the files.

    :param folder: a ``Path``, created where it is missing, or an ``ObjectStoragePath``, whose names are unique as long
        as one process at a time writes there.
    :param size: events in one file, at least 1.
    :param now: when they were read.
    :raises TransientError: the disk is full, or the folder cannot be written to.
    :raises ConfigurationError: the folder's file system has no hard links, or ``size`` is less than 1.

    NaN and Infinity, which JSON does not have, are written as Python writes them: a load sets such a line aside with
    its text, so that the event is not lost.
    """
    if size < 1:
        raise ConfigurationError(f"A batch of {size} events cannot be written. Give a size of at least 1.")
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    stamped = ({**event, "ingested_at": moment.isoformat().replace("+00:00", "Z")} for event in events)
    names = _names(moment)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while batch := list(islice(stamped, size)):
            # escaped, so that text which is not Unicode (half a surrogate) is still a line of JSON's characters
            content = "".join(f"{json.dumps(event, separators=(',', ':'))}\n" for event in batch).encode()
            write = _link_new if isinstance(folder, Path) else _put_new
            written.append(write(folder, content, names))
    except OSError as error:
        raise TransientError(f"{folder}: {error.strerror or error}. The batches before are written.") from None
    return written


def _names(moment: datetime) -> Iterator[str]:
    return (f"events_{moment:%Y%m%d_%H%M%S}_batch_{number:03d}.jsonl" for number in count(1))


def _link_new(folder: Path, content: bytes, names: Iterator[str]) -> str:
    """Write a file under the first of ``names`` that is free; return it."""
    part = folder / f".{uuid.uuid4().hex}.part"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        name = next(name for name in names if _link(part, folder / name))
    finally:
        part.unlink(missing_ok=True)
    flush(folder)
    return name


def _link(part: Path, path: Path) -> bool:
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise ConfigurationError(
                f"{path.parent} is on a file system without hard links, by which batches get their names. Set RAW_DIR "
                "to a folder of another one."
            ) from None
        raise
    return True


def _put_new(folder: Any, content: bytes, names: Iterator[str]) -> str:
    name = next(name for name in names if not (folder / name).exists())
    (folder / name).write_bytes(content)
    return name
