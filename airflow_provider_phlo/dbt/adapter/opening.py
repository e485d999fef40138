"""
Which tables of the catalog dbt's DuckDB shows: those that dbt knows a run to read, others once SQL names them.

Its settings come from environment variables, because dbt passes nothing else on from one run to the next:

``PHLO_HOME``
    the folder of the embedded catalog, which is used unless the next one is set.
``PHLO_CATALOG_PROPERTIES``
    the properties of another catalog, as JSON.
``PHLO_CATALOG_NAME``
    the catalog's name, ``phlo`` by default.
``PHLO_RUN_TOKEN``
    the run whose branch tables are written to instead of ``main``, and read from where it exists.
``PHLO_DBT_TABLES``
    the tables that dbt knows a run to read, separated by commas: others are opened when SQL names them; all if unset.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.exceptions import NoSuchTableError

from airflow_provider_phlo.dbt.adapter.relations import kind_of
from airflow_provider_phlo.dbt.adapter.statements import lists_tables, named_tables
from airflow_provider_phlo.exceptions import PhloError
from airflow_provider_phlo.iceberg.branches.run_branches import branch_name
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.duckdb.views import CreateStagedView, all_tables, connect, create_view, view_name
from airflow_provider_phlo.iceberg.tables.names import require_distinct_tables
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.sql import quote_identifier
from airflow_provider_phlo.terms import SnapshotId

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

#: what dbt-duckdb calls a table while it builds it, and the one that it is about to drop
PASSING = ("__dbt_tmp", "__dbt_backup")

#: The tables that SQL of this process named though dbt does not know that it reads them.
beyond: set[str] = set()


#: what a snapshot's summary says of a view, which is kept as a table
MATERIALIZED = "phlo.materialized"


def _is_of_view(table: Table) -> bool:
    snapshot = table.current_snapshot()
    return snapshot is not None and snapshot.summary is not None and snapshot.summary.get(MATERIALIZED) == "view"


def catalog_from_environment(environment: Mapping[str, str] = os.environ) -> Catalog:
    """Open the catalog that the environment variables name (see the module's docstring)."""
    properties = environment.get("PHLO_CATALOG_PROPERTIES")
    return open_catalog(
        environment.get("PHLO_CATALOG_NAME") or "phlo",
        json.loads(properties) if properties else embedded_properties(Path(environment.get("PHLO_HOME") or ".phlo")),
    )


class OpenTables:
    """The tables of one catalog that a DuckDB in memory shows as views."""

    def __init__(self) -> None:
        """Open nothing yet."""
        token = os.environ.get("PHLO_RUN_TOKEN")
        self.branch = branch_name(token) if token else None
        wanted = os.environ.get("PHLO_DBT_TABLES")
        self._wanted = frozenset(wanted.split(",")) if wanted else None
        # main's snapshots as they were before they were read: what is written must not undo what others publish
        self._heads: dict[str, SnapshotId | None] = {}
        # tables that are not opened until SQL names them, by their names in lower case
        self._unread: dict[str, str] = {}
        #: tables that were views of dbt's when they were last written
        self.of_views: set[str] = set()
        #: tables by the names that sources have in SQL, in lower case, where these differ
        self.sources: Mapping[str, str] = {}

    @cached_property
    def catalog(self) -> Catalog:
        """Return the catalog."""
        return catalog_from_environment()

    def show_tables(self, connection: DuckDBPyConnection) -> None:
        """
        Create a view of each table that is to be opened, and the schemas of all.

        Of a whole catalog, a table that cannot be read is in nobody's way until SQL names it.
        """
        found = all_tables(self.catalog)
        opened = [table for table in found if self._opens(table)]
        require_distinct_tables(opened)
        try:
            self._show(connection, opened)
        except (OSError, ValueError, PhloError):
            if self._wanted is not None:
                raise
            for table in opened:
                with suppress(OSError, ValueError, PhloError):
                    self._show(connection, [table])
        self._unread = {table.lower(): table for table in found if table not in self._heads}
        for schema in {table.rpartition(".")[0] for table in self._unread.values()}:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(schema)}")

    def _show(self, connection: DuckDBPyConnection, tables: Sequence[str]) -> None:
        loaded = {table: self.catalog.load_table(table) for table in tables}
        heads = {name: branch_head(table) for name, table in loaded.items()}
        connect(self.catalog, tables=tables, branch=self.branch, staged=self._staged_views(), connection=connection)
        self._heads |= heads
        self.of_views |= {name for name, table in loaded.items() if _is_of_view(table)}

    def is_table(self, identifier: str) -> bool:
        """Return whether the catalog has a table of this name that this run opens."""
        return identifier in self._heads

    def tables(self) -> Sequence[str]:
        """Return the tables that this run opens."""
        return list(self._heads)

    def tables_of(self, namespace: str) -> Sequence[str]:
        """Return the tables of a namespace that this run opens."""
        return [identifier for identifier in self._heads if identifier.rpartition(".")[0] == namespace]

    def open_changed(self, cursor: Any, names: Collection[str]) -> None:
        """
        Show tables that this run does not read: SQL that makes one of their names anew would replace their rows.

        :param names: in lower case; ``schema.*`` is all of a schema's.
        """
        names = {name for name in names if not any(part in name for part in PASSING)}
        if self._wanted is None or not names:
            return
        for identifier in all_tables(self.catalog):
            name = identifier.lower()
            if identifier not in self._heads and not {name, f"{name.rpartition('.')[0]}.*"}.isdisjoint(names):
                self._open(cursor, identifier)

    def open_named(self, cursor: Any, code: str) -> None:
        """
        Open the tables that SQL or Python names and dbt does not know of, all if it asks which there are.

        A model may name a table without ``ref`` or ``source``, and macros look for tables.
        """
        if not self._unread and not self.sources:
            return
        named = named_tables(code)
        for name in sorted(self._unread if lists_tables(code) else self._unread.keys() & named):
            self._open_beyond(cursor, self._unread[name])
        for name in sorted(self.sources.keys() & named):
            table = self.sources[name]
            if kind_of(cursor, name) is None and (self.is_table(table) or self.catalog.table_exists(table)):
                self._open_beyond(cursor, table)
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(name.rpartition('.')[0])}")
                cursor.execute(f"CREATE VIEW {view_name(name)} AS FROM {view_name(table)}")

    def _open_beyond(self, cursor: Any, identifier: str) -> None:
        if kind_of(cursor, identifier) is None:
            beyond.add(identifier)
            with suppress(NoSuchTableError):  # dropped meanwhile
                self._open(cursor, identifier)

    def _open(self, cursor: Any, identifier: str) -> None:
        self._heads.setdefault(identifier, branch_head(self.catalog.load_table(identifier)))
        create_view(cursor, self.catalog, identifier)

    def unread_tables_of(self, schema: str) -> Sequence[str]:
        """Return the tables of a schema that are not opened yet."""
        return [each for each in self._unread.values() if each.rpartition(".")[0].lower() == schema.lower()]

    def _opens(self, table: str) -> bool:
        """Return whether a table is to be opened, if there is one."""
        return self._wanted is None or table in self._wanted

    def _staged_views(self) -> CreateStagedView | None:
        """Return the function that shows models what Trino has yet to merge; imported for a run's branch only."""
        if self.branch is None:
            return None
        from airflow_provider_phlo.iceberg.trino.preview import create_staged_view

        return create_staged_view
