"""What of nested values a list, struct or map column holds exactly; the rest becomes JSON text beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from airflow_provider_phlo.exact_json import read_json
from airflow_provider_phlo.plain_values import plain_value
from airflow_provider_phlo.schemas.conversion.arrow_columns import inexact
from airflow_provider_phlo.schemas.conversion.storable import Array, Values
from airflow_provider_phlo.schemas.values import ARROW_ERRORS, CONVERSION_ERRORS, NESTED, is_missing, text


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


def further_members(values: Values, declared: pa.DataType) -> list[Any] | None:
    """
    Return what structs have beside the members that ``declared`` has: nested values with nothing else in them.

    In the place of a list there is a list, with None for an element that has nothing more; in that of a map, a map of
    those that do. A member without a value is left out.

    :param declared: the type of the declared column.
    :returns: one for each value, None where there is nothing more; None if no value has more.
    """
    find = _finder(declared)
    if find is None:
        return None
    if isinstance(values, pa.ChunkedArray):
        if not _has_more(values.type, declared):
            return None
        try:
            values = values.to_pylist()
        except CONVERSION_ERRORS:  # a date that Python does not have: its row is bad
            return None
    found = [None if value is None else _more_in(value, find) for value in values]
    return found if any(more is not None for more in found) else None


_Finder = Callable[[Any], Any]


def _more_in(value: Any, find: _Finder) -> Any:
    try:
        plain = plain_value(value)
        return find(read_json(plain) if isinstance(plain, str) else plain)
    except CONVERSION_ERRORS:  # is not of the declared type: its row is bad
        return None


def _finder(kind: pa.DataType) -> _Finder | None:
    """Return a function that returns what a value has more than ``kind``, or None if no struct is in ``kind``."""
    if pa.types.is_struct(kind):
        return _more_of_struct(kind)
    if not pa.types.is_nested(kind):
        return None
    inside = _finder(kind.item_type if pa.types.is_map(kind) else kind.value_type)
    if inside is None:
        return None
    return _more_of_map(inside) if pa.types.is_map(kind) else _more_of_list(inside)


def _more_of_struct(kind: pa.StructType) -> _Finder:
    inside = {item.name: _finder(item.type) for item in kind}

    def find(value: Any) -> dict[Any, Any] | None:
        if not isinstance(value, Mapping):
            return None
        found = {}
        for name, member in value.items():
            if member is None:
                continue
            if name not in inside:
                more = None if is_missing(member) else member
            else:
                below = inside[name]
                more = None if below is None else _more_in(member, below)
            if more is not None:
                found[name] = more
        return found or None

    return find


def _more_of_list(inside: _Finder) -> _Finder:
    def find(value: Any) -> list[Any] | None:
        found = [None if each is None else _more_in(each, inside) for each in value]
        return found if any(more is not None for more in found) else None

    return find


def _more_of_map(inside: _Finder) -> _Finder:
    def find(value: Any) -> dict[Any, Any] | None:
        pairs = value.items() if isinstance(value, Mapping) else value
        found = {name: None if each is None else _more_in(each, inside) for name, each in pairs}
        return {name: more for name, more in found.items() if more is not None} or None

    return find


def _has_more(kind: pa.DataType, declared: pa.DataType) -> bool:
    """Return whether values of ``kind`` may have members that ``declared`` lacks; text may be JSON of any."""
    if not pa.types.is_nested(kind) or not pa.types.is_nested(declared):
        return pa.types.is_nested(declared) and not pa.types.is_null(kind)
    if pa.types.is_struct(kind) and pa.types.is_struct(declared):
        wanted = {item.name: item.type for item in declared}
        return any(item.name not in wanted or _has_more(item.type, wanted[item.name]) for item in kind)
    if pa.types.is_map(kind) and pa.types.is_map(declared):
        return _has_more(kind.item_type, declared.item_type)
    if kind.num_fields == 1 and declared.num_fields == 1:
        return _has_more(kind.field(0).type, declared.field(0).type)
    return True
