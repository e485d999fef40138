"""Write the rows of data files again, as a stream: memory holds a row group at a time, however large the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import duckdb
import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.sorting import NullOrder, SortDirection
from pyiceberg.typedef import Record

from airflow_provider_phlo.iceberg.duckdb.sessions import spill_privately
from airflow_provider_phlo.iceberg.files.content_hashes import whole_rows
from airflow_provider_phlo.iceberg.files.reading import FileReader
from airflow_provider_phlo.iceberg.files.writing import FileLayout, OpenFile
from airflow_provider_phlo.iceberg.tables.partitioning import split
from airflow_provider_phlo.sql import quote_identifier

# a row group is written when either is reached
ROW_GROUP_ROWS = 1_000_000
ROW_GROUP_BYTES = 64 * 1024 * 1024
# files of an old spec can hold rows of many partitions of the new one
OPEN_FILES = 50
# beyond it, sorting goes through files
SORT_MEMORY = "512MB"
# uuids as such, not as text
_LOSSLESS = "SET arrow_lossless_conversion = true"


def write_tasks(table: Table, tasks: Sequence[FileScanTask], target_bytes: int) -> Iterator[DataFile]:
    """
    Write the live rows of files as new files of the table's current spec and sort order.

    :param target_bytes: more than that, as measured by the files that are read, is split.
    """
    size = sum(task.file.file_size_in_bytes for task in tasks)
    rows = sum(task.file.record_count for task in tasks)
    files = max(1, round(size / target_bytes))
    rows_per_file = max(1, -(-rows // files))
    writer = _RollingWriter(table, rows_per_file)
    for chunk in _chunks(_in_order(table, _batches(table, tasks)), min(rows_per_file, ROW_GROUP_ROWS)):
        yield from writer.write(chunk)
    yield from writer.close()


def _batches(table: Table, tasks: Sequence[FileScanTask]) -> Iterator[pa.RecordBatch]:
    """Read one file after the other; deleted rows are left out."""
    for task in tasks:
        with FileReader(table, task) as reader:
            for rows in whole_rows(reader):
                yield from rows.to_batches()


def _in_order(table: Table, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return the rows in the table's sort order, if it has one."""
    order = _order_by(table)
    if not order:
        return batches
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    return _sorted(pa.RecordBatchReader.from_batches(schema, batches), order)


def _sorted(rows: pa.RecordBatchReader, order: str) -> Iterator[pa.RecordBatch]:
    with duckdb.connect() as connection:
        spill_privately(connection)
        connection.execute(f"SET TimeZone = 'UTC'; SET memory_limit = '{SORT_MEMORY}'; {_LOSSLESS}")
        for batch in connection.from_arrow(rows).order(order).to_arrow_reader():
            yield batch.cast(rows.schema)


def _order_by(table: Table) -> str:
    # what is nested, or sorted by a transform, is ordered by the engine that declared it
    names = {item.field_id: item.name for item in table.schema().fields if item.field_type.is_primitive}
    return ", ".join(
        f"{quote_identifier(names[item.source_id])} "
        f"{'DESC' if item.direction == SortDirection.DESC else 'ASC'} "
        f"{'NULLS LAST' if item.null_order == NullOrder.NULLS_LAST else 'NULLS FIRST'}"
        for item in table.sort_order().fields
        if item.source_id in names
    )


def _chunks(batches: Iterable[pa.RecordBatch], most: int) -> Iterator[pa.Table]:
    """Return batches together, ``most`` rows each, so that every row group is a whole one."""
    pending: list[pa.RecordBatch] = []
    rows = size = 0
    for part in _slices(batches, most):
        if rows + len(part) > most or size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(pending)
            pending, rows, size = [], 0, 0
        pending.append(part)
        rows, size = rows + len(part), size + part.nbytes
    if pending:
        yield pa.Table.from_batches(pending)


def _slices(batches: Iterable[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, len(batch), most):
            yield batch.slice(start, most)


class _RollingWriter:
    """Write chunks to one file per partition; a file that has its rows is closed, the next chunk begins another."""

    def __init__(self, table: Table, rows_per_file: int) -> None:
        self._layout = FileLayout(table, label="compacted")
        self._rows_per_file = rows_per_file
        self._open: dict[Record, OpenFile] = {}

    def write(self, chunk: pa.Table) -> Iterator[DataFile]:
        """Write a chunk and return the files that are complete."""
        for partition, rows in split(chunk, self._layout.table):
            if partition.record not in self._open and len(self._open) >= OPEN_FILES:
                yield from self.close()
            file = self._open.get(partition.record)
            if file is None:
                file = self._open[partition.record] = OpenFile(self._layout, partition, rows)
            file.write(rows)
            if file.rows >= self._rows_per_file:
                yield self._open.pop(partition.record).close()

    def close(self) -> Iterator[DataFile]:
        """Return the files that were open."""
        while self._open:
            yield self._open.popitem()[1].close()
