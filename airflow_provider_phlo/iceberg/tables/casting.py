"""Bring Arrow data to other types: what Arrow's own cast refuses, or does not know, is done here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def cast(values: Any, kind: pa.DataType) -> Any:
    """
    Return an array, in one chunk or many, as another type.

    :raises pyarrow.ArrowInvalid: if a value does not fit.
    """
    if isinstance(kind, pa.BaseExtensionType) and values.type != kind:
        # a UUID of a format that knows bytes only
        chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
        wrapped = [pa.ExtensionArray.from_storage(kind, each.cast(kind.storage_type)) for each in chunks]
        return pa.chunked_array(wrapped, kind) if isinstance(values, pa.ChunkedArray) else wrapped[0]
    optional = _optional(kind)
    if optional == kind or values.type == kind:
        return _in_range(values, values.cast(kind))
    # Arrow refuses the NULL of a required member even where the struct itself is NULL
    found = _in_range(values, values.cast(optional))
    chunks = found.chunks if isinstance(found, pa.ChunkedArray) else [found]
    for chunk in chunks:
        _require_members(chunk, kind)
    done = renamed(pa.chunked_array(chunks, optional), kind)
    return done if isinstance(values, pa.ChunkedArray) else done.chunk(0)


def _in_range(values: Any, found: Any) -> Any:
    """Return what a cast has found, if no number became infinite: Arrow lets one that is too large for a float."""
    if not _narrows(values.type, found.type):
        return found
    if pa.types.is_floating(found.type):
        if _infinite(found) != _infinite(values):
            raise pa.ArrowInvalid(f"Number out of the range of {found.type}")
        return found
    old, new = (each.chunks if isinstance(each, pa.ChunkedArray) else [each] for each in (values, found))
    for before, after in zip(map(_inside, old), map(_inside, new), strict=True):
        for name in before.keys() & after.keys():
            _in_range(before[name], after[name])
    return found


def _narrows(old: pa.DataType, new: pa.DataType) -> bool:
    """Return whether there is a floating-point number that gets fewer bits."""
    if pa.types.is_floating(old) and pa.types.is_floating(new):
        return bool(new.bit_width < old.bit_width)
    if old == new or not (pa.types.is_nested(old) and pa.types.is_nested(new)):
        return False
    if pa.types.is_struct(old):
        kinds = {item.name: item.type for item in members(new)}
        return any(_narrows(item.type, kinds[item.name]) for item in members(old) if item.name in kinds)
    return any(_narrows(one.type, other.type) for one, other in zip(members(old), members(new), strict=False))


def _infinite(values: Any) -> int:
    return pc.sum(pc.is_inf(values)).as_py() or 0


def _inside(values: pa.Array) -> dict[str, pa.Array]:
    if pa.types.is_struct(values.type):
        return {values.type.field(place).name: values.field(place) for place in range(values.type.num_fields)}
    return {"key": values.keys, "value": values.items} if pa.types.is_map(values.type) else {"": values.flatten()}


def type_of_list(kind: pa.DataType) -> Callable[[pa.Field], pa.DataType]:
    """Return what makes lists like these of an element."""
    return pa.large_list if pa.types.is_large_list(kind) else pa.list_


def members(kind: pa.DataType) -> list[pa.Field]:
    """Return the fields inside a type: members of a struct, key and value of a map, element of a list."""
    if pa.types.is_map(kind):
        return [kind.key_field, kind.item_field]
    return [kind.field(position) for position in range(kind.num_fields)] if pa.types.is_nested(kind) else []


def renamed(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return the same values as ``kind``, which differs in names inside only; nothing is copied."""
    return pa.chunked_array([pa.array(_Renamed(chunk, kind)) for chunk in values.chunks], kind)


def _optional(kind: pa.DataType) -> pa.DataType:
    """Return the type without members that are required."""
    inside = [item.with_type(_optional(item.type)) for item in members(kind)]
    if pa.types.is_struct(kind):
        return pa.struct([item.with_nullable(True) for item in inside])
    if pa.types.is_map(kind):
        return pa.map_(inside[0], inside[1].with_nullable(True))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return type_of_list(kind)(inside[0].with_nullable(True))
    return kind


def _require_members(values: pa.Array, kind: pa.DataType) -> None:
    """Check that nothing required is NULL within what is not NULL."""
    if pa.types.is_struct(kind):
        inside = values.flatten() if not values.null_count else values.filter(values.is_valid()).flatten()
    elif pa.types.is_map(kind):
        inside = [values.keys, values.items]
    elif members(kind):
        inside = [values.flatten()]
    else:
        return
    for part, item in zip(inside, members(kind), strict=True):
        if not item.nullable and part.null_count:
            raise pa.ArrowInvalid(f"required {item.name!r} is NULL")
        _require_members(part, item.type)


class _Renamed:
    """An array under another type of the same layout, by Arrow's C data interface."""

    def __init__(self, values: pa.Array, kind: pa.DataType) -> None:
        self._values = values
        self._kind = kind

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return self._kind.__arrow_c_schema__(), self._values.__arrow_c_array__()[1]
