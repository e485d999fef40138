"""What structs hold, as members or as part of a type's name: two ways to say the same."""

from __future__ import annotations

import re
from dataclasses import replace

from pyiceberg.types import StructType

from airflow_provider_phlo.contracts.model.contract import Column
from airflow_provider_phlo.contracts.model.types import ITEM, LISTS, PromisedType, promised_type

# a name that stands in a type as it is
_WORD = re.compile(r"\w+")


def whole_type(column: Column) -> str | None:
    """
    Return the name of a column's type with the types of its members: ``struct<a: long>``, ``list<struct<a: long>>``.

    Where that cannot name a member, or one has no type, the members stay out of it. None if the column has no type.
    """
    if column.type is None or not column.members:
        return column.type.text if column.type else None
    held = [(member.name, whole_type(member)) for member in column.members]
    struct = f"struct<{', '.join(f'{name}: {kind}' for name, kind in held)}>"
    text = f"list<{struct}>" if column.type.kinds == LISTS else struct
    can_say = all(_WORD.fullmatch(name) and kind for name, kind in held) and promised_type(text)
    return text if can_say else column.type.text


def with_members(column: Column) -> Column:
    """Return a column whose type is that of a struct, or of a list of structs, with members for what its name says."""
    kind = column.type
    inner = dict(kind.parts).get(ITEM) if kind and kind.kinds == LISTS else kind
    members = column.members
    if kind and inner and inner.kinds == {StructType}:
        members = members or tuple(Column(name, part) for name, part in inner.parts)
        kind = PromisedType(kind.text, kind.kinds)
    elif kind and members:
        kind = PromisedType(kind.text, kind.kinds)
    return replace(column, type=kind, members=tuple(map(with_members, members)))
