"""Columns in the Arrow types that Iceberg tables have; nested and mixed values as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.schemas.conversion.arrow_columns import inexact
from airflow_provider_phlo.schemas.values import CONVERSION_ERRORS, is_missing, text

Values: TypeAlias = "Sequence[Any] | pa.ChunkedArray"

Array: TypeAlias = "pa.Array | pa.ChunkedArray"

TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)

# how many nested values are Python objects at a time: more would keep the garbage collector busy
NESTED_AT_A_TIME = 512


def storable(values: Array) -> Array:
    """Convert what Iceberg has no type for: dictionaries, nanoseconds, half floats, large and view types."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return decode(values)
    if isinstance(kind, pa.BaseExtensionType):
        return as_text(values.to_pylist())
    wanted = pa.binary() if pa.types.is_fixed_size_binary(kind) else storable_type(kind)
    if wanted == kind:
        return values
    return pc.cast(values, wanted, safe=not pa.types.is_temporal(kind))


def decode(values: Array) -> Array:
    """Return the values of a dictionary-encoded column; Arrow's own cast supports fewer types."""
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    if not chunks:
        return pa.chunked_array([], storable_type(values.type.value_type))
    return pa.chunked_array([storable(chunk.dictionary).take(chunk.indices) for chunk in chunks])


def storable_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_date64(kind):
        return pa.date32()
    if pa.types.is_time(kind):
        return pa.time64("us")
    return pa.float32() if pa.types.is_float16(kind) else kind


class NoText(Exception):
    """Values that no text has exactly: nested too deeply, integers with thousands of digits, nested nanoseconds."""

    def __init__(self, positions: list[int]) -> None:
        super().__init__(positions)
        self.positions = positions


def as_text(values: Iterable[Any]) -> pa.Array:
    values = list(values)
    try:
        return pa.array(map(_text_or_none, values), pa.string())
    except CONVERSION_ERRORS:
        raise NoText([position for position, value in enumerate(values) if not _has_text(value)]) from None


def _text_or_none(value: Any) -> str | None:
    return None if value is None or is_missing(value) else text(value)


def _has_text(value: Any) -> bool:
    try:
        _text_or_none(value)
    except CONVERSION_ERRORS:
        return False
    return True


def nested_as_json(values: pa.ChunkedArray) -> pa.ChunkedArray:
    parts = []
    for start in range(0, len(values), NESTED_AT_A_TIME):
        some = values.slice(start, NESTED_AT_A_TIME)
        if longer := inexact(some):
            raise NoText([position + start for position in longer])
        try:
            parts.append(as_text(some.to_pylist()))
        except NoText as error:
            raise NoText([position + start for position in error.positions]) from None
        except CONVERSION_ERRORS:  # a date that Python does not have
            unreadable = [position for position in range(len(some)) if not _has_value(some[position])]
            raise NoText([position + start for position in unreadable]) from None
    return pa.chunked_array(parts, pa.string())


def _has_value(value: pa.Scalar) -> bool:
    try:
        value.as_py()
    except CONVERSION_ERRORS:
        return False
    return True
