"""
Where the rows under check are, and what reads them: DuckDB or Trino over a catalog, DuckDB over a data frame.

A check is SQL in the words that :mod:`.dialects` lists. An engine runs it, names the types of columns in DuckDB's
words whatever its own are, and makes the tables readable that a query names: the branch under audit of each table that
has it, else main.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.quality import trino_sql, xxhash64
from airflow_provider_phlo.quality.dialects import DUCKDB, TRINO, Dialect
from airflow_provider_phlo.sql import literal, quote, quote_identifier
from airflow_provider_phlo.terms import MAIN_BRANCH

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from airflow_provider_phlo.iceberg.trino.queries import Answer, Queries

FRAME = "df"
# what Trino calls it; it says nothing about the data
ENDED_BY_OTHERS = ("ADMINISTRATIVELY_KILLED", "USER_CANCELED")


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


@contextmanager
def reading(
    catalog: Catalog, table: str, *, branch: str | None = None, trino: Queries | None = None
) -> Iterator[TableEngine]:
    """
    Give the engine that reads ``table`` and others beside it.

    :param table: ``namespace.table``; bare names in queries are in its namespace.
    :param branch: the branch to read, of tables that have it.
    :param trino: read by Trino, if it can; DuckDB reads what Trino cannot: a staged merge, a branch of Nessie.
    """
    namespace = table.rpartition(".")[0]
    if trino is not None and _trino_reads(catalog, table, branch):
        yield TablesInTrino(trino, catalog, namespace, branch)
        return
    import duckdb

    with duckdb.connect() as connection:
        yield TablesInDuckDB(connection, catalog, namespace, branch)


class TableEngine(Engine, Protocol):
    """An engine over the tables of a catalog."""

    def loaded(self, name: str) -> Table:
        """Return a table as it is read; :meth:`table` has named it before."""

    def snapshot_id(self, name: str) -> int | None:
        """Return the snapshot that is read; of a staged merge, the one that it is planned on."""


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


class CatalogTables:
    """
    The tables that were read, as they were when it began: all checks of one run see the same snapshot of each.

    :param namespace: that of bare names.
    :param branch: the branch to read, of tables that have it.
    """

    def __init__(self, catalog: Catalog, namespace: str, branch: str | None) -> None:
        self._catalog, self._namespace, self._branch = catalog, namespace, branch
        self._tables: dict[str, Table] = {}

    def qualified(self, name: str) -> str:
        return name if "." in name else f"{self._namespace}.{name}"

    def loaded(self, name: str) -> Table:
        return self._tables[name]

    def snapshot_id(self, name: str) -> int | None:
        refs = self._tables[name].refs()
        ref = refs.get(self._branch or MAIN_BRANCH) or refs.get(MAIN_BRANCH)
        return ref.snapshot_id if ref else None


class TablesInDuckDB(CatalogTables, _DuckDBEngine):
    """
    DuckDB over the tables of a catalog.

    :param namespace: that of bare names.
    :param branch: the branch to read, of tables that have it.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, catalog: Catalog, namespace: str, branch: str | None = None
    ) -> None:
        from airflow_provider_phlo.iceberg.duckdb import branch_of

        catalog, branch = branch_of(catalog, branch)
        CatalogTables.__init__(self, catalog, namespace, branch)
        _DuckDBEngine.__init__(self, connection)

    def table(self, name: str) -> str:
        name = self.qualified(name)
        self._read({name})
        return quote(name)

    def resolve(self, query: str) -> str:
        from airflow_provider_phlo.iceberg.duckdb import assert_read_only, referenced_tables

        assert_read_only(query)
        self._read({self.qualified(name) for name in referenced_tables(query)})
        self._connection.execute(f"SET search_path = {literal(quote_identifier(self._namespace))}")
        return query

    def _read(self, names: set[str]) -> None:
        """Make tables readable."""
        from airflow_provider_phlo.iceberg.catalog import existing_table
        from airflow_provider_phlo.iceberg.duckdb import create_branch_view
        from airflow_provider_phlo.iceberg.trino.preview import create_staged_view

        staged = create_staged_view
        for name in sorted(names - self._tables.keys()):
            table = existing_table(self._catalog, name)
            create_branch_view(self._connection, self._catalog, table, name, self._branch, staged=staged)
            self._tables[name] = table


