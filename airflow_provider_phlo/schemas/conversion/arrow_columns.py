"""Columns of Arrow tables whose values Python, or a table, would have in fewer digits or without their meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_JSON_OR_UUID = (pa.JsonType, pa.UuidType)
# milliseconds
_DAY = 86_400_000
_PER_MILLISECOND = {"s": 0.001, "ms": 1, "us": 1000, "ns": 1_000_000}


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """
    Return a column without types that only its maker knows, and without dates that have a time of day.

    An extension type is read as what it is stored as, but JSON and UUIDs; periods and intervals of pandas, which are
    stored as counts, as their text. ``date64`` may hold milliseconds of a day: they make it a timestamp.
    """
    kind = values.type
    if pa.types.is_dictionary(kind) and not _stays_encoded(kind.value_type):
        decoded = [chunk.dictionary.take(chunk.indices) for chunk in values.chunks]
        return plain(pa.chunked_array(decoded, kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return plain(pa.chunked_array([pc.run_end_decode(chunk) for chunk in values.chunks], kind.value_type))
    if isinstance(kind, pa.Bool8Type):
        return values.cast(pa.bool_())
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, _JSON_OR_UUID):
        if kind.extension_name.startswith("pandas."):
            return _texts(values.to_pandas())
        return plain(pa.chunked_array([chunk.storage for chunk in values.chunks], kind.storage_type))
    if pa.types.is_date64(kind):
        return values if _are_days(values) else values.cast(pa.timestamp("ms"))
    return values


def _stays_encoded(kind: pa.DataType) -> bool:
    """Return whether values of a dictionary are converted as they are: those whose digits have to be judged are not."""
    return not (pa.types.is_temporal(kind) or isinstance(kind, pa.BaseExtensionType) or pa.types.is_dictionary(kind))


def repeated_member(kind: pa.DataType) -> str:
    """Return the name that two members of a struct have, in whatever ``kind`` it is; empty if there is none."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return repeated_member(kind.value_type)
    inside = [kind.field(number) for number in range(kind.num_fields)]
    names = [item.name for item in inside] if pa.types.is_struct(kind) else []
    repeated = (name for name in names if names.count(name) > 1)
    return next(repeated, "") or next(filter(None, (repeated_member(item.type) for item in inside)), "")


def inexact(values: pa.ChunkedArray) -> list[int]:
    """Return the positions of nested values with more digits than Python's times and dates have."""
    if not _may_be_inexact(values.type):
        return []
    rougher = _rougher(values.type)
    if _casts(values, rougher):
        return []
    # made anew, because a cast sees what lies in memory beside a slice
    return [at for at, value in enumerate(values) if not _casts(pa.repeat(value, 1), rougher)]


def times_of_no_day(values: pa.ChunkedArray) -> list[int]:
    """Return the positions of nested values with times before or after a day, which Python reads as others of it."""
    if not _has_times(values.type) or all(map(_is_of_a_day, _times(values))):
        return []
    return [at for at in range(len(values)) if not all(map(_is_of_a_day, _times(values.slice(at, 1))))]


def _has_times(kind: pa.DataType) -> bool:
    inside = [kind.field(number).type for number in range(kind.num_fields)]
    return any(pa.types.is_time(each) or _has_times(each) for each in inside)


def _times(values: pa.Array | pa.ChunkedArray) -> Iterator[pa.Array]:
    """Yield the times of day in nested values."""
    kind = values.type
    if isinstance(values, pa.ChunkedArray):
        for chunk in values.chunks:
            yield from _times(chunk)
    elif pa.types.is_time(kind):
        yield values
    elif pa.types.is_struct(kind):
        for member in values.flatten():
            yield from _times(member)
    elif pa.types.is_map(kind):
        pairs = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        yield from _times(values.cast(pa.list_(pairs)))
    elif pa.types.is_nested(kind) and not pa.types.is_union(kind):
        yield from _times(values.flatten())


def _is_of_a_day(times: pa.Array) -> bool:
    numbers = pc.min_max(times.cast(pa.int32() if times.type.bit_width == 32 else pa.int64())).as_py()
    day = _DAY * _PER_MILLISECOND[times.type.unit]
    return numbers["min"] is None or (numbers["min"] >= 0 and numbers["max"] < day)


def _casts(values: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        values.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _may_be_inexact(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_may_be_inexact(kind.field(number).type) for number in range(kind.num_fields))
    return pa.types.is_date64(kind) or kind == pa.time64("ns")


def _rougher(kind: pa.DataType) -> pa.DataType:
    """Return ``kind`` with times and dates as Python has them."""
    if pa.types.is_struct(kind):
        return pa.struct([item.with_type(_rougher(item.type)) for item in kind])
    if pa.types.is_map(kind):
        return pa.map_(_rougher(kind.key_type), _rougher(kind.item_type))
    if pa.types.is_nested(kind) and kind.num_fields == 1:
        return pa.list_(kind.field(0).with_type(_rougher(kind.field(0).type)))
    if pa.types.is_date64(kind):
        return pa.date32()
    return pa.time64("us") if pa.types.is_time64(kind) else kind


def _are_days(dates: pa.ChunkedArray) -> bool:
    numbers = dates.cast(pa.int64())
    return not pc.any(pc.not_equal(pc.multiply(pc.divide(numbers, _DAY), _DAY), numbers)).as_py()


def _texts(series: Any) -> pa.ChunkedArray:
    gaps = series.isna()
    return pa.chunked_array(
        [[None if gap else str(value) for value, gap in zip(series, gaps, strict=True)]], pa.string()
    )
