"""
Checks that the values of one day are distributed as on the days before: of a number, and of categories.

Both count rows in the same buckets on each day and compare the day under check with all rows of the days before. NULL
is a bucket, and so is NaN.
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
from airflow_provider_phlo.quality.base import Aggregate
from airflow_provider_phlo.quality.drift import distances
from airflow_provider_phlo.quality.drift.bands import median
from airflow_provider_phlo.quality.drift.history import DAY, HistoryCheck, daily_scan, nothing_to_compare
from airflow_provider_phlo.quality.drift.statistics import finite, not_a_number
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.drift.history import DailyScan
    from airflow_provider_phlo.quality.scan import Rows


class Distance(NamedTuple):
    """A distance of histograms, the distance that is too far, and the one that chance makes."""

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


Counts = list[int]


class Buckets(NamedTuple):
    """
    What rows are counted in.

    :param sql: the number of a row's bucket.
    :param parameters: the values of its ``?`` markers.
    :param names: what the buckets are called.
    """

    sql: str
    parameters: tuple[Any, ...]
    names: tuple[str, ...]


@dataclass
class DistributionCheck(HistoryCheck):
    """
    The rows of one day fall into the same buckets, in the same shares, as those of the days before.

    :param distance: ``psi`` (population stability index) or ``jensen_shannon``; :mod:`.distances` has the formulas.
    :param max_distance: the distance that is still no drift; 0.25 for ``psi`` and 0.2 for ``jensen_shannon`` if None.
        What chance makes of few rows is allowed in any case.
    :param pii: whether the column holds values of persons: then no bucket is named in the result. A column that the
        table declares as such is one in any case.
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
    def bounds(self, rows: Rows, scan: DailyScan, source: Rows | None) -> tuple[Any, ...]:
        """Return the values that make the buckets: of the source, or of the days before the one under check."""

    @abstractmethod
    def buckets(self, rows: Rows, bounds: tuple[Any, ...]) -> Buckets:
        """Return the buckets that ``bounds`` make of ``rows``."""

    @property
    def limit(self) -> float:
        """The distance that is still no drift."""
        return DISTANCES[self.distance].limit if self.max_distance is None else self.max_distance

    def expectation(self) -> str:
        """Return how near to what the distribution has to be."""
        return f"{DISTANCES[self.distance].name} of at most {self.limit:g} to {self.compared_with()}"

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Count the rows of each day, or of the source, in each bucket."""
        scan = daily_scan(rows, self.partition_column)
        if scan.day is None:
            return {"day": None, "days": {}}
        source = self.source_rows(rows, scan.day) if self.source_table else None
        bounds = self.bounds(rows, scan, source)
        buckets, window = self.buckets(rows, bounds), scan.window(self.days_back)
        found = {
            "day": scan.day,
            "days": _counts(rows, buckets, DAY, *window),
            "source": None,
            "names": self._told(source or rows, buckets.names),
        }
        if source is not None:
            counts = _counts(source, self.buckets(source, bounds), "1", source.source, source.parameters)
            found["source"] = counts.get(1, [0] * len(buckets.names))
        return found

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when the histograms are near each other, or there is none to compare with."""
        day, days = values["day"], values["days"]
        if day not in days:
            return nothing_to_compare(day)
        if values["source"] is not None:
            compared = {"compared_with": self.compared_with()}
            if not sum(values["source"]):
                message = f"{self.compared_with()}: no rows there to compare those on {day} with"
                return QualityCheckResult(False, None, message, row_count=sum(days[day]))
            return self._compared(day, days[day], [values["source"]], values["names"], compared)
        past = self.past(days, day)
        if len(past.days) < self.min_history:
            return self.too_little_history(day, past, sum(days[day]))
        return self._compared(day, days[day], list(past.days.values()), values["names"], past.metrics())

    def _compared(
        self, day: date, now: Counts, others: Sequence[Counts], names: Sequence[str], compared: Mapping[str, Any]
    ) -> QualityCheckResult:
        kind, before = DISTANCES[self.distance], [sum(bucket) for bucket in zip(*others, strict=True)]
        found, allowed = _distance(kind, now, before), max(self.limit, _noise(kind, now, before))
        name, share, share_before = _most_moved(now, before, names)
        passed = found <= allowed
        moved = f"; the share of {name} went from {100 * share_before:.3g} % to {100 * share:.3g} %"
        return QualityCheckResult(
            passed,
            message=f"{kind.name} of {self.column} on {day} is {found:.3g}, at most {allowed:.3g} is expected"
            f"{'' if passed else moved} (compared with {compared['compared_with']})",
            row_count=sum(now),
            metrics={
                "partition": str(day),
                **compared,
                "distance": found,
                "allowed_distance": allowed,
                "usual_distance": _usual(kind, others, before),
                "most_moved": {"bucket": name, "share": share, "share_before": share_before},
            },
        )

    def _told(self, rows: Rows, names: Sequence[str]) -> Sequence[str]:
        """Return what results call the buckets: of persons, no value and no bound."""
        secret = self.pii or self.column in rows.pii
        return [f"bucket {number}" for number in range(len(names))] if secret else names


