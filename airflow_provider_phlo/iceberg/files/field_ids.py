"""
The columns of a data file with Iceberg's field ids: stored in the file, or those to which the table maps its names.

Files that were adopted as they were (Spark's ``add_files`` and ``migrate``) have no ids; the table's
``schema.name-mapping.default`` then says which name is which column.
"""

from __future__ import annotations

import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.table.name_mapping import MappedField

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg.files.projection import FIELD_ID, field_id
from airflow_provider_phlo.iceberg.tables.casting import members
from airflow_provider_phlo.iceberg.tables.properties import name_mapping

_ORC_ID = b"iceberg.id"


def with_field_ids(schema: pa.Schema, table: Table) -> pa.Schema:
    """
    Return the schema of a file with a field id on every field that is the table's.

    :param schema: as Arrow reads it from Parquet or ORC.
    :raises SchemaError: if neither the file nor the table says which column is which.
    """
    stored = pa.schema([_stored(item) for item in schema])
    if any(map(_has_id, stored)):
        return stored
    mapping = name_mapping(table)
    if mapping is None:
        raise SchemaError(
            f"{'.'.join(table.name())} has data files without field ids, and no property schema.name-mapping.default "
            "that says which column is which: set it, or write the files again with the engine that added them "
            "(Spark: rewrite_data_files)."
        )
    return pa.schema(_mapped_all(list(schema), list(mapping)))


def _has_id(item: pa.Field) -> bool:
    return field_id(item) is not None or any(map(_has_id, members(item.type)))


def _stored(item: pa.Field) -> pa.Field:
    """Return a field whose id, and those inside, are where Parquet has them."""
    found = (item.metadata or {}).get(_ORC_ID) or (item.metadata or {}).get(FIELD_ID)
    kind = _with_members(item.type, [_stored(each) for each in members(item.type)])
    return _with_id(item, kind, int(found) if found else None)


def _mapped_all(fields: list[pa.Field], mapping: list[MappedField]) -> list[pa.Field]:
    known = {name: each for each in mapping for name in each.names}
    return [_mapped(item, known.get(item.name)) for item in fields]


def _mapped(item: pa.Field, mapping: MappedField | None) -> pa.Field:
    if mapping is None:  # a column that the table does not have
        return item
    inside = members(item.type)
    if pa.types.is_map(item.type):
        names = ["key", "value"]
    elif pa.types.is_struct(item.type):
        names = [each.name for each in inside]
    else:  # of a list, whatever the file calls it
        names = ["element"] * len(inside)
    named = [each.with_name(name) for each, name in zip(inside, names, strict=True)]
    found = _mapped_all(named, list(mapping.fields))
    back = [each.with_name(before.name) for each, before in zip(found, inside, strict=True)]
    return _with_id(item, _with_members(item.type, back), mapping.field_id)


def _with_id(item: pa.Field, kind: pa.DataType, number: int | None) -> pa.Field:
    return pa.field(item.name, kind, item.nullable, {} if number is None else {FIELD_ID: str(number)})


def _with_members(kind: pa.DataType, inside: list[pa.Field]) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct(inside)
    if pa.types.is_map(kind):
        return pa.map_(*inside)
    if pa.types.is_large_list(kind):
        return pa.large_list(inside[0])
    return pa.list_(inside[0]) if pa.types.is_list(kind) else kind
