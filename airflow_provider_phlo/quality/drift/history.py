"""
The history of a table, day by day, for checks that compare one day with those before it.

Drift checks of one run first say what they need from each day; then a single scan, grouped by day and pruned to the
longest window, serves all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, Literal, NamedTuple, NoReturn, cast

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.engines import CatalogEngine, EvaluationError
from airflow_provider_phlo.quality.engines.catalog_tables import CatalogTables
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck
from airflow_provider_phlo.quality.sql_check import SQLCheck
from airflow_provider_phlo.sql import Query, quote_identifier
from airflow_provider_phlo.terms import MetadataColumn

# A clock that runs ahead does not make a newer day.
CLOCK_SKEW = timedelta(hours=1)
# the column that :meth:`DailyScan.window` adds: the day of each row
DAY = '"phlo day"'


class DailyScan:
    """
    The aggregates of each day of a table, from a scan that several checks share.

    :param column: the date or time that says which day a row belongs to; times count in UTC.
    :raises ConfigurationError: there is no such column, it holds no times, or the partition under check is not a day.
    """

    def __init__(self, rows: RowsUnderCheck, column: str) -> None:
        _assert_has_days(rows, column)
        self._rows = rows
        self._column = quote_identifier(column)
        self._day = rows.dialect.day(self._column, rows.columns[column])
        self._history = 0
        self._planned: dict[Query, None] = {}  # a set that keeps its order
        self._computed: set[Query] = set()
        self._days: dict[date, dict[Query, Any]] = {}

    @cached_property
    def day(self) -> date | None:
        """The day under check: the run's partition, else the newest day that has begun; None if there are no rows."""
        if self._rows.partition is not None:
            return _as_date(self._rows.partition)
        tomorrow = (datetime.now(UTC) + CLOCK_SKEW).date() + timedelta(days=1)
        sql = (
            f"SELECT max({self._day}) FROM {self._rows.all_rows} "  # noqa: S608 - quoted
            f"WHERE {self._column} < CAST(? AS DATE)"
        )
        ((newest,),) = self._rows.fetch(Query(sql, (tomorrow,)))
        return newest

    def plan(self, history: int, aggregates: Iterable[Query]) -> None:
        """Add aggregates to the scan, for the day under check and the ``history`` days before it."""
        if history > self._history:
            self._history = history
            self._computed.clear()
        self._planned.update(dict.fromkeys(aggregates))

    def values(self, history: int, aggregates: Sequence[Query]) -> dict[date, tuple[Any, ...]]:
        """Return the aggregates of each day that has rows: the day under check and the ``history`` days before it."""
        if self.day is None:
            return {}
        self.plan(history, aggregates)
        if not self._computed.issuperset(aggregates):
            self._scan(aggregates)
        first = self.day - timedelta(days=history)
        return {day: tuple(found[each] for each in aggregates) for day, found in self._days.items() if day >= first}

    def window(self, history: int) -> Query:
        """
        Return what follows ``FROM`` to read the rows of a window of days, with the column :data:`DAY`.

        :param history: the number of days before the day under check, which is the last one.
        """
        assert self.day is not None, "there is no day to look at"
        source = (
            f"(SELECT *, {self._day} AS {DAY} FROM {self._rows.all_rows} "  # noqa: S608 - quoted
            f"WHERE {self._column} >= CAST(? AS DATE) AND {self._column} < CAST(? AS DATE)) AS days"
        )
        return Query(source, (self.day - timedelta(days=history), self.day + timedelta(days=1)))

    def _scan(self, own: Sequence[Query]) -> None:
        """Compute all that is planned; if another check's aggregate makes that fail, only ``own``."""
        try:
            self._add([each for each in self._planned if each not in self._computed])
        except EvaluationError:
            self._planned.clear()
            self._add(own)

    def _add(self, aggregates: Sequence[Query]) -> None:
        window = self.window(self._history)
        listed = ", ".join(aggregate.sql for aggregate in aggregates)
        values = [value for aggregate in aggregates for value in aggregate.parameters]
        sql = f"SELECT {DAY}, {listed} FROM {window.sql} GROUP BY 1"  # noqa: S608 - quoted
        rows = self._rows.fetch(Query(sql, (*values, *window.parameters)))
        for day, *numbers in sorted(rows, key=lambda row: row[0]):
            self._days.setdefault(day, {}).update(zip(aggregates, numbers, strict=True))
        self._computed.update(aggregates)


