"""The columns of an Iceberg schema as those of a contract."""

from __future__ import annotations

from collections.abc import Collection

from pyiceberg.types import FixedType, IcebergType, ListType, MapType, NestedField, StructType

from airflow_provider_phlo.contracts.model.contract import Column
from airflow_provider_phlo.contracts.model.types import PromisedType, promised_type


def contract_columns(fields: Collection[NestedField], without: Collection[str] = ()) -> tuple[Column, ...]:
    """
    Return columns with type, description, and whether NULL is excluded.

    :param without: the names of those to leave out.
    """
    return tuple(
        Column(
            name=field.name,
            type=type_of(field.field_type),
            description=field.doc or "",
            required=field.required,
            members=_members(field.field_type),
        )
        for field in fields
        if field.name not in without
    )


def type_of(kind: IcebergType) -> PromisedType | None:
    """Return a type as contracts name it; None if they cannot."""
    if isinstance(kind, StructType) or (isinstance(kind, ListType) and isinstance(kind.element_type, StructType)):
        return promised_type("struct" if isinstance(kind, StructType) else "list")  # their members are columns
    return promised_type(_text(kind))


def _text(kind: IcebergType) -> str:
    if isinstance(kind, ListType):
        return f"list<{_text(kind.element_type)}>"
    if isinstance(kind, MapType):
        return f"map<{_text(kind.key_type)}, {_text(kind.value_type)}>"
    if isinstance(kind, StructType):
        return f"struct<{', '.join(f'{member.name}: {_text(member.field_type)}' for member in kind.fields)}>"
    return "fixed" if isinstance(kind, FixedType) else str(kind)


def _members(kind: IcebergType) -> tuple[Column, ...]:
    inner = kind.element_type if isinstance(kind, ListType) else kind
    return contract_columns(inner.fields) if isinstance(inner, StructType) else ()
