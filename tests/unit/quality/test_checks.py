"""The built-in checks on data frames: what passes, what fails, and what the result says."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.exceptions import ConfigurationError, QualityCheckError
from airflow_provider_phlo.quality import (
    CountCheck,
    CustomSQLCheck,
    FreshnessCheck,
    NullCheck,
    PatternCheck,
    QualityCheck,
    QualityCheckResult,
    RangeCheck,
    SchemaCheck,
    UniqueCheck,
    raise_for_failures,
)
from airflow_provider_phlo.quality.scan import run_checks_on_frame
from airflow_provider_phlo.schemas import PhloSchema
from tests.expect import expect
from tests.sizes import size

NAN = float("nan")
SECRET = 417.25


class Reading(PhloSchema):
    _id: str
    value: float
    taken_at: datetime


def test_null_check_counts_each_column_and_rows_with_any():
    frame = pa.table({"id": ["a", None, None], "v": [1.0, None, NAN]})
    result = NullCheck(columns=["id", "v"]).execute(frame)
    assert (result.passed, result.failed, result.row_count) == (False, 2, 3)
    assert result.metrics == {"null_count": 3, "null_counts": {"id": 2, "v": 1}}
    assert result.columns == ("id", "v")
    assert NullCheck("id").execute(frame.slice(0, 1)).passed


def test_range_check_includes_bounds_ignores_null_and_fails_nan():
    frame = pa.table({"v": [20.0, 500.0, None, NAN, 19.9, math.inf]})
    result = RangeCheck(column="v", min_value=20, max_value=500).execute(frame)
    assert (result.passed, result.failed) == (False, 3)
    assert RangeCheck("v", min_value=20).execute(frame).failed == 2
    assert RangeCheck("v", max_value=500).execute(frame.slice(0, 3)).passed


@pytest.mark.parametrize(
    ("values", "low", "high", "failed"),
    [
        ([1, 2, 3], 2, None, 1),
        ([1, 2, 3], 1.5, 2.5, 2),
        ([Decimal("1.05"), Decimal("1.10")], Decimal("1.06"), None, 1),
        ([date(2024, 1, 1), date(2024, 1, 3)], date(2024, 1, 2), None, 1),
        ([datetime(2024, 1, 1, tzinfo=UTC)], None, datetime(2023, 12, 31, tzinfo=UTC), 1),
        (["a", "m"], "b", None, 1),
    ],
)
def test_range_check_of_every_ordered_type(values, low, high, failed):
    assert RangeCheck("v", low, high).execute(pa.table({"v": values})).failed == failed


def test_pandas_nan_is_a_missing_value():
    frame = pd.DataFrame({"v": [1.0, NAN]})
    assert RangeCheck("v", 0, 5).execute(frame).passed
    assert NullCheck("v").execute(frame).failed == 1


def test_unique_check_counts_rows_that_share_a_key():
    frame = pa.table({"a": [1, 1, 1, 2, None, None], "b": [1, 1, 2, 2, 3, 3]})
    result = UniqueCheck(columns=["a", "b"]).execute(frame)
    assert (result.passed, result.failed, result.metrics) == (False, 2, {"duplicate_count": 1})
    assert UniqueCheck("a").execute(frame).failed == 3


def test_count_check():
    frame = pa.table({"a": [1, 2]})
    assert CountCheck(min_count=2, max_count=2).execute(frame).passed
    few, many = CountCheck(min_count=3).execute(frame), CountCheck(max_count=1).execute(frame)
    expect(few, passed=False, failed=None, message="2 rows (at least 3 rows are expected)")
    expect(many, passed=False, failed=None, message="2 rows (at most 1 rows are expected)")


def test_pattern_check_searches_unless_anchored_and_ignores_null():
    frame = pa.table({"s": ["entry_1", "x entry_2", None], "n": [1, 22, 3]})
    assert PatternCheck("s", r"entry_\d").execute(frame).passed
    assert PatternCheck("s", r"^entry_\d$").execute(frame).failed == 1
    assert PatternCheck("n", r"^\d$").execute(frame).failed == 1


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "text", "date"])
def test_freshness_of_every_kind_of_time(kind):
    now = datetime.now(UTC)
    times = [now - timedelta(hours=30), now - timedelta(hours=1), None]
    columns = {
        "timestamptz": pa.array(times),
        "timestamp": pa.array([time and time.replace(tzinfo=None) for time in times]),
        "text": pa.array([time and time.isoformat() for time in times]),
        "date": pa.array([time and time.date() for time in times]),
    }
    frame = pa.table({"t": columns[kind]})
    assert FreshnessCheck("t", max_age_hours=26).execute(frame).passed
    old = FreshnessCheck("t", max_age_hours=5).execute(frame.slice(0, 1))
    assert not old.passed
    assert " h old in t (at most 5 h old is expected)" in old.message


def test_freshness_does_not_believe_the_future_and_needs_a_time():
    now = datetime.now(UTC)
    frame = pa.table({"t": [now + timedelta(days=900), now - timedelta(hours=30)], "n": [1, 2]})
    result = FreshnessCheck("t", max_age_hours=24).execute(frame)
    assert not result.passed
    assert result.metrics == {"age_hours": pytest.approx(30, abs=0.1), "future_count": 1}
    text = pa.table({"t": [(now - timedelta(hours=30)).isoformat(), "yesterday", "2024-13-01", "", None]})
    result = FreshnessCheck("t", max_age_hours=31).execute(text)
    assert result.passed
    assert result.message.endswith("; 3 texts that are not times are not counted")
    assert result.metrics == {"age_hours": pytest.approx(30, abs=0.1), "future_count": 0, "unreadable_count": 3}
    none = FreshnessCheck("t", 24).execute(frame.slice(0, 0))
    expect(none, passed=False, message="no usable time in t (at most 24 h old is expected)")
    assert "freshness needs a timestamp" in FreshnessCheck("n", 24).execute(frame).message


def test_custom_sql_without_expectation_wants_no_rows():
    frame = pa.table({"v": [1, 2, 3]})
    assert CustomSQLCheck("SELECT * FROM raw.readings WHERE v > 5;").execute(frame).passed
    result = CustomSQLCheck("SELECT * FROM readings WHERE v > 1 -- wrong", description="v is one").execute(frame)
    assert (result.passed, result.failed) == (False, 2)
    assert result.message == "v is one: expected no rows, found 2"


@pytest.mark.parametrize(
    ("query", "expected", "passed"),
    [
        ("SELECT count(*) FROM df", 3, True),
        ("SELECT count(*) = 3 FROM df", True, True),
        ("SELECT avg(v) FROM df", 2, True),
        ("SELECT 0.1 + 0.2 FROM df LIMIT 1", 0.3, True),
        ("SELECT 10000000000 + 1", 10000000000, False),
        ("SELECT max(v) FROM df", 4, False),
        ("SELECT 'a'", "a", True),
        ("SELECT NULL", 0, False),
        ("SELECT v FROM df", 1, False),
        ("SELECT v FROM df WHERE v > 9", 1, False),
    ],
)
def test_custom_sql_compares_one_value(query, expected, passed):
    assert CustomSQLCheck(query, expected).execute(pa.table({"v": [1, 2, 3]})).passed is passed


@pytest.mark.parametrize(
    "query", ["SELEC 1", "DROP TABLE df", "SELECT 1; SELECT 2", "SELECT nope FROM df", "SELECT * FROM a, b"]
)
def test_a_query_that_cannot_run_is_a_failed_check(query):
    result = CustomSQLCheck(query).execute(pa.table({"v": [1]}))
    assert not result.passed
    assert result.message


def test_schema_check_names_what_differs():
    good = pa.table({"_id": ["a"], "value": [1], "taken_at": pa.array([datetime.now(UTC)]), "more": [b"x"]})
    assert SchemaCheck(Reading).execute(good).passed
    assert SchemaCheck(f"{__name__}:Reading").check_name() == "SchemaCheck(Reading)"
    result = SchemaCheck(Reading).execute(pa.table({"value": ["1"], "taken_at": [date(2024, 1, 1)]}))
    assert result.message == (
        "missing: _id; mistyped: value is VARCHAR, float is declared, taken_at is DATE, timestamp is declared"
    )
    assert result.metrics["missing_columns"] == ["_id"]


@pytest.mark.parametrize(
    "check",
    [
        NullCheck(["id", "nope"]),
        RangeCheck("nope", 0),
        UniqueCheck("nope"),
        PatternCheck("nope", "a"),
        FreshnessCheck("nope", 1),
    ],
)
def test_a_missing_column_fails_and_names_those_there_are(check):
    result = check.execute(pa.table({"id": ["a"], "v": [1]}))
    assert not result.passed
    assert result.message == "there is no column nope; the columns are: id, v"


@pytest.mark.parametrize(
    "check",
    [NullCheck("v"), RangeCheck("v", 0), UniqueCheck("v"), PatternCheck("v", "a"), CustomSQLCheck("SELECT * FROM df")],
)
def test_an_empty_table_passes_row_checks(check):
    assert check.execute(pa.table({"v": pa.array([], pa.int64())})).passed


def test_results_hold_no_value_of_a_row():
    frame = pa.table({"v": [SECRET, 1.0, 1.0], "s": [f"{SECRET} mg", None, "x"]})
    checks = [
        RangeCheck("v", 0, 400),
        RangeCheck("s", 0, 400),
        UniqueCheck("v"),
        NullCheck("s"),
        PatternCheck("s", "y"),
        CustomSQLCheck("SELECT max(v) FROM df", 5),
        CustomSQLCheck("SELECT CAST(s AS INTEGER) FROM df"),
        FreshnessCheck("s", 1),
    ]
    results = [check.execute(frame) for check in checks]
    assert not any(result.passed for result in results)
    assert str(SECRET) not in json.dumps([result.to_dict() for result in results])


def test_a_check_of_your_own_and_its_result():
    class Threshold(QualityCheck):
        def __init__(self, column, max_value):
            self.column, self.max_value = column, max_value

        def execute(self, df, context=None):
            bad = df[self.column] > self.max_value
            return QualityCheckResult(not bad.any(), bad.sum(), "too high", metrics={"share": bad.mean()})

    check = Threshold("v", 2)
    assert (check.severity, check.check_name()) == ("error", "Threshold(v)")
    result = check.execute(pd.DataFrame({"v": [1, 2, 3, 4]}))
    told = json.loads(json.dumps(result.to_dict()))
    assert (told["passed"], told["failed"], told["share"]) == (False, 2, 0.5)


def test_to_dict_is_json_whatever_the_metrics_hold():
    metrics = {"nan": NAN, "day": date(2024, 1, 1), "ratio": Decimal("0.5"), "set": {"a"}, "passed": "not this"}
    told = json.loads(json.dumps(QualityCheckResult(True, metrics=metrics).to_dict(), allow_nan=False))
    assert told["nan"] is None
    assert told["ratio"] == 0.5
    assert told["day"] == "2024-01-01"
    assert told["passed"] is True


@pytest.mark.parametrize(
    "make",
    [
        lambda: RangeCheck("v"),
        lambda: CountCheck(),
        lambda: NullCheck([]),
        lambda: NullCheck(5),
        lambda: NullCheck(["v", None]),
        lambda: NullCheck(""),
        lambda: RangeCheck(None, 0),
        lambda: RangeCheck("v", 0, key_columns=[5]),
        lambda: FreshnessCheck("t", "24"),
        lambda: PatternCheck("s", None),
        lambda: CustomSQLCheck(None),
        lambda: CustomSQLCheck(" "),
        lambda: SchemaCheck(None),
        lambda: UniqueCheck([]),
        lambda: FreshnessCheck("t", 0),
        lambda: PatternCheck("s", "("),
        lambda: NullCheck(["v"], severity="fatal"),
    ],
)
def test_a_check_that_says_nothing_is_refused_at_once(make):
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize(
    "frame",
    [
        5,
        pd.DataFrame({"v": [1, "secret"]}),
        pd.DataFrame([[1, 2]], columns=["v", "v"]),
        pd.Series([1, 2]),
        pl.Series([1, 2]),
        pa.array([1, 2]),
        [{"v": 1}, {"v": "secret"}],
        [1, "secret"],
        [{"v": 2**70}],
    ],
)
def test_a_frame_of_an_unknown_kind_is_refused(frame):
    with pytest.raises(ConfigurationError, match="Cannot check this ") as refused:
        CountCheck(1).execute(frame)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("frame", [[], [{}], pd.DataFrame(), pl.DataFrame(), pa.table({})])
def test_a_frame_without_columns_is_refused(frame):
    with pytest.raises(ConfigurationError, match="without columns"):
        CountCheck(0).execute(frame)


def test_what_is_not_a_check_is_refused():
    with pytest.raises(ConfigurationError, match=r"checks\[1\] is 'not_null'"):
        run_checks_on_frame(pa.table({"v": [1]}), [CountCheck(1), "not_null"])


@pytest.mark.parametrize("bound", [2.0**53 + 2, 2**53 + 2])
def test_large_integers_are_compared_exactly(bound):
    rows = pa.table({"n": [2**53 + 1, 2**53 + 2, 2**53 + 3]})
    assert RangeCheck("n", min_value=bound).execute(rows).failed == 1
    assert RangeCheck("n", max_value=bound).execute(rows).failed == 1


@pytest.mark.parametrize(
    ("low", "high", "failed"), [(1.5, 2.5, 2), (-math.inf, 2, 1), (1e300, math.inf, 3), (-1e300, 1e300, 0)]
)
def test_float_bounds_of_integers(low, high, failed):
    assert RangeCheck("n", low, high).execute(pa.table({"n": [1, 2, 3]})).failed == failed


def test_a_range_of_lists_and_an_unreadable_pattern_are_said():
    rows = pa.table({"l": [[1]], "t": ["a"]})
    assert (
        RangeCheck("l", 1).execute(rows).message == "column l is BIGINT[]: a range needs numbers, text, dates or times"
    )
    assert "look-around" in PatternCheck("t", "(?=a)").execute(rows).message
    assert "look-around" in PatternCheck("t", r"(a)\1").execute(rows).message
    assert PatternCheck("t", "[(?=a]").execute(rows).passed


def test_metrics_of_any_kind_are_reported():
    endless = {}
    endless["self"] = endless
    metrics = {"series": pd.Series([1, 2]), "array": np.arange(2), "number": np.int64(3), "endless": endless}
    told = QualityCheckResult(True, metrics=metrics).to_dict()
    assert (told["series"], told["array"], told["number"]) == ([1, 2], [0, 1], 3)
    assert json.dumps(told["endless"]).count("self") > 1


@pytest.mark.parametrize(
    "result",
    [
        {"metrics": 5},
        {"metrics": None},
        {"passed": "no"},
        {"passed": pd.Series([True, False])},
        {"failed": "x"},
        {"columns": 5},
    ],
)
def test_a_result_of_your_own_that_cannot_be_read_has_failed(result):
    class Own(QualityCheck):
        def execute(self, df, context=None):
            return QualityCheckResult(**{"passed": True, **result})

    own, other = run_checks_on_frame(pa.table({"v": [1]}), [Own(), CountCheck(1)])
    assert not own.passed
    assert other.passed


def test_one_error_carries_all_results(caplog):
    frame = pa.table({"v": [1, None]})
    results = [
        NullCheck("v").execute(frame),
        CountCheck(1).execute(frame),
        NullCheck("v", name="soft", severity="warn").execute(frame),
    ]
    with pytest.raises(QualityCheckError, match=r"1 of 3 checks failed: NullCheck\(v\): NULL values") as caught:
        raise_for_failures(results)
    assert caught.value.results == tuple(results)
    assert "soft" in caplog.text
    raise_for_failures(results[1:])


numbers = st.lists(st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5), st.just(NAN)), max_size=30)


@pytest.mark.long
@settings(max_examples=size(40, 400), deadline=None)
@given(numbers, st.integers(-5, 5), st.integers(0, 5))
def test_checks_agree_with_pandas(values, low, width):
    values = [None if value is None else float(value) for value in values]
    frame = pa.table({"v": pa.array(values, pa.float64())})
    series = pd.Series([value for value in values if value is not None], dtype="float64")
    assert NullCheck("v").execute(frame).failed == len(values) - len(series)
    assert RangeCheck("v", low, low + width).execute(frame).failed == (~series.between(low, low + width)).sum()
    # -0.0 and 0.0 are one value in pandas and in SQL
    assert UniqueCheck("v").execute(frame).failed == series.duplicated(keep=False).sum()