def daily_scan(rows: RowsUnderCheck, column: str | None) -> DailyScan:
    """
    Return the scan that checks of one run share.

    :param column: the check's own column of days; None for the run's.
    :raises ConfigurationError: there is no such column, or it holds no days.
    """
    name = column or rows.partition_column or MetadataColumn.PARTITION_DATE
    key = (DailyScan, name)
    if key not in rows.shared:
        rows.shared[key] = DailyScan(rows, name)
    return cast(DailyScan, rows.shared[key])


class Past(NamedTuple):
    """
    The days that one day is compared with.

    :param days: the numbers of each of them.
    :param same_weekday: those on the same weekday, if there are too few to compare with them alone.
    :param text: which days they are, in words.
    """

    days: dict[date, Any]
    same_weekday: dict[date, Any]
    text: str

    def metrics(self) -> dict[str, Any]:
        """Return which days they are, for results."""
        first, last = (str(min(self.days)), str(max(self.days))) if self.days else (None, None)
        return {
            "compared_with": self.text,
            "history_days": len(self.days),
            "history_from": first,
            "history_to": last,
        }


def comparable(days: Mapping[date, Any], day: date, *, by_weekday: bool, minimum: int) -> Past:
    """
    Choose from ``days`` those that ``day`` is compared with.

    :param by_weekday: choose those on the same weekday, if there are at least ``minimum`` of them.
    """
    if not by_weekday:
        return Past(dict(days), {}, _describe(days, "days"))
    same_weekday = {each: found for each, found in days.items() if each.weekday() == day.weekday()}
    if len(same_weekday) >= minimum:
        return Past(same_weekday, {}, _describe(same_weekday, f"{day:%A}s"))
    text = f"{_describe(days, 'days')}, only {len(same_weekday)} of them {day:%A}s"
    return Past(dict(days), same_weekday, text)


def nothing_to_compare(day: date | None) -> QualityCheckResult:
    """Return the result of a check of values on a day without rows: counting rows is for another check."""
    return QualityCheckResult(
        True,
        message=f"no rows on {day or 'any day'}: nothing to compare",
        row_count=0,
        metrics={"partition": day and str(day)},
    )


def _describe(days: Mapping[date, Any], kind: str) -> str:
    return f"{len(days)} {kind} from {min(days)} to {max(days)}" if days else f"0 {kind}"


