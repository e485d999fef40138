"""
Checks that the values of one day are distributed as on the days before: numbers, and categories.

Both count the rows of each day in the same buckets and compare the day under check with all rows of the days before.
NULL is a bucket, and so is NaN.
"""

from __future__ import annotations

import math
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.drift import distances
from airflow_provider_phlo.quality.drift.bands import median
from airflow_provider_phlo.quality.drift.history import DAY, HistoryCheck, daily_scan, nothing_to_compare
from airflow_provider_phlo.quality.drift.statistics import finite, not_a_number
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.sql import Query, quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.drift.history import DailyScan
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck


class Distance(NamedTuple):
    """
    How far two histograms are apart.

    :param between: the distance of two histograms.
    :param limit: the largest distance that is not drift, by default.
    :param noise: the distance that chance alone makes, given the rows of both and the number of buckets.
    :param name: what messages call it.
    """

    between: Callable[[Sequence[int], Sequence[int]], float]
    limit: float
    noise: Callable[[int, int, int], float]
    name: str


DISTANCES = {
    "psi": Distance(distances.population_stability_index, 0.25, distances.noise, "population stability index"),
    "jensen_shannon": Distance(
        distances.jensen_shannon, 0.2, distances.jensen_shannon_noise, "Jensen-Shannon distance"
    ),
}

# the number of rows in each bucket
Counts = list[int]


class Buckets(NamedTuple):
    """
    The buckets that rows are counted in.

    :param number: SQL of the number of a row's bucket, from 0.
    :param names: their names in results.
    """

    number: Query
    names: tuple[str, ...]


@dataclass
class DistributionCheck(HistoryCheck):
    """
    The rows of one day fall into the same buckets, in the same shares, as those of the days before. A base class.

    :param distance: ``psi`` (population stability index) or ``jensen_shannon``; :mod:`.distances` has the formulas.
    :param max_distance: the largest distance that is not drift; if None, 0.25 for ``psi`` and 0.2 for
        ``jensen_shannon``. The distance that chance alone makes of few rows is always allowed.
    :param pii: the column holds personal data: results do not name its buckets. A column that the table declares as
        ``pii`` is treated so in any case.
    """

    column: str
    distance: Literal["psi", "jensen_shannon"] = field(default="psi", kw_only=True)
    max_distance: float | None = field(default=None, kw_only=True)
    pii: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distance not in DISTANCES:
            self.refuse(f"distance={self.distance!r}: use {' or '.join(map(repr, DISTANCES))}")
        if self.max_distance is not None and not self.max_distance > 0:
            self.refuse(f"max_distance={self.max_distance}: use a number above 0")

    @abstractmethod
    def bounds(self, rows: RowsUnderCheck, scan: DailyScan, source: RowsUnderCheck | None) -> tuple[Any, ...]:
        """Return the values that define the buckets, from the source or from the days before the one under check."""

    @abstractmethod
    def buckets(self, rows: RowsUnderCheck, bounds: tuple[Any, ...]) -> Buckets:
        """Return the buckets that ``bounds`` define."""

    @property
    def limit(self) -> float:
        """The largest distance that is not drift."""
        return DISTANCES[self.distance].limit if self.max_distance is None else self.max_distance

    def expectation(self) -> str:
        """Return how near the distribution has to be, and to what."""
        return f"{DISTANCES[self.distance].name} of at most {self.limit:g} to {self.compared_with()}"

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Count the rows of each day, or of the source, in each bucket."""
        scan = daily_scan(rows, self.partition_column)
        if scan.day is None:
            return {"day": None, "days": {}}
        source = self.source_rows(rows, scan.day) if self.source_table else None
        bounds = self.bounds(rows, scan, source)
        buckets = self.buckets(rows, bounds)
        values = {
            "day": scan.day,
            "days": _count_by(DAY, rows, scan.window(self.days_back), buckets),
            "source": None,
            "names": self._shown_names(source or rows, buckets.names),
        }
        if source is not None:
            counts = _count_by("1", source, source.source, self.buckets(source, bounds))
            values["source"] = counts.get(1, [0] * len(buckets.names))
        return values

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when the histograms are near each other, or there is nothing to compare with."""
        day, days = values["day"], values["days"]
        if day not in days:
            return nothing_to_compare(day)
        if values["source"] is not None:
            compared = {"compared_with": self.compared_with()}
            if not sum(values["source"]):
                message = f"{self.compared_with()}: it has no rows to compare those on {day} with"
                return QualityCheckResult(False, None, message, row_count=sum(days[day]))
            return self._compare(day, days[day], [values["source"]], values["names"], compared)
        past = self.past(days, day)
        if len(past.days) < self.min_history:
            return self.too_little_history(day, past, sum(days[day]))
        return self._compare(day, days[day], list(past.days.values()), values["names"], past.metrics())

    def _compare(
        self, day: date, now: Counts, others: Sequence[Counts], names: Sequence[str], compared: Mapping[str, Any]
    ) -> QualityCheckResult:
        kind, before = DISTANCES[self.distance], [sum(bucket) for bucket in zip(*others, strict=True)]
        distance, allowed = _distance(kind, now, before), max(self.limit, _noise(kind, now, before))
        name, share, share_before = _most_moved(now, before, names)
        passed = distance <= allowed
        moved = f"; the share of {name} went from {100 * share_before:.3g} % to {100 * share:.3g} %"
        return QualityCheckResult(
            passed,
            message=f"{kind.name} of {self.column} on {day} is {distance:.3g}, at most {allowed:.3g} is expected"
            f"{'' if passed else moved} (compared with {compared['compared_with']})",
            row_count=sum(now),
            metrics={
                "partition": str(day),
                **compared,
                "distance": distance,
                "allowed_distance": allowed,
                "usual_distance": _usual(kind, others, before),
                "most_moved": {"bucket": name, "share": share, "share_before": share_before},
            },
        )

    def _shown_names(self, rows: RowsUnderCheck, names: Sequence[str]) -> Sequence[str]:
        """Return the names of the buckets in results: numbers if values and bounds are personal data."""
        personal = self.pii or self.column in rows.pii
        return [f"bucket {number}" for number in range(len(names))] if personal else names


