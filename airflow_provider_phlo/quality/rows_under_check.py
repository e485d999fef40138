"""The rows under check, as an SQL engine sees them: what checks are asked about."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.engines import SQLEngine
from airflow_provider_phlo.quality.engines.dialects import Dialect
from airflow_provider_phlo.sql import Query, quote_identifier

if TYPE_CHECKING:
    import pandas as pd


class Partition(NamedTuple):
    """The day, or value, of a column that some rows share."""

    column: str
    value: str | date


@dataclass(frozen=True)
class RowsUnderCheck:
    """
    The rows under check, and what a check may want to know of them.

    :param table: the name of their table in results.
    :param source: what follows ``FROM`` to read them.
    :param columns: the type of each column, in DuckDB's words.
    :param all_rows: what follows ``FROM`` to read the whole table, for checks that compare with other rows of it.
    :param partition_column: the column that ``partition`` refers to; None leaves it to the check.
    :param partition: the day (or value) that the run is about; None leaves it to the check.
    :param filtered_by: the partition to which ``source`` is narrowed; None if it is not.
    :param key: the columns that identify a row.
    :param pii: the columns whose values are never shown.
    """

    engine: SQLEngine
    table: str | None
    source: Query
    columns: Mapping[str, str]
    all_rows: str
    partition_column: str | None = None
    partition: str | date | None = None
    key: tuple[str, ...] = ()
    pii: frozenset[str] = frozenset()
    filtered_by: Partition | None = None

    @property
    def dialect(self) -> Dialect:
        """What the engine spells in its own way."""
        return self.engine.dialect

    def fetch(self, query: Query) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return self.engine.fetch(query)

    def aggregate(self, aggregates: Iterable[Query]) -> tuple[Any, ...]:
        """Return the values of ``aggregates`` over the rows, from one scan."""
        selected = tuple(aggregates)
        sql = f"SELECT {', '.join(each.sql for each in selected)} FROM {self.source.sql}"  # noqa: S608 - quoted
        values = [value for each in selected for value in each.parameters]
        return self.fetch(Query(sql, (*values, *self.source.parameters)))[0]

    @cached_property
    def shared(self) -> dict[Hashable, Any]:
        """What checks of one run keep here for each other, such as a scan that serves several of them."""
        return {}

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The rows as a pandas data frame, for checks that are not SQL."""
        query = Query(f"SELECT * FROM {self.source.sql}", self.source.parameters)  # noqa: S608 - quoted
        return self.engine.arrow(query).to_pandas()


def partition_filter(table: str, columns: Mapping[str, str], column: str, partition: str | date | None) -> Query:
    """
    Return the ``WHERE`` clause that leaves the rows of one day (or value); nothing when ``partition`` is None.

    :raises ConfigurationError: there is no such column, or ``partition`` is not a date.
    """
    if partition is None:
        return Query("")
    if column not in columns:
        raise ConfigurationError(
            f"Table {table} has no partition column {column}. Set partition_column to one of: {', '.join(columns)}."
        )
    name, kind = quote_identifier(column), columns[column]
    if not kind.startswith(("DATE", "TIMESTAMP")):
        return Query(f" WHERE CAST({name} AS VARCHAR) = ?", (str(partition),))
    day = _as_date(partition)
    where = f" WHERE {name} >= CAST(? AS DATE) AND {name} < CAST(? AS DATE)"
    return Query(where, (day, day + timedelta(days=1)))


def _as_date(partition: str | date) -> date:
    try:
        return date.fromisoformat(str(partition))
    except ValueError:
        raise ConfigurationError(f"Partition {str(partition)!r} is not a date: write it as YYYY-MM-DD.") from None
