"""Fit the columns of a data file to a table's fields: what is inside a nested column is found by field id, not name."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from airflow_provider_phlo.iceberg.tables.casting import cast, members, type_of_list

FIELD_ID = b"PARQUET:field_id"


def field_id(item: pa.Field) -> int | None:
    """Return the Iceberg field id that an Arrow field carries."""
    return int(item.metadata[FIELD_ID]) if item.metadata and FIELD_ID in item.metadata else None


def agrees(present: pa.Field, wanted: pa.Field) -> bool:
    """Return whether both have the same names and ids inside, in the same order: then Arrow's cast is enough."""
    inside, outside = members(present.type), members(wanted.type)
    return len(inside) == len(outside) and all(
        _same_place(one, other, wanted.type) and agrees(one, other) for one, other in zip(inside, outside, strict=True)
    )


def can_project(present: pa.Field, wanted: pa.Field) -> bool:
    """Return whether :func:`project` knows both types."""
    if _kind(present.type) != _kind(wanted.type):
        return False
    inside = {field_id(item): item for item in members(present.type)}
    if pa.types.is_struct(wanted.type):
        pairs = [(inside[field_id(item)], item) for item in wanted.type if field_id(item) in inside]
    else:
        pairs = list(zip(members(present.type), members(wanted.type), strict=True))
    return all(can_project(one, other) for one, other in pairs)


def project(
    values: pa.Array, present: pa.Field, wanted: pa.Field, defaults: Mapping[int | None, Any] = MappingProxyType({})
) -> pa.Array:
    """
    Return ``values`` as the table has them.

    :param present: the file's field, with ids; ``can_project(present, wanted)`` holds.
    :param wanted: the table's field, with ids.
    :param defaults: what members hold that the file lacks, by field id; NULL if it is not here.
    :raises pyarrow.ArrowInvalid: if a value does not fit its type.
    """
    if agrees(present, wanted):
        return cast(values, wanted.type)
    if pa.types.is_struct(wanted.type):
        return _project_struct(values, present, wanted, defaults)
    buffers = values.buffers()[:2]
    if pa.types.is_map(wanted.type):
        parts = zip((values.keys, values.items), members(present.type), members(wanted.type), strict=True)
        columns = [project(part, one, other, defaults) for part, one, other in parts]
        entries = pa.StructArray.from_arrays(columns, fields=members(wanted.type))
        return pa.Array.from_buffers(wanted.type, len(values), buffers, offset=values.offset, children=[entries])
    element = project(values.values, present.type.value_field, wanted.type.value_field, defaults)
    kind = type_of_list(present.type)(wanted.type.value_field)
    lists = pa.Array.from_buffers(kind, len(values), buffers, offset=values.offset, children=[element])
    return lists.cast(wanted.type)


def constant(value: Any, length: int, kind: pa.DataType) -> pa.Array:
    """
    Return an array of one value.

    :param value: as Iceberg holds it in partitions and defaults: dates and times are numbers, or text.
    """
    if value is None:
        return pa.nulls(length, kind)
    if isinstance(value, uuid.UUID):
        value = value.bytes
    if isinstance(value, str) and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        value = bytes.fromhex(value)
    days = isinstance(value, int) and pa.types.is_date32(kind)
    return cast(pa.repeat(pa.scalar(value, pa.int32() if days else None), length), kind)


def _project_struct(
    values: pa.StructArray, present: pa.Field, wanted: pa.Field, defaults: Mapping[int | None, Any]
) -> pa.StructArray:
    places = {field_id(item): position for position, item in enumerate(present.type)}
    columns = [
        project(values.field(places[field_id(item)]), present.type[places[field_id(item)]], item, defaults)
        if field_id(item) in places
        else constant(defaults.get(field_id(item)), len(values), item.type)
        for item in wanted.type
    ]
    return pa.StructArray.from_arrays(columns, fields=list(wanted.type), mask=values.is_null())


def _same_place(one: pa.Field, other: pa.Field, parent: pa.DataType) -> bool:
    named = not pa.types.is_struct(parent) or one.name == other.name
    return named and field_id(one) == field_id(other)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "list"
    if pa.types.is_map(kind):
        return "map"
    if pa.types.is_struct(kind):
        return "struct"
    return str(kind) if pa.types.is_nested(kind) else "value"
