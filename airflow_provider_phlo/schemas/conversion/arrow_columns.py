"""Columns of Arrow tables whose values Python, or a table, would have in fewer digits or without their meaning."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_JSON_OR_UUID = (pa.JsonType, pa.UuidType)
# milliseconds
_DAY = 86_400_000


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
