"""Which rows break which rule: positions and counts are right, values stay secret."""

from __future__ import annotations

import datetime
import decimal
import logging
from typing import Any

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.pandas import DataFrameModel, Field

from airflow_provider_phlo.exceptions import SchemaError, ValidationError
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import ModelColumns, model_columns
from airflow_provider_phlo.schemas.conversion.conform import conform
from airflow_provider_phlo.schemas.failures import Failure, FailureCount, bad_rows, count_failures, raise_for_failures
from airflow_provider_phlo.schemas.validation.batch import missing_values, validate
from airflow_provider_phlo.schemas.validation.duplicates import duplicate_rows

UTC = datetime.UTC


def broken(declared: ModelColumns, records: list[dict[str, Any]], key: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the failures of a batch of records, as tuples."""
    table, failures = conform(records, declared, str)
    _, failures = validate(table, declared, key=key, conversion_failures=failures)
    return [(failure.column, failure.check, failure.rows) for failure in failures]


class Reading(PhloSchema):
    _id: str = Field(unique=True)
    sgv: int = Field(ge=1, le=1000)
    note: str | None = Field(nullable=True, str_length=3)
    count: int | None = Field(nullable=True, ge=0)
    done: bool | None = Field(nullable=True)

    @pandera.check("_id", name="lower_case")
    def _lower(cls, ids: Any) -> Any:
        return ids == ids.str.lower()

    @pandera.dataframe_check(name="count_below_sgv")
    def _below(cls, frame: Any) -> Any:
        return frame["count"].isna() | (frame["count"] < frame["sgv"])


READING = model_columns(Reading)
GOOD = {"_id": "a", "sgv": 100, "note": "abc", "count": 5, "done": True}


def test_good_rows() -> None:
    assert broken(READING, [GOOD, {"_id": "b", "sgv": "7"}], key=("_id",)) == []


def test_every_kind_of_rule() -> None:
    records = [
        GOOD,
        {**GOOD, "sgv": 0},
        {**GOOD, "sgv": "many"},
        {**GOOD, "_id": "UP", "sgv": 1001},
        {**GOOD, "_id": None},
        {**GOOD, "count": 100},
        {**GOOD, "note": "long", "count": -1},
    ]
    assert sorted(broken(READING, records, key=("_id",))) == [
        ("", "count_below_sgv", (1, 2, 5)),
        ("_id", "lower_case", (3,)),
        ("_id", "not_nullable", (4,)),
        ("count", "greater_than_or_equal_to(0)", (6,)),
        ("note", "str_length(3)", (6,)),
        ("sgv", "greater_than_or_equal_to(1)", (1,)),
        ("sgv", "is_integer", (2,)),
        ("sgv", "less_than_or_equal_to(1000)", (3,)),
    ]


def test_nulls_beside_integers_and_truths_break_no_comparison() -> None:
    class Model(PhloSchema):
        low: int | None = Field(nullable=True)
        high: int | None = Field(nullable=True)

        @pandera.dataframe_check
        def ordered(cls, frame: Any) -> Any:
            return frame["low"] <= frame["high"]

    records = [{"low": 1, "high": 2}, {"low": None, "high": 2}, {"low": 3, "high": 2}]
    assert broken(model_columns(Model), records) == [("", "ordered", (1, 2))]


def test_a_comparison_with_null_sets_aside_its_row_only() -> None:
    class Model(PhloSchema):
        done: bool | None = Field(nullable=True)
        low: int | None = Field(nullable=True)
        high: int | None = Field(nullable=True)

        @pandera.check("done")
        def is_done(cls, values: Any) -> Any:
            return values

        @pandera.dataframe_check
        def done_or_ordered(cls, frame: Any) -> Any:
            return frame["done"] | (frame["low"] < frame["high"])

        @pandera.dataframe_check(element_wise=True)
        def row_by_row(cls, row: Any) -> Any:
            return row["low"] < row["high"]

    large = 2**55  # no float holds what lies between: pandas' own integers do
    records = [
        {"done": True, "low": None, "high": large},
        {"done": None, "low": large, "high": large + 1},
        {"done": None, "low": large + 1, "high": large},
        {"done": False, "low": None, "high": large},
    ]
    found = {check: rows for _, check, rows in broken(model_columns(Model), records)}
    assert found == {"is_done": (3,), "done_or_ordered": (2, 3), "row_by_row": (0, 2, 3)}


def test_large_integers_stay_exact_beside_nulls() -> None:
    class Model(PhloSchema):
        n: int | None = Field(nullable=True, lt=2**53 + 1)

    records = [{"n": 2**53 + 1}, {"n": None}, {"n": 2**53}]
    assert broken(model_columns(Model), records) == [("n", f"less_than({2**53 + 1})", (0,))]


@pytest.mark.parametrize("bound", [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1, tzinfo=UTC)])
def test_bounds_of_times_with_and_without_zone(bound: datetime.datetime) -> None:
    model = type("Model", (PhloSchema,), {"__annotations__": {"at": datetime.datetime}, "at": Field(ge=bound)})
    records = [{"at": "2024-01-01T00:00:00Z"}, {"at": "2023-12-31T23:59:59Z"}]
    assert [rows for _, _, rows in broken(model_columns(model), records)] == [(1,)]


@pytest.mark.parametrize(
    ("annotation", "field", "values", "bad"),
    [
        (decimal.Decimal, {"gt": 0}, ["0.1", "-0.1"], (1,)),
        (datetime.date, {"ge": datetime.date(2024, 1, 1)}, ["2024-01-01", "2023-01-01"], (1,)),
        (float, {"le": 1.5}, [1.5, 2], (1,)),
        (str, {"isin": ["a", "b"]}, ["a", "c"], (1,)),
        (str, {"str_matches": r"\d+"}, ["12", "x"], (1,)),
        (bool, {"eq": True}, [True, False], (1,)),
    ],
)
def test_bounds_of_other_types(annotation: Any, field: dict[str, Any], values: list[Any], bad: tuple[int]) -> None:
    model = type("Model", (PhloSchema,), {"__annotations__": {"x": annotation}, "x": Field(**field)})
    assert [rows for _, _, rows in broken(model_columns(model), [{"x": value} for value in values])] == [bad]


def test_a_check_that_raises_or_answers_once_is_about_the_batch() -> None:
    class Model(PhloSchema):
        x: int

        @pandera.check("x")
        def breaks(cls, values: Any) -> Any:
            raise RuntimeError(f"secret {values[0]}")

        @pandera.dataframe_check
        def answers_once(cls, frame: Any) -> bool:
            return False

    assert sorted(broken(model_columns(Model), [{"x": 42}])) == [
        ("", "answers_once", None),
        ("x", "breaks (raises RuntimeError)", None),
    ]


def test_no_row_is_spared_by_a_models_own_economies() -> None:
    class Model(PhloSchema):
        x: int = Field(ge=1, n_failure_cases=1)

        class Config:
            drop_invalid_rows = True

    assert broken(model_columns(Model), [{"x": 0}, {"x": 0}, {"x": 1}]) == [
        ("x", "greater_than_or_equal_to(1)", (0, 1))
    ]


def test_checks_that_only_warn_show_no_value(caplog: pytest.LogCaptureFixture, recwarn: Any) -> None:
    class Model(PhloSchema):
        x: int = Field(ge=1000, raise_warning=True)

    with caplog.at_level(logging.WARNING):
        assert broken(model_columns(Model), [{"x": 42}]) == []
    assert "Model: a check that only warns" in caplog.text
    assert "42" not in caplog.text
    assert not [warning for warning in recwarn if "42" in str(warning.message)]


# --- parsers


class Parsed(PhloSchema):
    name: str = Field(isin=["a", "b"])
    n: int | None = Field(nullable=True, ge=2)

    @pandera.parser("name")
    def _stripped(cls, names: Any) -> Any:
        return names.str.strip()

    @pandera.dataframe_parser
    def _next(cls, frame: Any) -> Any:
        return frame.assign(n=frame["n"] + 1)


def test_parsers_change_the_batch() -> None:
    table, failures = validate(pa.table({"name": [" a ", "b"], "n": [1, None]}), model_columns(Parsed))
    assert failures == []
    assert table.to_pydict() == {"name": ["a", "b"], "n": [2, None]}
    assert table.schema.field("n").type == pa.int64()


def test_parsers_change_the_good_rows_of_a_batch_with_bad_ones() -> None:
    table, failures = validate(pa.table({"name": [" a", "c", "b "], "n": [1, 1, 0]}), model_columns(Parsed))
    assert bad_rows(failures) == [1, 2]
    assert table.slice(0, 1).to_pydict() == {"name": ["a"], "n": [2]}
    assert len(table) == 3


def test_a_parser_that_makes_other_types() -> None:
    class Model(PhloSchema):
        n: int

        @pandera.parser("n")
        def _worded(cls, numbers: Any) -> Any:
            return numbers.map({42: "secret"})

    with pytest.raises(SchemaError, match="'n' values that are not int64") as caught:
        validate(pa.table({"n": [42]}), model_columns(Model))
    assert "secret" not in str(caught.value)


# --- strict, missing columns, keys


def test_undeclared_columns() -> None:
    def model(strict: Any) -> ModelColumns:
        config = type("Config", (), {"strict": strict})
        return model_columns(type("M", (PhloSchema,), {"__annotations__": {"x": int}, "x": Field(), "Config": config}))

    table = pa.table({"x": [1, 2, 3], "more": ["a", None, "c"], "empty": pa.nulls(3, pa.string())})
    assert validate(table, model(False)) == (table, [])
    assert validate(table, model("filter")) == (table.select(["x"]), [])
    assert validate(table, model(True)) == (table.select(["x"]), [Failure("more", "column_in_schema", (0, 2))])


def test_missing_columns_and_keys() -> None:
    assert broken(READING, [{"sgv": 5}], key=("_id",)) == [("_id", "column_in_data", (0,))]
    assert broken(READING, [GOOD], key=("other",)) == [("other", "column_in_data", (0,))]
    assert broken(READING, [GOOD, {**GOOD, "note": None}], key=("_id", "note")) == [("note", "not_nullable", (1,))]


def test_a_plain_model() -> None:
    class Plain(DataFrameModel):
        x: pandera.typing.Series[int] = Field(ge=5)

        class Config:
            coerce = False

    assert broken(model_columns(Plain), [{"x": "6"}, {"x": 4}]) == [("x", "greater_than_or_equal_to(5)", (1,))]


def test_empty_batches() -> None:
    assert broken(READING, [], key=("_id",)) == []


def test_without_rules_only_what_no_table_can_hold_fails() -> None:
    records = [{**GOOD, "sgv": -5}, {**GOOD, "sgv": "x"}, {**GOOD, "_id": None}, {**GOOD, "sgv": None}]
    table, failures = conform(records, READING, str)
    found = missing_values(table, READING, key=("_id", "note"), conversion_failures=failures)
    assert [(failure.column, failure.check, failure.rows) for failure in found] == [
        ("sgv", "is_integer", (1,)),
        ("_id", "not_nullable", (2,)),
        ("sgv", "not_nullable", (3,)),
    ]
    assert missing_values(table, None, key=("note",)) == []


# --- counting and saying it


def test_counts_and_positions_of_several_batches() -> None:
    failures = [
        (0, Failure("x", "positive", (1, 4))),
        (10, Failure("x", "positive", (0,))),
        (10, Failure("y", "set", None)),
        (20, Failure("x", "positive", tuple(range(10)))),
        (20, Failure("y", "set", (1,))),
    ]
    x, y = count_failures(failures)
    assert x == FailureCount("x", "positive", 13, (1, 4, 10, 20, 21, 22, 23, 24, 25, 26))
    assert y == FailureCount("y", "set", None)
    assert str(x) == (
        "column 'x': check positive fails for 13 row(s), at positions 1, 4, 10, 20, 21, 22, 23, 24, 25, 26, …"
    )
    assert str(y) == "column 'y': check set fails for the batch as a whole"
    assert str(FailureCount("", "c", 1, (3,))) == "whole rows: check c fails for 1 row(s), at positions 3"


def test_the_error_carries_the_failures_and_no_value() -> None:
    raise_for_failures([], "raw.t", 0)
    records = [{"_id": "topsecret", "sgv": 98765}]
    table, failures = conform(records, READING, str)
    _, failures = validate(table, READING, conversion_failures=failures)
    summary = count_failures((7, failure) for failure in failures)
    with pytest.raises(ValidationError) as caught:
        raise_for_failures(summary, "raw.t", 1)
    message = str(caught.value)
    assert "raw.t: 1 row(s) break the validation schema" in message
    assert "column 'sgv': check less_than_or_equal_to(1000) fails for 1 row(s), at positions 7" in message
    assert "98765" not in message
    assert "topsecret" not in message
    assert caught.value.failures == tuple(summary)
    assert caught.value.__cause__ is None


@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.one_of(st.none(), st.integers(-3, 3), st.just("x")), max_size=12), size=st.integers(1, 12))
def test_chunking_changes_neither_counts_nor_positions(values: list[Any], size: int) -> None:
    declared = model_columns(Chunked)

    def total(size: int) -> list[FailureCount]:
        found = []
        for start in range(0, len(values), size):
            records = [{"x": value} for value in values[start : start + size]]
            table, failures = conform(records, declared, str)
            _, failures = validate(table, declared, conversion_failures=failures)
            found += [(start, failure) for failure in failures]
        return sorted(count_failures(found), key=str)

    assert total(size) == total(max(len(values), 1))


class Chunked(PhloSchema):
    x: int = Field(ge=0)


# --- uniqueness


@pytest.mark.parametrize(
    ("columns", "identity", "expected"),
    [
        (["k"], [], [0, 2, 3]),
        (["k"], ["id"], [0, 2, 3]),
        (["k"], ["id", "v"], [0, 2, 3]),
        (["k"], ["k"], []),
        (["id"], [], [0, 3]),
        (["id"], ["id"], []),
        (["id"], ["id", "v"], [0, 3]),
        (["id", "k"], [], [0, 3]),
        (["id", "k"], ["id"], []),
        (["v"], [], []),
        (["n"], [], []),
    ],
)
def test_rows_that_share_what_must_be_unique(columns: list[str], identity: list[str], expected: list[int]) -> None:
    table = pa.table({"id": [1, 2, 3, 1], "k": ["a", "b", "a", "a"], "v": [1, 2, 3, 4], "n": pa.nulls(4, pa.string())})
    assert duplicate_rows(table, columns, identity) == expected


def test_zeros_of_both_signs_are_one_value() -> None:
    table = pa.table({"f": [0.0, 1.0, -0.0, float("nan")], "id": [1, 2, 3, 4]})
    assert duplicate_rows(table, ["f"], ["id"]) == duplicate_rows(table, ["f"], []) == [0, 2]


def test_copies_of_one_row_are_not_duplicates_when_the_merge_keeps_one() -> None:
    table = pa.table({"id": [1, 1, 2], "k": ["a", "a", "b"]})
    assert duplicate_rows(table, ["k"], ["id"]) == []
    assert duplicate_rows(table, ["k"], []) == [0, 1]
    assert duplicate_rows(table.slice(0, 0), ["k"], ["id"]) == []


def test_frames_of_pandas_are_what_the_rules_see() -> None:
    seen = {}

    class Model(PhloSchema):
        at: datetime.datetime
        n: int

        @pandera.dataframe_check
        def look(cls, frame: pd.DataFrame) -> bool:
            seen.update(frame.dtypes.astype(str))
            return True

    broken(model_columns(Model), [{"at": "2024-01-01", "n": 1}])
    assert seen == {"at": "datetime64[us, UTC]", "n": "int64"}
