"""Fit the columns of a data file to a table's fields: what is inside a nested column is found by field id, not name."""

from __future__ import annotations

import pyarrow as pa

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
    """Return whether :func:`project` knows both types, and every member of the file has an id."""
    if _kind(present.type) != _kind(wanted.type):
        return False
    inside = {field_id(item): item for item in members(present.type)}
    if pa.types.is_struct(wanted.type):
        pairs = [(inside[field_id(item)], item) for item in wanted.type if field_id(item) in inside]
    else:
        pairs = list(zip(inside.values(), members(wanted.type), strict=True))
    return None not in inside and all(can_project(one, other) for one, other in pairs)


def project(values: pa.Array, present: pa.Field, wanted: pa.Field) -> pa.Array:
    """
    Return ``values`` as the table has them.

    :param present: the file's field, with ids; ``can_project(present, wanted)`` holds.
    :param wanted: the table's field, with ids. Members that the file lacks are NULL.
    :raises pyarrow.ArrowInvalid: if a value does not fit its type.
    """
    if agrees(present, wanted):
        return values.cast(wanted.type)
    if pa.types.is_struct(wanted.type):
        return _project_struct(values, present, wanted)
    buffers = values.buffers()[:2]
    if pa.types.is_map(wanted.type):
        parts = zip((values.keys, values.items), members(present.type), members(wanted.type), strict=True)
        columns = [project(part, one, other) for part, one, other in parts]
        entries = pa.StructArray.from_arrays(columns, fields=members(wanted.type))
        return pa.Array.from_buffers(wanted.type, len(values), buffers, offset=values.offset, children=[entries])
    element = project(values.values, present.type.value_field, wanted.type.value_field)
    list_of = pa.large_list if pa.types.is_large_list(present.type) else pa.list_
    kind = list_of(wanted.type.value_field)
    lists = pa.Array.from_buffers(kind, len(values), buffers, offset=values.offset, children=[element])
    return lists.cast(wanted.type)


def renamed(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return the same values as ``kind``, which differs in names inside only; nothing is copied."""
    return pa.chunked_array([pa.array(_Renamed(chunk, kind)) for chunk in values.chunks], kind)


def members(kind: pa.DataType) -> list[pa.Field]:
    """Return the fields inside a type: members of a struct, key and value of a map, element of a list."""
    if pa.types.is_map(kind):
        return [kind.key_field, kind.item_field]
    return [kind.field(position) for position in range(kind.num_fields)] if pa.types.is_nested(kind) else []


class _Renamed:
    """An array under another type of the same layout, by Arrow's C data interface."""

    def __init__(self, values: pa.Array, kind: pa.DataType) -> None:
        self._values = values
        self._kind = kind

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return self._kind.__arrow_c_schema__(), self._values.__arrow_c_array__()[1]


def _project_struct(values: pa.StructArray, present: pa.Field, wanted: pa.Field) -> pa.StructArray:
    places = {field_id(item): position for position, item in enumerate(present.type)}
    columns = [
        project(values.field(places[field_id(item)]), present.type[places[field_id(item)]], item)
        if field_id(item) in places
        else pa.nulls(len(values), item.type)
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
