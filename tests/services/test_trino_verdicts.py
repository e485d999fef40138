"""Verdicts that were wrong once, on Trino: the cases of ``tests/unit/quality/test_verdicts.py`` that reach SQL."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.alerts import RuleKind
from airflow_provider_phlo.alerts.rules.conditions import parse_condition
from airflow_provider_phlo.alerts.rules.configuration import Configuration, Rule
from airflow_provider_phlo.alerts.rules.evaluation import evaluate
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.trino.queries import Queries
from airflow_provider_phlo.quality import (
    AggregateConsistencyCheck,
    ChecksumReconciliationCheck,
    CountCheck,
    CustomSQLCheck,
    KeyParityCheck,
    RangeCheck,
    ReconciliationCheck,
    SchemaCheck,
    ThresholdCheck,
)
from airflow_provider_phlo.quality.scan import run_checks
from tests.expect import expect
from tests.unit.quality.test_verdicts import BOUNDS, NAN, Everything

# beside the merges, on a Trino of its own
pytestmark = pytest.mark.xdist_group("trino checks")

DAYS = {
    "number": pa.array([20240115, 20240116, None], pa.int32()),
    "text": pa.array(["20240115", "2024-01-16", None]),
    "amount": pa.array([Decimal(20240115), Decimal(20240116), None], pa.decimal128(10, 2)),
    "ratio": pa.array([20240115.0, 20240116.0, None]),
    "flag": pa.array([True, False, None]),
    "seconds": pa.array([1705276800, 1705363200, None], pa.int64()),
}


@pytest.fixture
def verdicts(trino, lake):
    """Return a function that runs checks on Trino, over a table that it makes of some rows."""

    def run(name: str, rows: pa.Table | None, checks: Any, **where: Any) -> Any:
        lake.create_namespace_if_not_exists("raw")
        if rows is not None:
            lake.create_table(f"raw.{name}", rows.schema, properties={"format-version": "2"}).append(rows)
        return run_checks(lake, f"raw.{name}", checks, trino=Queries(trino.connect), **where)

    return run


def test_case_66_the_table_of_a_model_has_its_columns(trino, lake, table_name):
    from airflow_provider_phlo.schemas import pandera_to_iceberg

    lake.create_namespace_if_not_exists("raw")
    lake.create_table(table_name, pandera_to_iceberg(Everything), properties={"format-version": "2"})
    (result,) = run_checks(lake, table_name, [SchemaCheck(Everything)], trino=Queries(trino.connect))
    expect(result, passed=True, mistyped_columns=[], missing_columns=[])


def test_case_67_decimals_are_subtracted_exactly(verdicts, table_name):
    chance, name = random.Random(67), table_name.partition(".")[2]
    pairs = [(Decimal(10**17), Decimal(10**17 + 50)), (Decimal("-0.05"), Decimal("0.05"))]
    pairs += [(Decimal("20000000000000.00"), Decimal("20000000000000.02"))]
    for _ in range(60):
        value = Decimal(chance.randrange(-(10**20), 10**20)) / 100
        pairs.append((value, value + chance.choice([-2, -1, 0, 1, 2, 50, 100, 101]) * Decimal("0.01")))
    source, target = (
        pa.table({"id": range(len(pairs)), "v": pa.array([pair[side] for pair in pairs], pa.decimal128(38, 2))})
        for side in (0, 1)
    )
    verdicts(f"{name}_source", source, [])
    tolerances = (0.01, 0.09, 0.1, 1.0)
    differing = [
        sum(abs(Fraction(b) - Fraction(a)) > Fraction(str(tolerance)) for a, b in pairs) for tolerance in tolerances
    ]
    checks: list[Any] = [
        ChecksumReconciliationCheck(f"{name}_source", key_columns="id", absolute_value_tolerance=tolerance)
        for tolerance in tolerances
    ]
    checks += [
        AggregateConsistencyCheck(
            f"{name}_source",
            aggregate_column="v",
            source_expression="max(v)",
            group_by="id",
            absolute_tolerance=tolerance,
        )
        for tolerance in tolerances
    ]
    found = verdicts(name, target, checks)
    assert [result.different_count for result in found] == differing * 2


@pytest.mark.parametrize("column", ["number", "text", "amount", "ratio"])
def test_case_68_a_day_is_found_however_its_column_spells_it(verdicts, table_name, column):
    rows = pa.table({**DAYS, "v": [-1, 1, 1]})
    checks = [CountCheck(1, 1), RangeCheck("v", min_value=0)]
    name = table_name.partition(".")[2]
    count, values = verdicts(name, rows, checks, partition_column=column, partition="2024-01-15")
    assert (count.passed, values.passed, values.failed) == (True, False, 1)
    for wrong in ("flag", "seconds"):
        with pytest.raises(ConfigurationError, match=wrong):
            verdicts(name, None, checks, partition_column=wrong, partition="2024-01-15")


def test_case_73_bounds_are_exact(verdicts, table_name):
    values: dict[str, tuple[pa.DataType, list[Any]]] = {
        "large": (pa.int64(), [2**53 + 1, 2**53, -(2**53) - 1, 2**63 - 1, -(2**63), 0]),
        "small": (pa.int32(), [2**31 - 1, -(2**31), 255, 0, 1, -1]),
        "amount": (pa.decimal128(20, 2), [*map(Decimal, ("0.01", "0", "-0.01", "9007199254740992.01", "1", "2"))]),
        "whole": (pa.decimal128(38, 0), [*map(Decimal, (2**53 + 1, 2**53, 10**37, -(10**37), 0, 1))]),
        "ratio": (pa.float64(), [2.0**53, 2.0**53 + 2, 0.5, float("inf"), float("-inf"), 1e300]),
    }
    rows = pa.table({name: pa.array([*each, None], kind) for name, (kind, each) in values.items()})
    cases = [(name, bound) for name in values for bound in BOUNDS]
    checks = [
        check
        for name, bound in cases
        for check in (
            RangeCheck(name, max_value=bound, samples=0),
            RangeCheck(name, min_value=bound, samples=0),
            ThresholdCheck(name, bound, samples=0),
        )
    ]
    found = verdicts(table_name.partition(".")[2], rows, checks)
    above = [sum(value > bound for value in values[name][1]) for name, bound in cases]
    below = [sum(value < bound for value in values[name][1]) for name, bound in cases]
    expected = [count for pair in zip(above, below, above, strict=True) for count in pair]
    assert [result.failed for result in found] == expected


def test_case_75_to_78_names_partitions_and_tables(verdicts, table_name):
    name = table_name.partition(".")[2]
    rows = pa.table({"p": [NAN, -NAN, 1.0, None, -0.0], "id": [1, 2, 3, 4, 5], "at": [dt.date(2024, 1, 15)] * 5})
    verdicts(f"{name}_source", rows, [])
    scoped = f"WITH {name} AS (SELECT * FROM {name}) SELECT * FROM {name} WHERE id > 3"
    checks: list[Any] = [
        CustomSQLCheck(scoped),
        ReconciliationCheck(f"{name}_source", "p"),
        KeyParityCheck(f"{name}_source", key_columns=["p"]),
        ReconciliationCheck(name),
        ReconciliationCheck([f"{name}_source", f"raw.{name}_source"]),
        CustomSQLCheck("SELECT 1000000000500", 1e12),
    ]
    found = verdicts(name, rows, checks)
    assert [result.passed for result in found] == [False, True, True, False, False, False]
    expect(found[0], failed=2)
    assert "same tables" in found[3].message
    assert "names a table twice" in found[4].message


def test_metrics_of_alert_rules(trino, lake, table_name):
    rows = pa.table({"day": [dt.date(2026, 3, 3), dt.date(2026, 3, 4)], "cv": [41.0, 42.0]})
    lake.create_namespace_if_not_exists("raw")
    lake.create_table(table_name, rows.schema, properties={"format-version": "2"}).append(rows)
    rules = {
        "days": {"table": table_name, "day": "day", "when": parse_condition("cv > 40 for 2 days")},
        "one": {"sql": f"SELECT max(cv) FROM {table_name}", "when": parse_condition("value > 42")},
        "nosuch": {"table": table_name, "when": parse_condition("max(cw) > 1")},
        "gone": {"table": f"{table_name}_gone", "when": parse_condition("max(cv) > 1")},
    }
    configured = [Rule(name=name, kind=RuleKind.METRIC, engine="trino", **rest) for name, rest in rules.items()]
    now = dt.datetime(2026, 3, 4, 12, tzinfo=dt.UTC)
    found = evaluate(lake, Configuration(rules=configured), now, trino=Queries(trino.connect))
    assert {verdict.subject: verdict.passed for verdict in found} == {
        **{"days": False, "evaluation of days": True, "one": True, "evaluation of one": True},
        **{"evaluation of nosuch": False, "evaluation of gone": False},
    }
    assert "COLUMN_NOT_FOUND" in next(each.message for each in found if each.subject == "evaluation of nosuch")
