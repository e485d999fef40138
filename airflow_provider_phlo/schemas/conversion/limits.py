"""Values that no column of a table can hold, whatever its type: they are named before a library fails on them."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.plain_values import is_outside_years
from airflow_provider_phlo.schemas.conversion.arrow_columns import times_of_no_day
from airflow_provider_phlo.schemas.conversion.storable import Values, decode
from airflow_provider_phlo.schemas.values import type_name

_DAYS = (datetime.date.min - datetime.date(1970, 1, 1)).days, (datetime.date.max - datetime.date(1970, 1, 1)).days
_SECONDS = _DAYS[0] * 86400, (_DAYS[1] + 1) * 86400 - 1
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def unstorable(values: Values) -> tuple[str, list[int]]:
    """
    Return the positions of the values that a table cannot hold, and the rule that they break.

    Dates and timestamps outside the years 1 to 9999 in UTC, which neither Python nor SQL engines read. Of records also
    decimals that are infinite, durations of more than 292,000 years, and times of day with an offset, whose instant
    depends on the day; of Arrow's, times that are not of a day, also in nested
    values. Values of one rule are found at a time.
    """
    if isinstance(values, pa.ChunkedArray):
        return _outside_years(values)
    kinds = set(map(type, values))
    for family, check, is_bad in _RULES:
        if any(issubclass(kind, family) for kind in kinds):
            bad = [at for at, each in enumerate(values) if isinstance(each, family) and is_bad(each)]
            if bad:
                return check, bad
    return "", []


def _has_no_utc(value: datetime.datetime) -> bool:
    """Return whether the instant is before the year 1 or after 9999, though its own clock shows these years."""
    if value.tzinfo is None or value.year not in (datetime.MINYEAR, datetime.MAXYEAR):
        return False
    try:
        value.astimezone(datetime.UTC)
    except OverflowError:
        return True
    return False


# Arrow's, in microseconds
_LONGEST_DURATION = datetime.timedelta(microseconds=2**63 - 1)

# of values in records: their type, the rule, and whether one breaks it
_RULES: tuple[tuple[type, str, Callable[[Any], bool]], ...] = (
    (decimal.Decimal, "is_decimal", decimal.Decimal.is_infinite),
    (datetime.time, "is_time", lambda value: value.tzinfo is not None),
    (datetime.datetime, "is_timestamp", _has_no_utc),
    (np.datetime64, "is_timestamp", is_outside_years),
    (datetime.timedelta, "is_duration", lambda value: abs(value) > _LONGEST_DURATION),
)


def _outside_years(values: pa.ChunkedArray) -> tuple[str, list[int]]:
    if pa.types.is_dictionary(values.type) and pa.types.is_temporal(values.type.value_type):
        values = decode(values)
    kind = values.type
    if pa.types.is_date(kind):
        numbers, limits = values.cast(pa.date32()).cast(pa.int32()), _DAYS
    elif pa.types.is_timestamp(kind):
        units = _PER_SECOND[kind.unit]
        numbers, limits = values.cast(pa.int64()), (_SECONDS[0] * units, (_SECONDS[1] + 1) * units - 1)
    elif pa.types.is_time(kind):
        numbers = values.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
        limits = 0, 86_400 * _PER_SECOND[kind.unit] - 1
    else:
        return "is_time", times_of_no_day(values)
    found = pc.min_max(numbers).as_py()
    if found["min"] is None or (limits[0] <= found["min"] and found["max"] <= limits[1]):
        return "", []
    inside = pc.and_(pc.greater_equal(numbers, limits[0]), pc.less_equal(numbers, limits[1]))
    bad = np.flatnonzero(~pc.fill_null(inside, True).to_numpy()).tolist()
    return f"is_{type_name(kind)}", bad


def without(values: Values, positions: Sequence[int]) -> Values:
    """Return ``values`` with NULL at ``positions``."""
    if isinstance(values, pa.ChunkedArray):
        gone = np.zeros(len(values), bool)
        gone[[*positions]] = True
        values = decode(values) if pa.types.is_dictionary(values.type) else values
        if isinstance(values.type, pa.BaseExtensionType) or pa.types.is_union(values.type):
            return values.take(pa.array(np.arange(len(values)), mask=gone))
        return pc.if_else(pa.chunked_array([gone]), pa.scalar(None, values.type), values)
    found: list[Any] = [*values]
    for position in positions:
        found[position] = None
    return found


def readable(rows: pa.Table) -> pa.Table:
    """Return ``rows`` with text in the place of columns that hold dates which Python does not have."""
    for at, item in enumerate(rows.schema):
        column = rows[item.name]
        if not _is_readable(column):
            column = decode(column) if pa.types.is_dictionary(item.type) else column
            rows = rows.set_column(at, item.name, column.cast(_with_text(column.type)))
    return rows


def _with_text(kind: pa.DataType) -> pa.DataType:
    """Return a type with text in the place of dates and timestamps."""
    if pa.types.is_struct(kind):
        return pa.struct([(item.name, _with_text(item.type)) for item in kind])
    if pa.types.is_map(kind):
        return pa.map_(_with_text(kind.key_type), _with_text(kind.item_type))
    if pa.types.is_nested(kind):
        return pa.list_(_with_text(kind.value_type))
    return pa.string() if pa.types.is_date(kind) or pa.types.is_timestamp(kind) else kind


def _is_readable(values: pa.ChunkedArray) -> bool:
    if not pa.types.is_nested(values.type):
        return not _outside_years(values)[1]
    try:
        values.to_pylist()
    except (OverflowError, ValueError):
        return False
    return True
