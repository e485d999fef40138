"""
Where staged batches live, and how a retry finds them.

::

    <root>/<namespace>.<table>/<partition date>/<token>/
        manifest.json              written last: it makes the batch exist
        <attempt>/part-00000.parquet, …   rows that go on
        <attempt>/rejected-00000.parquet  rows for the quarantine

An attempt that dies leaves its folder and no manifest. Two attempts of one run never share a folder. A root is any
path object: ``pathlib.Path``, or Airflow's ``ObjectStoragePath`` for object stores.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_phlo.broken_files import error_of_store
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.file_times import modified_at
from airflow_provider_phlo.formats import VERSION_FIELD, require_known_version
from airflow_provider_phlo.ingestion import staged_files

MANIFEST = "manifest.json"
# the version of the manifest's content; a manifest without one is of version 1
MANIFEST_VERSION = 1
# Arrow bytes of a batch that are kept in memory; a larger one is read again when it is needed again
BYTES_IN_MEMORY = 256 * 1024 * 1024


@dataclass(frozen=True)
class StagedBatch:
    """
    One run's rows of one table, staged.

    :param files: Parquet files of good rows, relative to the batch's folder, in arrival order.
    :param rejected_files: Parquet files of rows for the quarantine.
    :param read: records that the source yielded; ``read + added == rows + quarantined + dropped``.
    :param added: rows that transforms made beyond one per record.
    :param dropped: records that transforms left no row of.
    :param seconds: how long extraction, validation and staging took.
    :param replay: whether the records came from the quarantine.
    :param state: dlt's state after the extraction, as its own JSON; empty when the source keeps none.
    :param read_on: dlt's state on which the source was read; None in older batches, which do not say.
    :param reads_on: whether the source yielded only what is new since then.
    :param set_back: the id of the last time that the table's main was set back before the source was read; empty for
        never.
    :param hard_delete: the column that dlt's hint of this name marks; empty for none.
    :param checksums: the CRC-32 of each file, by its path; older batches have none.
    """

    table: str
    token: str
    partition_date: str
    run_id: str
    attempt: str
    files: tuple[str, ...] = ()
    rejected_files: tuple[str, ...] = ()
    read: int = 0
    rows: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    state: str = ""
    read_on: str | None = None
    reads_on: bool = False
    set_back: str = ""
    hard_delete: str = ""
    added: int = 0
    dropped: int = 0
    replay: bool = False
    staged_at: float = field(default_factory=time.time)
    checksums: Mapping[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Return the batch's folder, relative to the staging root."""
        return batch_folder(self.table, self.partition_date, self.token)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the manifest."""
        return {VERSION_FIELD: MANIFEST_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> StagedBatch:
        """
        Return the batch that :meth:`to_json` wrote, in this version of the format or an older one.

        :raises ConfigurationError: if it was written by a newer version of the provider.
        """
        require_known_version(content, MANIFEST_VERSION, f"The manifest of a batch staged for {content.get('table')}")
        known = {item.name: content[item.name] for item in fields(cls) if item.name in content}
        return cls(**{**known, "files": tuple(known["files"]), "rejected_files": tuple(known["rejected_files"])})


def batch_folder(table: str, partition_date: str, token: str) -> str:
    """Return the folder of a batch, relative to the staging root."""
    return f"{table}/{partition_date}/{token}"


def find(root: Any, table: str, partition_date: str, token: str) -> StagedBatch | None:
    """Return the batch that this run staged before, or None."""
    return _read(root / batch_folder(table, partition_date, token) / MANIFEST)


def load(root: Any, folder: str) -> StagedBatch:
    """
    Return the batch in ``folder``.

    :raises ConfigurationError: if nothing is staged there (retention has removed it, or the path is wrong).
    """
    batch = _read(root / folder / MANIFEST)
    if batch is None:
        raise ConfigurationError(
            f"No staged batch at {root / folder}: clear the ingest task too, so that it is staged again."
        )
    return batch


def _read(path: Any) -> StagedBatch | None:
    try:
        with staged_files.intact(path):
            content = staged_files.manifest_content(path.read_text())
    except FileNotFoundError:
        return None
    return StagedBatch.from_json(content)


class BatchWriter:
    """Write one attempt's files; :meth:`finish` makes them the run's batch."""

    def __init__(self, root: Any, table: str, partition_date: str, token: str) -> None:
        self.folder = root / batch_folder(table, partition_date, token)
        self.attempt = uuid.uuid4().hex[:12]
        with disk_errors(self.folder):
            (self.folder / self.attempt).mkdir(parents=True, exist_ok=True)
        self.files: list[str] = []
        self.schemas: list[pa.Schema] = []
        self.rejected_files: list[str] = []
        self.checksums: dict[str, int] = {}

    def write(self, rows: pa.Table) -> None:
        """Stage good rows as one more file."""
        self.files.append(self._write(rows, f"part-{len(self.files):05d}"))
        self.schemas.append(rows.schema)

    def reject(self, rows: pa.Table) -> None:
        """Stage rows for the quarantine."""
        self.rejected_files.append(self._write(rows, f"rejected-{len(self.rejected_files):05d}"))

    def read(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """Return the rows of a file of this attempt."""
        path = self.files[number]
        content = staged_files.read_bytes(self.folder / path, self.checksums[path])
        return pq.read_table(pa.BufferReader(content), columns=columns)

    def rewrite(self, number: int, rows: pa.Table) -> None:
        """Replace the rows of a file of this attempt."""
        self._write(rows, self.files[number].partition("/")[2].removesuffix(".parquet"))
        self.schemas[number] = rows.schema

    def _write(self, rows: pa.Table, name: str) -> str:
        path = f"{self.attempt}/{name}.parquet"
        content = staged_files.parquet_bytes(rows)
        self.checksums[path] = staged_files.checksum(content)
        try:
            with disk_errors(self.folder), (self.folder / path).open("wb") as target:
                target.write(content)
        except TransientError:
            remove(self.folder / self.attempt)  # makes room for the retry
            raise
        return path

    def finish(self, batch: StagedBatch) -> StagedBatch:
        """Write the manifest of ``batch`` in one step."""
        batch = replace(batch, checksums=dict(self.checksums))
        path = self.folder / MANIFEST
        content = staged_files.manifest_text(batch.to_json())
        with disk_errors(self.folder):
            if isinstance(path, Path) and os.path.exists(self.folder):
                part = self.folder / self.attempt / MANIFEST
                part.write_text(content)
                os.replace(part, path)
            else:  # an object store writes an object whole or not at all
                path.write_text(content)
        return batch


@contextmanager
def disk_errors(folder: Any, setting: str = "staging_path") -> Iterator[None]:
    """
    Say where the disk is full, or a bucket is refused, and what to do; a later attempt may find room.

    :param setting: what says where the folder is.
    """
    try:
        yield
    except OSError as error:
        if answered := error_of_store(error, folder, setting):
            raise answered from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TransientError(
            f"No space left while staging below {folder}: free some, or point [phlo] {setting} elsewhere. "
            "Nothing was merged; a retry stages the batch again."
        ) from error


class StagedRows:
    """
    The staged rows of a batch in arrival order, one file at a time; those of a small batch are read only once.

    :param root: the staging root.
    :param files: the batch's files to read; those of good rows when None.
    """

    def __init__(self, root: Any, batch: StagedBatch, files: tuple[str, ...] | None = None) -> None:
        self._folder = root / batch.folder
        self._files = batch.files if files is None else files
        self._checksums = batch.checksums
        self._kept: list[pa.Table] | None = None
        # of files that are to be read once more
        self._contents: dict[str, bytes] = {}
        self.schema = common_schema(self._schema_of(name) for name in self._files)

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the rows of each file, with the columns of all files."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[pa.Table] | None = []
        size = 0
        for name in self._files:
            with staged_files.intact(self._folder / name):
                content = pa.BufferReader(self._content(name))
                rows = with_schema(pq.read_table(content, page_checksum_verification=True), self.schema)
            size += rows.nbytes
            if kept is not None:
                kept.append(rows)
                kept = kept if size <= BYTES_IN_MEMORY else None
            yield rows
        self._kept = kept
        self._contents = {}

    def count(self) -> int:
        """Return how many rows the files have, by their own metadata."""
        if self._kept is not None:
            return sum(map(len, self._kept))
        return sum(self._parquet(name).metadata.num_rows for name in self._files)

    def _schema_of(self, name: str) -> pa.Schema:
        return self._parquet(name).schema_arrow

    def _parquet(self, name: str) -> pq.ParquetFile:
        with staged_files.intact(self._folder / name):
            return pq.ParquetFile(pa.BufferReader(self._content(name)))

    def _content(self, name: str) -> bytes:
        """Return what a file holds; it is kept for the next time, if there is not much."""
        if name not in self._contents:
            content = staged_files.read_bytes(self._folder / name, self._checksums.get(name))
            if sum(map(len, self._contents.values())) + len(content) > BYTES_IN_MEMORY // 4:
                return content
            self._contents[name] = content
        return self._contents[name]


def read_rows(root: Any, batch: StagedBatch) -> pa.Table:
    """Return the staged rows in arrival order as one table, columns of all files together."""
    return _whole(StagedRows(root, batch))


def read_rejected(root: Any, batch: StagedBatch) -> pa.Table:
    """Return the rows for the quarantine."""
    return _whole(StagedRows(root, batch, batch.rejected_files))


def _whole(rows: StagedRows) -> pa.Table:
    return pa.concat_tables([rows.schema.empty_table(), *rows]).combine_chunks()


def concat(tables: list[pa.Table]) -> pa.Table:
    """Put tables of one source together; missing columns are NULL."""
    if not tables:
        return pa.table({})
    schema = common_schema([table.schema for table in tables])
    return pa.concat_tables(with_schema(table, schema) for table in tables).combine_chunks()


def with_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return ``table`` with the columns and types of ``schema``, which :func:`common_schema` made of it."""
    present = set(table.column_names)
    columns = [table[item.name] if item.name in present else pa.nulls(len(table), item.type) for item in schema]
    return pa.table(columns, schema=schema)