@dataclass
class HistogramDriftCheck(DistributionCheck):
    """
    A number is distributed as it was.

    Bins hold equal shares of the days before: their bounds are the medians, over the days, of each day's quantiles. A
    value that is the bound of several bins gets a bin of its own; so do NULL and NaN.

    Example::

        HistogramDriftCheck(column="value", bins=20)

    :param bins: the number of bins for numbers.
    """

    bins: int = 10

    check_type: ClassVar[str] = "histogram_drift"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.bins <= 100:
            self.refuse(f"bins={self.bins}: use 2 to 100")

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return also that the column does not hold numbers."""
        return super().problem(types) or not_a_number(self.column, types)

    def aggregates(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Plan the quantiles of each day in the scan that the checks of a run share."""
        if not self.source_table:
            with suppress(ConfigurationError):  # no column of days: measure() fails with that again
                daily_scan(rows, self.partition_column).plan(self.history, self._quantiles(rows))
        return {}

    def bounds(self, rows: RowsUnderCheck, scan: DailyScan, source: RowsUnderCheck | None) -> tuple[float, ...]:
        """Return the upper bounds of all bins but the last."""
        if source is not None:
            quantiles_of_days = [source.aggregate(self._quantiles(source))]
        else:
            days = scan.values(self.history, self._quantiles(rows))
            quantiles_of_days = [quantiles for day, quantiles in days.items() if day != scan.day]
        known = [quantiles for quantiles in quantiles_of_days if None not in quantiles]
        edges = sorted(median(each) for each in zip(*known, strict=True))
        repeated = {edge for edge, following in pairwise(edges) if edge == following}
        return tuple(sorted({*edges, *(math.nextafter(edge, -math.inf) for edge in repeated)}))

    def buckets(self, rows: RowsUnderCheck, bounds: tuple[Any, ...]) -> Buckets:
        """Return one bucket for NULL, one for NaN and infinities, and the bins."""
        number, name = finite(self.column, rows), quote_identifier(self.column)
        cases = [f"WHEN {name} IS NULL THEN 0", f"WHEN {number} IS NULL THEN 1"]
        cases += [f"WHEN {name} <= ? THEN {bucket}" for bucket in range(2, 2 + len(bounds))]
        bucket_number = Query(f"CASE {' '.join(cases)} ELSE {2 + len(bounds)} END", bounds)
        return Buckets(bucket_number, ("NULL", "NaN", *_bin_names(bounds)))

    def _quantiles(self, rows: RowsUnderCheck) -> list[Query]:
        shares = [number / self.bins for number in range(1, self.bins)]
        return [Query(sql) for sql in rows.dialect.quantiles(finite(self.column, rows), shares)]


