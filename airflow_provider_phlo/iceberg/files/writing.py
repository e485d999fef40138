"""Write data files a row group at a time: what is in memory does not depend on how large they are."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import _get_parquet_writer_kwargs, schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema, sanitize_column_names
from pyiceberg.table import Table
from pyiceberg.table.sorting import NullOrder, SortDirection
from pyiceberg.typedef import Record

from airflow_provider_phlo.iceberg.catalogs.file_io import location_provider
from airflow_provider_phlo.iceberg.catalogs.retries import disk_errors
from airflow_provider_phlo.iceberg.files.content_hashes import mark
from airflow_provider_phlo.iceberg.files.statistics import StatisticsPlan, file_statistics
from airflow_provider_phlo.iceberg.tables.casting import renamed
from airflow_provider_phlo.iceberg.tables.partitioning import Partition, partition_schema, split
from airflow_provider_phlo.iceberg.tables.properties import (
    ROW_GROUP_LIMIT,
    TARGET_FILE_BYTES,
    takes_level,
    whole_number,
)
from airflow_provider_phlo.terms import MetadataColumn

TARGET_BYTES = 128 * 1024 * 1024
ROW_GROUP_ROWS = 1_048_576
# of Arrow data that waits in a writer
ROW_GROUP_BYTES = 128 * 1024 * 1024
# the most Arrow bytes that the writers of all partitions together keep waiting
BYTES_WAITING = 256 * 1024 * 1024
# a column with more distinct values than this share of a sample is not worth a dictionary: written twice as fast
# without one, and smaller (docs/benchmarks.md)
DICTIONARY_SHARE = 0.5
SAMPLE_ROWS = 4096


@dataclass
class FileLayout:
    """
    How the data files of a table are written; one for all writers of a merge.

    :param label: part of the files' names.
    :param written: the files that were begun.
    """

    table: Table
    label: str = "merged"
    written: list[str] = field(default_factory=list)
    _id: uuid.UUID = field(default_factory=uuid.uuid4)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @cached_property
    def schema(self) -> Schema:
        """Return the schema of the files: the table's, with names that Avro takes."""
        return sanitize_column_names(self.table.schema())

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        return schema_to_pyarrow(self.schema, include_field_ids=True)

    @cached_property
    def _renamed_inside(self) -> list[bool]:
        own = self.schema.fields
        return [
            item.field_type != named.field_type for item, named in zip(self.table.schema().fields, own, strict=True)
        ]

    def named_as_in_files(self, rows: pa.Table) -> pa.Table:
        """Return rows of the table's columns under the names that the files have for these, and for what is inside."""
        columns = [
            renamed(values.cast(self._table_types[at]), item.type) if self._renamed_inside[at] else values
            for at, (values, item) in enumerate(zip(rows.columns, self.arrow_schema, strict=True))
        ]
        return pa.table(columns, schema=self.arrow_schema)

    @cached_property
    def _table_types(self) -> list[pa.DataType]:
        return [item.type for item in schema_to_pyarrow(self.table.schema())]

    @cached_property
    def options(self) -> dict[str, Any]:
        options = _get_parquet_writer_kwargs(self.table.properties)
        return options if takes_level(options["compression"]) else {**options, "compression_level": None}

    @cached_property
    def target_bytes(self) -> int:
        return whole_number(self.table.properties, TARGET_FILE_BYTES, TARGET_BYTES)

    @cached_property
    def row_group_rows(self) -> int:
        return whole_number(self.table.properties, ROW_GROUP_LIMIT, ROW_GROUP_ROWS)

    @cached_property
    def statistics(self) -> StatisticsPlan:
        return StatisticsPlan.of(self.schema, self.table.properties)

    @cached_property
    def sort_keys(self) -> list[tuple[str, str, str]]:
        """Return Arrow's sort keys, columns by number: in names Arrow reads a dot as a step into a struct."""
        columns = enumerate(self.table.schema().fields)
        # a table made elsewhere may be sorted by a nested column, which Arrow cannot do
        names = {item.field_id: str(at) for at, item in columns if item.field_type.is_primitive}
        return [
            (
                names[item.source_id],
                "descending" if item.direction == SortDirection.DESC else "ascending",
                "at_end" if item.null_order == NullOrder.NULLS_LAST else "at_start",
            )
            for item in self.table.sort_order().fields
            if item.source_id in names
        ]

    def partition(self, record: Record) -> Partition:
        """Return a partition of the table's current spec."""
        return Partition(record, self.table.spec(), partition_schema(self.table))

    def new_path(self, partition: Partition) -> str:
        """Return where the next file goes."""
        name = f"{next(self._numbers):05d}-{self.label}-{self._id}.parquet"
        unpartitioned = not partition.spec.fields
        # a partition of ours has all that PyIceberg's PartitionKey is asked for here
        key: Any = None if unpartitioned else partition
        path = location_provider(self.table.location(), self.table.properties).new_data_location(name, key)
        self.written.append(path)
        return path

    def remove_written(self) -> None:
        """Remove the files: nothing refers to them. What cannot be removed is left to the maintenance."""
        for path in self.written:
            with suppress(OSError):
                self.table.io.delete(path)


