"""Compare the columns of a table with those that a Pandera model declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

# the kinds that may stand where another kind is declared
_STANDS_FOR = {"float": ("integer", "decimal"), "decimal": ("integer",), "string": ("uuid",)}
# of a column of a frame that is missing throughout: it may stand for any
_UNTYPED = '"NULL"'
_KINDS = {
    "BOOLEAN": "boolean",
    "FLOAT": "float",
    "DOUBLE": "float",
    "DECIMAL": "decimal",
    "VARCHAR": "string",
    "ENUM": "string",
    "JSON": "string",
    "UUID": "uuid",
    "DATE": "date",
    "BLOB": "binary",
    "STRUCT": "struct",
    "MAP": "map",
}


class ColumnDifferences(NamedTuple):
    """
    How the columns of a table differ from those of a model.

    :param missing: columns that the model declares and the table lacks.
    :param mistyped: columns of another kind of type, in words.
    :param unexpected: columns that a strict model does not declare.
    """

    missing: tuple[str, ...]
    mistyped: tuple[str, ...]
    unexpected: tuple[str, ...]


def compare_columns(schema: Any, types: Mapping[str, str]) -> ColumnDifferences:
    """
    Return how columns of these types differ from what ``schema`` declares.

    :param schema: a Pandera model, or ``"package.module:Class"``.
    :param types: DuckDB's type of each column.
    :raises SchemaError: ``schema`` is neither.
    """
    from airflow_provider_phlo.schemas.columns import load_model, model_columns
    from airflow_provider_phlo.terms import METADATA_COLUMNS

    declared = model_columns(load_model(schema))
    missing, mistyped = [], []
    for column in declared.columns:
        if column.name not in types:
            if declared.schema.columns[column.name].required:
                missing.append(column.name)
            continue
        wanted, found = _declared_kind(column.type), _found_kind(types[column.name])
        if found not in (wanted, _UNTYPED, *_STANDS_FOR.get(wanted, ())):
            mistyped.append(f"{column.name} is {types[column.name]}, {wanted} is declared")
    unexpected = (
        [name for name in types if name not in declared and name not in METADATA_COLUMNS]
        if declared.strict is True
        else []
    )
    return ColumnDifferences(tuple(missing), tuple(mistyped), tuple(unexpected))


def _found_kind(duckdb_type: str) -> str:
    if duckdb_type == _UNTYPED:
        return _UNTYPED
    if duckdb_type.endswith("]"):
        return "list"
    name = duckdb_type.partition("(")[0]
    if name.startswith("TIME"):
        return "timestamp" if name.startswith("TIMESTAMP") else "time"
    return "integer" if name.endswith("INT") or name.endswith("INTEGER") else _KINDS.get(name, name)


def _declared_kind(arrow_type: pa.DataType) -> str:
    import pyarrow as pa

    kinds = {
        "boolean": pa.types.is_boolean,
        "integer": pa.types.is_integer,
        "float": pa.types.is_floating,
        "decimal": pa.types.is_decimal,
        "string": lambda found: pa.types.is_string(found) or pa.types.is_large_string(found),
        "date": pa.types.is_date,
        "timestamp": pa.types.is_timestamp,
        "time": pa.types.is_time,
        "binary": lambda found: pa.types.is_binary(found) or pa.types.is_fixed_size_binary(found),
        "uuid": lambda found: isinstance(found, pa.UuidType),
        "list": pa.types.is_list,
        "map": pa.types.is_map,
        "struct": pa.types.is_struct,
    }
    return next((kind for kind, matches in kinds.items() if matches(arrow_type)), str(arrow_type))
