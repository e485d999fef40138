"""Convert whole columns to an Arrow type: by Arrow's own cast where that means the same, else value by value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exact_json import ExactNumber
from airflow_provider_phlo.schemas.conversion.storable import TEXT, Array, Values, as_text, decode, nested_as_json
from airflow_provider_phlo.schemas.values import ARROW_ERRORS, CONVERSION_ERRORS, converter, is_missing

_SAME_KIND: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_timestamp,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_decimal,
    lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind),
    lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind),
    lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
)

_INSTANT = pa.timestamp("us", "UTC")
_UTC_TIME = r"^[1-9]\d{3}-\d{2}-\d{2}T\d{2}:\d{2}:[0-5]\d(\.\d{1,6})?Z$"

_EXACT_TYPES: tuple[tuple[Callable[[pa.DataType], bool], set[type]], ...] = (
    (pa.types.is_string, {str}),
    (pa.types.is_integer, {int}),
    (pa.types.is_floating, {float, int, ExactNumber}),
    (pa.types.is_boolean, {bool}),
    (pa.types.is_binary, {bytes}),
)


def convert_column(values: Values, kind: pa.DataType) -> tuple[Array, list[int]]:
    """Return ``values`` as ``kind``, and the positions of those that cannot be converted."""
    if pa.types.is_float32(kind):
        return _narrowed(*convert_column(values, pa.float64()))
    if isinstance(values, pa.ChunkedArray):
        return _convert_array(values, kind)
    if _holds_only(values, kind):
        try:
            return pa.array(values, kind, from_pandas=True), []  # pandas writes NaN for a gap
        except ARROW_ERRORS:
            pass
    if kind == _INSTANT and _holds_only(values, pa.string()):
        with suppress(*ARROW_ERRORS):  # what UTF-8 cannot encode
            times = _utc_times(pa.chunked_array([pa.array(values, pa.string())]))
            if times is not None:
                return times, []
    return _convert_one_by_one(values, kind)


def _narrowed(numbers: Array, bad: list[int]) -> tuple[Array, list[int]]:
    """Return the nearest smaller floats; a finite number that none is near to is bad, rather than infinite."""
    found = numbers.cast(pa.float32(), safe=False)
    beyond = pc.and_(pc.is_inf(found), pc.is_finite(numbers))
    if not pc.any(beyond).as_py():
        return found, bad
    found = pc.if_else(beyond, pa.scalar(None, pa.float32()), found)
    return found, sorted({*bad, *pc.indices_nonzero(beyond).to_pylist()})


def _convert_array(values: pa.ChunkedArray, kind: pa.DataType) -> tuple[Array, list[int]]:
    if pa.types.is_dictionary(values.type):
        values = decode(values)
    if values.type == kind:
        return values, []
    if pa.types.is_nested(values.type) and pa.types.is_string(kind):
        return nested_as_json(values), []
    if pa.types.is_string(kind) and values.type == pa.time64("ns"):
        return _texts_of_times(values), []
    if _casts_alike(values.type, kind):
        try:
            return _cast(values, kind), []
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    if kind == _INSTANT and any(matches(values.type) for matches in TEXT):
        times = _utc_times(values.cast(pa.string()))
        if times is not None:
            return times, []
    return _convert_one_by_one(values.to_pylist(), kind)


def _texts_of_times(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times of day as Python writes them; one with nanoseconds, which Python does not have, as Arrow does."""
    shorter = pc.cast(times, pa.time64("us"), safe=False)
    exact = pc.equal(shorter.cast(times.type), times)
    return pc.if_else(exact, as_text(shorter.to_pylist()), times.cast(pa.string()))


def _utc_times(texts: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return times that all are written as most APIs do, which Arrow reads as Python does, only sooner; else None."""
    if not pc.all(pc.match_substring_regex(texts, _UTC_TIME), min_count=0).as_py():
        return None
    try:
        return texts.cast(_INSTANT)
    except pa.ArrowInvalid:  # no such day, or no such hour: which ones they are is found one by one
        return None


def _casts_alike(source: pa.DataType, kind: pa.DataType) -> bool:
    """Return whether Arrow's own cast gives what :mod:`airflow_provider_phlo.schemas.values` gives."""
    if pa.types.is_null(source) or (pa.types.is_integer(source) and pa.types.is_string(kind)):
        return True
    return any(matches(source) and matches(kind) for matches in _SAME_KIND)


def _cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(values.type):
        values = pc.cast(values, pa.timestamp("us", values.type.tz), safe=False)
        return pc.assume_timezone(values, "UTC") if values.type.tz is None and kind.tz else values.cast(kind)
    # a float holds the nearest number, as it does for records
    return values.cast(kind, safe=not pa.types.is_floating(kind))


def _holds_only(values: Sequence[Any], kind: pa.DataType) -> bool:
    """Return whether every value already has the Python type of ``kind``."""
    kinds = set(map(type, values))
    kinds.discard(type(None))
    return any(matches(kind) and kinds <= allowed for matches, allowed in _EXACT_TYPES)


def _convert_one_by_one(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    convert = converter(kind)
    good: list[Any] = []
    bad: list[int] = []
    for position, value in enumerate(values):
        try:
            good.append(None if value is None or is_missing(value) else convert(value))
        except CONVERSION_ERRORS:
            good.append(None)
            bad.append(position)
    try:
        return pa.array(good, kind), bad
    except ARROW_ERRORS:
        return _fit_one_by_one(good, kind, bad)


def _fit_one_by_one(values: list[Any], kind: pa.DataType, bad: list[int]) -> tuple[pa.Array, list[int]]:
    """Find the values that Python accepts and Arrow does not: out of range, too many digits, wrong nesting."""
    for position, value in enumerate(values):
        try:
            pa.scalar(value, kind)
        except ARROW_ERRORS:
            values[position] = None
            bad.append(position)
    return pa.array(values, kind), sorted(bad)
