"""Drift checks give the same results on Trino as on DuckDB; quantiles, which Trino estimates, nearly the same."""

from __future__ import annotations

import datetime as dt
import math
import random
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.iceberg.trino.queries import Queries
from airflow_provider_phlo.quality import (
    CategoryDriftCheck,
    DistinctCountDriftCheck,
    HistogramDriftCheck,
    MeanDriftCheck,
    NullRateDriftCheck,
    QualityCheck,
    QualityCheckResult,
    QuantileDriftCheck,
    RowCountAnomalyCheck,
)
from airflow_provider_phlo.quality.scan import run_checks

# beside the merges, on a Trino of its own
pytestmark = pytest.mark.xdist_group("trino checks")

LAST = dt.date(2024, 3, 3)
DAYS = 60
TYPES = {
    "day": pa.date32(),
    "at": pa.timestamp("us", "UTC"),
    "local": pa.timestamp("us"),
    "v": pa.float64(),
    "w": pa.float32(),
    "n": pa.int64(),
    "amount": pa.decimal128(12, 2),
    "flag": pa.bool_(),
    "kind": pa.string(),
}


def rows(chance: random.Random, drifted: bool) -> pa.Table:
    """Return some rows of each of 60 days; the last day is unlike the others if ``drifted``."""
    made = []
    for back in range(DAYS):
        day = LAST - dt.timedelta(days=back)
        moved = 3 if drifted and not back else 0
        for _ in range(chance.randrange(180, 200) if day.weekday() < 5 else chance.randrange(80, 90)):
            at = dt.datetime.combine(day, dt.time(chance.randrange(24), 59, 59, 999999))
            value = chance.choice([None, math.nan, math.inf, -math.inf, *(chance.gauss(moved, 1) for _ in range(20))])
            made.append(
                {
                    "day": day,
                    "at": at.replace(tzinfo=dt.UTC),
                    "local": at,
                    "v": value,
                    "w": value,
                    "n": chance.randrange(10) + moved,
                    "amount": None if chance.random() < 0.1 + moved / 5 else Decimal(chance.randrange(500)) / 100,
                    "flag": chance.random() < 0.3 + moved / 5,
                    "kind": chance.choice([None, "a", "A", "ä'\"", "", *("new" for _ in range(moved))]),
                }
            )
    return pa.table({name: pa.array([row[name] for row in made], kind) for name, kind in TYPES.items()})


def exact_checks(**options: Any) -> list[QualityCheck]:
    numbers = ("v", "w", "n", "amount")
    return [
        RowCountAnomalyCheck(history=56, min_history=6, **options),
        RowCountAnomalyCheck(seasonality=None, gaps="zero", relative_tolerance=0.7, **options),
        *(MeanDriftCheck(name, **options) for name in (*numbers, "flag")),
        *(NullRateDriftCheck(name, **options) for name in TYPES),
        *(DistinctCountDriftCheck(name, exact=exact, **options) for name in ("n", "kind") for exact in (True, False)),
        *(CategoryDriftCheck(name, top=top, **options) for name in ("kind", "n", "flag") for top in (2, 20)),
        CategoryDriftCheck("kind", distance="jensen_shannon", history=56, seasonality="weekday", **options),
    ]


def estimating_checks() -> list[QualityCheck]:
    numbers = ("v", "w", "n", "amount")
    return [
        *(QuantileDriftCheck(name, (0.25, 0.5, 0.75)) for name in ("v", "w", "amount")),
        *(HistogramDriftCheck(name, bins=bins) for name in numbers for bins in (2, 10)),
    ]


def facts(result: QualityCheckResult) -> dict[str, Any]:
    found = result.to_dict()
    del found["execution_time_seconds"]
    return found


def near(one: Any, other: Any) -> bool:
    """Compare what results say: numbers but for their last digits, all else exactly."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return one == other


def estimates(result: QualityCheckResult) -> tuple[list[Any], list[float]]:
    """Return what has to be equal, and the numbers that have to be near."""
    found = result.to_dict()
    equal = [found[name] for name in ("passed", "row_count", "partition", "compared_with", "expected")]
    return equal, [numbers["value"] for numbers in found.get("statistics", {}).values()] or [found["distance"]]


def both(catalog: Any, trino: Any, table: str, checks: list[QualityCheck], **where: Any) -> Any:
    """Run checks on both engines."""
    results = [run_checks(catalog, table, checks, trino=on, **where) for on in (None, Queries(trino.connect))]
    assert not [result for result in results[0] if "cannot be evaluated" in result.message]
    return zip(*results, strict=True)


@pytest.fixture(params=[False, True], ids=["steady", "drifted"])
def drifted(request, lake, table_name):
    table = rows(random.Random(7), request.param)
    lake.create_namespace_if_not_exists("raw")
    lake.create_table(table_name, table.schema, properties={"format-version": "2"}).append(table)
    return request.param


@pytest.mark.parametrize("column", ["day", "at", "local"])
def test_both_engines_agree(trino, lake, table_name, drifted, column):
    where = {"partition_column": column, "partition": LAST}
    exact = list(both(lake, trino, table_name, exact_checks(), **where))
    for one, other in exact:
        assert near(facts(one), facts(other))
    estimated = list(both(lake, trino, table_name, estimating_checks(), **where))
    for one, other in estimated:
        (equal, numbers), (same, others) = estimates(one), estimates(other)
        assert equal == same
        assert numbers == pytest.approx(others, rel=0.35, abs=0.1)
    failed = {result.check_type for result, _ in exact + estimated if not result.passed}
    drift = "mean quantile null_rate distinct_count histogram category"
    assert failed == ({f"{kind}_drift" for kind in drift.split()} if drifted else set())


@pytest.mark.parametrize("missing_days", [0, 1])
def test_the_newest_day_and_one_without_rows(trino, lake, table_name, drifted, missing_days):
    where = {"partition_column": "at", "partition": LAST + dt.timedelta(days=1)} if missing_days else {}
    checks = exact_checks(partition_column="at")
    found = list(both(lake, trino, table_name, checks, **where))
    for one, other in found:
        assert near(facts(one), facts(other))
    assert {one.metrics["partition"] for one, _ in found} == {str(LAST + dt.timedelta(days=missing_days))}
    assert found[0][0].passed == (not missing_days)


@pytest.mark.parametrize("column", [None, "at"])
def test_a_source_table(trino, lake, table_name, drifted, column):
    source = rows(random.Random(8), False)
    lake.create_table(f"{table_name}_source", source.schema, properties={"format-version": "2"}).append(source)
    options = {"source_table": f"{table_name}_source", "source_partition_column": column}
    checks = [
        MeanDriftCheck("n", relative_tolerance=0.3, **options),
        NullRateDriftCheck("amount", absolute_tolerance=0.2, **options),
        CategoryDriftCheck("kind", **options),
        CategoryDriftCheck("n", **options),
    ]
    for one, other in both(lake, trino, table_name, checks, partition_column="day", partition=LAST):
        assert near(facts(one), facts(other))
        assert one.passed != drifted
