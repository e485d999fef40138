"""The type of a column that no schema declares: the one it has in the table if its values fit, else their own."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from airflow_provider_phlo.schemas.columns import DECIMAL, TIMESTAMP
from airflow_provider_phlo.schemas.conversion.casts import convert_column
from airflow_provider_phlo.schemas.conversion.storable import (
    Array,
    Values,
    as_text,
    nested_as_json,
    storable,
    storable_type,
)
from airflow_provider_phlo.schemas.values import ARROW_ERRORS, NESTED, is_missing, timestamp

INTEGER_BEYOND_LONG = pa.decimal128(38, 0)


def type_undeclared(values: Values, known: pa.DataType | None) -> Array:
    """Return ``values`` in the type of the table's column if all fit, else in their own."""
    inferred = _infer(values)
    if known is None or pa.types.is_null(inferred.type) or pa.types.is_nested(known):
        return inferred
    known = storable_type(known)
    if inferred.type == known:
        return inferred
    try:
        converted, bad = convert_column(values, known)
    except KeyError:  # a type that only other programs write: uuid, fixed-length bytes
        return inferred
    return inferred if bad else converted


def _infer(values: Values) -> Array:
    """Return ``values`` in a type of their own: nested ones as JSON text, mixed ones as text."""
    if isinstance(values, pa.ChunkedArray):
        return nested_as_json(values) if pa.types.is_nested(values.type) else storable(values)
    kinds = {type(value) for value in values}
    if any(issubclass(kind, NESTED) for kind in kinds):
        return as_text(values)
    try:
        return _of_one_family(values, {_family(kind) for kind in kinds if kind is not type(None)})
    except (*ARROW_ERRORS, ValueError):  # integers of thousands of digits among decimals
        return as_text(values)


def _family(kind: type) -> type:
    """Return the basic type that ``kind`` derives from: a library's own date-time is a date-time."""
    families = (bool, int, float, str, bytes, decimal.Decimal, datetime.datetime, datetime.date)
    return next((family for family in families if issubclass(kind, family)), kind)


def _of_one_family(values: Sequence[Any], families: set[type]) -> Array:
    if len(families) > 1 and not families <= {int, float}:
        # pandas writes NaN, NaT or NA for a gap among other values
        values = [None if is_missing(value) else value for value in values]
        families = {_family(type(value)) for value in values if value is not None}
    if families == {int}:
        return _integers(values)
    if families <= {int, float} and families:
        return pa.array([_number(value) for value in values], pa.float64())
    if families == {datetime.datetime}:
        return _timestamps(values)
    if families and families <= {decimal.Decimal, int}:
        return _decimals(pa.array([None if value is None or is_missing(value) else value for value in values]))
    return as_text(values) if len(families) > 1 else _storable_or_json(pa.array(values), values)


def _number(value: Any) -> float | None:
    return None if value is None or is_missing(value) else float(value)


def _integers(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.int64())
    except (pa.ArrowInvalid, OverflowError):
        return pa.array([None if value is None else decimal.Decimal(value) for value in values], INTEGER_BEYOND_LONG)


def _timestamps(values: Sequence[Any]) -> pa.Array:
    values = [None if value is None or is_missing(value) else value for value in values]
    if any(value is not None and value.tzinfo is not None for value in values):
        return pa.array([None if value is None else timestamp(value) for value in values], TIMESTAMP)
    return pa.array(values, pa.timestamp("us"))


def _decimals(values: pa.Array) -> pa.Array:
    """Give decimals the same type whatever the digits in a batch; more digits than Iceberg has become text."""
    try:
        return values.cast(DECIMAL)
    except pa.ArrowInvalid:
        if not pa.types.is_decimal128(values.type):
            raise
        return values


def _storable_or_json(array: pa.Array, values: Sequence[Any]) -> Array:
    return as_text(values) if pa.types.is_nested(array.type) else storable(array)


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both: the wider number, a timestamp with time zone, else text."""
    if one == other:
        return one
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other):
        return TIMESTAMP if one.tz or other.tz else one
    try:
        merged = pa.unify_schemas([pa.schema([("", one)]), pa.schema([("", other)])], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.string()
    found = merged.field(0).type
    is_number = pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal128(found)
    return found if is_number else pa.string()