def common_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return all columns of ``schemas``, in the order in which they come; one of a name has one type in all of them."""
    columns: dict[str, pa.Field] = {}
    for schema in schemas:
        for column in schema:
            columns.setdefault(column.name, column)
    return pa.schema(list(columns.values()))


def remove_expired(root: Any, table: str, older_than: float) -> int:
    """
    Remove the staged batches of ``table`` that are older than ``older_than`` (seconds since 1970).

    An attempt without a manifest counts by the age of its folder, or of its newest file. Another process may be
    removing them too.

    :returns: how many were removed.
    """
    removed = 0
    for day in children(root / table):
        for folder in children(day):
            if _staged_at(folder) < older_than:
                remove(folder)
                removed += 1
    return removed


def _staged_at(folder: Any) -> float:
    batch = _read(folder / MANIFEST)
    if batch:
        return batch.staged_at
    # a folder of an object store has no time of its own, but its files have
    return _changed_at(folder) or max(map(_changed_at, below(folder)), default=0) or time.time()


def below(folder: Any) -> Iterator[Any]:
    """Yield the files and folders below a folder; none, if it is not there."""
    for path in children(folder):
        yield path
        if path.is_dir():
            yield from below(path)


def _changed_at(path: Any) -> float:
    """Return when a file or folder was last written; 0 if unknown, as for the folders of an object store."""
    try:
        moment = modified_at(path.stat())
    except FileNotFoundError:
        return 0
    return moment.timestamp() if moment else 0


def children(path: Any) -> list[Any]:
    """Return what is in a folder; nothing, if it is not there."""
    try:
        return list(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(path: Any) -> None:
    """Remove a file or folder; another process may be removing it too."""
    if path.is_dir():
        for child in children(path):
            remove(child)
        with suppress(OSError):  # gone already, or not empty
            path.rmdir()
    else:
        path.unlink(missing_ok=True)