@dataclass
class CategoryDriftCheck(DistributionCheck):
    """
    The values of a column are as frequent as they were.

    Each of the most frequent values of the days before is a bucket; all others, including new ones, share one; NULL is
    a bucket too.

    Example::

        CategoryDriftCheck(column="device", top=10)

    :param top: the number of values that have a bucket of their own.
    """

    top: int = 20

    check_type: ClassVar[str] = "category_drift"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.top <= 1000:
            self.refuse(f"top={self.top}: use 1 to 1000")

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return also that the values of the column are not categories."""
        missing = super().problem(types)
        if missing or not types[self.column].startswith(("FLOAT", "DOUBLE", "BLOB", "STRUCT", "MAP", "TIME")):
            return missing
        return f"column {self.column} is {types[self.column]}: categories are text, numbers, days or truth values"

    def bounds(self, rows: RowsUnderCheck, scan: DailyScan, source: RowsUnderCheck | None) -> tuple[str, ...]:
        """Return the most frequent values as text."""
        assert scan.day is not None
        if source is not None:
            compared = source.source
        else:
            window = scan.window(self.days_back)
            compared = Query(f"{window.sql} WHERE {DAY} < ?", (*window.parameters, scan.day))
        sql = (
            f"SELECT value, count(*) FROM (SELECT {self._text} AS value FROM {compared.sql}) AS v "  # noqa: S608 - quoted
            f"WHERE value IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {int(self.top)}"
        )
        return tuple(value for value, _ in rows.fetch(Query(sql, compared.parameters)))

    def buckets(self, rows: RowsUnderCheck, bounds: tuple[Any, ...]) -> Buckets:
        """Return one bucket for NULL, one for each frequent value, and one for all others."""
        cases = "".join(f" WHEN ? THEN {bucket}" for bucket in range(2, 2 + len(bounds)))
        frequent = f"CASE {self._text}{cases} ELSE 1 END" if bounds else "1"
        names = tuple(repr(value) for value in bounds)
        bucket_number = Query(f"CASE WHEN {self._text} IS NULL THEN 0 ELSE {frequent} END", bounds)
        return Buckets(bucket_number, ("NULL", "others", *names))

    @property
    def _text(self) -> str:
        return f"CAST({quote_identifier(self.column)} AS VARCHAR)"


def _bin_names(bounds: Sequence[float]) -> list[str]:
    """Return the names of the bins; two bounds that are neighbours enclose the bin of a single value."""
    if not bounds:
        return ["all numbers"]
    texts = [f"{bound:.6g}" if abs(bound) > sys.float_info.min else "0" for bound in bounds]
    own = [math.nextafter(bound, math.inf) == following for bound, following in pairwise(bounds)]
    upto = [f"{'below' if own_next else 'up to'} {text}" for text, own_next in zip(texts, [*own, False], strict=True)]
    between = [
        f"{text} itself" if is_own else f"over {low} {high}"
        for low, text, high, is_own in zip(texts, texts[1:], upto[1:], own, strict=False)
    ]
    return [upto[0], *between, f"over {texts[-1]}"]


def _count_by(group: str, rows: RowsUnderCheck, source: Query, buckets: Buckets) -> dict[Any, Counts]:
    """
    Count the rows of each bucket, for each value of ``group``.

    :param group: SQL of a value.
    :param source: what follows ``FROM`` to read the rows.
    """
    number = buckets.number
    numbered = f"SELECT {group} AS part, {number.sql} AS bucket FROM {source.sql}"  # noqa: S608 - quoted
    sql = f"SELECT part, bucket, count(*) FROM ({numbered}) AS b GROUP BY 1, 2"  # noqa: S608 - quoted
    counts: dict[Any, Counts] = {}
    for part, bucket, count in rows.fetch(Query(sql, number.parameters + source.parameters)):
        counts.setdefault(part, [0] * len(buckets.names))[bucket] = count
    return counts


def _distance(kind: Distance, now: Counts, before: Counts) -> float:
    """Return the distance of two histograms; buckets that are empty in both do not count."""
    used = [pair for pair in zip(now, before, strict=True) if any(pair)]
    return kind.between([one for one, _ in used], [other for _, other in used])


def _noise(kind: Distance, now: Counts, before: Counts) -> float:
    return kind.noise(sum(now), sum(before), sum(1 for pair in zip(now, before, strict=True) if any(pair)))


def _usual(kind: Distance, days: Sequence[Counts], total: Counts) -> float | None:
    """Return the median distance of a day from all others."""
    if len(days) < 2:
        return None
    others = ([all_days - own for all_days, own in zip(total, day, strict=True)] for day in days)
    return median([_distance(kind, day, rest) for day, rest in zip(days, others, strict=True)])


def _most_moved(now: Counts, before: Counts, names: Sequence[str]) -> tuple[str, float, float]:
    """Return the bucket whose share has moved most, its share on the day, and its share before."""
    rows, rows_before = sum(now), sum(before)
    shares = [(name, one / rows, two / rows_before) for name, one, two in zip(names, now, before, strict=True)]
    return max(shares, key=lambda bucket: abs(bucket[1] - bucket[2]))