@dataclass
class HistoryCheck(SQLCheck):
    """
    What all checks that compare one day with others have in common.

    :param history: how many days before the day under check are looked at. Days without rows do not count.
    :param min_history: if fewer of them have something to compare, the check passes and says so.
    :param seasonality: ``weekday`` compares only with the same weekday; while there are fewer than ``min_history`` of
        them, it compares with all days, and says so.
    :param partition_column: the date or time that says which day a row belongs to; None for the run's, which is
        ``_phlo_partition_date`` by default.
    :param source_table: compare with this table instead of earlier days.
    :param source_partition_column: compare only with its rows whose value of this column is on the same day; None
        compares with all its rows.
    """

    history: int = field(default=28, kw_only=True)
    min_history: int = field(default=7, kw_only=True)
    seasonality: Literal["weekday"] | None = field(default=None, kw_only=True)
    partition_column: str | None = field(default=None, kw_only=True)
    source_table: str | None = field(default=None, kw_only=True)
    source_partition_column: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        are_integers = isinstance(self.history, int) and isinstance(self.min_history, int)
        if not are_integers or not 1 <= self.min_history <= self.history:
            self.refuse(
                f"history={self.history}, min_history={self.min_history}: use whole numbers of days, "
                "1 <= min_history <= history"
            )
        if self.seasonality not in (None, "weekday"):
            self.refuse(f"seasonality={self.seasonality!r}: use 'weekday' or None")
        if self.seasonality and self.history < 7 * self.min_history:
            self.refuse(
                f"{self.history} days hold a weekday {self.history // 7} times, and min_history is {self.min_history}: "
                f"set history to at least {7 * self.min_history}"
            )
        if self.source_table and self.seasonality:
            self.refuse("seasonality refers to earlier days, and source_table replaces them: leave one of the two out")
        if self.source_partition_column and not self.source_table:
            self.refuse("source_partition_column refers to source_table, which is missing")

    def refuse(self, problem: str) -> NoReturn:
        """Raise a ConfigurationError about an argument."""
        raise ConfigurationError(f"{self.check_name()}: {problem}.")

    @property
    def days_back(self) -> int:
        """The number of days before the day under check that are read."""
        return 0 if self.source_table else self.history

    def compared_with(self) -> str:
        """Return what a day is compared with, in words."""
        if self.source_table:
            return self.source_table + (", the same day" if self.source_partition_column else "")
        return f"{self.history} days before it{', the same weekday' if self.seasonality else ''}"

    def past(self, days: Mapping[date, Any], day: date) -> Past:
        """Return the days among ``days`` that ``day`` is compared with."""
        earlier = {each: found for each, found in days.items() if each < day}
        return comparable(earlier, day, by_weekday=self.seasonality == "weekday", minimum=self.min_history)

    def too_little_history(self, day: date, past: Past, row_count: int) -> QualityCheckResult:
        """Return the result of a check that has too few days to know what is usual."""
        return QualityCheckResult(
            True,
            message=f"too little history to judge {day}: {past.text}, at least {self.min_history} are needed",
            row_count=row_count,
            metrics={"partition": str(day), **past.metrics()},
        )

    def source_rows(self, rows: RowsUnderCheck, day: date) -> RowsUnderCheck:
        """Return the rows of the source table that ``day`` is compared with."""
        assert self.source_table is not None
        own_days = self.partition_column or rows.partition_column or MetadataColumn.PARTITION_DATE
        name = rows.engine.qualified(self.source_table) if isinstance(rows.engine, CatalogTables) else self.source_table
        if name == rows.table and self.source_partition_column == own_days:
            raise ConfigurationError(
                f"source_table {name} is the table under check: a day would be compared with itself"
            )
        all_rows = rows.engine.table(self.source_table)
        columns, pii = rows.engine.columns(all_rows), rows.pii | _declared_pii(rows, self.source_table)
        source = replace(rows, source=Query(all_rows), columns=columns, all_rows=all_rows, pii=pii)
        if problem := self.problem(source.columns):
            raise ConfigurationError(f"{self.source_table}: {problem}")
        if self.source_partition_column is None:
            return source
        window = DailyScan(replace(source, partition=day), self.source_partition_column).window(0)
        return replace(source, source=window)


def _assert_has_days(rows: RowsUnderCheck, column: str) -> None:
    others = ", ".join(name for name, kind in rows.columns.items() if kind.startswith(("DATE", "TIMESTAMP")))
    advice = f"set partition_column to a date or a timestamp (candidates: {others or 'none'})"
    if column not in rows.columns:
        raise ConfigurationError(f"there is no column {column} that says the day of a row: {advice}")
    if not rows.columns[column].startswith(("DATE", "TIMESTAMP")):
        raise ConfigurationError(f"column {column} is {rows.columns[column]}, which holds no days: {advice}")


def _declared_pii(rows: RowsUnderCheck, table: str) -> frozenset[str]:
    """Return the columns that another table, which the engine has read, declares as ``pii``."""
    from airflow_provider_phlo.iceberg.branches.declared import declared_columns

    name = table if "." in table else f"{(rows.table or '').rpartition('.')[0]}.{table}"
    return declared_columns(cast(CatalogEngine, rows.engine).loaded(name))[1]


def _as_date(partition: str | date) -> date:
    try:
        return date.fromisoformat(str(partition))
    except ValueError:
        raise ConfigurationError("the partition under check is not a date, so no day comes before it") from None
