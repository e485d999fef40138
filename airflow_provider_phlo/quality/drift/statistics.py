"""
Checks that numbers of one day are near those of the days before: mean, quantiles, NULLs, distinct values, rows.

The day is the partition under check, or the newest day if the run checks all rows. It is compared with the days
before it in the same table (the branch under audit, which holds all that main holds), or with another table. All such
checks of one run share one scan, grouped by day and pruned to the window.

A number is an aggregate of a day: results may show it for a column tagged ``pii`` too, but never the column's values.
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
from airflow_provider_phlo.quality.drift.bands import Band, Tolerance, widen
from airflow_provider_phlo.quality.drift.history import HistoryCheck, Past, daily_scan, nothing_to_compare
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.sql import Query, quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck

# the numbers of one day (or of a source) by their names; None if there is none, or it is not finite
Numbers = dict[str, float | None]

ROWS = "row count"
ROW_COUNT = Query("count(*)")
# the largest finite number; infinities are beyond it, and so is NaN, which DuckDB orders above all numbers
_LARGEST = "1.7976931348623157E308"
_SCALE = repr(2.0**64)


@dataclass
class StatisticDriftCheck(HistoryCheck):
    """
    Numbers of one day lie near the median of the days before. The base of such checks, and of your own.

    The widest of the tolerances says how far from the median a number may be.

    Example::

        @dataclass
        class SpreadDriftCheck(StatisticDriftCheck):
            column: str

            def statistics(self, rows):
                return {"spread": Query(f"stddev_samp({quote_identifier(self.column)})")}

    :param deviations: a number of robust standard deviations (from the median absolute deviation); None for none.
    :param relative_tolerance: a share of the median; with 0, nothing may move after days that were all the same.
    :param absolute_tolerance: a number.
    :param quantile_bounds: expect the number between these two quantiles of the days instead of ``deviations``, such as
        ``(0.01, 0.99)``; the tolerances widen that range.
    """

    deviations: float | None = field(default=5.0, kw_only=True)
    relative_tolerance: float = field(default=0.01, kw_only=True)
    absolute_tolerance: float = field(default=0.0, kw_only=True)
    quantile_bounds: tuple[float, float] | None = field(default=None, kw_only=True)

    needs_rows: ClassVar[bool] = True
    # the smallest and the largest that the numbers can be: no band goes beyond
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
    def statistics(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Return the aggregates to compare, by their names in results."""

    def label(self, statistic: str) -> str:
        """Return the name of a statistic in messages."""
        return f"{statistic} of {', '.join(self.column_names())}"

    def expectation(self) -> str:
        """Return how near the numbers have to be, and to what."""
        spread = f"{self.deviations:g} deviations" if self.deviations else ""
        if self.quantile_bounds:
            spread = "quantiles {:g} to {:g}".format(*self.quantile_bounds)
        kinds = [
            spread if not self.source_table else "",
            f"{100 * self.relative_tolerance:g} %" if self.relative_tolerance else "",
            f"{self.absolute_tolerance:g}" if self.absolute_tolerance else "",
        ]
        return f"within {' or '.join(filter(None, kinds)) or '0'} of {self.compared_with()}"

    def aggregates(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Plan the scan by day that the drift checks of a run share; the other scan computes nothing for them."""
        with suppress(ConfigurationError):  # no column of days: measure() fails with that again
            daily_scan(rows, self.partition_column).plan(self.days_back, self._aggregates_by_name(rows).values())
        return {}

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Read the numbers of the days, and those of the source if there is one."""
        scan, aggregates = daily_scan(rows, self.partition_column), self._aggregates_by_name(rows)
        days = scan.values(self.days_back, tuple(aggregates.values()))
        source = None
        if self.source_table and scan.day:
            other = self.source_rows(rows, scan.day)
            source = _numbers(aggregates, other.aggregate(self._aggregates_by_name(other).values()))
        return {
            "day": scan.day,
            "days": {day: _numbers(aggregates, found) for day, found in days.items()},
            "source": source,
            "names": tuple(self.statistics(rows)),
        }

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when all numbers are where they are expected, or there is nothing to compare with."""
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
        """Return where a number is expected, given those of the past."""
        tolerance = Tolerance(self.deviations, self.relative_tolerance, self.absolute_tolerance, self.quantile_bounds)
        band = tolerance.band([numbers[name] for numbers in past.days.values()])
        band = widen(band, [numbers[name] for numbers in past.same_weekday.values()])
        return band._replace(low=max(band.low, self.lowest), high=min(band.high, self.highest))

    def _result(
        self, day: date, numbers: Numbers, now: Numbers, bands: Mapping[str, Band | None], compared: Mapping[str, Any]
    ) -> QualityCheckResult:
        statistics = {name: _metrics(now[name], band) for name, band in bands.items()}
        wrong = [name for name, band in bands.items() if not _fits(now[name], band)]
        sentences = "; ".join(_sentence(self.label(name), day, now[name], bands[name]) for name in wrong or bands)
        return QualityCheckResult(
            not wrong,
            message=f"{sentences} (compared with {compared['compared_with']})",
            row_count=int(numbers[ROWS] or 0),
            metrics={"partition": str(day), **compared, "statistics": statistics},
        )

    def _aggregates_by_name(self, rows: RowsUnderCheck) -> dict[str, Query]:
        return {ROWS: ROW_COUNT, **self.statistics(rows)}

    def _near(self, number: float | None) -> Band | None:
        if number is None:
            return None
        return Tolerance(None, self.relative_tolerance, self.absolute_tolerance).band([number])


@dataclass
class RowCountAnomalyCheck(StatisticDriftCheck):
    """
    A day has about as many rows as the same weekdays before; as all days before if ``seasonality`` is None.

    A partition under check that has no rows counts as 0.

    Example::

        RowCountAnomalyCheck(deviations=4)

    :param gaps: earlier days without rows, after the first that has some: ``skip`` leaves them out (nothing ran on
        them), ``zero`` counts them as 0 rows (having none is normal, as on a Sunday).
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
        """Return the name of the number in messages."""
        return statistic

    def statistics(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Count rows."""
        return {ROWS: ROW_COUNT}

    def past(self, days: Mapping[date, Any], day: date) -> Past:
        """Return the days among ``days`` that ``day`` is compared with, including gaps if they count."""
        if self.gaps == "zero" and days:
            first = min(days)
            every = [first + timedelta(days=number) for number in range((day - first).days)]
            days = {each: days.get(each, {ROWS: 0.0}) for each in every}
        return super().past(days, day)

    def band(self, name: str, past: Past) -> Band:
        """Return how many rows are expected: at least one if every day had some, however much their number varies."""
        band = super().band(name, past)
        return band._replace(low=max(band.low, min(1.0, *(numbers[name] for numbers in past.days.values()))))


@dataclass
class MeanDriftCheck(StatisticDriftCheck):
    """
    The mean of a number (or the share of true values) is where it was. NULL, NaN and infinities are left out.

    Example::

        MeanDriftCheck(column="value", relative_tolerance=0.05)
    """

    column: str

    check_type: ClassVar[str] = "mean_drift"

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return also that the column has no mean."""
        return super().problem(types) or not_a_number(self.column, types, or_else=("BOOLEAN",))

    def statistics(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Compute the mean."""
        number = finite(self.column, rows)
        mean = f"avg({number})"
        if rows.columns[self.column] == "DOUBLE":  # the largest ones have no finite sum
            mean = f"CASE WHEN abs({mean}) <= {_LARGEST} THEN {mean} ELSE avg({number} / {_SCALE}) * {_SCALE} END"
        return {"mean": Query(mean)}


@dataclass
class QuantileDriftCheck(StatisticDriftCheck):
    """
    The quantiles of a number are where they were. NULL, NaN and infinities are left out.

    DuckDB computes them exactly, Trino estimates them.

    Example::

        QuantileDriftCheck(column="value", quantiles=(0.1, 0.9))

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
            self.refuse(f"quantiles={self.quantiles}: use distinct shares from 0 to 1, such as (0.05, 0.5, 0.95)")

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return also that the column does not hold numbers."""
        return super().problem(types) or not_a_number(self.column, types)

    def statistics(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Compute the quantiles."""
        found = rows.dialect.quantiles(finite(self.column, rows), self.quantiles)
        names = [f"p{100 * each:g}" if each >= 0.1 else f"p0{100 * each:g}" for each in self.quantiles]
        return {name: Query(sql) for name, sql in zip(names, found, strict=True)}


@dataclass
class NullRateDriftCheck(StatisticDriftCheck):
    """
    The share of NULLs in a column is where it was, by default within one in a hundred rows. NaN is a value.

    Example::

        NullRateDriftCheck(column="value", absolute_tolerance=0.02)
    """

    column: str
    relative_tolerance: float = field(default=0.0, kw_only=True)
    absolute_tolerance: float = field(default=0.01, kw_only=True)

    check_type: ClassVar[str] = "null_rate_drift"
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = 1.0

    def statistics(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Compute the share."""
        return {"null rate": Query(f"CAST(count(*) - count({quote_identifier(self.column)}) AS DOUBLE) / count(*)")}


@dataclass
class DistinctCountDriftCheck(StatisticDriftCheck):
    """
    A column has about as many distinct values as it had.

    Example::

        DistinctCountDriftCheck(column="device", exact=True)

    :param exact: count them one by one; otherwise their number is estimated, in bounded memory and ten times as fast,
        with a standard error of 3 %.
    """

    column: str
    exact: bool = field(default=False, kw_only=True)
    relative_tolerance: float = field(default=0.1, kw_only=True)

    check_type: ClassVar[str] = "distinct_count_drift"
    lowest: ClassVar[float] = 0.0

    def statistics(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Count the distinct values."""
        column = quote_identifier(self.column)
        sql = f"count(DISTINCT {column})" if self.exact else rows.dialect.distinct_count(column)
        return {"distinct count": Query(sql)}


def not_a_number(column: str, types: Mapping[str, str], or_else: tuple[str, ...] = ()) -> str | None:
    """Return that a column does not hold numbers, or None if it does."""
    kind = types[column]
    numbers = ("FLOAT", "DOUBLE", "DECIMAL", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U")
    if kind == '"NULL"' or (kind.startswith((*numbers, *or_else)) and kind != "UUID" and not kind.endswith("]")):
        return None
    return f"column {column} is {kind}, a number is needed"


def finite(column: str, rows: RowsUnderCheck) -> str:
    """Return a number column as SQL, NULL where it is NaN or infinite."""
    name = quote_identifier(column)
    if rows.columns[column] not in ("FLOAT", "DOUBLE"):
        return f"CAST({name} AS DOUBLE)"
    return f"CASE WHEN {name} BETWEEN -{_LARGEST} AND {_LARGEST} THEN CAST({name} AS DOUBLE) END"


def _are_shares(bounds: Any) -> bool:
    return isinstance(bounds, tuple | list) and len(bounds) == 2 and 0 <= bounds[0] < bounds[1] <= 1


def _numbers(names: Iterable[str], values: Iterable[Any]) -> Numbers:
    """Return the numbers of one day by name; what is not finite becomes None."""
    found = {name: None if value is None else float(value) for name, value in zip(names, values, strict=True)}
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


def _fits(value: float | None, band: Band | None) -> bool:
    return value is None if band is None else value in band


def _metrics(value: float | None, band: Band | None) -> dict[str, float | None]:
    low, median, high = band or (None, None, None)
    return {"value": value, "expected_low": low, "expected_median": median, "expected_high": high}


def _sentence(label: str, day: date, value: float | None, band: Band | None) -> str:
    expected = f"{_number(band.low)} to {_number(band.high)}" if band else "none"
    return f"{label} on {day} is {_number(value)}, {expected} is expected"


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    if math.isinf(value):
        return str(value)
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"
