"""
What a manifest says about the columns of a Parquet file: counts and bounds, left out unless they are certain.

Readers leave out whole files by these bounds, so a wrong one loses rows, while an absent one only costs time. Parquet
leaves out the bounds of a row group that has a value longer than 4,096 bytes: the bounds of the other row groups are
then not those of the file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    MetricModeTypes,
    StatisticsCollector,
    compute_statistics_plan,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    PrimitiveType,
    StringType,
)

_SURROGATES = range(0xD800, 0xE000)
_LAST_CHARACTER = 0x10FFFF
# as FileLayout names files
_OUR_NAME = re.compile(r"/\d{5}-(merged|compacted|written)-[^/]*$")


@dataclass
class _Column:
    """
    The row groups of one column, put together.

    :param nulls: None if a row group does not say.
    :param limits: the lower and the upper one of every row group that has values, as Parquet holds them.
    :param certain: whether every row group with values has limits.
    """

    bytes: int = 0
    values: int = 0
    nulls: int | None = 0
    limits: list[tuple[Any, Any]] = field(default_factory=list)
    certain: bool = True

    def add(self, chunk: pq.ColumnChunkMetaData) -> None:
        self.bytes += chunk.total_compressed_size
        self.values += chunk.num_values
        found = chunk.statistics if chunk.is_stats_set else None
        nulls = found.null_count if found is not None and found.has_null_count else None
        self.nulls = None if self.nulls is None or nulls is None else self.nulls + nulls
        if nulls == chunk.num_values:
            return
        if found is None or not found.has_min_max:
            self.certain = False
        else:
            self.limits.append((found.min_raw, found.max_raw))

    def bounds(self, kind: PrimitiveType) -> tuple[Any, Any] | None:
        """Return the lower and the upper bound; None if they are not certain."""
        flat = [limit for limits in self.limits for limit in limits]
        if not self.certain or not flat or any(limit is None or limit != limit for limit in flat):
            return None
        if isinstance(kind, DecimalType):  # one of many digits is the bytes of an integer
            flat = [int.from_bytes(each, "big", signed=True) if isinstance(each, bytes) else each for each in flat]
        return min(flat), max(flat)


@dataclass(frozen=True)
class StatisticsPlan:
    """
    The statistics that a table keeps for each column.

    :param collectors: by field id.
    :param field_ids: by the column's path in the files.
    """

    collectors: dict[int, StatisticsCollector]
    field_ids: dict[str, int]

    @classmethod
    def of(cls, schema: Schema, properties: dict[str, str]) -> StatisticsPlan:
        """
        Return the plan of a table.

        :param schema: that of the files.
        :param properties: those of the table; ``write.metadata.metrics.*`` count.
        """
        return cls(compute_statistics_plan(schema, properties), parquet_path_to_id_mapping(schema))


def file_statistics(metadata: pq.FileMetaData, plan: StatisticsPlan) -> dict[str, Any]:
    """Return the statistics of a file that was written, as ``DataFile.from_args`` takes them."""
    columns: dict[int, _Column] = {}
    for path, chunk in _chunks(metadata):
        columns.setdefault(plan.field_ids[path], _Column()).add(chunk)
    counted = {
        field_id: column
        for field_id, column in columns.items()
        if plan.collectors[field_id].mode.type != MetricModeTypes.NONE
    }
    lower: dict[int, bytes] = {}
    upper: dict[int, bytes] = {}
    for field_id, column in counted.items():
        low, high = _written_bounds(column, plan.collectors[field_id])
        lower |= {field_id: low} if low is not None else {}
        upper |= {field_id: high} if high is not None else {}
    return {
        "record_count": metadata.num_rows,
        "column_sizes": {field_id: column.bytes for field_id, column in columns.items()},
        "value_counts": {field_id: column.values for field_id, column in counted.items()},
        "null_value_counts": {
            field_id: column.nulls for field_id, column in counted.items() if column.nulls is not None
        },
        "nan_value_counts": {},
        "lower_bounds": lower,
        "upper_bounds": upper,
        "split_offsets": sorted(_offset(metadata.row_group(group)) for group in range(metadata.num_row_groups)),
    }


def uncertain_columns(metadata: pq.FileMetaData) -> set[str]:
    """Return the paths of the columns for which a row group with values has no bounds."""
    columns: dict[str, _Column] = {}
    for path, chunk in _chunks(metadata):
        columns.setdefault(path, _Column()).add(chunk)
    return {path for path, column in columns.items() if not column.certain}


def are_certain(file: DataFile) -> bool:
    """
    Return whether the bounds of a file's text hold for all of its rows.

    PyIceberg 0.12 takes the bounds of some row groups for those of the file. So no bounds of a file with several row
    groups are believed, unless this package wrote it; files of engines that are right are then read in vain.
    """
    return len(file.split_offsets or ()) == 1 or _OUR_NAME.search(file.file_path) is not None


def _chunks(metadata: pq.FileMetaData) -> Iterator[tuple[str, pq.ColumnChunkMetaData]]:
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for position in range(metadata.num_columns):
            chunk = row_group.column(position)
            yield chunk.path_in_schema, chunk


def _offset(row_group: pq.RowGroupMetaData) -> int:
    first = row_group.column(0)
    data = first.data_page_offset
    return min(first.dictionary_page_offset, data) if first.has_dictionary_page else data


def _written_bounds(column: _Column, collector: StatisticsCollector) -> tuple[bytes | None, bytes | None]:
    """Return the bounds as Iceberg writes them, text and bytes shortened as the table wants it."""
    kind, length = collector.iceberg_type, collector.mode.length
    found = column.bounds(kind)
    if collector.mode.type == MetricModeTypes.COUNTS or found is None:
        return None, None
    if isinstance(kind, StringType):
        return _text_bounds(*found, length)
    if isinstance(kind, BinaryType):
        return found[0][:length], _bytes_above(found[1], length)
    return _encode(kind, found[0], -0.0), _encode(kind, found[1], 0.0)


def _encode(kind: PrimitiveType, value: Any, zero: float) -> bytes:
    """
    Return a value of Parquet in Iceberg's form.

    :param zero: what stands for zero as a float: -0.0 is less than 0.0, and Parquet may hold either.
    """
    if isinstance(kind, (FloatType, DoubleType)):
        return struct.pack("<f" if isinstance(kind, FloatType) else "<d", value or zero)
    if isinstance(kind, DecimalType):
        return int(value).to_bytes(int(value).bit_length() // 8 + 1, "big", signed=True)
    if isinstance(kind, BooleanType):
        return bytes([value])
    if isinstance(value, bytes):  # a UUID, or bytes of one length
        return value
    return struct.pack("<i" if isinstance(kind, (IntegerType, DateType)) else "<q", value)


def _text_bounds(low: bytes, high: bytes, length: int | None) -> tuple[bytes | None, bytes | None]:
    try:
        texts = low.decode(), high.decode()
    except UnicodeDecodeError:
        return None, None
    above = _text_above(texts[1], length)
    return texts[0][:length].encode(), None if above is None else above.encode()


def _text_above(text: str, length: int | None) -> str | None:
    """Return a text of at most ``length`` characters that is not less than ``text``; None if there is none."""
    if length is None or len(text) <= length:
        return text
    for end in range(length, 0, -1):
        following = ord(text[end - 1]) + 1
        if following in _SURROGATES:  # half a character is not text
            following = _SURROGATES.stop
        if following <= _LAST_CHARACTER:
            return text[: end - 1] + chr(following)
    return None


def _bytes_above(value: bytes, length: int | None) -> bytes | None:
    if length is None or len(value) <= length:
        return value
    kept = value[:length].rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