@dataclass
class HistogramDriftCheck(DistributionCheck):
    """
    A number is distributed as it was.

    Bins hold equal shares of the days before: their bounds are the medians, over the days, of each day's quantiles. A
    value that is a bound several times over gets a bin of its own; so do NULL and NaN.

    :param bins: how many there are for numbers.
    """

    bins: int = 10

    check_type: ClassVar[str] = "histogram_drift"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.bins <= 100:
            self.refuse(f"bins={self.bins}: use 2 to 100")

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Refuse columns that are no number."""
        return super().problem(types) or not_a_number(self.column, types)

    def aggregates(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Plan the quantiles of each day in the scan that the checks of a run share."""
        if not self.source_table:
            with suppress(ConfigurationError):  # no column of days: the check fails with that when it measures
                daily_scan(rows, self.partition_column).plan(self.history, self._quantiles(rows))
        return {}

    def bounds(self, rows: Rows, scan: DailyScan, source: Rows | None) -> tuple[float, ...]:
        """Return the upper bounds of all bins but the last."""
        if source is not None:
            found = [source.aggregate(self._quantiles(source))]
        else:
            days = scan.values(self.history, self._quantiles(rows))
            found = [quantiles for day, quantiles in days.items() if day != scan.day]
        known = [quantiles for quantiles in found if None not in quantiles]
        edges = sorted(median(each) for each in zip(*known, strict=True))
        repeated = {edge for edge, following in pairwise(edges) if edge == following}
        return tuple(sorted({*edges, *(math.nextafter(edge, -math.inf) for edge in repeated)}))

    def buckets(self, rows: Rows, bounds: tuple[Any, ...]) -> Buckets:
        """Return a bucket for NULL, one for NaN and infinities, and the bins."""
        number, name = finite(self.column, rows), quote_identifier(self.column)
        cases = [f"WHEN {name} IS NULL THEN 0", f"WHEN {number} IS NULL THEN 1"]
        cases += [f"WHEN {name} <= ? THEN {place}" for place in range(2, 2 + len(bounds))]
        return Buckets(
            f"CASE {' '.join(cases)} ELSE {2 + len(bounds)} END", bounds, ("NULL", "NaN", *_bin_names(bounds))
        )

    def _quantiles(self, rows: Rows) -> list[Aggregate]:
        shares = [place / self.bins for place in range(1, self.bins)]
        return [Aggregate(sql) for sql in rows.dialect.quantiles(finite(self.column, rows), shares)]


