"""Which files are to be loaded, and what they hold: their bytes, once, with the hash of those very bytes."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from airflow_provider_phlo.exceptions import ConfigurationError

#: What is loaded; files of other names are left alone.
SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".parquet")
#: Files up to this size are read once, into memory; larger ones twice, to know their hash before.
SMALL_BYTES = 32 * 1024 * 1024
_CHUNK = 1 << 20


# somebody has to change a right, a name or a link
_LASTING = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}


def is_passing(error: OSError) -> bool:
    """Return whether a later attempt may succeed although nobody does anything."""
    return error.errno not in _LASTING


class FileChangedError(Exception):
    """The file was written to, or replaced, while it was read."""


@dataclass(frozen=True)
class File:
    """
    A file of the scanned folder.

    :param path: where it is: a ``Path`` or an ``ObjectStoragePath``.
    :param name: the same as text that a database can hold.
    :param size: bytes.
    :param modified: when it was changed last.
    """

    path: Any
    name: str
    size: int
    modified: datetime

    @property
    def suffix(self) -> str:
        """Return which of :data:`SUFFIXES` it has."""
        return next(suffix for suffix in SUFFIXES if self.name.endswith(suffix))


@dataclass(frozen=True)
class Content:
    """
    What a file held when it was read.

    :param file: as it was found by the stat of the opened file.
    :param sha256: of its bytes, as hexadecimal digits.
    :param data: the bytes of a small file; None of a large one, which is read again.
    """

    file: File
    sha256: str
    data: bytes | None

    def open(self) -> BinaryIO:
        """Open it, to be read once more."""
        stream = _HashingStream(self.file.path.open("rb")) if self.data is None else io.BytesIO(self.data)
        return cast(BinaryIO, stream)

    def require_same(self, stream: BinaryIO) -> None:
        """
        Check at the end that what ``stream`` has read is what was hashed.

        :raises FileChangedError: it is not.
        """
        if isinstance(stream, _HashingStream) and stream.hexdigest() != self.sha256:
            raise FileChangedError


def scan(folder: Any) -> list[File]:
    """
    Return the files below ``folder`` that can be loaded, sorted by name; hidden ones are left out.

    :param folder: a ``Path`` or an ``ObjectStoragePath``.
    :raises ConfigurationError: there is no such folder.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigurationError(f"The folder of files to load {what}: {folder}.")
    found = [File(path, _text(path), int(status.st_size), _moment(status)) for path, status in _walk(folder)]
    return sorted(found, key=lambda file: file.name)


def read(file: File) -> Content:
    """
    Return what ``file`` holds.

    :raises FileChangedError: it was written to while it was read.
    :raises OSError: it cannot be read.
    """
    with file.path.open("rb") as stream:
        before = _stat(file, stream)
        small = before.size <= SMALL_BYTES
        data = stream.read() if small else b""
        digest = hashlib.sha256(data)
        while not small and (chunk := stream.read(_CHUNK)):
            digest.update(chunk)
        _require_unchanged(before, _stat(file, stream))
    return Content(before, digest.hexdigest(), data if small else None)


class _HashingStream(io.RawIOBase):
    """A file that is read again, and hashed again."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._stream.read(len(buffer))
        self._digest.update(chunk)
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def hexdigest(self) -> str:
        """Read what is left, and return the hash of all."""
        while chunk := self._stream.read(_CHUNK):
            self._digest.update(chunk)
        return self._digest.hexdigest()

    def close(self) -> None:
        self._stream.close()
        super().close()


def _walk(folder: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the path and the status of each file below ``folder``; links to folders are not followed."""
    if isinstance(folder, Path):
        yield from _walk_disk(folder)
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path)
        elif path.name.endswith(SUFFIXES):
            with suppress(FileNotFoundError):  # removed since it was listed
                yield path, path.stat()


def _walk_disk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk_disk(Path(entry.path))
            elif entry.name.endswith(SUFFIXES) and not entry.is_dir():
                with suppress(FileNotFoundError):
                    yield Path(entry.path), entry.stat()


def _stat(file: File, stream: BinaryIO) -> File:
    """Return ``file`` as it is now: the opened one, not what has taken its name since."""
    try:
        status: Any = os.fstat(stream.fileno())
    except (OSError, AttributeError):  # of an object store
        status = file.path.stat()
    return File(file.path, file.name, int(status.st_size), _moment(status))


def _require_unchanged(before: File, after: File) -> None:
    if (before.size, before.modified) != (after.size, after.modified):
        raise FileChangedError


def _moment(status: Any) -> datetime:
    return datetime.fromtimestamp(getattr(status, "st_mtime", 0) or 0, UTC)


def _text(path: Any) -> str:
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