class PartitionWriter:
    """Write rows of one partition as files that end at the target size; sorted, if the table has an order."""

    def __init__(self, layout: FileLayout, partition: Partition) -> None:
        self.layout = layout
        self.partition = partition
        self.files: list[DataFile] = []
        self.waiting: list[pa.Table] = []
        self.waiting_bytes = 0
        self._file: OpenFile | None = None

    def write(self, rows: pa.Table) -> None:
        """Take rows; they are written when enough are waiting."""
        if not len(rows):
            return
        self.waiting.append(rows)
        self.waiting_bytes += rows.nbytes
        if sum(map(len, self.waiting)) >= self.layout.row_group_rows or self.waiting_bytes >= ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as row groups."""
        if not self.waiting:
            return
        rows = pa.concat_tables(self.waiting)
        self.waiting, self.waiting_bytes = [], 0
        if self.layout.sort_keys:
            numbered = rows.rename_columns([str(at) for at in range(rows.num_columns)])
            rows = rows.take(pc.sort_indices(numbered, sort_keys=self.layout.sort_keys))
        if self._file is None:
            self._file = OpenFile(self.layout, self.partition, rows)
        self._file.write(rows)
        # a file is sorted as a whole, so it ends with what was sorted
        if self.layout.sort_keys or self._file.size >= self.layout.target_bytes:
            self._end_file()

    def close(self) -> list[DataFile]:
        """Write what waits and return the files."""
        self.flush()
        self._end_file()
        return self.files

    def _end_file(self) -> None:
        if self._file is not None:
            self.files.append(self._file.close())
            self._file = None


class OpenFile:
    """One Parquet file that is being written."""

    def __init__(self, layout: FileLayout, partition: Partition, sample: pa.Table) -> None:
        self.layout = layout
        self.partition = partition
        self.path = layout.new_path(partition)
        self.rows = 0
        with disk_errors(self.path):
            self._stream = layout.table.io.new_output(self.path).create(overwrite=True)
            self._writer = pq.ParquetWriter(
                self._stream,
                schema=layout.arrow_schema,
                store_decimal_as_integer=True,
                write_page_checksum=True,
                use_dictionary=_worth_a_dictionary(layout.named_as_in_files(_sample(sample))),
                **layout.options,
            )

    @property
    def size(self) -> int:
        """Return the bytes that are written."""
        return int(self._stream.tell())

    def write(self, rows: pa.Table) -> None:
        """Write rows of the table's columns as row groups."""
        rows = self.layout.named_as_in_files(rows)
        with disk_errors(self.path):
            self._writer.write_table(rows, row_group_size=self.layout.row_group_rows)
        self.rows += len(rows)

    def close(self) -> DataFile:
        """End the file and return what the manifest says of it."""
        with disk_errors(self.path):
            if MetadataColumn.ROW_HASH in self.layout.arrow_schema.names:
                self._writer.add_key_value_metadata(mark(self.path))
            self._writer.close()
            size = self.size
            self._stream.close()
        statistics = file_statistics(self._writer.writer.metadata, self.layout.statistics)
        return DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self.path,
            file_format=FileFormat.PARQUET,
            partition=self.partition.record,
            file_size_in_bytes=size,
            sort_order_id=self.layout.table.metadata.default_sort_order_id if self.layout.sort_keys else None,
            spec_id=self.partition.spec.spec_id,
            equality_ids=None,
            key_metadata=None,
            **statistics,
        )


class PartitionWriters:
    """A writer for each partition that rows come to."""

    def __init__(self, layout: FileLayout) -> None:
        self.layout = layout
        self.writers: dict[Record, PartitionWriter] = {}

    def write(self, rows: pa.Table, partition: Partition | None) -> None:
        """Write rows of ``partition``, or each to its own if that is None."""
        parts = [(partition, rows)] if partition is not None else split(rows, self.layout.table)
        for each, part in parts:
            writer = self.writers.get(each.record)
            if writer is None:
                writer = self.writers[each.record] = PartitionWriter(self.layout, each)
            writer.write(part)
        while sum(writer.waiting_bytes for writer in self.writers.values()) > BYTES_WAITING:
            max(self.writers.values(), key=lambda writer: writer.waiting_bytes).flush()

    def close(self) -> list[DataFile]:
        """Write what waits and return the files."""
        return [file for writer in self.writers.values() for file in writer.close()]


def write_files(table: Table, parts: Generator[pa.Table, None, None], label: str) -> list[DataFile]:
    """
    Write rows; of all of them, only what waits for its row group is in memory.

    :param parts: rows of the table's columns, in its types.
    :param label: part of the files' names.
    :raises TransientError: if the disk is full.
    """
    layout = FileLayout(table, label)
    writers = PartitionWriters(layout)
    try:
        with closing(parts):
            for rows in parts:
                writers.write(rows, None)
        return writers.close()
    except Exception:
        layout.remove_written()
        raise


def _sample(rows: pa.Table) -> pa.Table:
    return rows.slice(max(0, (len(rows) - SAMPLE_ROWS) // 2), SAMPLE_ROWS)


def _worth_a_dictionary(sample: pa.Table) -> list[str]:
    """
    Return the columns, and the members of structs, that are written with a dictionary.

    Those with one text, or one value of bytes, and NULLs are: without one, DuckDB 2.0 takes the NULLs for the text, and
    the text for NULL, where it filters by them.
    """
    return [path for name in sample.column_names for path in _worth_in(name, sample[name], DICTIONARY_SHARE)]


def _worth_in(path: str, values: pa.ChunkedArray, share: float) -> Iterator[str]:
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return
    if pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            yield from _worth_in(f"{path}.{kind.field(place).name}", pc.struct_field(values, [place]), 0)
    elif not pa.types.is_nested(kind) and (share or _is_text(kind)):
        count = pc.count_distinct(values, mode="all").as_py()
        if count <= share * len(values) or (_is_text(kind) and count <= 1 + bool(values.null_count)):
            yield path


# types of text, and of bytes
_TEXTS = (
    *(pa.types.is_string, pa.types.is_large_string),
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary),
)


def _is_text(kind: pa.DataType) -> bool:
    return any(is_one(kind) for is_one in _TEXTS)
