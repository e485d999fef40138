"""
How DuckDB reads the columns of data files: by field id, what is inside a nested column too.

DuckDB's ``read_parquet`` takes field ids of columns, but finds members of structs by name. In files whose nested
columns have other names or members than the table's, each is put together anew from those that have the ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.manifest import DataFile
from pyiceberg.schema import sanitize_column_names
from pyiceberg.table import FileScanTask, Table
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
    TimestampNanoType,
    TimestampType,
    TimestamptzNanoType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg.tables.names import structs
from airflow_provider_phlo.iceberg.tables.partitioning import identity_values
from airflow_provider_phlo.iceberg.tables.properties import name_mapping
from airflow_provider_phlo.sql import literal, quote_identifier

# as Iceberg's own libraries, Trino, PyIceberg and this package name data files: those of Hive and Spark are otherwise
_ICEBERG_NAME = re.compile(r"/(\d{5}-|\d{8}_\d{6}_)[^/]*$")
_TYPES: dict[type[IcebergType], str] = {
    BooleanType: "BOOLEAN",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    FloatType: "FLOAT",
    DoubleType: "DOUBLE",
    DateType: "DATE",
    TimeType: "TIME",
    TimestampType: "TIMESTAMP",
    TimestamptzType: "TIMESTAMP WITH TIME ZONE",
    TimestampNanoType: "TIMESTAMP_NS",
    TimestamptzNanoType: "TIMESTAMP WITH TIME ZONE",
    StringType: "VARCHAR",
    UUIDType: "UUID",
    BinaryType: "BLOB",
    FixedType: "BLOB",
}


@dataclass(frozen=True)
class FileColumns:
    """
    The columns of a table as some of its files have them.

    :param fields: the table's.
    :param nested: the types of the nested columns in the files, by field id, where they differ.
    """

    fields: Sequence[NestedField]
    nested: Mapping[int, IcebergType] = field(default_factory=dict)

    def read_parquet(self, paths: Iterable[str], options: str = "") -> str:
        """Return the call that reads the files, whose columns then have the table's names."""
        columns = ", ".join(
            f"{item.field_id}: {{name: {literal(item.name)}, "
            f"type: {literal(duckdb_type(self.nested.get(item.field_id, item.field_type)))}, "
            f"default_value: {_default(item)}}}"
            for item in self.fields
        )
        files = ", ".join(literal(path) for path in paths)
        # bounds in Parquet are those of the numbers: DuckDB would take them for the largest values, which NaN is for it
        fixed = f"hive_partitioning = false, can_have_nan = true, schema = MAP {{{columns}}}"
        return f"read_parquet([{files}], {fixed}{options})"

    @property
    def selected(self) -> str:
        """Return the list of the columns for a SELECT."""
        return ", ".join(
            f"{_by_ids(quote_identifier(item.name), self.nested[item.field_id], item.field_type)} "
            f"AS {quote_identifier(item.name)}"
            if item.field_id in self.nested
            else quote_identifier(item.name)
            for item in self.fields
        )


def duckdb_type(iceberg_type: IcebergType) -> str:
    """
    Return DuckDB's name of an Iceberg type.

    :raises SchemaError: DuckDB has no such type.
    """
    if isinstance(iceberg_type, DecimalType):
        return f"DECIMAL({iceberg_type.precision}, {iceberg_type.scale})"
    if isinstance(iceberg_type, ListType):
        return f"{duckdb_type(iceberg_type.element_type)}[]"
    if isinstance(iceberg_type, MapType):
        return f"MAP({duckdb_type(iceberg_type.key_type)}, {duckdb_type(iceberg_type.value_type)})"
    if isinstance(iceberg_type, StructType):
        members = (f"{quote_identifier(field.name)} {duckdb_type(field.field_type)}" for field in iceberg_type.fields)
        return f"STRUCT({', '.join(members)})"
    try:
        return _TYPES[type(iceberg_type)]
    except KeyError:
        raise SchemaError(f"DuckDB cannot read columns of Iceberg type {iceberg_type}. Leave them out.") from None


def must_look_into_files(table: Table) -> bool:
    """Return whether any file may lack field ids, or have nested columns that are not as the table has them now."""
    return name_mapping(table) is not None or _nested_may_differ(table)


def may_lack_columns(table: Table, file: DataFile) -> bool:
    """
    Return whether a file may lack field ids, or the column by whose values it is partitioned.

    Files that no writer of Iceberg wrote, by their names, may lack ids even where the table maps no names; DuckDB would
    then read nothing but NULL. Columns that all rows have one value of may be in the partition only.
    """
    if not _ICEBERG_NAME.search(file.file_path):
        return True
    return not (file.column_sizes or {}).keys() >= identity_values(table, file).keys()


