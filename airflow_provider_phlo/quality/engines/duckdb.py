"""DuckDB over the tables of a catalog, or over a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.engines.catalog_tables import CatalogTables
from airflow_provider_phlo.quality.engines.dialects import DUCKDB, Dialect
from airflow_provider_phlo.quality.engines.frames import to_arrow
from airflow_provider_phlo.quality.engines.protocol import EvaluationError
from airflow_provider_phlo.quality.engines.time_limit import time_limit
from airflow_provider_phlo.sql import Query, literal, quote, quote_identifier

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from pyiceberg.catalog import Catalog

# the name by which queries read the data frame under check
FRAME = "df"


def set_up(connection: duckdb.DuckDBPyConnection) -> None:
    """Give a connection the settings that checks rely on."""
    connection.execute("SET TimeZone = 'UTC'")
    # a name without a table must not find a Python variable instead
    connection.execute("SET python_enable_replacements = false")


class DuckDBEngine:
    """
    What DuckDB does the same way whatever it reads.

    :param connection: one of :func:`~.kept.open_duckdb`.
    """

    dialect: Dialect = DUCKDB

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def fetch(self, query: Query) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return self._connection.execute(query.sql, list(query.parameters)).fetchall()
        except duckdb.Error as error:
            raise EvaluationError(type(error).__name__) from error

    def arrow(self, query: Query) -> pa.Table:
        import duckdb

        try:
            return self._connection.sql(query.sql, params=list(query.parameters)).to_arrow_table()
        except duckdb.Error as error:
            raise EvaluationError(type(error).__name__) from error

    def proves_distinct(self, source: Query, keys: Sequence[str]) -> bool:
        import duckdb

        from airflow_provider_phlo.quality.engines.distinct_hashes import are_proven_distinct

        try:
            return are_proven_distinct(self._connection, source, keys)
        except duckdb.Error as error:
            raise EvaluationError(type(error).__name__) from error

    def time_limit(self, seconds: float) -> AbstractContextManager[None]:
        return time_limit(seconds, self._connection.interrupt)

    def columns(self, source: str) -> dict[str, str]:
        return {name: kind for name, kind, *_ in self.fetch(Query(f"DESCRIBE SELECT * FROM {source}"))}  # noqa: S608 - quoted


class DuckDBCatalogEngine(CatalogTables, DuckDBEngine):
    """
    DuckDB over the tables of a catalog.

    :param namespace: the namespace of bare names.
    :param branch: the branch to read where a table has it; main of the others.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        catalog: Catalog,
        namespace: str,
        branch: str | None = None,
    ) -> None:
        from airflow_provider_phlo.iceberg.duckdb.views import branch_of

        catalog, branch = branch_of(catalog, branch)
        CatalogTables.__init__(self, catalog, namespace, branch)
        DuckDBEngine.__init__(self, connection)

    def table(self, name: str) -> str:
        name = self.qualified(name)
        self._create_views({name})
        return quote(name)

    def resolve(self, query: str) -> str:
        from airflow_provider_phlo.iceberg.duckdb.statements import assert_read_only, referenced_tables

        assert_read_only(query)
        self._create_views({self.qualified(name) for name in referenced_tables(query)})
        self._connection.execute(f"SET search_path = {literal(quote_identifier(self._namespace))}")
        return query

    def _create_views(self, names: set[str]) -> None:
        """Create a view of each table that has none yet."""
        from airflow_provider_phlo.iceberg.duckdb.views import create_branch_view
        from airflow_provider_phlo.iceberg.tables.lookup import existing_table
        from airflow_provider_phlo.iceberg.trino.preview import create_staged_view

        staged = create_staged_view
        for name in sorted(names - self._tables.keys()):
            table = existing_table(self._catalog, name)
            self.add(name, table)
            create_branch_view(self._connection, self._catalog, table, name, self._branch, staged=staged)


class DuckDBFrameEngine(DuckDBEngine):
    """
    DuckDB over one data frame; a query reads it as ``df``, or by the name of the one table that it names.

    :param name: the frame's name in results.
    :param others: frames that stand for other tables, by the names of these.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        frame: Any,
        name: str | None = None,
        others: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(connection)
        self._name = name
        self._register(FRAME, frame)
        self._others = others or {}
        for other, content in self._others.items():
            self._register(other, content)

    def _register(self, name: str, frame: Any) -> None:
        """
        Let queries read a frame by a name.

        :raises ConfigurationError: DuckDB does not know the type of a column.
        """
        table = to_arrow(frame)
        if not self._reads(name, table):
            columns = (table.select([place]) for place in range(len(table.schema)))
            unknown = [
                f"{each.column_names[0]} ({each.schema[0].type})" for each in columns if not self._reads(name, each)
            ]
            raise ConfigurationError(f"Checks cannot read column {', '.join(unknown)}: convert it.")

    def _reads(self, name: str, table: pa.Table) -> bool:
        import duckdb

        try:
            self._connection.register(name, table)
            self._connection.execute(f"SELECT * FROM {quote_identifier(name)} LIMIT 0")  # noqa: S608 - quoted
        except duckdb.Error:
            return False
        return True

    def table(self, name: str) -> str:
        if name in self._others:
            return quote_identifier(name)
        raise ConfigurationError(
            f"A check of a data frame cannot read table {name}: give its rows as "
            f"context={{'tables': {{{name!r}: …}}}}, or run it on a table of the catalog, with run_checks."
        )

    def resolve(self, query: str) -> str:
        from airflow_provider_phlo.iceberg.duckdb.statements import assert_read_only, referenced_tables

        assert_read_only(query)
        named = referenced_tables(query) - {FRAME, *self._others}
        if len(named) > 1:
            named -= {self._name} if self._name else set()
            raise ConfigurationError(
                f"The query names {', '.join(sorted(named))}: on a data frame it can read only one table."
            )
        for name in named:
            namespace = name.rpartition(".")[0]
            if namespace:
                self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(namespace)}")
            view, frame = quote(name), quote_identifier(FRAME)
            self._connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {frame}")  # noqa: S608 - quoted
        return query
