"""
Arrow batches in PostgreSQL's binary COPY format: every value exactly, without a Python object per value.

Each column is encoded as the bytes of its values and their lengths; one pass per column then writes them to their
positions in the rows. Format: https://www.postgresql.org/docs/current/sql-copy.html (binary), numbers in network order.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exceptions import SchemaError

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

# days and microseconds between 1970-01-01 and 2000-01-01, where PostgreSQL counts from
_EPOCH_DAYS = 10_957
_EPOCH_MICROSECONDS = _EPOCH_DAYS * 86_400_000_000
_NULL = -1

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


class Values(NamedTuple):
    """
    The values of one column in COPY's form.

    :param data: the bytes of all values that are not NULL, one after another.
    :param lengths: the number of bytes of each value; -1 for NULL.
    """

    data: Bytes
    lengths: Integers


Encoder = Callable[[pa.Array], Values]


class ColumnType(NamedTuple):
    """
    The PostgreSQL type of an Arrow column, and how its values are encoded.

    :param sql: the type as ``format_type`` writes it.
    """

    sql: str
    encode: Encoder


def column_type(field: pa.Field) -> ColumnType:
    """
    Return the PostgreSQL type that holds every value of an Arrow column exactly.

    :raises SchemaError: there is none.
    """
    kind = field.type
    for matches, found in _SIMPLE:
        if matches(kind):
            return found
    if pa.types.is_timestamp(kind):
        zone = "with" if kind.tz else "without"
        return ColumnType(f"timestamp {zone} time zone", _timestamp)
    if pa.types.is_decimal(kind):
        return ColumnType(f"numeric({kind.precision},{kind.scale})", _numeric)
    raise SchemaError(f"Column {field.name}: PostgreSQL has no type for Arrow's {kind}. Cast it in the source.")


def encode(batch: pa.RecordBatch, types: list[ColumnType]) -> memoryview:
    """
    Return the rows of ``batch``, without header and trailer.

    :raises SchemaError: a value does not fit its type: U+0000 in text, nanoseconds, years beyond PostgreSQL's.
    """
    columns = []
    for field, column, kind in zip(batch.schema, batch.columns, types, strict=True):
        try:
            columns.append(kind.encode(column))
        except (pa.ArrowInvalid, OverflowError, ValueError) as error:
            raise SchemaError(
                f"Column {field.name} ({field.type}) has values that {kind.sql} cannot hold: {_reason(error)}."
            ) from None
    return _rows(columns, batch.num_rows)


def _reason(error: Exception) -> str:
    # Arrow's message quotes the value, this one does not
    return str(error) if type(error) is OverflowError else "they would lose digits"


def _rows(columns: list[Values], count: int) -> memoryview:
    """Interleave columns into rows: the number of fields, then the length and bytes of each."""
    positions = np.full(count, 2, dtype=np.int64)
    for column in columns:
        positions += 4 + np.maximum(column.lengths, 0)
    ends = np.cumsum(positions)
    out = np.empty(int(ends[-1]) if count else 0, dtype=np.uint8)
    position = ends - positions
    _put(out, position, np.full(count, len(columns), dtype=">i2").view(np.uint8).reshape(count, 2))
    position += 2
    for column in columns:
        _put(out, position, column.lengths.astype(">i4").view(np.uint8).reshape(count, 4))
        position += 4
        sizes = np.maximum(column.lengths, 0)
        _put_values(out, position, column, sizes)
        position += sizes
    return out.data


def _put(out: Bytes, positions: Integers, values: Bytes) -> None:
    """Copy row i of ``values`` to position i."""
    for offset in range(values.shape[1]):
        out[positions + offset] = values[:, offset]


def _put_values(out: Bytes, positions: Integers, column: Values, sizes: Integers) -> None:
    data, width = column.data, int(sizes.max(initial=0))
    if not len(data):
        return
    present = column.lengths != _NULL
    if width <= 40 and len(data) == width * int(present.sum()):  # all have the same length
        _put(out, positions[present], data.reshape(-1, width))
        return
    starts = np.cumsum(sizes) - sizes
    if len(data) > 100 * len(sizes):  # long values: an index of every byte would be eight times as large
        for position, start, size in zip(positions.tolist(), starts.tolist(), sizes.tolist(), strict=True):
            out[position : position + size] = data[start : start + size]
        return
    out[np.repeat(positions - starts, sizes) + np.arange(len(data))] = data


# --- one encoder per kind of type ---------------------------------------------------------------------------


def _fixed(array: pa.Array, values: np.ndarray[Any, Any], width: int) -> Values:
    """Return fixed-width ``values`` (one for each element, NULLs included)."""
    present = array.is_valid().to_numpy(zero_copy_only=False)
    data = np.ascontiguousarray(values).view(np.uint8).reshape(len(array), width)
    return Values(data[present].reshape(-1), np.where(present, width, _NULL))


def _number(kind: pa.DataType, network: str) -> Encoder:
    width = np.dtype(network).itemsize

    def encode_number(array: pa.Array) -> Values:
        numbers = array.cast(kind).fill_null(0).to_numpy(zero_copy_only=False)
        return _fixed(array, numbers.astype(network), width)

    return encode_number


def _boolean(array: pa.Array) -> Values:
    return _fixed(array, array.fill_null(False).to_numpy(zero_copy_only=False).astype(np.uint8), 1)


def _date(array: pa.Array) -> Values:
    days = array.cast(pa.date32()).cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return _fixed(array, _shifted(days, _EPOCH_DAYS, np.iinfo(np.int32)).astype(">i4"), 4)


def _timestamp(array: pa.Array) -> Values:
    kind = pa.timestamp("us", tz=array.type.tz)
    microseconds = array.cast(kind).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return _fixed(array, _shifted(microseconds, _EPOCH_MICROSECONDS, np.iinfo(np.int64)).astype(">i8"), 8)


def _shifted(values: Integers, epoch: int, limits: np.iinfo[Any]) -> Integers:
    # the lowest two numbers and the highest cannot be used: PostgreSQL reads them as infinity
    if len(values) and int(values.min()) < limits.min + epoch + 1:
        raise OverflowError("they are before the first date that PostgreSQL has")
    return values - epoch


def _time(array: pa.Array) -> Values:
    microseconds = array.cast(pa.time64("us")).cast(pa.int64()).fill_null(0)
    return _fixed(array, microseconds.to_numpy(zero_copy_only=False).astype(">i8"), 8)


def _binary(array: pa.Array) -> Values:
    array = array.cast(pa.large_binary())
    lengths = pc.binary_length(array).fill_null(_NULL).to_numpy(zero_copy_only=False).astype(np.int64)
    if len(array) == 0 or array.buffers()[2] is None:
        return Values(np.empty(0, dtype=np.uint8), lengths)
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(array.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]]
    if len(data) != int(np.maximum(lengths, 0).sum()):  # a NULL may have bytes in the buffer
        return _binary(pa.array(array.to_pylist(), pa.large_binary()))
    return Values(data, lengths)


def _text(array: pa.Array) -> Values:
    values = _binary(array.cast(pa.large_string()))
    if not values.data.all():
        raise OverflowError("text in PostgreSQL cannot have U+0000; replace() it in the source")
    return values


def _uuid(array: pa.Array) -> Values:
    return _binary(array.storage)


def _json(array: pa.Array) -> Values:
    """Encode nested values as ``jsonb``: a version byte, then JSON text."""
    texts = [
        None if value is None else "\x01" + json.dumps(value, allow_nan=False, ensure_ascii=False, default=str)
        for value in array.to_pylist(maps_as_pydicts="strict")
    ]
    return _text(pa.array(texts, pa.large_string()))


def _numeric(array: pa.Array) -> Values:
    """
    Encode decimals as groups of four digits, with the decimal point between two groups.

    The digits of all values have the same width, padded with zeros, which PostgreSQL strips.
    """
    precision, scale = array.type.precision, array.type.scale
    fraction_groups = -(-max(scale, 0) // 4)
    whole_groups = max(-(-(precision - scale) // 4), 1)
    groups, padding = whole_groups + fraction_groups, fraction_groups * 4 - scale
    unscaled = pa.decimal256(76, 0) if array.type.bit_width > 128 else pa.decimal128(38, 0)
    if array.type.bit_width < 128:
        array = array.cast(pa.decimal128(precision, scale))
    integers = pa.Array.from_buffers(unscaled, len(array), array.buffers(), offset=array.offset)
    text = integers.cast(pa.string()).fill_null("0")
    digits = pc.utf8_lpad(pc.utf8_ltrim(text, "-"), groups * 4 - padding, "0")
    digits = pc.binary_join_element_wise(digits, "0" * padding, "")
    ascii_digits = _binary(digits.cast(pa.binary())).data.reshape(len(array), groups, 4) - ord("0")
    out = np.empty((len(array), 4 + groups), dtype=">i2")
    out[:, 0] = groups
    out[:, 1] = whole_groups - 1  # the weight of the first group, as a power of 10,000
    out[:, 2] = np.where(pc.starts_with(text, "-").to_numpy(zero_copy_only=False), 0x4000, 0)
    out[:, 3] = max(scale, 0)
    out[:, 4:] = ascii_digits @ np.array([1000, 100, 10, 1])
    return _fixed(array, out, 2 * (4 + groups))


def _either(*tests: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    return lambda kind: any(test(kind) for test in tests)


def _is_text_dictionary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) and _is_text(kind.value_type))


_is_text = _either(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_is_bytes = _either(
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary
)
_is_small = _either(pa.types.is_int8, pa.types.is_uint8, pa.types.is_int16)
_is_real = _either(pa.types.is_float16, pa.types.is_float32)

_SIMPLE: tuple[tuple[Callable[[pa.DataType], bool], ColumnType], ...] = (
    (lambda kind: isinstance(kind, pa.UuidType), ColumnType("uuid", _uuid)),
    (pa.types.is_boolean, ColumnType("boolean", _boolean)),
    (_is_small, ColumnType("smallint", _number(pa.int16(), ">i2"))),
    (_either(pa.types.is_uint16, pa.types.is_int32), ColumnType("integer", _number(pa.int32(), ">i4"))),
    (_either(pa.types.is_uint32, pa.types.is_int64), ColumnType("bigint", _number(pa.int64(), ">i8"))),
    (
        pa.types.is_uint64,
        ColumnType("numeric(20,0)", lambda array: _numeric(array.cast(pa.decimal128(20, 0)))),
    ),
    (_is_real, ColumnType("real", _number(pa.float32(), ">f4"))),
    (pa.types.is_float64, ColumnType("double precision", _number(pa.float64(), ">f8"))),
    (pa.types.is_date, ColumnType("date", _date)),
    (pa.types.is_time, ColumnType("time without time zone", _time)),
    (_either(_is_text, _is_text_dictionary, pa.types.is_null), ColumnType("text", _text)),
    (_is_bytes, ColumnType("bytea", _binary)),
    (pa.types.is_nested, ColumnType("jsonb", _json)),
)
