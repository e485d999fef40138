"""Verdicts and counts of all checks of values, on random tables, against plain Python."""

from __future__ import annotations

import datetime as dt
import math
import os
import random
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.quality import (
    CountCheck,
    FreshnessCheck,
    NullCheck,
    PatternCheck,
    QualityCheck,
    RangeCheck,
    ThresholdCheck,
    UniqueCheck,
)
from airflow_provider_phlo.quality.scan import run_checks_on_frame
from tests.sizes import size

SEEDS = range(int(os.environ.get("PHLO_TEST_SEEDS", size(60, 3000))))
NAN, INF = float("nan"), float("inf")
NOW = dt.datetime.now(dt.UTC)
ZONES = [dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=30)), dt.timezone(-dt.timedelta(hours=8))]

MOMENTS = [dt.datetime(1, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(2024, 1, 15, 1)]
MOMENTS += [dt.datetime(2024, 1, 15, 1, 0, 0, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)]
NUMBERS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "tiny": (pa.int8(), [-128, -1, 0, 1, 127]),
    "byte": (pa.uint8(), [0, 1, 254, 255]),
    "large": (pa.int64(), [-(2**63), -(2**53) - 1, 0, 2**53, 2**53 + 1, 2**63 - 1]),
    "vast": (pa.uint64(), [0, 2**53 + 1, 2**63, 2**64 - 1]),
    "ratio": (pa.float64(), [NAN, -INF, -1e308, -0.0, 0.0, 5e-324, 0.1, 0.3, 2.0**53, INF]),
    "amount": (pa.decimal128(12, 2), [Decimal(text) for text in ("-9999999999.99", "-0.01", "0.00", "0.10", "1.50")]),
    "long": (pa.decimal128(38, 0), [Decimal(-(10**38) + 1), Decimal(0), Decimal(2**53 + 1), Decimal(10**37)]),
}
OTHERS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "flag": (pa.bool_(), [True, False]),
    "text": (pa.string(), ["", "a", "A", "ä", "z", "entry_1", "entry_1\n", "x entry_2", "\U0001f600", "�"]),
    "raw": (pa.binary(), [b"", b"\x00", b"a"]),
    "day": (pa.date32(), [moment.date() for moment in MOMENTS]),
    "clock": (pa.time64("us"), [dt.time(0), dt.time(23, 59, 59, 999999)]),
    "local": (pa.timestamp("us"), MOMENTS),
    "at": (pa.timestamp("us", "UTC"), [moment.replace(tzinfo=dt.UTC) for moment in MOMENTS]),
    "tags": (pa.list_(pa.int64()), [[], [1], [1, None], [None]]),
    "pair": (pa.struct([("a", pa.int64()), ("b", pa.float64())]), [{"a": 1, "b": NAN}, {"a": 1, "b": None}]),
    "fresh": (pa.timestamp("us", "UTC"), [NOW + dt.timedelta(hours=hours) for hours in (-100, -30, -3, 0.5, 2, 900)]),
}
TYPES = {**NUMBERS, **OTHERS}
PATTERNS = [r"entry_\d", r"^entry_\d$", r"^$", r"(?i)^a", r"^[a-z_0-9]+$", "ä"]
Rows = list[dict[str, Any]]


def random_rows(chance: random.Random) -> Rows:
    """Return rows whose values repeat; half of the tables have no NULL in some columns."""
    nulls = {name: chance.choice([0.0, 0.0, 0.2, 1.0]) for name in TYPES}
    few = {
        name: chance.sample(values, min(len(values), chance.choice([1, 2, 9]))) for name, (_, values) in TYPES.items()
    }
    return [
        {name: None if chance.random() < nulls[name] else chance.choice(few[name]) for name in TYPES}
        for _ in range(chance.choice([0, 1, 2, 3, 12]))
    ]


def column(rows: Rows, name: str) -> list[Any]:
    return [row[name] for row in rows if row[name] is not None]


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def key_of(value: Any) -> Any:
    """Return a value so that two are equal as SQL groups them: NaN equals NaN, NULL inside of others equals NULL."""
    if is_nan(value):
        return "NaN"
    if isinstance(value, dict):
        return tuple((name, key_of(each)) for name, each in value.items())
    return ("list", *map(key_of, value)) if isinstance(value, list) else value


