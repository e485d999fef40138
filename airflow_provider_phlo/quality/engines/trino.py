"""Trino over the tables of a catalog that PyIceberg has open as well."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.engines import trino_sql
from airflow_provider_phlo.quality.engines.catalog_tables import CatalogTables
from airflow_provider_phlo.quality.engines.dialects import TRINO, Dialect
from airflow_provider_phlo.quality.engines.protocol import EvaluationError
from airflow_provider_phlo.quality.engines.time_limit import time_limit
from airflow_provider_phlo.sql import Query, quote

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from airflow_provider_phlo.iceberg.trino.queries import Answer, Queries


class TrinoCatalogEngine(CatalogTables):
    """
    Trino over the tables of a catalog that PyIceberg has open as well.

    :param namespace: the namespace of bare names.
    :param branch: the branch to read where a table has it; main of the others.
    """

    dialect: Dialect = TRINO

    def __init__(self, trino: Queries, catalog: Catalog, namespace: str, branch: str | None = None) -> None:
        super().__init__(catalog, namespace, branch)
        self._trino = trino
        self._sources: dict[str, str] = {}
        self._spellings: dict[str, str] = {}

    def fetch(self, query: Query) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._ask(query).rows]

    def arrow(self, query: Query) -> pa.Table:
        from airflow_provider_phlo.quality.engines.trino_arrow import to_arrow_table

        answer = self._ask(query)
        return to_arrow_table(answer.rows, self._types(answer))

    def proves_distinct(self, source: Query, keys: Sequence[str]) -> bool:
        return False  # it groups where the rows are

    def time_limit(self, seconds: float) -> AbstractContextManager[None]:
        return time_limit(seconds, self._trino.cancel)

    def columns(self, source: str) -> dict[str, str]:
        return dict(self._types(self._ask(Query(f"SELECT * FROM {source} LIMIT 0"))))  # noqa: S608 - quoted

    def table(self, name: str) -> str:
        name = self.qualified(name)
        if name not in self._sources:
            self._sources[name] = self._pinned_source(name)
        return self._sources[name]

    def resolve(self, query: str) -> str:
        return trino_sql.with_sources(query, self.table)

    def _ask(self, query: Query) -> Answer:
        from airflow_provider_phlo.iceberg.trino.queries import StatementError

        try:
            return self._trino.ask(query.sql, [_bindable(value) for value in query.parameters])
        except StatementError as error:
            raise EvaluationError(error.name) from error

    def _types(self, answer: Answer) -> list[tuple[str, str]]:
        """Return name and type of each column: the names as the table spells them, which Trino gives in lower case."""
        return [(self._spellings.get(name, name), trino_sql.duckdb_type(kind)) for name, kind in answer.columns]

    def _pinned_source(self, name: str) -> str:
        """Return the source that reads one snapshot of a table, whatever is committed while checks run."""
        from airflow_provider_phlo.iceberg.tables.lookup import existing_table

        table = existing_table(self._catalog, name)
        if not trino_can_read(self._catalog, name, self._branch, table):
            raise ConfigurationError(
                f"Table {name} has a merge staged under branch {self._branch}, which Trino cannot read: run these "
                "checks with engine='pyiceberg'."
            )
        self._spellings |= {column.lower(): column for column in table.schema().column_names}
        self.add(name, table)
        source = quote(name) + _version_clause(table, self.snapshot_id(name))
        try:
            self._ask(Query(f"SELECT 1 FROM {source} LIMIT 0"))  # noqa: S608 - quoted
        except EvaluationError as error:
            raise ConfigurationError(
                f"Trino cannot read table {name} ({error}): its catalog must be the one that the iceberg connection "
                "opens, names must be in lower case, and its user must be allowed to read."
            ) from error
        return source


def trino_can_read(catalog: Catalog, name: str, branch: str | None, table: Table | None = None) -> bool:
    """
    Return whether a branch of a table is a snapshot that Trino finds.

    It finds neither a merge that is staged nor a branch of Nessie.
    """
    from airflow_provider_phlo.iceberg.catalogs import nessie
    from airflow_provider_phlo.iceberg.tables.lookup import existing_table
    from airflow_provider_phlo.iceberg.trino.staged_merge import find_by_branch

    if branch is None:
        return True
    if nessie.is_nessie(catalog):
        return nessie.head_commit(catalog, branch) is None
    table = table or existing_table(catalog, name)
    return branch in table.refs() or find_by_branch(catalog, name, branch) is None


def _version_clause(table: Table, snapshot_id: int | None) -> str:
    """Return the clause that reads a snapshot."""
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id is not None else None
    if snapshot is None:
        return ""
    if snapshot == table.current_snapshot() and snapshot.schema_id != table.metadata.current_schema_id:
        return ""  # a snapshot is read with its own columns, and some were added since
    return f" FOR VERSION AS OF {snapshot.snapshot_id}"


def _bindable(value: Any) -> Any:
    """Return a value in the form that Trino's client takes."""
    if hasattr(value, "item") and hasattr(value, "dtype"):  # a NumPy scalar
        value = value.item()
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value
