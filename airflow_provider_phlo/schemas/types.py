"""
Arrow types and Iceberg types: how they map to each other, and which values a column can hold or be widened to.

A merge (``iceberg.tables.evolve``) and ``schema_diff`` both decide with :func:`holds` and :func:`differences`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count

import pyarrow as pa
from pyiceberg.exceptions import ResolveError
from pyiceberg.schema import promote
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from airflow_provider_phlo.exceptions import SchemaError

# what Arrow and PyIceberg call the comment on a field
DOC = b"doc"
# the way to a field: column, then member of a struct, "element" of a list, "key" or "value" of a map
Path = tuple[str, ...]

_SIMPLE: tuple[tuple[Callable[[pa.DataType], bool], IcebergType], ...] = (
    (pa.types.is_boolean, BooleanType()),
    (pa.types.is_int64, LongType()),
    (pa.types.is_uint32, LongType()),
    (pa.types.is_uint64, DecimalType(20, 0)),
    (pa.types.is_integer, IntegerType()),
    (pa.types.is_float64, DoubleType()),
    (pa.types.is_floating, FloatType()),
    (pa.types.is_date, DateType()),
    (pa.types.is_time, TimeType()),
    (pa.types.is_string, StringType()),
    (pa.types.is_large_string, StringType()),
    (pa.types.is_string_view, StringType()),
    (pa.types.is_binary, BinaryType()),
    (pa.types.is_large_binary, BinaryType()),
    (pa.types.is_binary_view, BinaryType()),
    (lambda kind: isinstance(kind, pa.UuidType), UUIDType()),
)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def iceberg_type(kind: pa.DataType, ids: Iterator[int]) -> IcebergType:
    """
    Return the Iceberg type of an Arrow type.

    :param ids: supplies the ids of nested fields.
    :raises SchemaError: if Iceberg has no such type.
    """
    for matches, found in _SIMPLE:
        if matches(kind):
            return found
    if pa.types.is_timestamp(kind):
        return TimestamptzType() if kind.tz else TimestampType()
    if pa.types.is_fixed_size_binary(kind):
        return FixedType(kind.byte_width)
    if pa.types.is_decimal(kind) and kind.precision <= 38 and 0 <= kind.scale <= kind.precision:
        return DecimalType(kind.precision, kind.scale)
    if pa.types.is_dictionary(kind):
        return iceberg_type(kind.value_type, ids)
    nested = _nested_iceberg_type(kind, ids)
    if nested is None:
        raise SchemaError(f"Arrow type {kind} has no Iceberg counterpart: convert the column in a transform.")
    return nested


def _nested_iceberg_type(kind: pa.DataType, ids: Iterator[int]) -> IcebergType | None:
    if any(matches(kind) for matches in _LISTS):
        element = kind.value_field
        return ListType(next(ids), iceberg_type(element.type, ids), element_required=not element.nullable)
    if pa.types.is_struct(kind):
        return StructType(*[iceberg_field(next(ids), item, ids) for item in kind])
    if pa.types.is_map(kind):
        key, value = next(ids), next(ids)
        return MapType(
            key,
            iceberg_type(kind.key_type, ids),
            value,
            iceberg_type(kind.item_type, ids),
            value_required=not kind.item_field.nullable,
        )
    return None


def iceberg_field(field_id: int, item: pa.Field, ids: Iterator[int]) -> NestedField:
    """Return the Iceberg field of an Arrow field: name, type, nullability and comment."""
    doc = (item.metadata or {}).get(DOC)
    return NestedField(
        field_id,
        item.name,
        iceberg_type(item.type, ids),
        required=not item.nullable,
        doc=doc.decode() if doc else None,
    )


_ARROW: dict[type[IcebergType], pa.DataType] = {
    BooleanType: pa.bool_(),
    IntegerType: pa.int32(),
    LongType: pa.int64(),
    FloatType: pa.float32(),
    DoubleType: pa.float64(),
    DateType: pa.date32(),
    TimeType: pa.time64("us"),
    TimestampType: pa.timestamp("us"),
    TimestamptzType: pa.timestamp("us", "UTC"),
    StringType: pa.string(),
    BinaryType: pa.binary(),
    UUIDType: pa.uuid(),
}


def arrow_type(kind: IcebergType) -> pa.DataType:
    """
    Return the Arrow type that a column of Iceberg type ``kind`` is read and written as.

    :raises SchemaError: if there is none, as for types that only Iceberg's format version 3 has.
    """
    if isinstance(kind, DecimalType):
        return pa.decimal128(kind.precision, kind.scale)
    if isinstance(kind, FixedType):
        return pa.binary(len(kind))
    if isinstance(kind, ListType):
        return pa.list_(arrow_field(kind.element_field))
    if isinstance(kind, StructType):
        return pa.struct([arrow_field(item) for item in kind.fields])
    if isinstance(kind, MapType):
        return pa.map_(_member_type(kind.key_type), arrow_field(kind.value_field))
    if type(kind) not in _ARROW:
        raise SchemaError(f"Iceberg type {kind} has no Arrow and no Pandera counterpart here: leave the column out.")
    return _ARROW[type(kind)]


def arrow_field(item: NestedField) -> pa.Field:
    """Return the Arrow field of a member of a nested Iceberg type."""
    metadata = {DOC: item.doc} if item.doc else None
    return pa.field(item.name, _member_type(item.field_type), nullable=not item.required, metadata=metadata)


def _member_type(kind: IcebergType) -> pa.DataType:
    if isinstance(kind, UUIDType):
        raise SchemaError("A uuid inside a nested value cannot be written by PyArrow: declare text or fixed[16] there.")
    return arrow_type(kind)


def stored_as(kind: pa.DataType) -> pa.DataType:
    """
    Return the Arrow type that values of ``kind`` have in a table: 8-bit integers become 32-bit ones, and so on.

    :raises SchemaError: if Iceberg has no such type.
    """
    return arrow_type(iceberg_type(kind, count(1)))


def without_ids(kind: IcebergType) -> str:
    """Return the name of ``kind`` as people write it, without field ids."""
    return re.sub(r"\d+: ", "", str(kind))


def holds(present: IcebergType, kind: IcebergType) -> bool:
    """Return whether a column of type ``present`` takes values of ``kind``; members that a struct lacks are NULL."""
    if isinstance(present, StructType) and isinstance(kind, StructType):
        members = {item.name: item.field_type for item in present.fields}
        return all(item.name in members and holds(members[item.name], item.field_type) for item in kind.fields)
    if isinstance(present, ListType) and isinstance(kind, ListType):
        return holds(present.element_type, kind.element_type)
    if isinstance(present, MapType) and isinstance(kind, MapType):
        return holds(present.key_type, kind.key_type) and holds(present.value_type, kind.value_type)
    return kind == present or promotes(kind, present)


def promotes(source: IcebergType, target: IcebergType) -> bool:
    """Return whether Iceberg reads values of ``source`` as ``target``."""
    # PyIceberg 0.12 forgets to compare the scale, and reads fixed[16] as a UUID, which no column can become
    if isinstance(source, DecimalType) and isinstance(target, DecimalType) and source.scale != target.scale:
        return False
    if isinstance(target, UUIDType):
        return False
    try:
        return promote(source, target) == target
    except ResolveError:
        return False


def differences(
    path: Path, present: IcebergType | None, kind: IcebergType
) -> Iterator[tuple[Path, IcebergType | None, IcebergType]]:
    """Yield where a column cannot hold values of ``kind``: the path, the type there (None: none), the type needed."""
    if present is not None and holds(present, kind):
        return
    if isinstance(present, StructType) and isinstance(kind, StructType):
        members = {item.name: item.field_type for item in present.fields}
        for item in kind.fields:
            yield from differences((*path, item.name), members.get(item.name), item.field_type)
    elif isinstance(present, ListType) and isinstance(kind, ListType):
        yield from differences((*path, "element"), present.element_type, kind.element_type)
    elif isinstance(present, MapType) and isinstance(kind, MapType) and holds(present.key_type, kind.key_type):
        yield from differences((*path, "value"), present.value_type, kind.value_type)
    else:
        yield path, present, kind
