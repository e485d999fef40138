"""Which files are to be loaded, and what they hold: their bytes, once, with the hash of those very bytes."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.file_times import modified_at
from airflow_provider_phlo.files.results import FileFailure

_TABLES = (".csv", ".parquet")
#: What is loaded, in upper case too; files of other names are left alone.
SUFFIXES = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz", *_TABLES)
#: Files up to this size are read once, into memory; larger ones twice, to know their hash before.
SMALL_BYTES = 32 * 1024 * 1024
_CHUNK = 1 << 20
# such a name says that the file is to be loaded, and how it is packed, which is not read
_PACKED = tuple(
    f"{suffix}{packing}"
    for suffix in (".jsonl", ".ndjson", ".json", *_TABLES)
    for packing in (".bz2", ".xz", ".zst", ".zstd", ".lz4", ".zip", ".br", ".snappy", ".7z", ".gz")
    if f"{suffix}{packing}" not in SUFFIXES
)


# somebody has to change a right, a name or a link
_LASTING = {
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENXIO,
    errno.EROFS,
    errno.EEXIST,
}


def suffix_of(name: str) -> str:
    """Return which of :data:`SUFFIXES` the name of a file ends in, nothing if none."""
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")


def may_be_left_alone(name: str) -> bool:
    """Return whether the name of a file is one that programs give to marks beside their data, such as ``_SUCCESS``."""
    return Path(name).name.startswith("_")


def format_of(name: str) -> str:
    """Return as what the bytes of a file of that name are read."""
    suffix = suffix_of(name)
    return suffix if suffix in _TABLES else "packed" if suffix.endswith(".gz") else "lines"


def is_passing(error: OSError) -> bool:
    """Return whether a later attempt may succeed although nobody does anything."""
    return error.errno not in _LASTING


def unreadable(error: OSError) -> str:
    """Return why something cannot be read."""
    return f"cannot be read: {error.strerror or type(error).__name__}"


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
        return suffix_of(self.name)

    @property
    def has_lines(self) -> bool:
        """Return whether it has lines of JSON, packed or not."""
        return self.suffix not in _TABLES

    @property
    def is_packed(self) -> bool:
        """Return whether it is compressed by gzip."""
        return self.suffix.endswith(".gz")


@dataclass(frozen=True)
class Scan:
    """
    What is in a folder.

    :param files: those that can be loaded, sorted by name.
    :param failures: what has such a name and cannot be loaded, and folders that cannot be listed.
    :param others: files of other names, and links to folders.
    """

    files: list[File] = field(default_factory=list)
    failures: list[FileFailure] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def add(self, path: Any, status: Any) -> None:
        """Add a file, or name what is not one."""
        if stat.S_ISREG(getattr(status, "st_mode", 0) or stat.S_IFREG):
            self.files.append(File(path, _text(path), int(status.st_size), _moment(status)))
        else:
            self.failures.append(FileFailure(_text(path), "is not a regular file"))

    @contextmanager
    def name_failure(self, path: Any) -> Iterator[None]:
        """Go on without what cannot be read."""
        try:
            yield
        except OSError as error:
            if not isinstance(error, FileNotFoundError):  # else it was removed since it was listed
                self.failures.append(FileFailure(_text(path), unreadable(error), is_passing(error)))


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
        stream = _HashingStream(_open(self.file.path)) if self.data is None else io.BytesIO(self.data)
        return cast(BinaryIO, stream)

    def require_same(self, stream: BinaryIO) -> None:
        """
        Check at the end that what ``stream`` has read is what was hashed.

        :raises FileChangedError: it is not.
        """
        if isinstance(stream, _HashingStream) and stream.hexdigest() != self.sha256:
            raise FileChangedError


def scan(folder: Any) -> Scan:
    """
    Return what is below ``folder``; what is hidden is left out, and links to folders are not followed.

    :param folder: a ``Path`` or an ``ObjectStoragePath``.
    :raises ConfigurationError: there is no such folder, or it may not be read.
    :raises TransientError: it cannot be read now.
    """
    found = Scan()
    try:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise ConfigurationError(f"The folder of files to load {what}: {folder}.")
        _walk(folder, found)
    except OSError as error:
        kind = TransientError if is_passing(error) else ConfigurationError
        raise kind(f"The folder of files to load {unreadable(error)}: {_text(folder)}.") from None
    found.files.sort(key=lambda file: file.name)
    return found


def read(file: File) -> Content:
    """
    Return what ``file`` holds.

    :raises FileChangedError: it was written to while it was read.
    :raises OSError: it cannot be read.
    """
    with _open(file.path) as stream:
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


def _walk(folder: Any, found: Scan) -> None:
    """
    Add what is below ``folder`` to ``found``.

    :raises OSError: ``folder`` itself cannot be listed.
    """
    listed: list[tuple[Any, bool | None]]
    if isinstance(folder, Path):
        with os.scandir(folder) as entries:
            listed = [(Path(entry.path), entry.is_dir(follow_symlinks=False)) for entry in entries]
    else:
        listed = [(path, None) for path in folder.iterdir()]
    for path, is_folder in listed:
        if path.name.startswith("."):
            continue
        with found.name_failure(path):
            if path.is_dir() if is_folder is None else is_folder:
                _walk(path, found)
            else:
                _add(path, found)


def _add(path: Any, found: Scan) -> None:
    if not path.name.lower().endswith(SUFFIXES):
        if path.name.lower().endswith(_PACKED):
            why = "is compressed as is not read: unpack it, or compress lines of JSON by gzip"
            found.failures.append(FileFailure(_text(path), why))
        else:
            found.others.append(_text(path))
        return
    try:
        status = path.stat()
    except FileNotFoundError:
        if isinstance(path, Path) and path.is_symlink():
            found.failures.append(FileFailure(_text(path), "is a link to a file that does not exist"))
        return
    if isinstance(path, Path) and stat.S_ISDIR(status.st_mode):
        found.others.append(_text(path))
    else:
        found.add(path, status)


def _open(path: Any) -> BinaryIO:
    """Open a file; a pipe that has taken its name since would not be waited for."""
    if not isinstance(path, Path):
        return cast(BinaryIO, path.open("rb"))
    stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise FileChangedError
    return stream


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
    return modified_at(status) or datetime.fromtimestamp(0, UTC)


def _text(path: Any) -> str:
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
