"""Read data files a row group at a time: what is in memory does not depend on how large they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
from pyiceberg.manifest import FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table

from airflow_provider_phlo.iceberg.files.projection import agrees, can_project, field_id, project

# converting a schema takes as long as reading a small file
SCHEMAS_KEPT = 256
_SCHEMAS: dict[tuple[Any, ...], tuple[pa.Schema, pa.Schema]] = {}
# names of columns in a file, None for those that it lacks, and whether Arrow's cast brings them to the table's types
_Layout = list[tuple[str | None, bool]]


def read_file(table: Table, task: FileScanTask, columns: Sequence[str]) -> Iterator[pa.Table]:
    """
    Yield the live rows of one data file; see :meth:`FileReader.rows`.

    :param columns: names of the table's columns, in the order in which they are returned.
    """
    with FileReader(table, task) as reader:
        yield from reader.rows(columns)


class FileReader:
    """
    A data file that is open for reading; a context manager.

    :param table: as it is now: columns are those of its current schema, found in the file by field id.
    :param task: the file, with what is deleted of it.

    ``schema`` is that of the file, None if it has to be read by PyIceberg; ``marks`` is what writers noted in the file.
    """

    def __init__(self, table: Table, task: FileScanTask) -> None:
        self.table = table
        self.task = task
        self._open = ExitStack()
        self._parquet: pq.ParquetFile | None = None
        self._deleted = np.zeros(0, np.int64)
        self.schema: pa.Schema | None = None
        self.marks: dict[bytes, bytes] = {}

    def __enter__(self) -> FileReader:
        path, deleted = self.task.file.file_path, _deleted_positions(self.table, self.task)
        if self.task.file.file_format == FileFormat.PARQUET and deleted is not None:
            source = self._open.enter_context(self.table.io.new_input(path).open())
            self._parquet = pq.ParquetFile(source, pre_buffer=not path.startswith(("file:", "/")))
            self._deleted, self.schema = deleted, self._parquet.schema_arrow
            self.marks = self._parquet.metadata.metadata or {}
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def rows(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """
        Yield the live rows, in file order, deletes applied; a row group at a time where that is possible.

        :param columns: names of the table's columns, in the order in which they are returned.
        """
        wanted, with_ids = _arrow_schemas(self.table, tuple(columns))
        layout = self._layout(with_ids)
        if self._parquet is None or layout is None:
            yield _scanned(self.table, self.task, wanted)
        else:
            yield from self._row_groups(self._parquet, layout, wanted, with_ids)

    def _layout(self, wanted: pa.Schema) -> _Layout | None:
        """Return where the columns are in the file; None if it has to be read by PyIceberg."""
        found = {field_id(item): item for item in self.schema or ()}
        if None in found:  # a file without field ids: the table maps names
            return None
        layout: _Layout = []
        for column in wanted:
            item = found.get(field_id(column))
            if item is None or agrees(item, column):
                layout.append((item and item.name, True))
            elif can_project(item, column):
                layout.append((item.name, False))
            else:
                return None
        # Arrow takes a dot in a name for a step into a struct
        dotted = any("." in (name or "") for name, _ in layout)
        # only since then, members that a file lacks may be something else than NULL
        defaults = self.table.metadata.format_version > 2 and not all(name and same for name, same in layout)
        return None if dotted or defaults else layout

    def _row_groups(
        self, parquet: pq.ParquetFile, layout: _Layout, wanted: pa.Schema, with_ids: pa.Schema
    ) -> Iterator[pa.Table]:
        start = 0
        for group in range(parquet.num_row_groups):
            present = parquet.read_row_group(group, columns=[name for name, _ in layout if name], use_threads=False)
            end = start + parquet.metadata.row_group(group).num_rows
            columns = [
                _column(present, name, same, item, end - start)
                for (name, same), item in zip(layout, with_ids, strict=True)
            ]
            rows = pa.table(columns, schema=wanted)
            gone = self._deleted[(self._deleted >= start) & (self._deleted < end)] - start
            if len(gone):
                live = np.ones(len(rows), bool)
                live[gone] = False
                rows = rows.filter(pa.array(live))
            start = end
            yield rows


def _column(present: pa.Table, name: str | None, same: bool, wanted: pa.Field, length: int) -> pa.Array:
    if name is None:
        return pa.nulls(length, wanted.type)
    if same:
        return present[name].cast(wanted.type)
    item = present.schema.field(name)
    return pa.chunked_array([project(chunk, item, wanted) for chunk in present[name].chunks], wanted.type)


def _arrow_schemas(table: Table, columns: tuple[str, ...]) -> tuple[pa.Schema, pa.Schema]:
    """Return the Arrow schema of the columns, without and with Iceberg's field ids."""
    # what an id of a table's schemas means never changes
    key = (table.metadata.table_uuid, table.metadata.current_schema_id, columns)
    if key not in _SCHEMAS:
        if len(_SCHEMAS) >= SCHEMAS_KEPT:
            _SCHEMAS.clear()
        projected = Schema(*(table.schema().find_field(name) for name in columns))
        _SCHEMAS[key] = schema_to_pyarrow(projected, include_field_ids=False), schema_to_pyarrow(projected)
    return _SCHEMAS[key]


def _deleted_positions(table: Table, task: FileScanTask) -> np.ndarray[Any, Any] | None:
    """Return the positions of the file's deleted rows; None if they are not in Parquet files."""
    found = [np.zeros(0, np.int64)]
    for delete in task.delete_files:
        if delete.file_format != FileFormat.PARQUET:
            return None
        with table.io.new_input(delete.file_path).open() as source:
            rows = pq.read_table(source, columns=["file_path", "pos"], use_threads=False)
        of_file = pc.equal(rows["file_path"], task.file.file_path)
        found.append(rows["pos"].filter(of_file).to_numpy())
    return np.concatenate(found)


def _scanned(table: Table, task: FileScanTask, wanted: pa.Schema) -> pa.Table:
    """Read what needs PyIceberg's care: older schemas, files without field ids, other formats."""
    # the task alone decides what is read: its residual filter must not drop rows
    whole = FileScanTask(task.file, task.delete_files, AlwaysTrue())
    projected = table.schema().select(*wanted.names)
    rows = ArrowScan(table.metadata, table.io, projected, AlwaysTrue()).to_table([whole])
    return pa.table([rows[item.name].cast(item.type) for item in wanted], schema=wanted)