@dataclass
class CategoryDriftCheck(DistributionCheck):
    """
    The values of a column come in the shares in which they came.

    Each of the most frequent values of the days before is a bucket; the others, new ones among them, share one; so do
    NULLs.

    :param top: how many values have a bucket of their own.
    """

    top: int = 20

    check_type: ClassVar[str] = "category_drift"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.top <= 1000:
            self.refuse(f"top={self.top}: use 1 to 1000")

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Refuse columns whose values are no categories."""
        missing = super().problem(types)
        if missing or not types[self.column].startswith(("FLOAT", "DOUBLE", "BLOB", "STRUCT", "MAP", "TIME")):
            return missing
        return f"column {self.column} is {types[self.column]}: categories are text, numbers, days or truth values"

    def bounds(self, rows: Rows, scan: DailyScan, source: Rows | None) -> tuple[str, ...]:
        """Return the most frequent values as text."""
        assert scan.day is not None
        (window, days), earlier = scan.window(self.days_back), f"WHERE {DAY} < ?"
        parameters: tuple[Any, ...] = (*days, scan.day)
        if source is not None:
            window, parameters, earlier = source.source, source.parameters, ""
        found = rows.fetch(
            f"SELECT value, count(*) FROM (SELECT {self._text} AS value FROM {window} {earlier}) AS v "  # noqa: S608 - quoted
            f"WHERE value IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {int(self.top)}",
            parameters,
        )
        return tuple(value for value, _ in found)

    def buckets(self, rows: Rows, bounds: tuple[Any, ...]) -> Buckets:
        """Return a bucket for NULL, one for the values that are not frequent, and one for each that is."""
        cases = "".join(f" WHEN ? THEN {place}" for place in range(2, 2 + len(bounds)))
        frequent = f"CASE {self._text}{cases} ELSE 1 END" if bounds else "1"
        names = tuple(repr(value) for value in bounds)
        return Buckets(f"CASE WHEN {self._text} IS NULL THEN 0 ELSE {frequent} END", bounds, ("NULL", "others", *names))

    @property
    def _text(self) -> str:
        return f"CAST({quote_identifier(self.column)} AS VARCHAR)"


def _bin_names(bounds: Sequence[float]) -> list[str]:
    """Return what the bins are called; a bound just below another one makes that one's own bin."""
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


def _counts(rows: Rows, buckets: Buckets, by: str, source: str, parameters: Sequence[Any]) -> dict[Any, Counts]:
    """Count the rows of each bucket, for each value of ``by``."""
    found = rows.fetch(
        f"SELECT part, bucket, count(*) FROM (SELECT {by} AS part, {buckets.sql} AS bucket FROM {source}) AS b "  # noqa: S608
        "GROUP BY 1, 2",
        [*buckets.parameters, *parameters],
    )
    counts: dict[Any, Counts] = {}
    for part, bucket, count in found:
        counts.setdefault(part, [0] * len(buckets.names))[bucket] = count
    return counts


def _distance(kind: Distance, now: Counts, before: Counts) -> float:
    """Return the distance of two histograms; buckets without a row in either do not count."""
    used = [pair for pair in zip(now, before, strict=True) if any(pair)]
    return kind.between([one for one, _ in used], [other for _, other in used])


def _noise(kind: Distance, now: Counts, before: Counts) -> float:
    return kind.noise(sum(now), sum(before), sum(1 for pair in zip(now, before, strict=True) if any(pair)))


def _usual(kind: Distance, days: Sequence[Counts], whole: Counts) -> float | None:
    """Return the median distance of a day from all others."""
    if len(days) < 2:
        return None
    others = ([total - own for total, own in zip(whole, day, strict=True)] for day in days)
    return median([_distance(kind, day, rest) for day, rest in zip(days, others, strict=True)])


def _most_moved(now: Counts, before: Counts, names: Sequence[str]) -> tuple[str, float, float]:
    """Return the bucket whose share moved most, its share and what it was."""
    rows, rows_before = sum(now), sum(before)
    shares = [(name, one / rows, two / rows_before) for name, one, two in zip(names, now, before, strict=True)]
    return max(shares, key=lambda bucket: abs(bucket[1] - bucket[2]))