class TablesInTrino(CatalogTables):
    """
    Trino over the tables of a catalog that PyIceberg has open as well.

    :param namespace: that of bare names.
    :param branch: the branch to read, of tables that have it.
    """

    dialect: Dialect = TRINO

    def __init__(self, trino: Queries, catalog: Catalog, namespace: str, branch: str | None = None) -> None:
        super().__init__(catalog, namespace, branch)
        self._trino = trino
        self._sources: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._ask(sql, parameters).rows]

    def arrow(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        from airflow_provider_phlo.quality.trino_rows import to_arrow_table

        answer = self._ask(sql, parameters)
        return to_arrow_table(answer.rows, self._types(answer))

    def columns(self, source: str) -> dict[str, str]:
        return dict(self._types(self._ask(f"SELECT * FROM {source} LIMIT 0")))  # noqa: S608 - quoted

    def table(self, name: str) -> str:
        name = self.qualified(name)
        if name not in self._sources:
            self._sources[name] = self._source(name)
        return self._sources[name]

    def resolve(self, query: str) -> str:
        return trino_sql.with_sources(query, self.table)

    def _ask(self, sql: str, parameters: Sequence[Any] = ()) -> Answer:
        from airflow_provider_phlo.iceberg.trino.queries import StatementError

        try:
            return self._trino.ask(sql, [_bound(value) for value in parameters])
        except StatementError as error:
            if error.name in ENDED_BY_OTHERS:
                raise TransientError(f"A query of the checks was ended in Trino ({error.name}): retry.") from error
            raise EvaluationError(error.name) from error

    def _types(self, answer: Answer) -> list[tuple[str, str]]:
        """Return name and type of each column: the table's own names, which Trino writes in lower case."""
        return [(self._names.get(name, name), trino_sql.duckdb_type(kind)) for name, kind in answer.columns]

    def _source(self, name: str) -> str:
        """Read one snapshot of a table, whatever is committed while checks run."""
        from airflow_provider_phlo.iceberg.catalog import existing_table

        table = existing_table(self._catalog, name)
        if not _trino_reads(self._catalog, name, self._branch, table):
            raise ConfigurationError(
                f"Table {name} has a merge staged under branch {self._branch}, which Trino cannot read: run these "
                "checks with engine='pyiceberg'."
            )
        self._names |= {column.lower(): column for column in table.schema().column_names}
        self._tables[name] = table
        source = quote(name) + _version(table, self.snapshot_id(name))
        try:
            self._ask(f"SELECT 1 FROM {source} LIMIT 0")  # noqa: S608 - quoted
        except EvaluationError as error:
            raise ConfigurationError(
                f"Trino cannot read table {name} ({error}): its catalog must be the one that the iceberg connection "
                "opens, names must be in lower case, and its user must be allowed to read."
            ) from error
        return source


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
            f"A check of a data frame cannot read table {name}: give its rows as "
            f"context={{'tables': {{{name!r}: …}}}}, or run it on a table of the catalog, with run_checks."
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

    :raises ConfigurationError: if it is something else, has no column, two of one name, or one of mixed values.
    """
    import pyarrow as pa

    try:
        table = _to_arrow(frame)
    except (pa.ArrowException, TypeError, ValueError, AttributeError, OverflowError):  # their texts quote values
        table = None
    if table is None:
        raise ConfigurationError(
            f"Cannot check this {type(frame).__name__}: give a pandas or polars data frame, an Arrow table, or a list "
            "of records; with values of one type in each column, and one column of each name."
        )
    if not table.column_names:
        raise ConfigurationError(f"Cannot check a {type(frame).__name__} without columns.")
    return table


def _to_arrow(frame: Any) -> pa.Table | None:
    import pyarrow as pa

    if isinstance(frame, list):
        return pa.Table.from_pylist(frame)
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):
        return pa.Table.from_pandas(frame, preserve_index=False)
    if hasattr(frame, "collect") and hasattr(frame, "collect_schema"):  # a lazy frame of polars
        frame = frame.collect()
    return pa.table(frame) if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__") else None


def _trino_reads(catalog: Catalog, name: str, branch: str | None, table: Table | None = None) -> bool:
    """Tell whether what ``branch`` shows of a table is a snapshot that Trino finds."""
    from airflow_provider_phlo.iceberg import nessie
    from airflow_provider_phlo.iceberg.catalog import existing_table
    from airflow_provider_phlo.iceberg.trino.staged_merge import find_by_branch

    if branch is None:
        return True
    if nessie.is_nessie(catalog):
        return nessie.head_commit(catalog, branch) is None
    table = table or existing_table(catalog, name)
    return branch in table.refs() or find_by_branch(catalog, name, branch) is None


def _version(table: Table, snapshot_id: int | None) -> str:
    """Return the clause that reads a snapshot."""
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id is not None else None
    if snapshot is None:
        return ""
    if snapshot == table.current_snapshot() and snapshot.schema_id != table.metadata.current_schema_id:
        return ""  # a snapshot is read with its own columns, and some were added since
    return f" FOR VERSION AS OF {snapshot.snapshot_id}"


def _bound(value: Any) -> Any:
    """Return a value as Trino's client takes it."""
    if hasattr(value, "item") and hasattr(value, "dtype"):  # a NumPy scalar
        value = value.item()
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value
