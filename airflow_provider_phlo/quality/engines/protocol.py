"""What an SQL engine does for checks, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_phlo.quality.engines.dialects import Dialect
from airflow_provider_phlo.sql import Query

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import Table


class EvaluationError(Exception):
    """
    An engine cannot evaluate a query: the kind of error, never its text, which may quote data.

    Checks turn it into a failed result, so it never becomes the error of a task.
    """


class SQLEngine(Protocol):
    """What runs the SQL of checks; every method raises :class:`EvaluationError` for SQL that cannot be evaluated."""

    @property
    def dialect(self) -> Dialect:
        """What the engine spells in its own way."""

    def fetch(self, query: Query) -> list[tuple[Any, ...]]:
        """Return all rows of a query, as Python values."""

    def arrow(self, query: Query) -> pa.Table:
        """Return all rows of a query, as an Arrow table."""

    def proves_distinct(self, source: Query, keys: Sequence[str]) -> bool:
        """
        Return whether it is certain that no two rows share a key; False leaves it to a query.

        :param source: what follows ``FROM`` to read the rows.
        :param keys: SQL expressions of what makes the key; a row with a NULL in it has none.
        """

    def columns(self, source: str) -> dict[str, str]:
        """
        Return the type of each column, in DuckDB's words, whichever the engine.

        :param source: what follows ``FROM``, without ``?`` markers.
        """

    def table(self, name: str) -> str:
        """
        Return what follows ``FROM`` to read a table.

        :param name: ``namespace.table``, or a bare name in the namespace of the table under check.
        :raises ConfigurationError: there is no such table.
        """

    def time_limit(self, seconds: float) -> AbstractContextManager[None]:
        """
        Return what ends the queries inside it when they take longer.

        :raises TookTooLongError: they did.
        """

    def resolve(self, query: str) -> str:
        """
        Return ``query`` so that the tables it names are read as :meth:`table` reads them.

        :raises ConfigurationError: it does more than read, is not exactly one query, or names a table that does not
            exist.
        """


class CatalogEngine(SQLEngine, Protocol):
    """An SQL engine over the tables of a catalog."""

    def loaded(self, name: str) -> Table:
        """
        Return a table as it is read.

        :param name: ``namespace.table``; :meth:`table` has been asked for it before.
        """

    def snapshot_id(self, name: str) -> int | None:
        """Return the snapshot that is read; for a merge that Trino has staged, the one that it is planned on."""
