"""The descriptions of ``persist_docs``: the comments of tables and columns, in the catalog and as DuckDB shows them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table, Transaction

from airflow_provider_phlo.iceberg.duckdb.views import view_name
from airflow_provider_phlo.iceberg.tables.evolution import COMMENT, describe, stage_description
from airflow_provider_phlo.sql import literal, quote_identifier

#: the text of a table (None) and of its columns, by name
Comments = dict[str | None, str]


def store_comments(catalog: Catalog, identifier: str, comments: Comments) -> None:
    """Set the comments of a table; what it has already is not written again."""
    describe(catalog, identifier, comments.get(None), _of_columns(comments))


def stage_comments(transaction: Transaction, comments: Comments) -> None:
    """Stage the comments of a table; what it has already is not written again."""
    stage_description(transaction, comments.get(None), _of_columns(comments))


def _of_columns(comments: Comments) -> dict[str, str]:
    return {name: text for name, text in comments.items() if name is not None}


def show_comments(cursor: Any, catalog: Catalog, identifiers: Iterable[str]) -> None:
    """Give the views of tables the comments of these and of their columns."""
    for identifier in identifiers:
        with suppress(NoSuchTableError):
            _comment_view(cursor, catalog.load_table(identifier), identifier)


def _comment_view(cursor: Any, table: Table, identifier: str) -> None:
    name = view_name(identifier)
    if text := table.properties.get(COMMENT):
        cursor.execute(f"COMMENT ON VIEW {name} IS {literal(text)}")
    for item in table.schema().fields:
        if item.doc:
            cursor.execute(f"COMMENT ON COLUMN {name}.{quote_identifier(item.name)} IS {literal(item.doc)}")
