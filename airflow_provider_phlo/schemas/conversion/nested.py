"""Which nested values a list, struct or map column of a table holds exactly; all others become JSON text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from airflow_provider_phlo.schemas.conversion.arrow_columns import inexact
from airflow_provider_phlo.schemas.conversion.storable import Array, Values
from airflow_provider_phlo.schemas.values import ARROW_ERRORS, CONVERSION_ERRORS, NESTED, text


def assign_nested(values: Values, target: pa.DataType) -> tuple[Array | None, Values | None]:
    """
    Split ``values`` into those that ``target`` holds exactly, as ``target``, and the others.

    A member of a struct that is absent is the same as one that is NULL.

    :param target: the nested type that the column has in the table.
    :returns: two columns, each as long as ``values`` with NULL for the values of the other; None if it would be empty.
    """
    if not _all_optional(target):
        return None, values
    if isinstance(values, pa.ChunkedArray):
        if values.type.equals(target):
            return values.cast(target), None
        if not pa.types.is_nested(values.type) or inexact(values):
            return None, values
    try:
        some: Sequence[Any] = values.to_pylist() if isinstance(values, pa.ChunkedArray) else values
    except CONVERSION_ERRORS:  # a date that Python does not have
        return None, values
    held = [_held(value, target) for value in some]
    rest = [value if found is None else None for value, found in zip(some, held, strict=True)]
    if all(found is None for found in held):
        return None, values
    return pa.array(held, target), rest if any(value is not None for value in rest) else None


def _held(value: Any, target: pa.DataType) -> Any:
    """Return ``value`` as ``target`` has it, or None if anything would change."""
    if not isinstance(value, NESTED):
        return None
    try:
        found = pa.scalar(value, target).as_py()
        return found if text(_without_nulls(found)) == text(_without_nulls(value)) else None
    except (*ARROW_ERRORS, *CONVERSION_ERRORS):
        return None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list | tuple) else value


def _all_optional(kind: pa.DataType) -> bool:
    """Return whether NULL may be in every place: Arrow does not check that it is not."""
    if pa.types.is_map(kind):
        return kind.item_field.nullable and _all_optional(kind.key_type) and _all_optional(kind.item_type)
    inside = [kind.field(number) for number in range(kind.num_fields)]
    return all(item.nullable and _all_optional(item.type) for item in inside)
