"""What dbt's DuckDB has under a name, and how columns of its types are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from airflow_provider_phlo.dbt.adapter.rows import storable_rows
from airflow_provider_phlo.sql import quote_identifier


def kind_of(cursor: Any, identifier: str) -> str | None:
    """Return whether DuckDB has a ``table`` or a ``view`` of this name; None if it has neither."""
    schema, _, name = identifier.rpartition(".")
    found = cursor.execute(
        "SELECT lower(table_type) FROM system.information_schema.tables WHERE lower(table_schema) = lower(?) "
        "AND lower(table_name) = lower(?) AND table_catalog = current_database()",
        [schema, name],
    ).fetchall()
    return None if not found else "view" if found[0][0] == "view" else "table"


def stored_schema(
    cursor: Any, identifier: str, columns: Mapping[str, str], known: pa.Schema | None = None
) -> pa.Schema:
    """
    Return columns as they are stored.

    :param columns: DuckDB's types by name.
    :param known: the table's columns: NULL without a type is one of theirs.
    """
    empty = ", ".join(f"CAST(NULL AS {kind}) AS {quote_identifier(name)}" for name, kind in columns.items())
    return storable_rows(identifier, cursor.sql(f"SELECT {empty} LIMIT 0"), known or pa.schema([])).schema
