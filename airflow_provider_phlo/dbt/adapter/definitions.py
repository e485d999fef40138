"""What columns of a hook's table have beside their types: defaults and constraints, which Iceberg's do not have."""

from __future__ import annotations

import json
import re
from typing import Any

from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError

# a property of the table: its columns as DuckDB says them, behind their names
_DEFINITION = "duckdb.definition"
_IS_TABLE = "database_name = current_database() AND schema_name || '.' || table_name = ?"
_COLUMNS = re.compile(r'(?s)^CREATE TABLE (?:"(?:[^"]|"")*"|[^"(])*(\(.*\));?$')
_TEXT = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")


def definition(cursor: Any, identifier: str) -> dict[str, str]:
    """
    Return the property that says what a table of DuckDB's has beside names and types; nothing if it has no more.

    :raises ConfigurationError: it has what ends with the process, or is not in DuckDB once it is stored.
    """
    defaults = _defaults(cursor, identifier)
    [(sql, constraints)] = cursor.execute(
        "SELECT sql, (SELECT list(constraint_type) FROM duckdb_constraints() AS c WHERE c.table_oid = t.table_oid) "  # noqa: S608
        f"FROM duckdb_tables() AS t WHERE NOT temporary AND {_IS_TABLE}",
        [identifier],
    ).fetchall()
    if not constraints and all(default is None for default in defaults.values()):
        return {}
    words = _TEXT.sub("", sql).lower()
    for unkept, what in (
        ("generated always", "a generated column"),
        ("nextval(", "a sequence, which begins again with every dbt command"),
        ("foreign key", "a foreign key"),
    ):
        if unkept in words:
            raise ConfigurationError(
                f"{identifier} has {what}, which the catalog does not keep: leave it out of the SQL that makes the "
                "table."
            )
    found = _COLUMNS.match(sql)
    if found is None:  # no name of a table is like that
        raise ConfigurationError(f"{identifier} has defaults or constraints that cannot be read; leave them out.")
    return {_DEFINITION: json.dumps([list(defaults), found[1]])}


def definition_of(table: Table) -> str | None:
    """Return the columns of a table of the catalog's in DuckDB's SQL, if they have more than types and are the same."""
    names, columns = json.loads(table.properties.get(_DEFINITION) or "[[], null]")
    return columns if names == [item.name for item in table.schema().fields] else None


def require_no_defaults(cursor: Any, identifier: str) -> None:
    """
    Check that no column of an incremental model has a default: the rows of the next run would have NULL there.

    :raises ConfigurationError: one has.
    """
    found = [name for name, default in _defaults(cursor, identifier).items() if default is not None]
    if found:
        raise ConfigurationError(
            f"{identifier}: column(s) {', '.join(found)} have a DEFAULT, which rows of later runs "
            "would not have: select the value in the model's SQL, or set it in the hook."
        )


def _defaults(cursor: Any, identifier: str) -> dict[str, str | None]:
    """Return the defaults of a table's columns, in their order."""
    columns = cursor.execute(
        f"SELECT column_name, column_default FROM duckdb_columns() WHERE NOT internal AND {_IS_TABLE} "  # noqa: S608
        "ORDER BY column_index",
        [identifier],
    )
    return dict(columns.fetchall())
