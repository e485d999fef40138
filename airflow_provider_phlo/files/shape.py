"""Whether the tables of a database are those that files are loaded into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import duckdb

from airflow_provider_phlo.exceptions import ConfigurationError

_HERE = "database_name = current_database() AND schema_name = current_schema()"
_VIEWS = f"SELECT view_name FROM duckdb_views() WHERE {_HERE} AND NOT internal"  # noqa: S608 - our own names


@dataclass
class _Table:
    """
    A table.

    :param types: of its columns.
    :param required: columns that a row must fill.
    :param key: columns of its primary key.
    """

    types: dict[str, str] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    key: list[str] = field(default_factory=list)


def require_shape(connection: duckdb.DuckDBPyConnection, schema: str, table: str, database: Path) -> None:
    """
    Check that what ``schema`` would create is not there already in another shape.

    :param table: the one that files are loaded into.
    :raises ConfigurationError: it is; says what differs. Or files were loaded, and the table is not there: they would
        be skipped, and it stay empty.
    """
    found = _tables(connection)
    views = {str(name).lower() for (name,) in connection.execute(_VIEWS).fetchall()}
    if not found and not views:
        return
    differences: list[str] = []
    for name, expected in _expected(schema).items():
        if name in views:
            differences.append(f"{name} is a view")
        elif name in found:
            differences += _differences(name, expected, found[name])
    if table.lower() not in found and "loaded_files" in found and not differences:
        _require_none_loaded(connection, table, database)
    if differences:
        raise ConfigurationError(
            f"{database} has tables that differ from those that files are loaded into: {'; '.join(differences)}. "
            "Nothing was loaded or changed. Give another database, or rename these tables."
        )


def _require_none_loaded(connection: duckdb.DuckDBPyConnection, table: str, database: Path) -> None:
    ((loaded,),) = connection.execute("SELECT count(*) FROM loaded_files").fetchall()
    if loaded:
        raise ConfigurationError(
            f"{database} has no table {table}, but {loaded} loaded files: they were loaded into another table, or it "
            "was dropped. Give another database, or drop loaded_files and replaced_files too: all files are then "
            "loaded again."
        )


def _differences(name: str, expected: _Table, found: _Table) -> Iterator[str]:
    for column, type_ in expected.types.items():
        if column not in found.types:
            yield f"{name} has no column {column}"
        elif found.types[column] != type_:
            yield f"{name}.{column} is {found.types[column]} instead of {type_}"
    for column in sorted(found.required - expected.required - set(expected.key)):
        yield f"{name}.{column} may not be NULL, and is not always filled"
    if sorted(found.key) != sorted(expected.key):
        has = f"({', '.join(found.key)})" if found.key else "missing"
        yield f"the primary key of {name} is {has} instead of ({', '.join(expected.key) or 'none'})"


@cache
def _expected(schema: str) -> dict[str, _Table]:
    with duckdb.connect() as connection:
        connection.execute(schema)
        return _tables(connection)


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, _Table]:
    """Return the tables by their names; DuckDB's names are the same in upper and lower case."""
    tables: dict[str, _Table] = defaultdict(_Table)
    columns = connection.execute(
        "SELECT table_name, column_name, data_type, NOT is_nullable AND column_default IS NULL "  # noqa: S608
        f"FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (table_oid, database_name) "
        f"WHERE {_HERE} AND NOT internal"
    ).fetchall()
    for table, column, type_, required in columns:
        tables[table.lower()].types[column.lower()] = type_
        if required:
            tables[table.lower()].required.add(column.lower())
    keys = connection.execute(
        "SELECT table_name, constraint_column_names FROM duckdb_constraints() "  # noqa: S608 - our own names
        f"WHERE constraint_type = 'PRIMARY KEY' AND {_HERE}"
    ).fetchall()
    for table, names in keys:
        tables[table.lower()].key = [name.lower() for name in names]
    return dict(tables)
