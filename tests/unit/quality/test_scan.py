"""Checks on tables of a catalog: one scan, branches, partitions, other tables."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.branches.run_branches import branch_name
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.quality import (
    CountCheck,
    CustomSQLCheck,
    NullCheck,
    PatternCheck,
    QualityCheck,
    QualityCheckResult,
    RangeCheck,
    SQLCheck,
    UniqueCheck,
)
from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck
from airflow_provider_phlo.quality.scan import run_checks, run_checks_on_frame
from airflow_provider_phlo.sql import Query
from tests.lake import open_lake

DATA = pa.table(
    {
        "id": ["a", "b", "b", None],
        "v": [100, 200, 900, 300],
        "at": [datetime(2024, 1, 15, 23), datetime(2024, 1, 15), datetime(2024, 1, 16), datetime(2024, 1, 14)],
        "_phlo_partition_date": [date(2024, 1, 15)] * 2 + [date(2024, 1, 16)] * 2,
    }
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    catalog = open_lake(tmp_path_factory.mktemp("lake"))
    for namespace in ("raw", "gold"):
        ensure_namespace(catalog, namespace)
    table = catalog.create_table("raw.readings", DATA.schema)
    table.append(DATA)
    table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "phlo_run").commit()
    table.append(pa.table({**DATA.to_pydict(), "id": ["x"] * 4}, DATA.schema), branch="phlo_run")
    days = pa.table({"day": [date(2024, 1, 15)]})
    catalog.create_table("gold.days", days.schema).append(days)
    return catalog


def passed(catalog, *checks, **where):
    return [result.passed for result in run_checks(catalog, "raw.readings", checks, **where)]


def test_results_come_in_order_and_complete(catalog):
    checks = [
        CountCheck(1, name="some"),
        UniqueCheck("id"),
        RangeCheck("v", 20, 500, severity="warn"),
        NullCheck(["v", "id"]),
        PatternCheck("id", "^[ab]$"),
    ]
    results = run_checks(catalog, "raw.readings", checks)
    assert [result.check_name for result in results] == [
        "some",
        "UniqueCheck(id)",
        "RangeCheck(v)",
        "NullCheck(v, id)",
        "PatternCheck(id)",
    ]
    assert [result.passed for result in results] == [True, False, False, False, True]
    assert [result.failed for result in results] == [None, 2, 1, 1, 0]
    assert {result.table for result in results} == {"raw.readings"}
    assert {result.row_count for result in results} == {4}
    assert [result.severity for result in results] == ["error", "error", "warn", "error", "error"]
    assert all(result.execution_time_seconds > 0 for result in results)


def test_all_aggregates_share_one_scan(catalog, monkeypatch):
    queries = []
    fetch = RowsUnderCheck.fetch
    monkeypatch.setattr(RowsUnderCheck, "fetch", lambda self, query: queries.append(query) or fetch(self, query))
    run_checks(
        catalog, "raw.readings", [CountCheck(1), NullCheck(["id", "v"]), RangeCheck("v", 0), PatternCheck("id", "a")]
    )
    assert len(queries) == 1


def test_a_branch_is_read_where_the_table_has_it(catalog):
    assert passed(catalog, CountCheck(4, 4)) == [True]
    assert passed(catalog, CountCheck(8, 8), branch="phlo_run") == [True]
    assert passed(catalog, CountCheck(4, 4), branch=branch_name("0123456789abcdef")) == [True]


def test_one_partition(catalog):
    assert passed(catalog, CountCheck(2, 2), NullCheck("id"), UniqueCheck("id"), partition="2024-01-15") == [True] * 3
    assert passed(catalog, CountCheck(2, 2), NullCheck("id"), partition=date(2024, 1, 16)) == [True, False]
    # a time: the UTC day; another type: the value
    assert passed(catalog, CountCheck(2, 2), partition_column="at", partition="2024-01-15") == [True]
    assert passed(catalog, CountCheck(2, 2), partition_column="id", partition="b") == [True]


@pytest.mark.parametrize(
    "where", [{"partition": "15 Jan"}, {"partition": "2024-01-15", "partition_column": "nope"}, {"table": "raw.nope"}]
)
def test_what_cannot_be_checked_is_an_error(catalog, where):
    with pytest.raises(ConfigurationError):
        run_checks(catalog, checks=[CountCheck(1)], **{"table": "raw.readings", **where})


def test_a_query_reads_other_tables_and_the_branch(catalog):
    joined = CustomSQLCheck(
        "SELECT count(*) FROM raw.readings r JOIN gold.days d ON r._phlo_partition_date = d.day", expected_result=2
    )
    bare = CustomSQLCheck("WITH gone AS (SELECT * FROM readings WHERE v > 5000) SELECT * FROM gone")
    assert passed(catalog, joined, bare) == [True, True]
    assert passed(catalog, CustomSQLCheck("SELECT count(*) FROM readings", 8), branch="phlo_run") == [True]


def test_one_broken_check_does_not_stop_the_others(catalog):
    class Broken(QualityCheck):
        def execute(self, df, context=None):
            raise ValueError(f"value {df['v'][0]}")

    class Empty(QualityCheck):
        def execute(self, df, context=None):
            return None

    class NoSQL(SQLCheck):
        def aggregates(self, rows):
            return {"number": Query("CAST('a' AS INTEGER)")}

        def judge(self, row_count, values):
            raise AssertionError

    checks = [
        Broken(severity="warn"),
        Empty(),
        RangeCheck("id", 0, 5),
        NoSQL(),
        CustomSQLCheck("SELECT * FROM raw.nope"),
        CustomSQLCheck("SELECT * FROM DATA"),
        NullCheck("v"),
        CountCheck(4, 4),
    ]
    results = run_checks(catalog, "raw.readings", checks)
    assert [result.passed for result in results] == [False] * 6 + [True, True]
    messages = [result.message for result in results]
    assert messages[0].startswith("the check raised ValueError in execute, line ")
    assert "100" not in messages[0]
    assert messages[1] == "execute returned NoneType, it must return a QualityCheckResult"
    assert messages[2] == "column id is VARCHAR: a bound must be text, not int"
    assert "ConversionException" in messages[3]
    assert "raw.nope does not exist" in messages[4]
    assert results[0].severity == "warn"


@pytest.mark.parametrize("branch", ["typo", "Main", "phlo", "phlo_typo", ""])
def test_a_branch_that_is_not_there_is_refused(catalog, branch):
    with pytest.raises(ConfigurationError, match=f"raw.readings has no branch {branch}"):
        run_checks(catalog, "raw.readings", [CountCheck(min_count=1)], branch=branch)


def test_a_branch_of_somebody_else_is_read(catalog):
    table = catalog.load_table("raw.readings")
    with table.manage_snapshots() as snapshots:
        snapshots.create_branch(table.current_snapshot().snapshot_id, "feature")
    (result,) = run_checks(catalog, "raw.readings", [CountCheck(min_count=1)], branch="feature")
    assert result.passed


def test_a_check_of_your_own_gets_a_frame_and_the_context(catalog):
    seen = {}

    class Mine(QualityCheck):
        def execute(self, df, context=None):
            seen.update(context, ids=df["id"].tolist())
            df["v"] = 0
            return QualityCheckResult(True)

    class Next(QualityCheck):
        def execute(self, df, context=None):
            return QualityCheckResult((df["v"] > 0).all(), (df["v"] <= 0).sum())

    results = run_checks(catalog, "raw.readings", [Mine(), Next()], branch="phlo_run", partition="2024-01-15")
    assert [result.passed for result in results] == [True, True]
    assert results[1].failed == 0
    assert sorted(seen["ids"]) == ["a", "b", "x", "x"]
    assert seen["table"] == "raw.readings"
    assert seen["branch"] == "phlo_run"
    assert (seen["partition_column"], seen["partition"]) == ("_phlo_partition_date", "2024-01-15")


@pytest.mark.parametrize(
    "make",
    [
        lambda: DATA,
        lambda: DATA.to_batches()[0],
        lambda: DATA.to_pandas(),
        lambda: DATA.to_pandas().loc[[3, 1, 2, 0]],
        lambda: pytest.importorskip("polars").from_arrow(DATA),
        lambda: pytest.importorskip("polars").from_arrow(DATA).lazy(),
        lambda: DATA.to_pylist(),
    ],
    ids=["arrow", "batch", "pandas", "pandas index", "polars", "polars lazy", "records"],
)
def test_frames_of_every_kind_give_the_same(make):
    checks = [NullCheck("id"), RangeCheck("v", 20, 500), UniqueCheck("id"), CustomSQLCheck("SELECT count(*) FROM x", 4)]
    results = run_checks_on_frame(make(), checks, {"table": "raw.readings"})
    assert [result.failed for result in results] == [1, 1, 2, None]
    assert results[3].passed
    assert results[0].table == "raw.readings"


def test_importing_the_checks_is_light():
    heavy = "{'pandas', 'polars', 'duckdb', 'pyarrow', 'pandera', 'pyiceberg', 'numpy', 'airflow'}"
    code = f"import sys, airflow_provider_phlo.quality; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


# --- somebody's own mistakes


class Says(QualityCheck):
    """An own check that says whether it passed in its own words."""

    def __init__(self, passed):
        super().__init__()
        self.passed = passed

    def execute(self, df, context=None):
        return QualityCheckResult(self.passed, message="said")


class Broken(SQLCheck):
    """A check of one's own whose verdict raises, or is missing."""

    def __init__(self, verdict):
        super().__init__()
        self.verdict = verdict

    def judge(self, row_count, values):
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


@pytest.mark.parametrize("passed", ["False", "no", None, 1])
def test_a_check_that_does_not_say_true_or_false_has_failed(passed):
    (result,) = run_checks_on_frame([{"x": 1}], [Says(passed)])
    assert not result.passed
    assert "must be True or False" in result.message


def test_numpy_has_truths_of_its_own():
    assert [run_checks_on_frame([{"x": 1}], [Says(np.bool_(each))])[0].passed for each in (True, False)] == [
        True,
        False,
    ]


@pytest.mark.parametrize("verdict", [None, TypeError("secret")])
def test_a_verdict_that_is_missing_hides_no_other_result(verdict):
    broken, counted = run_checks_on_frame([{"x": 1}], [Broken(verdict), CountCheck(min_count=1)])
    assert (broken.passed, counted.passed) == (False, True)
    assert "secret" not in broken.message


@pytest.mark.parametrize(
    "declare",
    [
        lambda: CountCheck(5, 1),
        lambda: CountCheck(-1),
        lambda: CountCheck("1"),
        lambda: RangeCheck("x", 10, 0),
        lambda: RangeCheck("x", float("nan")),
    ],
)
def test_bounds_that_nothing_keeps_are_refused(declare):
    with pytest.raises(ConfigurationError):
        declare()