def _nested_may_differ(table: Table) -> bool:
    nested = [
        (field.field_id, field.field_type)
        for schema in table.schemas().values()
        for field in schema.fields
        if not field.field_type.is_primitive
    ]
    # files have names that Avro takes
    named = [(field.field_id, field.field_type) for field in sanitize_column_names(table.schema()).fields]
    nested += [(one, kind) for one, kind in named if not kind.is_primitive]
    return any(one[0] == other[0] and one[1] != other[1] for one, other in pairwise(sorted(nested, key=lambda f: f[0])))


def columns_in_file(table: Table, task: FileScanTask) -> FileColumns | None:
    """
    Return the columns as a Parquet file has them.

    :returns: None if DuckDB cannot read it by field ids.
    """
    fields = table.schema().fields
    with table.io.new_input(task.file.file_path).open() as source:
        present = pq.read_schema(source)
    try:
        found = {item.field_id: item.field_type for item in pyarrow_to_schema(present).fields}
    except ValueError:  # without ids
        return None
    if not found.keys() >= identity_values(table, task.file).keys():
        return None
    nested = {
        item.field_id: _as_in_file(found[item.field_id], item.field_type)
        for item in fields
        if not item.field_type.is_primitive and item.field_id in found
    }
    wanted = {item.field_id: item.field_type for item in fields}
    if None in nested.values():
        return None
    return FileColumns(fields, {at: kind for at, kind in nested.items() if kind and not _same(kind, wanted[at])})


def _default(item: NestedField) -> str:
    """Return what rows hold that are older than a column."""
    value = item.initial_default
    if value is None:
        return "NULL"
    if isinstance(item.field_type, BinaryType | FixedType):
        data = bytes.fromhex(value) if isinstance(value, str) else value
        value = "".join(f"\\x{byte:02X}" for byte in data)
    return literal(str(value))


def _as_in_file(present: IcebergType, wanted: IcebergType) -> IcebergType | None:
    """
    Return ``wanted`` with the names that its members have in a file, by which DuckDB finds them there.

    :returns: None if one cannot be made of the other.
    """
    if isinstance(present, StructType) and isinstance(wanted, StructType):
        return _struct_in_file(present, wanted)
    if isinstance(present, ListType) and isinstance(wanted, ListType):
        element = _as_in_file(present.element_type, wanted.element_type)
        return element and ListType(present.element_id, element, element_required=False)
    if isinstance(present, MapType) and isinstance(wanted, MapType):
        key, value = _as_in_file(present.key_type, wanted.key_type), _as_in_file(present.value_type, wanted.value_type)
        return key and value and MapType(present.key_id, key, present.value_id, value, value_required=False)
    return wanted if present.is_primitive and wanted.is_primitive else None


def _struct_in_file(present: StructType, wanted: StructType) -> StructType | None:
    known = {item.field_id: item for item in present.fields}
    if len({item.name.lower() for item in present.fields}) < len(known):
        return None
    shared = [
        (known[item.field_id], _as_in_file(known[item.field_id].field_type, item.field_type))
        for item in wanted.fields
        if item.field_id in known
    ]
    # one that is not wanted shows which structs are NULL
    shared = shared or [(present.fields[0], present.fields[0].field_type)]
    members = [NestedField(item.field_id, item.name, kind, required=False) for item, kind in shared if kind]
    return StructType(*members) if len(members) == len(shared) else None


def _by_ids(value: str, present: IcebergType, wanted: IcebergType, depth: int = 0) -> str:
    """Return the SQL of ``value`` as the table has it; members that the file lacks are NULL."""
    if _same(present, wanted):
        return value
    each = f"phlo_{depth}"
    if isinstance(present, StructType) and isinstance(wanted, StructType):
        known = {item.field_id: item for item in present.fields}
        parts = ", ".join(
            f"{quote_identifier(item.name)} := {_member(value, known.get(item.field_id), item, depth)}"
            for item in wanted.fields
        )
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({parts}) END"
    if isinstance(present, ListType) and isinstance(wanted, ListType):
        element = _by_ids(each, present.element_type, wanted.element_type, depth + 1)
        return f"list_transform({value}, lambda {each}: {element})"
    if isinstance(present, MapType) and isinstance(wanted, MapType):
        key = _by_ids(f"{each}.key", present.key_type, wanted.key_type, depth + 1)
        item = _by_ids(f"{each}.value", present.value_type, wanted.value_type, depth + 1)
        pair = f"struct_pack(k := {key}, v := {item})"
        return f"map_from_entries(list_transform(map_entries({value}), lambda {each}: {pair}))"
    return value


def _same(present: IcebergType, wanted: IcebergType) -> bool:
    return duckdb_type(present) == duckdb_type(wanted) and _ids(present) == _ids(wanted)


def _ids(kind: IcebergType) -> list[int]:
    return [item.field_id for each in structs(kind) for item in each.fields]


def _member(value: str, present: NestedField | None, wanted: NestedField, depth: int) -> str:
    if present is None:
        return f"CAST({_default(wanted)} AS {duckdb_type(wanted.field_type)})"
    return _by_ids(f"struct_extract({value}, {literal(present.name)})", present.field_type, wanted.field_type, depth)
