"""Drift checks on tables and data frames: which days count, one scan, branches, what results say."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.branches.declared import declare_columns
from airflow_provider_phlo.quality import (
    CategoryDriftCheck,
    CountCheck,
    DistinctCountDriftCheck,
    HistogramDriftCheck,
    MeanDriftCheck,
    NullCheck,
    NullRateDriftCheck,
    QuantileDriftCheck,
    RowCountAnomalyCheck,
)
from airflow_provider_phlo.quality.drift import StatisticDriftCheck
from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck
from airflow_provider_phlo.quality.scan import run_checks, run_checks_on_frame
from airflow_provider_phlo.sql import Query
from tests.lake import create_table

LAST = dt.date(2024, 2, 29)
NAN = float("nan")
ALL = (
    RowCountAnomalyCheck(),
    MeanDriftCheck("v"),
    QuantileDriftCheck("v"),
    NullRateDriftCheck("v"),
    DistinctCountDriftCheck("v"),
    HistogramDriftCheck("v"),
    CategoryDriftCheck("kind"),
)


def steady(days: int = 40, last: dt.date = LAST, shift: float = 0.0) -> pa.Table:
    """Return 50 rows per day, alike on all days but for ``shift``."""
    every = [last - dt.timedelta(days=back) for back in range(days)]
    rows = [(day, place) for day in every for place in range(50)]
    return pa.table(
        {
            "_phlo_partition_date": pa.array([day for day, _ in rows], pa.date32()),
            "at": pa.array([dt.datetime.combine(day, dt.time(23), dt.UTC) for day, _ in rows]),
            "v": pa.array([place + shift for _, place in rows], pa.float64()),
            "kind": pa.array(["ab"[place % 2] for _, place in rows]),
        }
    )


@pytest.fixture
def catalog(catalog):
    create_table(catalog, "raw.t", steady())
    return catalog


def passed(catalog: Any, *checks: Any, **where: Any) -> list[bool]:
    return [result.passed for result in run_checks(catalog, "raw.t", checks or ALL, **where)]


def test_a_steady_table_passes_and_a_shift_does_not(catalog):
    assert passed(catalog) == [True] * 7
    catalog.load_table("raw.t").append(steady(1, LAST + dt.timedelta(days=1), shift=30))
    assert passed(catalog) == [True, False, False, True, True, False, True]
    # the newest day is not part of what an older one is compared with
    assert passed(catalog, partition=LAST) == [True] * 7


def test_a_branch_is_compared_with_its_own_history(catalog):
    table = catalog.load_table("raw.t")
    table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "phlo_run").commit()
    table.append(steady(1, LAST + dt.timedelta(days=1), shift=30), branch="phlo_run")
    (result,) = run_checks(catalog, "raw.t", [MeanDriftCheck("v")], branch="phlo_run", partition="2024-03-01")
    assert not result.passed
    assert result.metrics["history_to"] == "2024-02-29"
    assert passed(catalog, MeanDriftCheck("v")) == [True]


def test_results_name_the_day_the_band_and_the_history(catalog):
    (result,) = run_checks(catalog, "raw.t", [MeanDriftCheck("v", history=10)], partition="2024-02-20")
    assert result.row_count == 50
    assert result.metrics == {
        "partition": "2024-02-20",
        "compared_with": "10 days from 2024-02-10 to 2024-02-19",
        "history_days": 10,
        "history_from": "2024-02-10",
        "history_to": "2024-02-19",
        "statistics": {
            "mean": {"value": 24.5, "expected_low": 24.255, "expected_median": 24.5, "expected_high": 24.745}
        },
    }
    assert result.expected == "within 5 deviations or 1 % of 10 days before it"
    for found in run_checks(catalog, "raw.t", ALL):
        json.dumps(found.to_dict(), allow_nan=False)
        assert found.metrics["partition"] == "2024-02-29"
        assert found.failed is None


def test_all_drift_checks_of_a_run_share_one_scan(catalog, monkeypatch):
    queries = []
    fetch = RowsUnderCheck.fetch
    monkeypatch.setattr(RowsUnderCheck, "fetch", lambda self, query: queries.append(query) or fetch(self, query))
    checks = [NullCheck("v"), *ALL[:5], MeanDriftCheck("v", history=7), NullRateDriftCheck("kind", history=50)]
    assert passed(catalog, *checks, partition=LAST) == [True] * len(checks)
    assert len(queries) == 2  # the rows under check, and the days
    queries.clear()
    passed(catalog, *ALL)
    assert len(queries) == 1 + 1 + 1 + 1 + 2  # rows, newest day, days, the histogram, categories and their counts


def test_another_checks_broken_aggregate_spoils_nothing(catalog):
    @dataclass
    class Broken(StatisticDriftCheck):
        def statistics(self, rows):
            return {"nonsense": Query("sum(kind)")}

    results = run_checks(catalog, "raw.t", [MeanDriftCheck("v"), Broken(), NullRateDriftCheck("v")])
    assert [result.passed for result in results] == [True, False, True]
    assert "it cannot be evaluated (BinderException)" in results[1].message


def test_your_own_statistic(catalog):
    @dataclass
    class SpreadDriftCheck(StatisticDriftCheck):
        column: str

        def statistics(self, rows):
            return {"spread": Query("stddev_samp(v)")}

    assert passed(catalog, SpreadDriftCheck("v")) == [True]
    catalog.load_table("raw.t").append(steady(1, LAST + dt.timedelta(days=1)).slice(0, 20))
    (result,) = run_checks(catalog, "raw.t", [SpreadDriftCheck("v")])
    assert not result.passed
    assert result.message.startswith("spread of v on 2024-03-01 is 5.91608, 14.4316 to 14.7232 is expected")


def test_days_are_those_of_utc_by_a_column_of_choice():
    days = [LAST - dt.timedelta(days=back) for back in range(10)]
    locals_ = [dt.datetime.combine(day, dt.time(hour)) for day in days for hour in (1, 20)]
    # five hours west of Greenwich, the evening is the next day in UTC
    rows = [{"at": (local + dt.timedelta(hours=5)).replace(tzinfo=dt.UTC), "local": local} for local in locals_]
    check = RowCountAnomalyCheck(seasonality=None, min_history=3)
    for column, count, day in (("at", 1, "2024-03-01"), ("local", 2, "2024-02-29")):
        result = check.execute(pa.Table.from_pylist(rows), {"partition_column": column})
        assert (result.row_count, result.metrics["partition"]) == (count, day)
    own = RowCountAnomalyCheck(seasonality=None, min_history=3, partition_column="local")
    assert own.execute(pa.Table.from_pylist(rows), {"partition_column": "at"}).row_count == 2


def test_days_to_come_are_not_the_newest():
    today = dt.datetime.now(dt.UTC).date()
    frame = pa.concat_tables([steady(20, today), steady(1, today + dt.timedelta(days=400), shift=900)])
    result = MeanDriftCheck("v").execute(frame)
    assert result.passed
    assert result.metrics["partition"] in (str(today), str(today + dt.timedelta(days=1)))


def test_a_partition_without_rows():
    absent = {"partition": str(LAST + dt.timedelta(days=1))}
    results = run_checks_on_frame(steady(), ALL, absent)
    assert [result.passed for result in results] == [False] + [True] * 6
    assert results[0].message.startswith("row count on 2024-03-01 is 0, ")
    assert {result.message for result in results[1:]} == {"no rows on 2024-03-01: nothing to compare"}
    assert {result.row_count for result in results} == {0}


def test_no_rows_at_all():
    for partition, day in ((None, "any day"), (LAST, "2024-02-29")):
        results = run_checks_on_frame(steady().slice(0, 0), ALL, {"partition": partition})
        assert [result.passed for result in results] == [True] * 7
        assert results[1].message == f"no rows on {day}: nothing to compare"


def test_numbers_as_large_as_floats_can_be():
    frame = steady()
    largest = pa.array([1.7e308] * len(frame), pa.float64())
    frame = frame.set_column(frame.schema.get_field_index("v"), "v", largest)
    assert QuantileDriftCheck("v").execute(frame).passed
    assert QuantileDriftCheck("v", relative_tolerance=2.0).execute(frame).message.count("inf") > 0


def test_a_share_of_nulls_is_expected_between_none_and_all():
    frame = steady()
    column = frame.column_names.index("v")
    values = [None if number % 3 else 1.0 for number in range(len(frame))]
    result = NullRateDriftCheck("v").execute(frame.set_column(column, "v", pa.array(values, pa.float64())))
    assert result.metrics["statistics"]["null rate"]["expected_low"] >= 0
    halves = [None if str(day) > "2024-02-14" else 1.0 for day in frame["_phlo_partition_date"].to_pylist()]
    result = NullRateDriftCheck("v").execute(frame.set_column(column, "v", pa.array(halves, pa.float64())))
    assert result.metrics["statistics"]["null rate"]["expected_high"] == 1.0


def test_frames_of_pandas_and_their_own_partition_column():
    frame = steady().to_pandas()
    assert MeanDriftCheck("v").execute(frame).passed
    frame.loc[frame["_phlo_partition_date"] == LAST, "v"] += 30
    moved = "mean of v on 2024-02-29 is 54.5, 24.255 to 24.745 is expected"
    assert MeanDriftCheck("v").execute(frame).message.startswith(moved)
    assert MeanDriftCheck("v").execute(frame, {"partition": "2024-02-28"}).passed
    frame["at"] = pd.to_datetime(frame["_phlo_partition_date"])
    renamed = frame.drop(columns="_phlo_partition_date")
    assert MeanDriftCheck("v", partition_column="at").execute(renamed).message.startswith(moved)


@pytest.mark.parametrize("check", ALL, ids=lambda check: type(check).__name__)
@pytest.mark.parametrize(
    ("frame", "context", "message"),
    [
        (
            steady().drop_columns(["_phlo_partition_date"]),
            {},
            "there is no column _phlo_partition_date that says the day of a row: set partition_column to a date or a "
            "timestamp (candidates: at)",
        ),
        (steady(), {"partition_column": "kind"}, "column kind is VARCHAR, which holds no days"),
        (steady(), {"partition_column": "kind", "partition": "a"}, "column kind is VARCHAR, which holds no days"),
        (steady(), {"partition": "a"}, "the partition under check is not a date, so no day comes before it"),
    ],
)
def test_without_days_a_check_fails_and_says_what_to_do(check, frame, context, message):
    results = run_checks_on_frame(frame, [check, CountCheck(1)], context)
    assert [result.passed for result in results] == [False, True]
    assert message in results[0].message


def test_a_partition_that_is_not_a_day_selects_no_day_of_another_column(catalog):
    results = run_checks(
        catalog, "raw.t", [MeanDriftCheck("v", partition_column="at")], partition_column="kind", partition="a"
    )
    assert "the partition under check is not a date" in results[0].message


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (MeanDriftCheck("kind"), "column kind is VARCHAR, a number is needed"),
        (QuantileDriftCheck("flag"), "column flag is BOOLEAN, a number is needed"),
        (HistogramDriftCheck("tags"), "column tags is INTEGER[], a number is needed"),
        (CategoryDriftCheck("v"), "column v is DOUBLE: categories are text"),
        (NullRateDriftCheck("nope"), "there is no column nope"),
    ],
)
def test_columns_that_cannot_be_compared(check, message):
    frame = steady(2)
    frame = frame.append_column("flag", pa.array([True] * len(frame)))
    frame = frame.append_column("tags", pa.array([[1]] * len(frame), pa.list_(pa.int32())))
    result = check.execute(frame)
    assert not result.passed
    assert message in result.message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MeanDriftCheck("v", history=0), r"MeanDriftCheck\(v\): history=0, min_history=7: use whole"),
        (lambda: MeanDriftCheck("v", min_history=29), "history=28, min_history=29"),
        (lambda: MeanDriftCheck("v", history=28.5), "history=28.5"),
        (lambda: MeanDriftCheck("v", seasonality="month"), "seasonality='month': use 'weekday'"),
        (lambda: MeanDriftCheck("v", seasonality="weekday"), "28 days hold a weekday 4 times.*at least 49"),
        (lambda: MeanDriftCheck("v", deviations=0), "deviations=0: use a number above 0"),
        (lambda: MeanDriftCheck("v", deviations=NAN), "deviations=nan"),
        (lambda: MeanDriftCheck("v", relative_tolerance=-0.1), "relative_tolerance=-0.1"),
        (lambda: MeanDriftCheck("v", absolute_tolerance=math.inf), "absolute_tolerance=inf"),
        (lambda: MeanDriftCheck("v", quantile_bounds=(0.9, 0.1)), r"quantile_bounds=\(0.9, 0.1\): use two shares"),
        (lambda: MeanDriftCheck("v", quantile_bounds=0.9), "quantile_bounds=0.9"),
        (lambda: MeanDriftCheck("v", source_partition_column="day"), "source_table, which is missing"),
        (
            lambda: MeanDriftCheck("v", history=56, seasonality="weekday", source_table="a.b"),
            "leave one of the two out",
        ),
        (lambda: QuantileDriftCheck("v", []), r"quantiles=\(\): use distinct"),
        (lambda: QuantileDriftCheck("v", [5, 95]), "use distinct shares"),
        (lambda: QuantileDriftCheck("v", [0.5, 0.5]), "use distinct shares"),
        (lambda: RowCountAnomalyCheck(gaps="fill"), "gaps='fill': use 'skip' or 'zero'"),
        (lambda: HistogramDriftCheck("v", bins=1), "bins=1: use 2 to 100"),
        (lambda: HistogramDriftCheck("v", distance="l2"), "distance='l2': use 'psi' or 'jensen_shannon'"),
        (lambda: HistogramDriftCheck("v", max_distance=0), "max_distance=0"),
        (lambda: CategoryDriftCheck("v", top=0), "top=0: use 1 to 1000"),
        (lambda: CategoryDriftCheck("v", severity="loud"), "severity is 'loud'"),
    ],
)
def test_wrong_arguments_are_refused_when_a_dag_is_parsed(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_values_of_persons_are_not_shown():
    frame = steady()
    last = [day == LAST for day in frame["_phlo_partition_date"].to_pylist()]
    kinds = [f"{kind} 4711" if is_last else kind for kind, is_last in zip(frame["kind"].to_pylist(), last, strict=True)]
    values = [4711.5 if is_last else value for value, is_last in zip(frame["v"].to_pylist(), last, strict=True)]
    frame = frame.set_column(3, "kind", pa.array(kinds)).set_column(2, "v", pa.array(values))
    checks = [CategoryDriftCheck("kind", pii=True), HistogramDriftCheck("v", pii=True)]
    for result in run_checks_on_frame(frame, checks):
        assert not result.passed
        assert "4711" not in json.dumps(result.to_dict())
        assert "the share of bucket " in result.message
        assert result.metrics["most_moved"]["bucket"].startswith("bucket ")


def test_a_column_that_the_table_declares_as_personal_is_one(catalog):
    table = catalog.load_table("raw.t")
    table.append(steady(1, LAST + dt.timedelta(days=1)).filter(pc.field("kind") == "a"))
    (result,) = run_checks(catalog, "raw.t", [CategoryDriftCheck("kind")])
    assert "the share of 'a' went from 50 % to 100 %" in result.message
    declare_columns(catalog, table, ["at"], ["kind"])
    (result,) = run_checks(catalog, "raw.t", [CategoryDriftCheck("kind")])
    assert "the share of bucket " in result.message
    assert "'" not in json.dumps(result.to_dict())
    other = catalog.create_table("raw.other", table.schema().as_arrow())
    other.append(steady())
    declare_columns(catalog, table, ["at"], [])
    declare_columns(catalog, other, ["at"], ["kind"])
    for name in ("raw.other", "other"):
        (result,) = run_checks(catalog, "raw.t", [CategoryDriftCheck("kind", source_table=name)])
        assert "the share of bucket " in result.message


def test_a_source_is_compared_instead_of_earlier_days(catalog):
    source = catalog.create_table("raw.source", steady().schema)
    source.append(steady(3, shift=1))
    options = {"source_table": "raw.source", "source_partition_column": "_phlo_partition_date"}
    checks = [
        RowCountAnomalyCheck(**options),
        RowCountAnomalyCheck(source_table="source"),
        MeanDriftCheck("v", **options),
        MeanDriftCheck("v", absolute_tolerance=1, **options),
        HistogramDriftCheck("v", **options),
        CategoryDriftCheck("kind", **options),
    ]
    assert passed(catalog, *checks) == [True, False, False, True, True, True]
    results = run_checks(catalog, "raw.t", checks, partition="2024-02-20")
    assert [result.passed for result in results] == [False] * 2 + [False] * 4
    assert results[2].message.startswith("mean of v on 2024-02-20 is 24.5, none is expected")
    assert results[4].message == "raw.source, the same day: it has no rows to compare those on 2024-02-20 with"


def test_a_source_that_cannot_be_read(catalog):
    catalog.create_table("raw.other", pa.schema([("v", pa.string())]))
    results = run_checks(
        catalog,
        "raw.t",
        [
            MeanDriftCheck("v", source_table="raw.nope"),
            MeanDriftCheck("v", source_table="raw.other"),
            HistogramDriftCheck("v", source_table="raw.other"),
            CategoryDriftCheck("kind", source_table="raw.other"),
            CategoryDriftCheck("kind", source_table="raw.t", source_partition_column="kind"),
        ],
    )
    assert not any(result.passed for result in results)
    messages = [result.message for result in results]
    assert "raw.nope does not exist" in messages[0]
    assert messages[1] == messages[2] == "raw.other: column v is VARCHAR, a number is needed"
    assert "raw.other: there is no column kind" in messages[3]
    assert "which holds no days" in messages[4]
    assert "cannot read table raw.t" in MeanDriftCheck("v", source_table="raw.t").execute(steady()).message


@pytest.mark.parametrize("count", [3, 10_000])
def test_distinct_values_are_estimated_within_a_few_per_cent(count):
    days = pa.array([LAST - dt.timedelta(days=1)] * count + [LAST] * count, pa.date32())
    frame = pa.table({"_phlo_partition_date": days, "v": pa.array([*range(count), *range(count)])})
    for exact, tolerance in ((True, 0), (False, 0.1)):
        result = DistinctCountDriftCheck("v", min_history=1, exact=exact).execute(frame)
        assert result.metrics["statistics"]["distinct count"]["value"] == pytest.approx(count, rel=tolerance)


def test_bins_of_numbers_that_hold_few_values():
    def most_moved(before: list[float], now: list[float], **options: Any) -> str:
        days = [LAST - dt.timedelta(days=back) for back in range(10)]
        rows = [{"_phlo_partition_date": day, "v": float(v)} for day in days for v in (before if day != LAST else now)]
        result = HistogramDriftCheck("v", **options).execute(pa.Table.from_pylist(rows))
        assert not result.passed
        return result.metrics["most_moved"]["bucket"]

    assert most_moved([5] * 100, [4] * 100) in ("5 itself", "below 5")
    assert most_moved([5] * 100, [5] * 60 + [4] * 40) in ("5 itself", "below 5")
    assert most_moved([0] * 90 + [1] * 10, [0] * 50 + [1] * 50) in ("0 itself", "over 0")
    assert most_moved([1, 2, 3, 4] * 25, [1, 2, 3, 3] * 25, bins=4) in ("over 2.5 up to 3.25", "over 3.25")
    assert most_moved([NAN] * 100, [1.0] * 100) in ("all numbers", "NaN")
