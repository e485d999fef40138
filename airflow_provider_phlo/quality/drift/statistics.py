"""
Checks that numbers of one day are where they were on the days before: mean, quantiles, NULLs, distinct values, rows.

The day is the partition under check, or the newest day where the run checks all rows. It is compared with the days
before it in the same table (the branch under audit, which holds all that main holds), or with another table. All such
checks of one run share one scan, grouped by day and pruned to the window.

A number is an aggregate of a day: of a column tagged ``pii`` it may be told, its values may not.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.base import Aggregate
from airflow_provider_phlo.quality.drift.bands import Band, Tolerance, widened
from airflow_provider_phlo.quality.drift.history import HistoryCheck, Past, daily_scan, nothing_to_compare
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.scan import Rows

# the numbers of one day (or of a source) by their names; None where there is none, or none that is finite
Numbers = dict[str, float | None]

ROWS = "row count"
ROW_COUNT = Aggregate("count(*)")
# the largest finite number: infinities are beyond, and NaN, which DuckDB orders above all numbers
_LARGEST = "1.7976931348623157E308"


@dataclass
class StatisticDriftCheck(HistoryCheck):
    """
    Numbers of one day lie near the median of the days before.

    A number may be as far from the median as the widest of these allows.

    :param deviations: this many robust standard deviations (from the median absolute deviation); None for none.
    :param relative_tolerance: this share of the median; without it, nothing may move after days that were all alike.
    :param absolute_tolerance: this much.
    :param quantile_bounds: expect the number between these two quantiles of the days instead of ``deviations``, such as
        ``(0.01, 0.99)``; the tolerances widen that.
    """

    deviations: float | None = field(default=5.0, kw_only=True)
    relative_tolerance: float = field(default=0.01, kw_only=True)
    absolute_tolerance: float = field(default=0.0, kw_only=True)
    quantile_bounds: tuple[float, float] | None = field(default=None, kw_only=True)

    needs_rows: ClassVar[bool] = True
    # the least and the most that the numbers can be, so that no band goes beyond
    lowest: ClassVar[float] = -math.inf
    highest: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.deviations is not None and not 0 < self.deviations < math.inf:
            self.refuse(f"deviations={self.deviations}: use a number above 0, or None")
        for name in ("relative_tolerance", "absolute_tolerance"):
            if not 0 <= getattr(self, name) < math.inf:
                self.refuse(f"{name}={getattr(self, name)}: use a number from 0")
        if self.quantile_bounds is not None and not _are_shares(self.quantile_bounds):
            self.refuse(f"quantile_bounds={self.quantile_bounds}: use two shares such as (0.01, 0.99)")

    @abstractmethod
    def statistics(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Return the aggregates to compare, by the names that results call them."""

    def label(self, statistic: str) -> str:
        """Return what messages call a statistic."""
        return f"{statistic} of {', '.join(self.column_names())}"

    def expectation(self) -> str:
        """Return how near to what the numbers have to be."""
        spread = f"{self.deviations:g} deviations" if self.deviations else ""
        if self.quantile_bounds:
            spread = "quantiles {:g} to {:g}".format(*self.quantile_bounds)
        kinds = [
            spread if not self.source_table else "",
            f"{100 * self.relative_tolerance:g} %" if self.relative_tolerance else "",
            f"{self.absolute_tolerance:g}" if self.absolute_tolerance else "",
        ]
        return f"within {' or '.join(filter(None, kinds)) or '0'} of {self.compared_with()}"

    def aggregates(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Plan the scan by day that the checks of a run share; nothing is computed over the rows under check."""
        with suppress(ConfigurationError):  # no column of days: the check fails with that when it measures
            daily_scan(rows, self.partition_column).plan(self.days_back, self._wanted(rows).values())
        return {}

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Read the numbers of the days, and of the source that is compared instead."""
        scan, wanted = daily_scan(rows, self.partition_column), self._wanted(rows)
        days = scan.values(self.days_back, tuple(wanted.values()))
        source = None
        if self.source_table and scan.day:
            other = self.source_rows(rows, scan.day)
            source = _numbers(wanted, other.aggregate(self._wanted(other).values()))
        return {
            "day": scan.day,
            "days": {day: _numbers(wanted, found) for day, found in days.items()},
            "source": source,
            "names": tuple(self.statistics(rows)),
        }

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when all numbers are where they are expected, or nothing says where that is."""
        day, days, source, names = (values[key] for key in ("day", "days", "source", "names"))
        numbers = days.get(day, {ROWS: 0.0})
        if day is None or (self.needs_rows and not numbers[ROWS]):
            return nothing_to_compare(day)
        now = {name: numbers[name] for name in names}
        if source is not None:
            bands = {name: self._near(source[name]) for name in names}
            return self._result(day, numbers, now, bands, {"compared_with": self.compared_with()})
        past = self.past({each: found for each, found in days.items() if None not in found.values()}, day)
        if len(past.days) < self.min_history:
            return self.too_little_history(day, past, int(numbers[ROWS]))
        bands = {name: self.band(name, past) for name in names}
        return self._result(day, numbers, now, bands, past.metrics())

    def band(self, name: str, past: Past) -> Band:
        """Return where a number is expected after those of ``past``."""
        tolerance = Tolerance(self.deviations, self.relative_tolerance, self.absolute_tolerance, self.quantile_bounds)
        band = tolerance.band([numbers[name] for numbers in past.days.values()])
        band = widened(band, [numbers[name] for numbers in past.alike.values()])
        return band._replace(low=max(band.low, self.lowest), high=min(band.high, self.highest))

    def _result(
        self, day: date, numbers: Numbers, now: Numbers, bands: Mapping[str, Band | None], compared: Mapping[str, Any]
    ) -> QualityCheckResult:
        statistics = {name: _metrics(now[name], band) for name, band in bands.items()}
        wrong = [name for name, band in bands.items() if not _fits(now[name], band)]
        told = "; ".join(_sentence(self.label(name), day, now[name], bands[name]) for name in wrong or bands)
        return QualityCheckResult(
            not wrong,
            message=f"{told} (compared with {compared['compared_with']})",
            row_count=int(numbers[ROWS] or 0),
            metrics={"partition": str(day), **compared, "statistics": statistics},
        )

    def _wanted(self, rows: Rows) -> dict[str, Aggregate]:
        return {ROWS: ROW_COUNT, **self.statistics(rows)}

    def _near(self, number: float | None) -> Band | None:
        if number is None:
            return None
        return Tolerance(None, self.relative_tolerance, self.absolute_tolerance).band([number])


@dataclass
class RowCountAnomalyCheck(StatisticDriftCheck):
    """
    A day has as many rows as the days before; as the same weekdays before, unless ``seasonality`` is None.

    A partition under check without any row has 0.

    :param gaps: earlier days without rows, after the first that has some: ``skip`` leaves them out (a day on which
        nothing ran), ``zero`` counts them as 0 rows (a day on which nothing is normal, such as a Sunday).
    """

    history: int = field(default=84, kw_only=True)
    seasonality: Literal["weekday"] | None = field(default="weekday", kw_only=True)
    relative_tolerance: float = field(default=0.05, kw_only=True)
    gaps: Literal["skip", "zero"] = field(default="skip", kw_only=True)

    check_type: ClassVar[str] = "row_count_anomaly"
    lowest: ClassVar[float] = 0.0
    needs_rows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.source_table and self.seasonality:
            self.seasonality = None
        super().__post_init__()
        if self.gaps not in ("skip", "zero"):
            self.refuse(f"gaps={self.gaps!r}: use 'skip' or 'zero'")

    def label(self, statistic: str) -> str:
        """Return what messages call the number."""
        return statistic

    def statistics(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Count rows."""
        return {ROWS: ROW_COUNT}

    def past(self, days: Mapping[date, Any], day: date) -> Past:
        """Return which of ``days`` the day is compared with, gaps among them if they count."""
        if self.gaps == "zero" and days:
            first = min(days)
            every = [first + timedelta(days=number) for number in range((day - first).days)]
            days = {each: days.get(each, {ROWS: 0.0}) for each in every}
        return super().past(days, day)

    def band(self, name: str, past: Past) -> Band:
        """Return how many rows are expected: some, where every day had some, however much their number varies."""
        band = super().band(name, past)
        return band._replace(low=max(band.low, min(1.0, *(numbers[name] for numbers in past.days.values()))))


@dataclass
class MeanDriftCheck(StatisticDriftCheck):
    """The mean of a number (or share of true values) is where it was. NULL, NaN and infinities are left out."""

    column: str

    check_type: ClassVar[str] = "mean_drift"

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Refuse columns without a mean."""
        return super().problem(types) or not_a_number(self.column, types, or_else=("BOOLEAN",))

    def statistics(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Compute the mean."""
        return {"mean": Aggregate(f"avg({finite(self.column, rows)})")}


@dataclass
class QuantileDriftCheck(StatisticDriftCheck):
    """
    The quantiles of a number are where they were. NULL, NaN and infinities are left out.

    DuckDB computes them exactly, Trino estimates them.

    :param quantiles: shares of the rows, such as 0.5 for the median.
    """

    column: str
    quantiles: Sequence[float] = (0.05, 0.5, 0.95)

    check_type: ClassVar[str] = "quantile_drift"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.quantiles = tuple(self.quantiles)
        distinct = len(set(self.quantiles)) == len(self.quantiles) > 0
        if not distinct or not all(0 <= each <= 1 for each in self.quantiles):
            self.refuse(f"quantiles={self.quantiles}: use different shares from 0 to 1, such as (0.05, 0.5, 0.95)")

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Refuse columns without an order of numbers."""
        return super().problem(types) or not_a_number(self.column, types)

    def statistics(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Compute the quantiles."""
        found = rows.dialect.quantiles(finite(self.column, rows), self.quantiles)
        names = [f"p{100 * each:g}" if each >= 0.1 else f"p0{100 * each:g}" for each in self.quantiles]
        return {name: Aggregate(sql) for name, sql in zip(names, found, strict=True)}


@dataclass
class NullRateDriftCheck(StatisticDriftCheck):
    """The share of NULLs in a column is where it was, by default within one in a hundred rows. NaN is a value."""

    column: str
    relative_tolerance: float = field(default=0.0, kw_only=True)
    absolute_tolerance: float = field(default=0.01, kw_only=True)

    check_type: ClassVar[str] = "null_rate_drift"
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = 1.0

    def statistics(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Compute the share."""
        return {"null rate": Aggregate(f"CAST(count(*) - count({quote_identifier(self.column)}) AS DOUBLE) / count(*)")}


@dataclass
class DistinctCountDriftCheck(StatisticDriftCheck):
    """
    A column has as many different values as it had.

    :param exact: count them one by one; otherwise they are estimated, in bounded memory and ten times as fast, with a
        standard error of 3 %.
    """

    column: str
    exact: bool = field(default=False, kw_only=True)
    relative_tolerance: float = field(default=0.1, kw_only=True)

    check_type: ClassVar[str] = "distinct_count_drift"
    lowest: ClassVar[float] = 0.0

    def statistics(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Count the values."""
        column = quote_identifier(self.column)
        counted = f"count(DISTINCT {column})" if self.exact else rows.dialect.distinct_count(column)
        return {"distinct count": Aggregate(counted)}


def not_a_number(column: str, types: Mapping[str, str], or_else: tuple[str, ...] = ()) -> str | None:
    """Return that a column is no number, or None if it is one."""
    kind = types[column]
    numbers = ("FLOAT", "DOUBLE", "DECIMAL", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U")
    if kind.startswith((*numbers, *or_else)) and kind != "UUID" and not kind.endswith("]"):
        return None
    return f"column {column} is {kind}, a number is needed"


def finite(column: str, rows: Rows) -> str:
    """Return a number column as SQL, NULL where it is NaN or infinite."""
    name = quote_identifier(column)
    if rows.columns[column] not in ("FLOAT", "DOUBLE"):
        return f"CAST({name} AS DOUBLE)"
    return f"CASE WHEN {name} BETWEEN -{_LARGEST} AND {_LARGEST} THEN CAST({name} AS DOUBLE) END"


def _are_shares(bounds: Any) -> bool:
    return isinstance(bounds, tuple | list) and len(bounds) == 2 and 0 <= bounds[0] < bounds[1] <= 1


def _numbers(names: Iterable[str], values: Iterable[Any]) -> Numbers:
    """Name the numbers of one day; what is not finite is none."""
    found = {name: None if value is None else float(value) for name, value in zip(names, values, strict=True)}
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


def _fits(value: float | None, band: Band | None) -> bool:
    return value is None if band is None else value in band


def _metrics(value: float | None, band: Band | None) -> dict[str, float | None]:
    low, middle, high = band or (None, None, None)
    return {"value": value, "expected_low": low, "expected_median": middle, "expected_high": high}


def _sentence(label: str, day: date, value: float | None, band: Band | None) -> str:
    expected = f"{_number(band.low)} to {_number(band.high)}" if band else "none"
    return f"{label} on {day} is {_number(value)}, {expected} is expected"


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    if math.isinf(value):
        return str(value)
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"
