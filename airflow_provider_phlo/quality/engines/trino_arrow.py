"""Rows from Trino's client, as Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    import pyarrow as pa


def to_arrow_table(rows: Sequence[Sequence[Any]], columns: Sequence[tuple[str, str]]) -> pa.Table:
    """
    Return ``rows`` as an Arrow table.

    :param columns: name and type of each column, in DuckDB's words.
    """
    import duckdb
    import pyarrow as pa

    nulls = ", ".join(f"CAST(NULL AS {kind}) AS {quote_identifier(name)}" for name, kind in columns)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        schema = connection.sql(f"SELECT {nulls} LIMIT 0").to_arrow_table().schema
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    arrays = [pa.array(map(_arrow_value, column), field.type) for column, field in zip(values, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _arrow_value(value: Any) -> Any:
    """Return a value in the form that Arrow takes: rows as dictionaries, maps as pairs."""
    names = getattr(value, "_names", None)
    if names is not None:
        return {name: _arrow_value(item) for name, item in zip(names, value, strict=True)}
    if isinstance(value, Mapping):
        return [(_arrow_value(key), _arrow_value(item)) for key, item in value.items()]
    return [_arrow_value(item) for item in value] if isinstance(value, list) else value
