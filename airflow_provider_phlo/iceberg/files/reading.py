"""
Read data files a row group at a time: what is in memory does not depend on how large they are.

PyIceberg's own scan is not used: it reads NULL lists and maps as empty ones, and moments that Parquet stores as INT96
wrap around outside of the years 1677 to 2262.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.orc as orc
import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import _read_deletes, schema_to_pyarrow
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import IcebergType, NestedField

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg.files.field_ids import with_field_ids
from airflow_provider_phlo.iceberg.files.projection import agrees, can_project, constant, field_id, project
from airflow_provider_phlo.iceberg.tables.casting import cast
from airflow_provider_phlo.iceberg.tables.names import structs
from airflow_provider_phlo.iceberg.tables.partitioning import identity_values
from airflow_provider_phlo.iceberg.tables.support import require_readable_data

# converting a schema takes as long as reading a small file
SCHEMAS_KEPT = 256
# the beginning of what Arrow calls itself in its files
_OF_ARROW = "parquet-cpp-arrow"
_SCHEMAS: dict[tuple[Any, ...], _Wanted] = {}


@dataclass(frozen=True)
class _Wanted:
    """
    Columns of a table, as Arrow has them.

    :param schema: without field ids.
    :param with_ids: with them.
    :param defaults: what rows hold that are older than a column or member, by field id, where that is not NULL.
    """

    schema: pa.Schema
    with_ids: pa.Schema
    defaults: dict[int | None, Any]


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
    :raises SchemaError: if its format or its columns cannot be read.

    ``schema`` is that of the file, with field ids; ``marks`` is what writers noted in the file.
    """

    def __init__(self, table: Table, task: FileScanTask) -> None:
        self.table = table
        self.task = task
        self._open = ExitStack()
        self._file: pq.ParquetFile | orc.ORCFile
        self._deleted = np.zeros(0, np.int64)
        self.schema = pa.schema([])
        self.marks: dict[bytes, bytes] = {}

    def __enter__(self) -> FileReader:
        require_readable_data(self.table, [self.task.file])
        path, self._deleted = self.task.file.file_path, _deleted_positions(self.table, self.task)
        source = self._open.enter_context(self.table.io.new_input(path).open())
        if self.task.file.file_format == FileFormat.ORC:
            self._file = orc.ORCFile(source)
            schema = self._file.schema
        else:
            local = path.startswith(("file:", "/"))
            metadata = pq.read_metadata(source)
            self._file = pq.ParquetFile(
                source,
                metadata=metadata,
                pre_buffer=not local,
                coerce_int96_timestamp_unit="us",
                # other writers' checksums may not be what Arrow takes them for
                page_checksum_verification=str(metadata.created_by).startswith(_OF_ARROW),
            )
            self.marks = self._file.metadata.metadata or {}
            schema = self._file.schema_arrow
        self.schema = with_field_ids(schema, self.table)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def rows(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """
        Yield the live rows, in file order, deletes applied; a row group or stripe at a time.

        :param columns: names of the table's columns, in the order in which they are returned.
        """
        wanted = _wanted(self.table, tuple(columns))
        known = {field_id(item): item for item in self.schema}
        constants = wanted.defaults | identity_values(self.table, self.task.file)
        found = [known.get(field_id(column)) for column in wanted.with_ids]
        start = 0
        for present in self._parts([item.name for item in found if item is not None]):
            end = start + len(present)
            with self._fitting_errors():
                arrays = [
                    constant(constants.get(field_id(column)), end - start, column.type)
                    if item is None
                    else _column(present[item.name], item, column, wanted.defaults)
                    for item, column in zip(found, wanted.with_ids, strict=True)
                ]
                rows = pa.table(arrays, schema=wanted.schema)
            gone = self._deleted[(self._deleted >= start) & (self._deleted < end)] - start
            if len(gone):
                live = np.ones(len(rows), bool)
                live[gone] = False
                rows = rows.filter(pa.array(live))
            start = end
            yield rows

    def _parts(self, names: list[str]) -> Iterator[pa.Table]:
        """Yield the columns of each row group or stripe."""
        # Arrow takes a dot in a name for a step into a struct; without a column there is no number of rows
        columns = None if not names or any("." in name for name in names) else names
        if isinstance(self._file, pq.ParquetFile):
            for group in range(self._file.num_row_groups):
                rows = self._file.read_row_group(group, columns=columns, use_threads=False)
                # of a page whose header is damaged, Arrow may take no notice
                if len(rows) != self._file.metadata.row_group(group).num_rows:
                    raise OSError(f"Row group {group} is corrupt: {len(rows)} rows can be read.")
                yield rows
            return
        for stripe in range(self._file.nstripes):
            with self._fitting_errors("out of range"):
                rows = pa.Table.from_batches([self._file.read_stripe(stripe, columns)])
            yield rows

    @contextmanager
    def _fitting_errors(self, containing: str = "") -> Iterator[None]:
        try:
            yield
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:  # its message holds values
            if containing not in str(error):
                raise
            raise SchemaError(
                f"{'.'.join(self.table.name())}: {self.task.file.file_path} has values that do not fit the table's "
                "columns, or moments outside of the years 1677 to 2262 in a file of ORC, which Arrow does not read: "
                "write it again as Parquet with the engine that wrote it (Spark: rewrite_data_files)."
            ) from None


def _column(
    values: pa.ChunkedArray, present: pa.Field, wanted: pa.Field, defaults: dict[int | None, Any]
) -> pa.ChunkedArray:
    if agrees(present, wanted):
        return cast(values, wanted.type)
    if not can_project(present, wanted):
        raise pa.ArrowInvalid(f"{present.type} is not {wanted.type}")
    chunks = [project(chunk, present, wanted, defaults) for chunk in values.chunks]
    return pa.chunked_array(chunks, wanted.type)


def _wanted(table: Table, columns: tuple[str, ...]) -> _Wanted:
    # what an id of a table's schemas means never changes
    key = (table.metadata.table_uuid, table.metadata.current_schema_id, columns)
    if key not in _SCHEMAS:
        if len(_SCHEMAS) >= SCHEMAS_KEPT:
            _SCHEMAS.clear()
        projected = Schema(*(table.schema().find_field(name) for name in columns))
        fields = [item for each in projected.fields for item in (each, *_inside(each.field_type))]
        defaults: dict[int | None, Any] = {
            item.field_id: item.initial_default for item in fields if item.initial_default is not None
        }
        _SCHEMAS[key] = _Wanted(
            schema_to_pyarrow(projected, include_field_ids=False), schema_to_pyarrow(projected), defaults
        )
    return _SCHEMAS[key]


def _inside(kind: IcebergType) -> Iterator[NestedField]:
    return (item for struct in structs(kind) for item in struct.fields)


def _deleted_positions(table: Table, task: FileScanTask) -> np.ndarray[Any, Any]:
    """Return the positions of the file's deleted rows."""
    found = [np.zeros(0, np.int64)]
    path = task.file.file_path
    for delete in task.delete_files:
        positions = _positions_in(delete, table.io, path)
        if positions is not None:
            found.append(positions.to_numpy())
    return np.concatenate(found)


def _positions_in(delete: DataFile, io: FileIO, path: str) -> pa.ChunkedArray | None:
    """Return which positions of the data file at ``path`` a delete file names; None for none."""
    if delete.file_format == FileFormat.PUFFIN:
        return _read_deletes(io, delete).get(path)
    with io.new_input(delete.file_path).open() as source:
        rows = _read_positions(source, delete.file_format)
    return rows["pos"].filter(pc.equal(rows["file_path"], path))


def _read_positions(source: Any, kind: FileFormat) -> pa.Table:
    names = ["file_path", "pos"]
    if kind == FileFormat.ORC:
        return orc.read_table(source, columns=names)
    return pq.read_table(source, columns=names, use_threads=False)
