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
from typing import Any, Literal

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, TransientError

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
_DAMAGE = re.compile(r"(?i)magic bytes|corrupt|thrift|deserialize|end of (?:stream|file)|decompress|footer|checksum")
# what Arrow and DuckDB say of Parquet's own encryption
_ENCRYPTED = re.compile(
    r"Could not read encrypted metadata|Cannot decrypt ColumnMetadata|is encrypted, but 'encryption_config'|"
    r"File is encrypted but no file crypto metadata"
)
# a partition's value stands in the path of its files
_PARTITION = re.compile(r"([^/=]+)=[^/]+")
# what a store answers, as Arrow names it
_AWS = re.compile(r"AWS Error [A-Z_0-9]+( during [A-Za-z]+ operation)?")
_GOOGLE = re.compile(r"google::cloud::Status\(([A-Z_]+)")
# of these, what only a person can cure
_REFUSALS = re.compile(
    r"NO_SUCH_BUCKET|ACCESS_DENIED|ACCOUNT_PROBLEM|ALL_ACCESS_DISABLED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH"
    r"|UNRECOGNIZED_CLIENT|INVALID_CLIENT_TOKEN_ID|EXPIRED_TOKEN|NOT_FOUND|PERMISSION_DENIED|UNAUTHENTICATED"
)
_LOCATION = re.compile(r"^(?:\w+:(?://[^/]*)?)?(?P<path>.*)/(?:data|metadata)/")
_READERS = re.compile(
    r"/(?:pyiceberg/(?:serializers|manifest|avro/\w+|io/\w+|table/metadata|table/snapshots)"
    r"|airflow_provider_phlo/iceberg/(?:files/reading|files/remote|duckdb/columns|maintenance/bounds))\.py$"
)

#: what is wrong with a file: it is not there, its content is not what it has to be, nobody here has its key
State = Literal["missing", "damaged", "encrypted"]


#: why an encrypted file is not read
NO_DECRYPTION = "Parquet's own encryption is not read here"


@dataclass(frozen=True)
class BrokenFile:
    """
    A file of a table that cannot be read.

    :param location: where it is; values of partitions are left out.
    :param state: what is wrong with it.
    """

    location: str
    state: State

    @property
    def missing(self) -> bool:
        """Return whether it is not there, which it may have been a moment before."""
        return self.state == "missing"

    @property
    def kind(self) -> str:
        """Return what kind of file it is."""
        return next((kind for kind, pattern in _KINDS.items() if pattern.search(self.location)), "file")

    def __str__(self) -> str:
        """Return one line: what is broken, where, what to do, whether a retry helps."""
        found = _LOCATION.match(self.location)
        table = ".".join(found["path"].split("/")[-2:]) if found else ""
        of_table = f"Table {table}: its" if table else "The"
        retry = (
            "A retry helps only if maintenance removed it while it was read."
            if self.missing
            else "A retry does not help."
        )
        return f"{of_table} {self.kind} {self.location} is {self.state}. {self._cure(table)} {retry}"

    def _cure(self, table: str) -> str:
        name = table or "namespace.table"
        if self.kind == "metadata.json":
            return "Put it back from a copy, or register the table anew with the newest metadata.json that can be read."
        cure = (
            f"{NO_DECRYPTION}: have the engine that wrote it write the table without it"
            if self.state == "encrypted"
            else "Put it back from a copy"
        )
        return (
            f"{cure}, or go back to a snapshot without it: phlo catalog history {name}, then phlo "
            f"catalog rollback {name}."
        )


def broken_file(error: BaseException) -> BrokenFile | None:
    """Return the file that a library could not read; None if that is not what went wrong."""
    if type(error).__module__ in ("_duckdb", "duckdb"):
        return _named_by_duckdb(str(error))
    missing, encrypted = isinstance(error, FileNotFoundError), is_encrypted(error)
    if not missing and isinstance(error, OSError) and (error.errno is not None or refused_by_store(error)):
        return None  # a right, a disk, a connection: what is said of it stands in the error
    for frame in _innermost_first(error.__traceback__):
        if _READERS.search(frame.f_code.co_filename):
            location = _read_there(frame)
            if location and (missing or encrypted or _is_damage(error, location)):
                state: State = "missing" if missing else "encrypted" if encrypted else "damaged"
                return BrokenFile(without_partition_values(location), state)
    return None


def is_encrypted(error: BaseException) -> bool:
    """Return whether a library met a file with Parquet's own encryption."""
    return _ENCRYPTED.search(str(error)) is not None


def refused_by_store(error: BaseException) -> str:
    """Return what an object store answered, which Arrow raises as an error of the system; empty if it is not that."""
    if not isinstance(error, OSError):
        return ""
    if found := _AWS.search(str(error)):
        return found[0]
    found = _GOOGLE.search(str(error))
    return f"Google Cloud Storage: {found[1]}" if found else ""


def error_of_store(error: BaseException, folder: object, setting: str) -> PhloError | None:
    """
    Return what an object store's answer is called here; None if the error is not one.

    :param folder: what was to be read or written.
    :param setting: what says where it is.
    """
    answer = refused_by_store(error)
    if not answer:
        return None
    if not _REFUSALS.search(answer):
        return TransientError(f"{folder}: the object store did not do it ({answer}). A retry may help.")
    return ConfigurationError(
        f"{folder}: the object store refuses it ({answer}). Check that the bucket in [phlo] {setting} is there, and "
        "that the connection named there may read and write it."
    )


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
    state: State = "missing" if missing else "encrypted" if _ENCRYPTED.search(text) else "damaged"
    return BrokenFile(without_partition_values(found["file"]), state)


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
    if not type(value).__module__.startswith(("pyiceberg.", "airflow_provider_phlo.iceberg.files.")):
        return None
    value = getattr(value, "task", value)  # of what reads a file of ours
    task_file = getattr(value, "file", None)
    for holder in (value, task_file, getattr(value, "input_file", None)):
        for name in ("manifest_path", "file_path", "location"):
            found = getattr(holder, name, None) if holder is not None else None
            if isinstance(found, str):
                return found
    return None
