"""
Find out which file of a table made a library fail, and say so: which table, which file, what to do, does a retry help.

PyIceberg's readers raise what their parsers raise (pydantic, Avro, Arrow) without the file's name. The frames that an
error passed through still hold what was being read; only places are taken from there, never what was in the file.
DuckDB names the file in its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

_KINDS = {
    "metadata.json": re.compile(r"\.metadata\.json(?:\.gz)?$"),
    "manifest list": re.compile(r"(?:^|/)snap-[^/]*\.avro$"),
    "manifest": re.compile(r"\.avro$"),
    "data file": re.compile(r"\.(?:parquet|orc)$"),
}
# a file of a table as DuckDB names it: by a UUID, so nothing that a row holds is taken for one
_DUCKDB = re.compile(
    r"['\"](?P<file>[^'\"\n]*/[^/'\"\n]*[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"[^/'\"\n]*\.parquet)['\"]"
)
_DAMAGE = re.compile(r"(?i)magic bytes|corrupt|thrift|deserialize|end of (?:stream|file)|decompress|footer")
# a partition's value stands in the path of its files
_PARTITION = re.compile(r"([^/=]+)=[^/]+")
# what a store answers, as Arrow names it
_AWS = re.compile(r"AWS Error [A-Z_0-9]+( during [A-Za-z]+ operation)?")
_LOCATION = re.compile(r"^(?:\w+:(?://[^/]*)?)?(?P<path>.*)/(?:data|metadata)/")
_READERS = re.compile(r"/pyiceberg/(?:serializers|manifest|avro/\w+|io/\w+|table/metadata|table/snapshots)\.py$")


@dataclass(frozen=True)
class BrokenFile:
    """
    A file of a table that cannot be read.

    :param location: where it is; values of partitions are left out.
    :param missing: it is not there; otherwise its content is damaged.
    """

    location: str
    missing: bool

    @property
    def kind(self) -> str:
        """Return what kind of file it is."""
        return next((kind for kind, pattern in _KINDS.items() if pattern.search(self.location)), "file")

    def __str__(self) -> str:
        """Return one line: what is broken, where, what to do, whether a retry helps."""
        found = _LOCATION.match(self.location)
        table = ".".join(found["path"].split("/")[-2:]) if found else ""
        of_table = f"Table {table}: its" if table else "The"
        state = "is missing" if self.missing else "is damaged"
        retry = (
            "A retry helps only if maintenance removed it while it was read."
            if self.missing
            else "A retry does not help."
        )
        return f"{of_table} {self.kind} {self.location} {state}. {self._cure(table)} {retry}"

    def _cure(self, table: str) -> str:
        name = table or "namespace.table"
        if self.kind == "metadata.json":
            return "Put it back from a copy, or register the table anew with the newest metadata.json that can be read."
        return (
            f"Put it back from a copy, or go back to a snapshot without it: phlo catalog history {name}, then phlo "
            f"catalog rollback {name}."
        )


def broken_file(error: BaseException) -> BrokenFile | None:
    """Return the file that a library could not read; None if that is not what went wrong."""
    if type(error).__module__ in ("_duckdb", "duckdb"):
        return _named_by_duckdb(str(error))
    missing = isinstance(error, FileNotFoundError)
    if not missing and isinstance(error, OSError) and (error.errno is not None or refused_by_store(error)):
        return None  # a right, a disk, a connection: what is said of it stands in the error
    for frame in _innermost_first(error.__traceback__):
        if _READERS.search(frame.f_code.co_filename):
            location = _read_there(frame)
            if location and (missing or _is_damage(error, location)):
                return BrokenFile(without_partition_values(location), missing)
    return None


def refused_by_store(error: BaseException) -> str:
    """Return what an object store answered, which Arrow raises as an error of the system; empty if it is not that."""
    found = _AWS.search(str(error)) if isinstance(error, OSError) else None
    return found[0] if found else ""


def without_partition_values(path: str) -> str:
    """Return the path of a file without the values of its partition, which stand in the names of its folders."""
    return _PARTITION.sub(r"\1=…", path)


def _is_damage(error: BaseException, location: str) -> bool:
    """Return whether a data file is damaged; errors of its values (a cast) pass through the same frames."""
    return not location.endswith((".parquet", ".orc")) or _DAMAGE.search(str(error)) is not None


def _named_by_duckdb(text: str) -> BrokenFile | None:
    found = _DUCKDB.search(text)
    if found is None or not text.startswith(("IO Error", "Invalid Input Error")):
        return None
    missing = "No files found" in text or "No such file" in text
    return BrokenFile(without_partition_values(found["file"]), missing)


def _innermost_first(traceback: TracebackType | None) -> Iterator[FrameType]:
    frames = []
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    yield from reversed(frames)


def _read_there(frame: FrameType) -> str | None:
    """Return the place of the file that a frame of PyIceberg reads."""
    for value in frame.f_locals.values():
        location = _location_of(value)
        if location is not None and any(pattern.search(location) for pattern in _KINDS.values()):
            return location
    return None


def _location_of(value: Any) -> str | None:
    if not type(value).__module__.startswith("pyiceberg."):
        return None
    task_file = getattr(value, "file", None)
    for holder in (value, task_file, getattr(value, "input_file", None)):
        for name in ("manifest_path", "file_path", "location"):
            found = getattr(holder, name, None) if holder is not None else None
            if isinstance(found, str):
                return found
    return None
