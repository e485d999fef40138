"""What a table of the catalog is, for the facets of a dataset: its columns, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.types import IcebergType, NestedField


@dataclass(frozen=True)
class Column:
    """
    A column, or a field of one.

    :param type: as Iceberg writes it; of what holds others, its kind.
    """

    name: str
    type: str
    doc: str | None = None
    fields: tuple[Column, ...] = ()


@dataclass(frozen=True)
class TableDescription:
    """A table: its columns, and where it lies."""

    columns: tuple[Column, ...]
    location: str = ""


def describe_table(table: Table) -> TableDescription:
    """Return what is said of a table."""
    return TableDescription(tuple(_column(field) for field in table.schema().fields), table.location())


def _column(field: NestedField) -> Column:
    kind, fields = _type(field.field_type)
    return Column(field.name, kind, field.doc, fields)


def _type(kind: IcebergType) -> tuple[str, tuple[Column, ...]]:
    """Return a type, and its fields, in the form of OpenLineage: an array has one, ``_element``; a map two."""
    from pyiceberg.types import ListType, MapType, StructType

    if isinstance(kind, StructType):
        return "struct", tuple(_column(each) for each in kind.fields)
    if isinstance(kind, ListType):
        return "array", (_named("_element", kind.element_type),)
    if isinstance(kind, MapType):
        return "map", (_named("key", kind.key_type), _named("value", kind.value_type))
    return str(kind), ()


def _named(name: str, kind: IcebergType) -> Column:
    text, fields = _type(kind)
    return Column(name, text, None, fields)
