"""
Where the rows under check are, and what reads them: DuckDB over a catalog or over a data frame.

A check is SQL in the words that :mod:`.dialects` lists. An engine runs it, names the types of columns in DuckDB's
words whatever its own are, and makes the tables readable that a query names: the branch under audit of each table that
has it, else main.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality import xxhash64
from airflow_provider_phlo.quality.dialects import DUCKDB, Dialect
from airflow_provider_phlo.sql import literal, quote, quote_identifier

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from pyiceberg.catalog import Catalog

FRAME = "df"


class EvaluationError(Exception):
    """
    An engine cannot evaluate a query: its kind, never its text, which may quote data.

    Checks turn it into a failed result; it is no error of a task.
    """


class Engine(Protocol):
    """What runs the SQL of checks; every method raises :class:`EvaluationError` for SQL that cannot be evaluated."""

    @property
    def dialect(self) -> Dialect:
        """The words that it reads."""

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query, as Python values."""

    def arrow(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Return all rows of a query, as Arrow."""

    def columns(self, source: str) -> dict[str, str]:
        """Return the type of each column of what follows ``FROM``, in DuckDB's words."""

    def table(self, name: str) -> str:
        """
        Return what follows ``FROM`` to read a table.

        :param name: ``namespace.table``, or a bare name in the namespace of the table under check.
        :raises ConfigurationError: there is no such table.
        """

    def resolve(self, query: str) -> str:
        """
        Return ``query`` so that the tables it names are read as :meth:`table` reads them.

        :raises ConfigurationError: it is not one query that only reads, or names a table that does not exist.
        """


class _DuckDBEngine:
    """What DuckDB does, whatever it reads."""

    dialect: Dialect = DUCKDB

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        connection.execute("SET TimeZone = 'UTC'")
        # a name that no table has must not find a Python variable
        connection.execute("SET python_enable_replacements = false")
        xxhash64.register(connection)

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return self._connection.execute(sql, list(parameters)).fetchall()
        except duckdb.Error as error:
            raise EvaluationError(type(error).__name__) from error

    def arrow(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        import duckdb

        try:
            return self._connection.sql(sql, params=list(parameters)).to_arrow_table()
        except duckdb.Error as error:
            raise EvaluationError(type(error).__name__) from error

    def columns(self, source: str) -> dict[str, str]:
        return {name: kind for name, kind, *_ in self.fetch(f"DESCRIBE SELECT * FROM {source}")}  # noqa: S608 - quoted


class TablesInDuckDB(_DuckDBEngine):
    """
    DuckDB over the tables of a catalog.

    :param namespace: that of bare names.
    :param branch: the branch to read, of tables that have it.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, catalog: Catalog, namespace: str, branch: str | None = None
    ) -> None:
        super().__init__(connection)
        self._catalog, self._namespace, self._branch = catalog, namespace, branch
        self._readable: set[str] = set()

    def table(self, name: str) -> str:
        name = name if "." in name else f"{self._namespace}.{name}"
        self._read({name})
        return quote(name)

    def resolve(self, query: str) -> str:
        from airflow_provider_phlo.iceberg.duckdb import assert_read_only, referenced_tables

        assert_read_only(query)
        self._read({name if "." in name else f"{self._namespace}.{name}" for name in referenced_tables(query)})
        self._connection.execute(f"SET search_path = {literal(quote_identifier(self._namespace))}")
        return query

    def _read(self, names: set[str]) -> None:
        """Make tables readable; all checks of one run see the same snapshot of each."""
        from airflow_provider_phlo.iceberg.duckdb import connect

        missing = sorted(names - self._readable)
        connect(self._catalog, tables=missing, branch=self._branch, connection=self._connection)
        self._readable |= names


class FrameInDuckDB(_DuckDBEngine):
    """
    DuckDB over one data frame, which ``df`` and the one table that a query names stand for.

    :param name: what results call the frame.
    :param others: frames that stand for other tables, by their names.
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
        connection.register(FRAME, to_arrow(frame))
        self._others = others or {}
        for other, content in self._others.items():
            connection.register(other, to_arrow(content))

    def table(self, name: str) -> str:
        if name in self._others:
            return quote_identifier(name)
        raise ConfigurationError(
            f"A check of a data frame cannot read table {name}: give its rows as context={{'tables': {{{name!r}: …}}}}, "
            "or run it on a table of the catalog, with run_checks."
        )

    def resolve(self, query: str) -> str:
        from airflow_provider_phlo.iceberg.duckdb import assert_read_only, referenced_tables

        assert_read_only(query)
        named = referenced_tables(query) - {FRAME}
        if len(named) > 1:
            named -= {self._name} if self._name else set()
            raise ConfigurationError(
                f"The query names {', '.join(sorted(named))}: on a data frame it can read one table only."
            )
        for name in named:
            namespace = name.rpartition(".")[0]
            if namespace:
                self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(namespace)}")
            view, frame = quote(name), quote_identifier(FRAME)
            self._connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {frame}")  # noqa: S608 - quoted
        return query


def to_arrow(frame: Any) -> pa.Table:
    """
    Return the rows of ``frame``: a pandas or polars data frame, an Arrow table, or a list of records.

    pandas writes a missing number as NaN: such a NaN becomes NULL, as in pandas' own conversion.

    :raises ConfigurationError: if it is something else.
    """
    import pyarrow as pa

    if isinstance(frame, list):
        return pa.Table.from_pylist(frame)
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):
        return pa.Table.from_pandas(frame, preserve_index=False)
    if hasattr(frame, "collect") and hasattr(frame, "collect_schema"):  # a lazy frame of polars
        frame = frame.collect()
    if not hasattr(frame, "__arrow_c_stream__") and not hasattr(frame, "__arrow_c_array__"):
        raise ConfigurationError(
            f"Cannot check a {type(frame).__name__}: give a pandas or polars data frame, an Arrow table, "
            "or a list of records."
        )
    return pa.table(frame)
