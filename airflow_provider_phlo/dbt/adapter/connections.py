"""What a profile of the adapter may say, and the one DuckDB that a dbt process works in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from dbt.adapters.contracts.connection import Connection
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.environments.local import LocalEnvironment
from dbt_common.exceptions import DbtRuntimeError

from airflow_provider_phlo.dbt.adapter.dialect import TYPE
from airflow_provider_phlo.dbt.adapter.lakehouse import Lakehouse
from airflow_provider_phlo.dbt.adapter.statements import changed_tables, kept_sequence, made_views

_MEMORY = ":memory:"


@dataclass
class PhloCredentials(DuckDBCredentials):
    """
    Those of dbt-duckdb (``schema``, ``threads``, ``settings``, ``extensions``, …) without a database file.

    The catalog comes from the environment, see :func:`.opening.catalog_from_environment`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path != _MEMORY or self.remote:
            raise DbtRuntimeError(
                f"A profile of type {TYPE} has no `path` and no `remote`: its tables are in the Iceberg catalog. Take "
                "them out of profiles.yml."
            )

    @property
    def type(self) -> str:
        """Return the name of the adapter."""
        return TYPE


class CatalogEnvironment(LocalEnvironment):
    """A DuckDB in memory that shows the catalog's tables."""

    conn: Any

    def __init__(self, credentials: PhloCredentials) -> None:
        super().__init__(credentials)
        self.lakehouse = Lakehouse()

    def handle(self) -> Any:
        """Return a connection to the database, which has a view of each table."""
        with self.lock:
            if self.conn is None:
                self.conn = self.initialize_db(self.creds, self._plugins)
                self.lakehouse.show_tables(self.conn)
        return super().handle()

    @classmethod
    def initialize_cursor(cls, creds: Any, cursor: Any, plugins: Any = None, registered_df: Any = None) -> Any:
        """Give every connection the same clock; a profile may set another."""
        cursor.execute("SET TimeZone = 'UTC'")
        return super().initialize_cursor(creds, cursor, plugins, registered_df or {})


class PhloConnectionManager(DuckDBConnectionManager):
    """dbt-duckdb's, over :class:`CatalogEnvironment`."""

    TYPE = TYPE
    _ENV: CatalogEnvironment | None = None
    #: tables of the catalog by the names that sources have in SQL, where these differ
    sources: Mapping[str, str] = {}

    @classmethod
    def open(cls, connection: Connection) -> Connection:
        """Open a connection to the process's DuckDB, which is made for the first."""
        with cls._LOCK:
            if cls._ENV is None or cls._ENV.creds != connection.credentials:
                cls._ENV = CatalogEnvironment(connection.credentials)
            cls._ENV.lakehouse.sources = cls.sources
        return super().open(connection)

    def add_query(self, sql: str, auto_begin: bool = True, *args: Any, **kwargs: Any) -> Any:
        """Run SQL; a table of the catalog's that it changes is one of DuckDB's from here until this is committed."""
        with self.exception_handler(sql):
            cursor = self.get_thread_connection().handle.cursor()
            self.lakehouse().open_named(cursor, sql)
        changed = changed_tables(sql)
        if name := kept_sequence(sql):
            raise DbtRuntimeError(
                f"Sequence {name} would begin again with every dbt command, as it is DuckDB's and in memory: number "
                "rows from what the table has, or write `create or replace sequence`."
            )
        if not changed:
            return super().add_query(sql, auto_begin, *args, **kwargs)
        connection = self.get_thread_connection()
        if auto_begin and not connection.transaction_open:
            self.begin()
        lakehouse = self.lakehouse()
        # outside of a transaction, others see the loaded table before the SQL has changed it
        with nullcontext() if connection.transaction_open else lakehouse.exclusive():
            lakehouse.load_changed(cursor, changed)
            lakehouse.made_views |= made_views(sql)
            return super().add_query(sql, auto_begin, *args, **kwargs)

    def cleanup_all(self) -> None:
        """Close what is open: the next command of this process sees the catalog as it is then."""
        super().cleanup_all()
        self.close_all_connections()

    @classmethod
    def lakehouse(cls) -> Lakehouse:
        """Return the catalog as this process's DuckDB shows it."""
        return cls.env().lakehouse
