"""The rows under check, as an SQL engine sees them: what checks are asked about."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.engines import SQLEngine
from airflow_provider_phlo.quality.engines.dialects import Dialect
from airflow_provider_phlo.quality.engines.frames import to_pandas
from airflow_provider_phlo.sql import Query, quote_identifier

if TYPE_CHECKING:
    import pandas as pd

_TEXTS = ("VARCHAR", "ENUM", "JSON")
_NUMBERS = ("FLOAT", "DOUBLE", "DECIMAL", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U")


class SelectedPartition(NamedTuple):
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
    filtered_by: SelectedPartition | None = None

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
        """A place where checks of one run keep what others can use, such as a scan that serves several of them."""
        return {}

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The rows as a pandas data frame, for checks that are not SQL."""
        query = Query(f"SELECT * FROM {self.source.sql}", self.source.parameters)  # noqa: S608 - quoted
        return to_pandas(self.engine.arrow(query))


def partition_filter(table: str, columns: Mapping[str, str], column: str, partition: str | date | None) -> Query:
    """
    Return the ``WHERE`` clause that leaves the rows of one day (or value); nothing when ``partition`` is None.

    A column of text or numbers may spell a day as 2024-01-15 or as 20240115.

    :raises ConfigurationError: there is no such column, or it cannot hold ``partition``.
    """
    if partition is None:
        return Query("")
    if column not in columns:
        raise ConfigurationError(
            f"Table {table} has no partition column {column}. Set partition_column to one of: {', '.join(columns)}."
        )
    name, kind = quote_identifier(column), columns[column]
    if kind.startswith(("DATE", "TIMESTAMP")):
        day = _as_date(partition)
        where = f" WHERE {name} >= CAST(? AS DATE) AND {name} < CAST(? AS DATE)"
        return Query(where, (day, day + timedelta(days=1)))
    value = _partition_value(kind, partition)
    if value is None:
        raise ConfigurationError(
            f"Partition column {column} of table {table} is {kind}, which holds no {str(partition)!r}: name another "
            "partition_column, or a partition that it holds."
        )
    return Query(f" WHERE {name} IN ({', '.join('?' * len(value))})", value)


def require_days(
    engine: SQLEngine, table: str, where: Query, columns: Mapping[str, str], column: str, partition: str | date | None
) -> None:
    """
    Refuse a column of text or numbers that spells no day at all when the rows of a day are wanted.

    No row would be checked, and every check pass.

    :param table: what follows ``FROM`` to read the table, without ``?`` markers.
    :param where: the :func:`partition_filter` of the day.
    :raises ConfigurationError: the table has rows, and none of them is of any day.
    """
    kind = columns.get(column, "")
    if _day_or_none(partition) is None or kind.startswith(("DATE", "TIMESTAMP")):
        return
    if engine.fetch(Query(f"SELECT 1 FROM {table}{where.sql} LIMIT 1", where.parameters)):  # noqa: S608 - quoted
        return
    name = quote_identifier(column)
    values: tuple[Any, ...] = ()
    spelled = f"{name} BETWEEN 10000101 AND 99991231"
    if kind.startswith(_TEXTS):
        spelled = engine.dialect.matches(f"CAST({name} AS VARCHAR)", "?")
        values = (engine.dialect.pattern(r"^[0-9]{4}-?[0-9]{2}-?[0-9]{2}$"),)
    sql = f"SELECT count(*), count(CASE WHEN {spelled} THEN 1 END) FROM {table}"  # noqa: S608 - quoted
    ((rows, days),) = engine.fetch(Query(sql, values))
    if rows and not days:
        raise ConfigurationError(
            f"Partition column {column} is {kind} and holds no day that is spelled as 2024-01-15 or 20240115: name "
            "another partition_column."
        )


def _partition_value(kind: str, partition: str | date) -> tuple[Any, ...] | None:
    """Return the values of a column of neither dates nor times that stand for a partition; None if it has none."""
    text, day = str(partition), _day_or_none(partition)
    if kind.endswith("]"):
        return None
    if kind == "BOOLEAN":
        return {"true": (True,), "false": (False,)}.get(text.lower())
    if kind.startswith(_TEXTS):
        return (text,) if day is None else tuple(dict.fromkeys((text, f"{day:%Y-%m-%d}", f"{day:%Y%m%d}")))
    if kind == "UUID":
        return (text.lower(),)
    if not kind.startswith(_NUMBERS):
        return None
    try:
        number = Decimal(text if day is None else f"{day:%Y%m%d}")
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    if kind in ("FLOAT", "DOUBLE"):
        return (float(number),)
    return (int(number),) if number == int(number) and abs(number) < 2**63 else (number,)


def _day_or_none(partition: str | date | None) -> date | None:
    try:
        return date.fromisoformat(str(partition))
    except ValueError:
        return None


def _as_date(partition: str | date) -> date:
    day = _day_or_none(partition)
    if day is None:
        raise ConfigurationError(f"Partition {str(partition)!r} is not a date: write it as YYYY-MM-DD.")
    return day
