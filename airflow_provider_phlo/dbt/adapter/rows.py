"""Rows of DuckDB as Arrow has them, if it has them as they are."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

import duckdb
import pyarrow as pa
from duckdb.sqltypes import DuckDBPyType

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg.content import BATCH_ROWS
from airflow_provider_phlo.iceberg.tables.storable import storable

_NESTED_TYPES = frozenset({"list", "array", "struct", "tuple", "map"})
# DuckDB's types whose values Arrow has as they are; of BIT, for one, it shows DuckDB's own bytes, of TIMETZ no zone
_EXACT_TYPES = _NESTED_TYPES | {
    *("boolean", "tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint"),
    *("float", "double", "decimal", "varchar", "blob", "uuid", "enum", "null", "date", "time", "time_ns"),
    *("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"),
}


def exact_batches(identifier: str, relation: duckdb.DuckDBPyRelation) -> Generator[pa.Table, None, None]:
    """
    Yield the rows as Arrow has them, if it has them as they are; at least one table, which may be empty.

    :raises SchemaError: Arrow shows a column's type as another, or has no room for a value.
    """
    large = []
    for name, kind in zip(relation.columns, relation.types, strict=True):
        inside = _types_inside(kind)
        for each in inside:
            if each.id not in _EXACT_TYPES:
                raise SchemaError(
                    f"Column {name} of {identifier} has DuckDB's type {each}, which Iceberg does not know: cast it in "
                    "the SQL."
                )
        if any(each.id == "hugeint" for each in inside):
            large.append(name)
    empty = True
    # a result that is not read to its end is in the way of the next query
    with closing(relation.to_arrow_reader(BATCH_ROWS)) as reader:
        schema = reader.schema
        for batch in reader:
            rows, empty = pa.Table.from_batches([batch], schema), False
            _require_digits(identifier, rows, large)
            yield rows
    if empty:
        yield schema.empty_table()


def storable_rows(identifier: str, relation: duckdb.DuckDBPyRelation, known: pa.Schema) -> pa.Table:
    """
    Return the rows as a table of Iceberg can hold them, all in memory.

    :param known: the table's columns: NULL without a type is one of theirs.
    :raises SchemaError: as :func:`exact_batches`, or a type is not one of Iceberg's.
    """
    return storable(identifier, _with_types_of(pa.concat_tables(exact_batches(identifier, relation)), known))


def _with_types_of(rows: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Return rows whose columns and members of nothing but NULLs have the types of those that they go to, by name."""
    kinds = {item.name.lower(): item.type for item in wanted}
    for place, item in enumerate(rows.schema):
        kind = _typed(item.type, kinds.get(item.name.lower()))
        if kind != item.type:
            rows = rows.set_column(place, item.name, rows[item.name].cast(kind))
    return rows


def _typed(kind: pa.DataType, wanted: pa.DataType | None) -> pa.DataType:
    if wanted is None or pa.types.is_null(kind):
        return wanted or kind
    if pa.types.is_struct(kind) and pa.types.is_struct(wanted):
        members = {member.name: member.type for member in wanted}
        return pa.struct([(member.name, _typed(member.type, members.get(member.name))) for member in kind])
    if pa.types.is_map(kind) and pa.types.is_map(wanted):
        return pa.map_(_typed(kind.key_type, wanted.key_type), _typed(kind.item_type, wanted.item_type))
    if _is_list(kind) and _is_list(wanted):
        element = _typed(kind.value_type, wanted.value_type)
        return kind if element == kind.value_type else pa.list_(element)
    return kind


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _require_digits(identifier: str, rows: pa.Table, columns: Sequence[str]) -> None:
    for name in columns:
        try:
            rows[name].validate(full=True)
        except pa.ArrowInvalid:  # its message holds the value
            raise SchemaError(
                f"Column {name} of {identifier} has values of more than 38 digits, which Iceberg cannot store: cast it "
                "in the SQL."
            ) from None


def _types_inside(kind: DuckDBPyType) -> list[DuckDBPyType]:
    if kind.id not in _NESTED_TYPES:
        return [kind]
    # an array has its size among them
    members = [member for _, member in kind.children if isinstance(member, DuckDBPyType)]
    return [kind, *(each for member in members for each in _types_inside(member))]
