"""Verdicts and numbers of all drift checks, on random days of every type of value, against plain Python."""

from __future__ import annotations

import datetime as dt
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.quality import (
    CategoryDriftCheck,
    DistinctCountDriftCheck,
    HistogramDriftCheck,
    MeanDriftCheck,
    NullRateDriftCheck,
    QualityCheck,
    QuantileDriftCheck,
    RowCountAnomalyCheck,
)
from airflow_provider_phlo.quality.drift import DistributionCheck, StatisticDriftCheck
from airflow_provider_phlo.quality.drift.bands import Tolerance, widen
from airflow_provider_phlo.quality.drift.distances import jensen_shannon_noise, noise
from airflow_provider_phlo.quality.scan import run_checks_on_frame
from tests.sizes import size
from tests.unit.quality.reconciliation.oracle import DAY, NUMBER_TYPES, NUMBERS, TIME_TYPES, array, comparable, held

SEEDS = range(int(os.environ.get("PHLO_TEST_SEEDS", size(30, 3000))))
STEP = max(10, len(SEEDS) // 60)
LAST = 19782  # 2024-02-29, a Thursday
HISTORY, ENOUGH = 21, 3
# values per day, by the number of the day
Days = dict[int, list[Any]]
SMALL = [0, 1, 2, 3, -1, 0.5, 100]
CATEGORIES: list[tuple[pa.DataType, list[Any], Callable[[Any], str]]] = [
    (pa.string(), ["a", "A", "", "ä", "\U0001f600", "NULL"], str),
    (pa.int64(), [0, -1, 2**63 - 1, 10, 9], lambda value: str(int(value))),
    (pa.uint64(), [0, 2**64 - 1], lambda value: str(int(value))),
    (pa.bool_(), [True, False], lambda value: str(value).lower()),
    (pa.date32(), [0, DAY], lambda value: str(dt.date(1970, 1, 1) + dt.timedelta(days=value // DAY))),
    (pa.dictionary(pa.int32(), pa.string()), ["b", "a"], str),
]


def random_days(chance: random.Random, pool: Sequence[Any]) -> Days:
    """Return rows of some days up to the last one; some days have none."""
    nulls = chance.choice([0.0, 0.0, 0.3, 1.0])
    few = chance.sample(list(pool), min(len(pool), chance.choice([1, 3, 6])))
    usual = chance.choice([1, 4, 8])

    def day() -> list[Any]:
        values = few if chance.random() < 0.9 else pool
        many = chance.choice([0, usual, usual, usual, usual + 1])
        return [None if chance.random() < nulls else chance.choice(values) for _ in range(many)]

    return {LAST - back: day() for back in range(chance.choice([1, 5, 26]))}


def moments(chance: random.Random, day: int, kind: pa.DataType) -> int:
    """Return a moment of a day, at its ends by preference."""
    fine = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[getattr(kind, "unit", "s")]
    return day * DAY + chance.choice([0, DAY - fine, chance.randrange(DAY) // fine * fine])


def is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def quantile(numbers: Sequence[float], share: float) -> float:
    ordered, position = sorted(numbers), share * (len(numbers) - 1)
    low, high = ordered[math.floor(position)], ordered[min(math.floor(position) + 1, len(ordered) - 1)]
    return low if low == high else low * (1 - position % 1) + high * (position % 1)


def statistics(check: StatisticDriftCheck, values: list[Any], kind: pa.DataType) -> dict[str, float | None]:
    """Return the numbers of one day."""
    if isinstance(check, RowCountAnomalyCheck):
        return {"row count": len(values)}
    if isinstance(check, NullRateDriftCheck):
        return {"null rate": values.count(None) / len(values)}
    if isinstance(check, DistinctCountDriftCheck):
        return {"distinct count": len({comparable(value, [kind]) for value in values} - {None})}
    numbers = [float(value) for value in values if is_finite(value)]
    if isinstance(check, MeanDriftCheck):
        mean = math.fsum(number / len(numbers) for number in numbers) if numbers else None
        return {"mean": mean}
    assert isinstance(check, QuantileDriftCheck)
    return {f"p{100 * share:g}": quantile(numbers, share) if numbers else None for share in check.quantiles}


def past_days(check: Any, days: Days) -> tuple[Days, Days]:
    """Return the days that the last one is compared with, and those on its weekday if they are too few for that."""
    window = {day: values for day, values in days.items() if LAST - HISTORY <= day < LAST}
    if getattr(check, "gaps", "skip") == "zero":
        first = min((day for day, values in window.items() if values), default=LAST)
        window = {day: values for day, values in window.items() if day >= first}
    else:
        window = {day: values for day, values in window.items() if values}
    if check.seasonality is None:
        return window, {}
    alike = {day: values for day, values in window.items() if (LAST - day) % 7 == 0}
    return (alike, {}) if len(alike) >= ENOUGH else (window, alike)


def expected_statistics(check: StatisticDriftCheck, days: Days, kind: pa.DataType) -> dict[str, list[Any]] | None:
    """Return value, low, median and high of each number; None if there is nothing to compare."""
    counts = isinstance(check, RowCountAnomalyCheck)
    if not days[LAST] and not counts:
        return None
    known = {day: statistics(check, values, kind) for day, values in days.items() if values or counts}
    now = known.pop(LAST)
    usable: Days = {day: days[day] for day, found in known.items() if None not in found.values()}
    past, alike = past_days(check, usable)
    if len(past) < ENOUGH:
        return None
    found = {}
    for name, value in now.items():
        tolerance = Tolerance(5, check.relative_tolerance, check.absolute_tolerance, check.quantile_bounds)
        before = [known[day][name] for day in past]
        band = widen(tolerance.band(before), [known[day][name] for day in alike])
        low, high = max(band.low, check.lowest), min(band.high, check.highest)
        found[name] = [value, max(low, min(1, *before)) if counts else low, band.median, high]
    return found


def histogram(values: Sequence[Any], bounds: Sequence[float]) -> list[int]:
    counts = [0] * (3 + len(bounds))
    for value in values:
        place = 0 if value is None else 1 if not is_finite(value) else 2 + sum(float(value) > bound for bound in bounds)
        counts[place] += 1
    return counts


def bounds_of(days: Sequence[list[Any]], bins: int) -> list[float]:
    known = [[float(value) for value in values if is_finite(value)] for values in days]
    edges = sorted(
        quantile([quantile(numbers, number / bins) for numbers in known if numbers], 0.5)
        for number in range(1, bins) if any(known)
    )  # fmt: skip
    twice = {edge for edge, following in pairwise(edges) if edge == following}
    return sorted({*edges, *(math.nextafter(edge, -math.inf) for edge in twice)})


def categories(values: Sequence[Any], top: Sequence[str], text: Callable[[Any], str]) -> list[int]:
    found = Counter(None if value is None else text(value) if text(value) in top else "" for value in values)
    others = sum(value is not None and text(value) not in top for value in values)
    return [found[None], others, *(sum(value is not None and text(value) == each for value in values) for each in top)]


def distance(kind: str, now: list[int], before: list[int]) -> tuple[float, float]:
    """Return how far two histograms are apart, and what is allowed."""
    used = [(one, other) for one, other in zip(now, before, strict=True) if one or other]
    p, q = (
        [(pair[side] + 0.5) / (sum(each[side] for each in used) + len(used) / 2) for pair in used] for side in (0, 1)
    )
    rows = (sum(now), sum(before), len(used))
    if kind == "psi":
        index = sum((one - other) * math.log(one / other) for one, other in zip(p, q, strict=True))
        return index, max(0.25, noise(*rows))
    middle = [(one + other) / 2 for one, other in zip(p, q, strict=True)]
    divergence = sum(
        share * math.log2(share / mean) / 2 for shares in (p, q) for share, mean in zip(shares, middle, strict=True)
    )
    return math.sqrt(max(divergence, 0)), max(0.2, jensen_shannon_noise(*rows))


def options(chance: random.Random) -> dict[str, Any]:
    return {"history": HISTORY, "min_history": ENOUGH, "seasonality": chance.choice([None, "weekday"])}


def check_statistics(seed: int) -> None:
    chance = random.Random(seed)
    kind, bounded = chance.choice(NUMBER_TYPES), chance.choice([{}, {}, {"quantile_bounds": (0.2, 0.8)}])
    pool = [value for value in (held(each, kind) for each in [*SMALL, *NUMBERS]) if value is not None]
    days, when = random_days(chance, pool), chance.choice(TIME_TYPES)
    checks = [
        RowCountAnomalyCheck(gaps=chance.choice(["skip", "zero"]), **options(chance), **bounded),
        MeanDriftCheck("v", **options(chance), **bounded),
        QuantileDriftCheck("v", (0.25, 0.5, 1.0), **options(chance), **bounded),
        NullRateDriftCheck("v", **options(chance), **bounded),
        DistinctCountDriftCheck("v", exact=True, **options(chance), **bounded),
    ]
    for check, result in zip(checks, run(chance, days, kind, when, checks), strict=True):
        expected = expected_statistics(check, days, kind)
        found = result.metrics.get("statistics")
        assert (found is None) == (expected is None), (seed, check, result.message)
        if found is None or expected is None:
            assert result.passed
            continue
        passed, sure = True, True
        for name, (value, low, middle, high) in expected.items():
            slack = 1e-9 * max(
                [abs(float(each)) for values in days.values() for each in values if is_finite(each)], default=1
            )
            assert list(found[name].values()) == pytest.approx([value, low, middle, high], rel=1e-9, abs=slack), (
                seed,
                check,
            )
            passed &= value is not None and low <= value <= high
            sure &= value is None or min(abs(value - low), abs(value - high)) > 4 * slack or isinstance(value, int)
        assert result.passed == passed or not sure, (seed, check, result.message, expected)


def run(chance: random.Random, days: Days, kind: pa.DataType, when: pa.DataType, checks: list[QualityCheck]) -> Any:
    rows = [(moments(chance, day, when), value) for day, values in days.items() for value in values]
    chance.shuffle(rows)
    frame = pa.table({"at": array([at for at, _ in rows], when), "v": array([value for _, value in rows], kind)})
    context = {"partition_column": "at", "partition": dt.date(1970, 1, 1) + dt.timedelta(days=LAST)}
    return run_checks_on_frame(frame, checks, context)


def check_distributions(seed: int) -> None:
    chance = random.Random(seed)
    metric, when = chance.choice(["psi", "jensen_shannon"]), chance.choice(TIME_TYPES)
    kind, bins, top = chance.choice(NUMBER_TYPES), chance.choice([2, 4]), chance.choice([1, 2, 20])
    pool = [value for value in (held(each, kind) for each in SMALL) if value is not None]
    days = random_days(chance, [*pool, *([math.nan, math.inf] if pa.types.is_floating(kind) else [])])
    check: DistributionCheck = HistogramDriftCheck("v", bins, distance=metric, **options(chance))
    (result,) = run(chance, days, kind, when, [check])
    earlier = [values for day, values in days.items() if LAST - HISTORY <= day < LAST]
    bounds = bounds_of(earlier, bins)
    judge(seed, check, days, result, lambda values: histogram(values, bounds))

    kind, pool, text = chance.choice(CATEGORIES)
    days = random_days(chance, pool)
    check = CategoryDriftCheck("v", top, distance=metric, **options(chance))
    (result,) = run(chance, days, kind, when, [check])
    counted = Counter(
        text(value)
        for day, values in days.items()
        if LAST - HISTORY <= day < LAST
        for value in values
        if value is not None
    )
    frequent = [value for value, _ in sorted(counted.items(), key=lambda each: (-each[1], each[0].encode()))[:top]]
    judge(seed, check, days, result, lambda values: categories(values, frequent, text))


def judge(
    seed: int, check: DistributionCheck, days: Days, result: Any, counts: Callable[[list[Any]], list[int]]
) -> None:
    past, _ = past_days(check, days)
    if not days[LAST] or len(past) < ENOUGH:
        assert result.passed, (seed, check, result.message)
        assert "distance" not in result.metrics
        return
    now, before = counts(days[LAST]), [sum(bucket) for bucket in zip(*map(counts, past.values()), strict=True)]
    apart, allowed = distance(check.distance, now, before)
    assert result.metrics["distance"] == pytest.approx(apart, abs=1e-9), (seed, check, result.message, now, before)
    assert result.passed == (apart <= allowed), (seed, check, result.message)


def check_seed(seed: int) -> None:
    check_statistics(seed)
    check_distributions(seed)


@pytest.mark.long
@pytest.mark.parametrize("seeds", [SEEDS[start : start + STEP] for start in SEEDS[::STEP]])
def test_drift_is_as_plain_python_has_it(seeds):
    for seed in seeds:
        check_seed(seed)