def is_above(value: Any, bound: Any) -> bool:
    if isinstance(value, str):
        return value.encode() > bound.encode()
    return is_nan(value) or value > bound


def is_below(value: Any, bound: Any) -> bool:
    if isinstance(value, str):
        return value.encode() < bound.encode()
    return is_nan(value) or value < bound


def outside(values: Sequence[Any], low: Any, high: Any) -> int:
    return sum(
        (low is not None and is_below(value, low)) or (high is not None and is_above(value, high)) for value in values
    )


def random_bounds(chance: random.Random, name: str) -> tuple[Any, Any]:
    """Return two bounds of a column, or one, in their order; those of numbers are of any kind of number."""
    values = list(TYPES[name][1])
    if name in NUMBERS:
        values = [each for _, many in NUMBERS.values() for each in many if not is_nan(each)]
        values += [10**40, -(10**40), Fraction(1, 3), 0.29, Decimal("0.295"), 2.0**64]
        if name == "ratio":  # a decimal bound of floats is the float that it spells
            values = [float(each) if isinstance(each, Decimal) else each for each in values]
    if name in ("at", "fresh"):
        values = [each.astimezone(chance.choice(ZONES)) if 1 < each.year < 9999 else each for each in values]
    low, high = sorted(chance.choices(values, k=2), key=lambda each: each.encode() if isinstance(each, str) else each)
    return chance.choice([(low, high), (low, None), (None, high)])


def cases(chance: random.Random, rows: Rows) -> list[tuple[QualityCheck, bool, int | None]]:
    """Return checks, whether they pass, and how many rows fail."""
    found: list[tuple[QualityCheck, bool, int | None]] = []
    low = chance.choice([None, 0, 1, 3])
    high = chance.choice([2, 12]) if low is None else None
    found.append((CountCheck(low, high), (low or 0) <= len(rows) <= (99 if high is None else high), None))
    for names in (*((name,) for name in TYPES), tuple(chance.sample(list(TYPES), 3))):
        missing = sum(any(row[name] is None for name in names) for row in rows)
        found.append((NullCheck(names), not missing, missing))
        keys = Counter(tuple(key_of(row[name]) for name in names) for row in rows)
        shared = sum(count for key, count in keys.items() if count > 1 and None not in key)
        found.append((UniqueCheck(names), not shared, shared))
    for name in (*NUMBERS, "text", "day", "clock", "local", "at"):
        for bounds in (random_bounds(chance, name), random_bounds(chance, name)):
            failed = outside(column(rows, name), *bounds)
            found.append((RangeCheck(name, *bounds), not failed, failed))
    for name in NUMBERS:
        limit = next(bound for bound in random_bounds(chance, name) if bound is not None)
        share = chance.choice([0.0, 0.29, 0.5, 1 / 3, 0.25, 1.0])
        values = column(rows, name)
        failed = outside(values, None, limit)
        passed = failed <= Fraction(str(share)) * len(values)
        found.append((ThresholdCheck(name, limit, tolerance=share), passed, failed))
    for pattern in PATTERNS:
        failed = sum(not re.search(pattern.replace("$", r"\Z"), value) for value in column(rows, "text"))
        found.append((PatternCheck("text", pattern), not failed, failed))
    known = [value for value in column(rows, "fresh") if value <= NOW + dt.timedelta(hours=1)]
    hours = chance.choice([1, 20, 50, 1000])
    passed = bool(known) and NOW - max(known) <= dt.timedelta(hours=hours)
    found.append((FreshnessCheck("fresh", hours), passed, None))
    return found


@pytest.mark.long
@pytest.mark.parametrize("start", [SEEDS[len(SEEDS) * part // 3 : len(SEEDS) * (part + 1) // 3] for part in range(3)])
def test_checks_of_values_are_as_plain_python_has_them(start):
    for seed in start:
        chance = random.Random(seed)
        rows = random_rows(chance)
        table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, (kind, _) in TYPES.items()})
        expected = cases(chance, rows)
        results = run_checks_on_frame(table, [check for check, _, _ in expected])
        for result, (check, passed, failed) in zip(results, expected, strict=True):
            assert (result.passed, result.failed) == (passed, failed), (seed, check, result.message)
