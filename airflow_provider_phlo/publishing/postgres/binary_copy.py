"""
Arrow batches in PostgreSQL's binary COPY format: every value exactly, without a Python object per value.

Each column is brought into a form whose bytes are those of its PostgreSQL type, and checked for what that type cannot
hold; pgpq then writes the rows. Format: https://www.postgresql.org/docs/current/sql-copy.html (binary).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pgpq
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.conversion.arrow_columns import inexact, times_of_no_day

# 4714-11-24 BC and 5874897-12-31, counted from 1970; a timestamp's last year is beyond what Arrow counts
_FIRST_DAY, _LAST_DAY = -2_440_588, 2_145_042_905
_FIRST_MICROSECOND = _FIRST_DAY * 86_400_000_000
# what a decimal128 holds
_DIGITS = 38
# U+0000 as JSON writes it, not a backslash before "u0000"
_ESCAPED_NUL = r"[^\\](\\\\)*\\u0000"

Prepare = Callable[[pa.Array], pa.Array]


class ColumnType(NamedTuple):
    """
    The PostgreSQL type of an Arrow column.

    :param sql: the type as ``format_type`` writes it.
    :param arrow: an Arrow type that pgpq writes as PostgreSQL reads ``sql``.
    :param prepare: returns a column as ``arrow``, or raises where a value does not fit.
    """

    sql: str
    arrow: pa.DataType
    prepare: Prepare


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
        zone, stored = "with" if kind.tz else "without", pa.timestamp("us", tz=kind.tz)
        return ColumnType(f"timestamp {zone} time zone", stored, lambda array: _timestamp(array.cast(stored)))
    if pa.types.is_decimal(kind):
        return _decimal(kind)
    raise SchemaError(f"Column {field.name}: PostgreSQL has no type for Arrow's {kind}. Cast it in the source.")


def encode(batches: Iterable[pa.RecordBatch], types: Mapping[str, ColumnType]) -> Iterator[bytes]:
    """
    Yield what COPY reads: a header, the rows of all batches, and the end.

    :param types: the type of each column, in the batches' order.
    :raises SchemaError: a value does not fit its type: U+0000 in text, nanoseconds, years beyond PostgreSQL's.
    """
    # by position: names need not be distinct for it
    schema = pa.schema([(str(number), kind.arrow) for number, kind in enumerate(types.values())])
    encoder = pgpq.ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header()
    for batch in batches:
        # empty until some megabytes are full
        if written := encoder.write_batch(_prepared(batch, types, schema)):
            yield written
    yield encoder.finish()


def _prepared(batch: pa.RecordBatch, types: Mapping[str, ColumnType], schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field, column, kind in zip(batch.schema, batch.columns, types.values(), strict=True):
        try:
            columns.append(kind.prepare(column))
        except (pa.ArrowInvalid, OverflowError, ValueError) as error:
            raise SchemaError(
                f"Column {field.name} ({field.type}) has values that {kind.sql} cannot hold: {_reason(error)}."
            ) from None
    return pa.record_batch(columns, schema)


def _reason(error: Exception) -> str:
    # Arrow's message quotes the value, this one does not
    return str(error) if type(error) is OverflowError else "they would lose digits"


# --- one for each kind of type -------------------------------------------------------------------------------


def _cast(sql: str, kind: pa.DataType) -> ColumnType:
    return ColumnType(sql, kind, lambda array: array.cast(kind))


def _date(array: pa.Array) -> pa.Array:
    days = array.cast(pa.date32())
    _require_within(days.cast(pa.int32()), _FIRST_DAY, _LAST_DAY)
    return days


def _timestamp(array: pa.Array) -> pa.Array:
    _require_within(array.cast(pa.int64()), _FIRST_MICROSECOND, np.iinfo(np.int64).max)
    return array


def _require_within(numbers: pa.Array, first: int, last: int) -> None:
    least, most = pc.min(numbers).as_py(), pc.max(numbers).as_py()
    if least is not None and not first <= least <= most <= last:
        raise OverflowError("they are before the first date that PostgreSQL has, 4714-11-24 BC, or after its last")


def _text(array: pa.Array) -> pa.Array:
    texts = array.cast(pa.large_string())
    _require_none(pc.match_substring(texts, "\x00"))
    return texts


def _require_none(has_nul: pa.Array) -> None:
    count = pc.sum(has_nul).as_py()
    if count:
        raise OverflowError(f"text in PostgreSQL cannot have U+0000, and {count} row(s) do; replace() it in the source")


def _json(array: pa.Array) -> pa.Array:
    """Return nested values as ``jsonb``: a version byte, then JSON text."""
    values = pa.chunked_array([array])
    if inexact(values) or times_of_no_day(values):
        raise ValueError
    texts = [None if value is None else "\x01" + _json_text(value) for value in _without_maps(array)]
    found = pa.array(texts, pa.large_string())
    _require_none(pc.match_substring_regex(found, _ESCAPED_NUL))
    return found


def _without_maps(array: pa.Array) -> list[Any]:
    """Return nested values with objects in the place of maps."""
    try:
        found: list[Any] = array.to_pylist(maps_as_pydicts="strict")
    except KeyError:  # whose text is the key
        raise OverflowError("an object has each name once, and a map has one of its keys twice") from None
    except TypeError:
        raise OverflowError("an object's names are text, and the keys of a map are nested values") from None
    return found


def _json_text(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, default=_member)
    except TypeError:
        raise OverflowError("an object's names are text, and a map has keys of another type; cast them") from None


def _member(value: Any) -> str:
    if isinstance(value, bytes):
        raise OverflowError("JSON has no bytes: encode them as text (to_base64, hex) in the source")
    return str(value)


def _decimal(kind: pa.DataType) -> ColumnType:
    # before version 15, PostgreSQL has no negative scale
    precision, scale = kind.precision - min(kind.scale, 0), max(kind.scale, 0)
    sql = f"numeric({precision},{scale})"
    if precision <= _DIGITS:
        return _cast(sql, pa.decimal128(precision, scale))
    return ColumnType(sql, pa.large_binary(), _numeric)


def _numeric(array: pa.Array) -> pa.Array:
    """
    Return decimals that are too long for pgpq as groups of four digits, the decimal point between two groups.

    The digits of all values have the same width, padded with zeros, which PostgreSQL strips.
    """
    precision, scale = array.type.precision, array.type.scale
    if scale < 0:
        array, scale = array.cast(pa.decimal256(precision - scale, 0)), 0
        precision = array.type.precision
    fraction_groups = -(-scale // 4)
    whole_groups = max(-(-(precision - scale) // 4), 1)
    groups, padding = whole_groups + fraction_groups, fraction_groups * 4 - scale
    integers = pa.Array.from_buffers(pa.decimal256(76, 0), len(array), array.buffers(), offset=array.offset)
    text = integers.cast(pa.string())
    digits = pc.utf8_lpad(pc.utf8_ltrim(text.fill_null("0"), "-"), groups * 4 - padding, "0")
    digits = pc.binary_join_element_wise(digits, "0" * padding, "").cast(pa.binary(groups * 4))
    characters = np.frombuffer(digits.buffers()[1], np.uint8).reshape(-1, groups, 4)[: len(array)] - ord("0")
    out = np.empty((len(array), 4 + groups), dtype=">i2")
    out[:, 0] = groups
    out[:, 1] = whole_groups - 1  # the weight of the first group, as a power of 10,000
    out[:, 2] = np.where(pc.starts_with(text, "-").fill_null(False).to_numpy(zero_copy_only=False), 0x4000, 0)
    out[:, 3] = scale
    out[:, 4:] = characters @ np.array([1000, 100, 10, 1])
    width = 2 * (4 + groups)
    values = pa.Array.from_buffers(pa.binary(width), len(array), [None, pa.py_buffer(out.tobytes())])
    return pc.if_else(array.is_valid(), values, pa.scalar(None, pa.binary(width))).cast(pa.large_binary())


def _either(*tests: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    return lambda kind: any(test(kind) for test in tests)


def _is_text_dictionary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) and _is_text(kind.value_type))


def _storage(array: pa.Array) -> pa.Array:
    return array.storage


_is_text = _either(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_is_bytes = _either(
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary
)
_is_small = _either(pa.types.is_int8, pa.types.is_uint8, pa.types.is_int16)
_is_real = _either(pa.types.is_float16, pa.types.is_float32)

_SIMPLE: tuple[tuple[Callable[[pa.DataType], bool], ColumnType], ...] = (
    (lambda kind: isinstance(kind, pa.UuidType), ColumnType("uuid", pa.binary(16), _storage)),
    (pa.types.is_boolean, _cast("boolean", pa.bool_())),
    (_is_small, _cast("smallint", pa.int16())),
    (_either(pa.types.is_uint16, pa.types.is_int32), _cast("integer", pa.int32())),
    (_either(pa.types.is_uint32, pa.types.is_int64), _cast("bigint", pa.int64())),
    (pa.types.is_uint64, _cast("numeric(20,0)", pa.decimal128(20, 0))),
    (_is_real, _cast("real", pa.float32())),
    (pa.types.is_float64, _cast("double precision", pa.float64())),
    (pa.types.is_date, ColumnType("date", pa.date32(), _date)),
    (pa.types.is_time, _cast("time without time zone", pa.time64("us"))),
    (_either(_is_text, _is_text_dictionary, pa.types.is_null), ColumnType("text", pa.large_string(), _text)),
    (_is_bytes, _cast("bytea", pa.large_binary())),
    (pa.types.is_nested, ColumnType("jsonb", pa.large_binary(), lambda array: _json(array).cast(pa.large_binary()))),
)
