"""
What the days of a table give, for checks that compare one day with those before it.

Drift checks of one run say first what they need of each day; then one scan, grouped by day and pruned to the longest
window, answers all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, Literal, NamedTuple, NoReturn, cast

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.base import Aggregate, SQLCheck
from airflow_provider_phlo.quality.engines import EvaluationError, TableEngine
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.scan import Rows
from airflow_provider_phlo.sql import quote_identifier
from airflow_provider_phlo.terms import MetadataColumn

# A clock that runs ahead makes no newer day.
CLOCK_SKEW = timedelta(hours=1)
# the column of :meth:`DailyScan.window` that says a row's day
DAY = '"phlo day"'


class DailyScan:
    """
    The days of a table, by a column that is a date or a time; times count in UTC.

    :param column: the column that says which day a row belongs to.
    :raises ConfigurationError: there is no such column, it holds no time, or the partition under check is no day.
    """

    def __init__(self, rows: Rows, column: str) -> None:
        _assert_tells_days(rows, column)
        self._rows = rows
        self._column = quote_identifier(column)
        self._history = 0
        self._planned: dict[Aggregate, None] = {}  # a set that keeps its order
        self._known: set[Aggregate] = set()
        self._days: dict[date, dict[Aggregate, Any]] = {}

    @cached_property
    def day(self) -> date | None:
        """The day under check: the run's partition, else the newest day that has begun; None without any row."""
        if self._rows.partition is not None:
            return _as_day(self._rows.partition)
        tomorrow = (datetime.now(UTC) + CLOCK_SKEW).date() + timedelta(days=1)
        ((newest,),) = self._rows.fetch(
            f"SELECT max(CAST({self._column} AS DATE)) FROM {self._rows.whole} "  # noqa: S608 - quoted
            f"WHERE {self._column} < CAST(? AS DATE)",
            [tomorrow],
        )
        return newest

    def plan(self, history: int, aggregates: Iterable[Aggregate]) -> None:
        """Say that ``aggregates`` of the day under check and of the ``history`` days before it will be asked for."""
        if history > self._history:
            self._history = history
            self._known.clear()
        self._planned.update(dict.fromkeys(aggregates))

    def values(self, history: int, aggregates: Sequence[Aggregate]) -> dict[date, tuple[Any, ...]]:
        """Return the aggregates of each day that has rows, from the oldest of ``history`` to the one under check."""
        if self.day is None:
            return {}
        self.plan(history, aggregates)
        if not self._known.issuperset(aggregates):
            self._scan(aggregates)
        first = self.day - timedelta(days=history)
        return {day: tuple(found[each] for each in aggregates) for day, found in self._days.items() if day >= first}

    def window(self, history: int) -> tuple[str, tuple[date, date]]:
        """Return what follows ``FROM`` to read the rows of the window, :data:`DAY` among them; and its values."""
        assert self.day is not None, "there is no day to look at"
        source = (
            f"(SELECT *, CAST({self._column} AS DATE) AS {DAY} FROM {self._rows.whole} "  # noqa: S608 - quoted
            f"WHERE {self._column} >= CAST(? AS DATE) AND {self._column} < CAST(? AS DATE)) AS days"
        )
        return source, (self.day - timedelta(days=history), self.day + timedelta(days=1))

    def _scan(self, own: Sequence[Aggregate]) -> None:
        """Compute all that was planned; if another check's aggregate spoils that, ``own`` alone."""
        try:
            self._add([each for each in self._planned if each not in self._known])
        except EvaluationError:
            self._planned.clear()
            self._add(own)

    def _add(self, aggregates: Sequence[Aggregate]) -> None:
        source, window = self.window(self._history)
        listed = ", ".join(aggregate.sql for aggregate in aggregates)
        values = [value for aggregate in aggregates for value in aggregate.parameters]
        found = self._rows.fetch(f"SELECT {DAY}, {listed} FROM {source} GROUP BY 1", [*values, *window])  # noqa: S608
        for day, *numbers in sorted(found, key=lambda row: row[0]):
            self._days.setdefault(day, {}).update(zip(aggregates, numbers, strict=True))
        self._known.update(aggregates)


def daily_scan(rows: Rows, column: str | None) -> DailyScan:
    """
    Return the scan that checks of one run share.

    :param column: the check's own column of days; None for that of the run.
    :raises ConfigurationError: there is no such column, or no day in it.
    """
    name = column or rows.partition_column or MetadataColumn.PARTITION_DATE
    if name not in rows.daily:
        rows.daily[name] = DailyScan(rows, name)
    return rows.daily[name]


class Past(NamedTuple):
    """
    The days that one day is compared with.

    :param days: what each of them gave.
    :param alike: those on the same weekday, where all days have to do because there are too few of these.
    :param text: which days they are.
    """

    days: dict[date, Any]
    alike: dict[date, Any]
    text: str

    def metrics(self) -> dict[str, Any]:
        """Return which days they are, as results tell it."""
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

    :param by_weekday: those on the same weekday, if there are at least ``minimum`` of them.
    """
    if not by_weekday:
        return Past(dict(days), {}, _described(days, "days"))
    alike = {each: found for each, found in days.items() if each.weekday() == day.weekday()}
    if len(alike) >= minimum:
        return Past(alike, {}, _described(alike, f"{day:%A}s"))
    return Past(dict(days), alike, f"{_described(days, 'days')}, of which only {len(alike)} are {day:%A}s")


def nothing_to_compare(day: date | None) -> QualityCheckResult:
    """Return the result of a check of values where there are none: how many rows there are is another check's."""
    return QualityCheckResult(
        True,
        message=f"no rows on {day or 'any day'}: nothing to compare",
        row_count=0,
        metrics={"partition": day and str(day)},
    )


