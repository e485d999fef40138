"""Read data files a row group at a time: what is in memory does not depend on how large they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

FIELD_ID = b"PARQUET:field_id"
# converting a schema takes as long as reading a small file
SCHEMAS_KEPT = 256
_SCHEMAS: dict[tuple[Any, ...], tuple[pa.Schema, pa.Schema]] = {}


def read_file(table: Table, task: FileScanTask, columns: Sequence[str]) -> Iterator[pa.Table]:
    """
    Yield the live rows of one data file, in file order, deletes applied; a row group at a time where that is possible.

    :param columns: names of the table's columns, in the order in which they are returned.
    """
    wanted, with_ids = _arrow_schemas(table, tuple(columns))
    deleted = _deleted_positions(table, task)
    names: list[str | None] | None = None
    if task.file.file_format == FileFormat.PARQUET and deleted is not None:
        with table.io.new_input(task.file.file_path).open() as source:
            parquet = pq.ParquetFile(source, pre_buffer=not task.file.file_path.startswith(("file:", "/")))
            names = _names_in_file(parquet.schema_arrow, with_ids)
            if names is not None:
                yield from _row_groups(parquet, names, wanted, deleted)
    if names is None:
        yield _scanned(table, task, wanted)


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


def _row_groups(
    parquet: pq.ParquetFile, names: list[str | None], wanted: pa.Schema, deleted: np.ndarray[Any, Any]
) -> Iterator[pa.Table]:
    start = 0
    for group in range(parquet.num_row_groups):
        present = parquet.read_row_group(group, columns=[name for name in names if name], use_threads=False)
        end = start + parquet.metadata.row_group(group).num_rows
        columns = [
            present[name].cast(item.type) if name else pa.nulls(end - start, item.type)
            for name, item in zip(names, wanted, strict=True)
        ]
        rows = pa.table(columns, schema=wanted)
        gone = deleted[(deleted >= start) & (deleted < end)] - start
        if len(gone):
            live = np.ones(len(rows), bool)
            live[gone] = False
            rows = rows.filter(pa.array(live))
        start = end
        yield rows


def _names_in_file(schema: pa.Schema, wanted: pa.Schema) -> list[str | None] | None:
    """Return the file's names of the columns, None for those it lacks; None if Arrow cannot read it as it is."""
    found = {_field_id(item): item for item in schema}
    if None in found:  # a file without field ids: the table maps names
        return None
    names: list[str | None] = []
    for column in wanted:
        item = found.get(_field_id(column))
        if item is None:
            names.append(None)
        elif "." in item.name or not _casts(item, column):  # Arrow takes a dot in a name for a step into a struct
            return None
        else:
            names.append(item.name)
    return names


def _field_id(item: pa.Field) -> int | None:
    return int(item.metadata[FIELD_ID]) if item.metadata and FIELD_ID in item.metadata else None


def _casts(item: pa.Field, column: pa.Field) -> bool:
    """Return whether Arrow's cast, which goes by names, does what Iceberg's field ids mean."""
    if item.type == column.type:
        return True
    before, after = dict(_members(item)), dict(_members(column))
    renamed = any(before[path] != after[path] for path in before.keys() & after.keys())
    moved = {before[path] for path in before.keys() - after.keys()} & set(after.values())
    return not renamed and not moved


def _members(item: pa.Field, path: str = "") -> Iterator[tuple[str, int | None]]:
    """Yield the path and the field id of everything inside a nested column."""
    kind = item.type
    if pa.types.is_struct(kind):
        inner = {member.name: member for member in kind}
    elif pa.types.is_map(kind):
        inner = {"key": kind.key_field, "value": kind.item_field}
    else:
        inner = {"element": kind.value_field} if pa.types.is_nested(kind) else {}
    for name, member in inner.items():
        yield f"{path}/{name}", _field_id(member)
        yield from _members(member, f"{path}/{name}")


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