def _described(days: Mapping[date, Any], kind: str) -> str:
    return f"{len(days)} {kind} from {min(days)} to {max(days)}" if days else f"0 {kind}"


@dataclass
class HistoryCheck(SQLCheck):
    """
    What checks that compare one day with others have in common.

    :param history: how many days before the day under check are looked at. A day without rows is not among them.
    :param min_history: with fewer of them that have something to compare, the check passes and says so.
    :param seasonality: ``weekday`` compares with the same weekday only; while there are fewer than ``min_history`` of
        them, with all days, and says so.
    :param partition_column: the date or time that says which day a row belongs to; None for that of the run, which is
        ``_phlo_partition_date`` by default.
    :param source_table: compare with this table instead of earlier days.
    :param source_partition_column: with its rows of the same day by this column; with all its rows when None.
    """

    history: int = field(default=28, kw_only=True)
    min_history: int = field(default=7, kw_only=True)
    seasonality: Literal["weekday"] | None = field(default=None, kw_only=True)
    partition_column: str | None = field(default=None, kw_only=True)
    source_table: str | None = field(default=None, kw_only=True)
    source_partition_column: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = isinstance(self.history, int) and isinstance(self.min_history, int)
        if not whole or not 1 <= self.min_history <= self.history:
            self.refuse(
                f"history={self.history}, min_history={self.min_history}: use whole numbers of days, "
                "1 <= min_history <= history"
            )
        if self.seasonality not in (None, "weekday"):
            self.refuse(f"seasonality={self.seasonality!r}: use 'weekday' or None")
        if self.seasonality and self.history < 7 * self.min_history:
            self.refuse(
                f"{self.history} days hold {self.history // 7} of a weekday, and min_history is {self.min_history}: "
                f"set history to at least {7 * self.min_history}"
            )
        if self.source_table and self.seasonality:
            self.refuse("seasonality is about earlier days, and source_table is compared instead: leave one out")
        if self.source_partition_column and not self.source_table:
            self.refuse("source_partition_column is about source_table, which is missing")

    def refuse(self, problem: str) -> NoReturn:
        """Raise a ConfigurationError about an argument."""
        raise ConfigurationError(f"{self.check_name()}: {problem}.")

    @property
    def days_back(self) -> int:
        """How many days before the day under check are read."""
        return 0 if self.source_table else self.history

    def compared_with(self) -> str:
        """Return what a day is compared with, for what the check declares."""
        if self.source_table:
            return self.source_table + (", the same day" if self.source_partition_column else "")
        return f"{self.history} days before it{', the same weekday' if self.seasonality else ''}"

    def past(self, days: Mapping[date, Any], day: date) -> Past:
        """Return which of ``days`` the day is compared with."""
        earlier = {each: found for each, found in days.items() if each < day}
        return comparable(earlier, day, by_weekday=self.seasonality == "weekday", minimum=self.min_history)

    def too_little_history(self, day: date, past: Past, row_count: int) -> QualityCheckResult:
        """Return the result of a check that has fewer days than it needs to say what is usual."""
        return QualityCheckResult(
            True,
            message=f"too little history to judge {day}: {past.text}, at least {self.min_history} are needed",
            row_count=row_count,
            metrics={"partition": str(day), **past.metrics()},
        )

    def source_rows(self, rows: Rows, day: date) -> Rows:
        """Return the rows of the source table that ``day`` is compared with."""
        assert self.source_table is not None
        whole = rows.engine.table(self.source_table)
        columns, pii = rows.engine.columns(whole), rows.pii | _personal_columns(rows, self.source_table)
        source = replace(rows, source=whole, parameters=(), columns=columns, whole=whole, pii=pii)
        if problem := self.problem(source.columns):
            raise ConfigurationError(f"{self.source_table}: {problem}")
        if self.source_partition_column is None:
            return source
        selected, window = DailyScan(replace(source, partition=day), self.source_partition_column).window(0)
        return replace(source, source=selected, parameters=window)


def _assert_tells_days(rows: Rows, column: str) -> None:
    others = ", ".join(name for name, kind in rows.columns.items() if kind.startswith(("DATE", "TIMESTAMP")))
    advice = f"set partition_column to a date or a timestamp (there are: {others or 'none'})"
    if column not in rows.columns:
        raise ConfigurationError(f"there is no column {column} to tell days by: {advice}")
    if not rows.columns[column].startswith(("DATE", "TIMESTAMP")):
        raise ConfigurationError(f"column {column} is {rows.columns[column]} and tells no day: {advice}")


def _personal_columns(rows: Rows, table: str) -> frozenset[str]:
    """Return the ``pii`` columns of another table, which its engine has named."""
    from airflow_provider_phlo.iceberg.declared import declared_columns

    name = table if "." in table else f"{(rows.table or '').rpartition('.')[0]}.{table}"
    return declared_columns(cast(TableEngine, rows.engine).loaded(name))[1]


def _as_day(partition: str | date) -> date:
    try:
        return date.fromisoformat(str(partition))
    except ValueError:
        raise ConfigurationError("the partition under check is no day, so no day comes before it") from None
