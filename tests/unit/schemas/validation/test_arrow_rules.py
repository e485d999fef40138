"""Rules by Arrow, by Pandera's pandas and by its Polars backend: the same rows break the same rules."""

from __future__ import annotations

import datetime
import decimal
import logging
import re
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pandera.polars as polars_pandera
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.pandas import Check, Field

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import ModelColumns, model_columns
from airflow_provider_phlo.schemas.conversion.conform import conform
from airflow_provider_phlo.schemas.validation.arrow_rules import Rules, check_with_arrow, evaluate
from airflow_provider_phlo.schemas.validation.batch import validate
from airflow_provider_phlo.schemas.validation.pandas_rules import run as by_pandas
from airflow_provider_phlo.schemas.validation.polars_rules import run as by_polars
from tests.expect import expect
from tests.sizes import size

UTC = datetime.UTC
YEAR = datetime.datetime(2024, 1, 1)
TEXTS = st.text(alphabet="ab1A_é\n٣ .-", max_size=4)
PATTERNS = [
    "a",
    "^a$",
    "a|b",
    "[ab]+$",
    "[^a]+$",
    r"\d+",
    r"\w*$",
    r"[^\d]+$",
    r"\.",
    ".*b",
    "(a)(?:b)?$",
    "(?i)a",
    r"a\b",
    "a{,2}$",
    "[[:alpha:]]",
    "(?<!a)b",
    "",
]
KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": (int, st.integers(-5, 5) | st.sampled_from([2**53 + 1, -(2**63)])),
    "float": (float, st.floats(-5, 5) | st.sampled_from([0.0, -0.0, float("inf")])),
    "text": (str, TEXTS),
    "time": (datetime.datetime, st.datetimes(YEAR, YEAR + datetime.timedelta(2), timezones=st.just(UTC))),
    "date": (datetime.date, st.dates(datetime.date(2024, 1, 1), datetime.date(2024, 1, 5))),
    "decimal": (decimal.Decimal, st.decimals(-3, 3, places=2)),
    "bool": (bool, st.booleans()),
}  # fmt: skip


def declare(annotation: Any, **field: Any) -> ModelColumns:
    return model_columns(type("Model", (PhloSchema,), {"__annotations__": {"x": annotation}, "x": Field(**field)}))


@st.composite
def cases(draw: st.DrawFn) -> tuple[ModelColumns, list[Any]]:
    annotation, values = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    names = ["ge", "gt", "le", "lt", "eq", "ne", "isin", "notin", "in_range"]
    if annotation is bool:
        names = ["eq", "ne"]
    if annotation is str:
        names = ["isin", "notin", "str_matches", "str_contains", "str_length", "str_startswith", "str_endswith"]
    name = draw(st.sampled_from(names))
    if name in ("isin", "notin"):
        rule = draw(st.lists(values, min_size=1, max_size=4))
    elif name in ("str_matches", "str_contains"):
        rule = draw(st.sampled_from(PATTERNS))
    elif name == "str_length":
        rule = {"min_value": draw(st.integers(0, 2)), "max_value": draw(st.integers(2, 3))}
    elif name == "in_range":
        low, high = draw(st.tuples(values, values).filter(lambda pair: pair[0] < pair[1]))
        rule = {"min_value": low, "max_value": high, "include_min": draw(st.booleans())}
    else:
        rule = draw(values)
    declared = declare(annotation, nullable=True, **{name: rule})
    return declared, draw(st.lists(st.none() | values, min_size=1, max_size=5))


@pytest.mark.long
@settings(max_examples=size(200, 2000), deadline=None)
@given(cases())
def test_arrow_says_only_what_pandera_says(case: tuple[ModelColumns, list[Any]]) -> None:
    declared, values = case
    table, failures = conform([{"x": value} for value in values], declared, str)
    assert failures == []
    checks = list(declared.schema.columns["x"].checks)
    found = by_pandas(table, declared, Rules({"x": checks}, []))
    assert not (found and evaluate(checks[0], table["x"]) is True)
    assert validate(table, declared)[1] == found


@pytest.mark.parametrize(
    ("annotation", "field", "values"),
    [
        (int, {"ge": 0, "lt": 10, "ne": 5, "notin": [7]}, [0, None, 9]),
        (int, {"isin": [1, 2]}, [1, None, 2]),
        (float, {"in_range": {"min_value": 0, "max_value": 1}, "gt": -1}, [0.0, 1.0, None]),
        (str, {"isin": ["a", "b"], "str_matches": "[a-z]$", "str_length": {"max_value": 1}}, ["a", None, "b"]),
        (str, {"str_startswith": "a", "str_endswith": "b", "str_contains": "x"}, ["axb", None]),
        (datetime.datetime, {"ge": datetime.datetime(2024, 1, 1)}, ["2024-01-01T00:00:00Z"]),
        (datetime.date, {"le": datetime.date(2024, 1, 1)}, ["2023-01-01"]),
        (decimal.Decimal, {"gt": 0, "isin": [decimal.Decimal("1.5")]}, ["1.5"]),
        (int, {"ge": 0}, [None, None]),
    ],
)
def test_pandera_is_not_asked_where_all_is_well(annotation: Any, field: dict[str, Any], values: list[Any]) -> None:
    declared = declare(annotation, nullable=True, **field)
    table, _ = conform([{"x": value} for value in values], declared, str)
    assert check_with_arrow(table, declared) == ([], Rules({}, []))


def test_own_checks_are_always_run() -> None:
    class Model(PhloSchema):
        x: int = Field(ge=0)

        @pandera.check("x", name="greater_than_or_equal_to")
        def _mine(cls, values: Any) -> Any:
            return values != 3

    assert [failure.rows for failure in validate(pa.table({"x": [1, 3]}), model_columns(Model))[1]] == [(1,)]


def test_checks_that_see_nulls_are_always_run() -> None:
    assert evaluate(Check.ge(0, ignore_na=False), pa.chunked_array([[1]])) is None
    assert evaluate(Check.ge(0), pa.chunked_array([[1]])) is True


def test_which_rows_break_a_rule_is_known_without_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"ge": 0, "lt": 10, "notin": [5], "isin": [1, 5, 7, 20]}
    declared = declare(int, nullable=True, **fields)
    table, _ = conform([{"x": value} for value in (1, None, -1, 5, 20, 7)], declared, str)
    expected = by_pandas(table, declared, Rules({"x": list(declared.schema.columns["x"].checks)}, []))
    monkeypatch.setattr("airflow_provider_phlo.schemas.validation.pandas_rules.run", pytest.fail)
    assert validate(table, declared)[1] == expected
    assert len(expected) == 4


def test_only_the_columns_that_are_needed_become_a_frame() -> None:
    seen = []

    class Model(PhloSchema):
        x: int = Field(ge=0)
        y: int = Field(ge=0)

        @pandera.check("y")
        def _seen(cls, values: Any) -> Any:
            seen.append(list(values))
            return values > 1

    table = pa.table({"x": [1, 2], "y": [1, 2]})
    assert [failure.rows for failure in validate(table, model_columns(Model))[1]] == [(0,)]
    assert seen == [[1, 2]]


CATEGORIES = ["a", "1"]


@pytest.mark.parametrize(
    "made",
    [
        type("Model", (PhloSchema,), {"__annotations__": {"x": Annotated[pd.CategoricalDtype, ["a", 1], False]}}),
        type("Model", (polars_pandera.DataFrameModel,), {"__annotations__": {"x": pl.Enum(CATEGORIES)}}),
        type("Model", (polars_pandera.DataFrameModel,), {"__annotations__": {"x": Annotated[pl.Enum, CATEGORIES]}}),
    ],
)
def test_categories_are_the_only_values(made: Any) -> None:
    declared = model_columns(made)
    records = [{"x": "a"}, {"x": "z"}, {"x": 1}, {"x": ""}]
    frame = pd.DataFrame({"x": pd.Categorical(["a", "z", "1", ""])})
    for source in (records, pa.Table.from_pandas(frame), pa.table({"x": ["a", "z", "1", ""]})):
        table, failures = conform(source, declared, str)
        found = validate(table, declared, conversion_failures=failures)[1]
        assert [(each.column, each.check, each.rows) for each in found] == [("x", "isin(['a', '1'])", (1, 3))]
    assert not made.to_schema().columns["x"].checks  # what Pandera keeps is as it was


@pytest.mark.parametrize("more", [{}, {"raise_warning": True}, {"ignore_na": False}])
@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ({"ge": 0.1, "le": 0.3}, ["0.10", "0.3"], ["0.09", "0.31"]),
        ({"gt": 0.1, "lt": 0.3}, ["0.11", "0.29"], ["0.1", "0.3"]),
        ({"in_range": {"min_value": 0.1, "max_value": 0.3}}, ["0.10", "0.30"], ["0.09", "0.31"]),
        ({"in_range": {"min_value": 0.105, "max_value": float("inf")}}, ["0.11", "9"], ["0.1"]),
        ({"isin": [0.1, 2]}, ["0.1", "2.0"], ["0.11"]),
        ({"isin": {0.1, 0.105}}, ["0.1"], ["2"]),
        ({"notin": (0.1, 2)}, ["0.11"], ["0.1", "2"]),
        ({"eq": 0.1}, ["0.1"], ["0.2"]),
        ({"ne": 0.1}, ["0.2"], ["0.1"]),
    ],
)
@pytest.mark.parametrize(
    ("base", "annotation"),
    [
        (PhloSchema, decimal.Decimal),
        (PhloSchema, Annotated[pd.ArrowDtype, pa.decimal128(10, 2)]),
        (polars_pandera.DataFrameModel, Annotated[pl.Decimal, 10, 2]),
    ],
)
def test_to_a_decimal_a_float_is_what_is_written(
    base: Any,
    annotation: Any,
    field: dict[str, Any],
    good: list[str],
    bad: list[str],
    more: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = {**field, **more} if base is PhloSchema else field
    declared = model_columns(
        type("Model", (base,), {"__annotations__": {"x": annotation}, "x": pandera.Field(**options)})
    )
    table, _ = conform([{"x": value} for value in [*good, *bad]], declared, str)
    assert validate(table.slice(0, len(good)), declared)[1] == []
    assert "only warns" not in caplog.text
    found = {row for failure in validate(table, declared)[1] for row in failure.rows or ()}
    assert found == (set() if "raise_warning" in options else set(range(len(good), len(table))))


def test_a_parser_s_decimals_have_such_bounds_too() -> None:
    class Model(PhloSchema):
        x: decimal.Decimal = Field(ge=0.1)

        @pandera.parser("x")
        def _half(cls, values: Any) -> Any:
            return values / 2

    table = pa.table({"x": pa.array([decimal.Decimal("0.2"), decimal.Decimal("0.1")], pa.decimal128(38, 9))})
    assert [failure.rows for failure in validate(table, model_columns(Model))[1]] == [(1,)]


def test_a_parser_keeps_to_the_range_of_the_type() -> None:
    class Model(PhloSchema):
        x: np.uint8
        y: np.uint64

        @pandera.parser("x", "y")
        def _more(cls, values: Any) -> Any:
            return values + 1

    declared = model_columns(Model)
    good, _ = conform([{"x": 254, "y": 2**64 - 2}], declared, str)
    assert validate(good, declared)[0].to_pylist() == [{"x": 255, "y": 2**64 - 1}]
    for record in ({"x": 255, "y": 0}, {"x": 0, "y": 2**64 - 1}):
        with pytest.raises(SchemaError, match=r"a parser gives column '[xy]' values that are not uint"):
            validate(conform([record], declared, str)[0], declared)


# --- models of pandera.polars


class Reading(polars_pandera.DataFrameModel):
    id: str = polars_pandera.Field(unique=True, description="the id", metadata={"pii": True})
    sgv: int = polars_pandera.Field(ge=1, le=1000)
    at: datetime.datetime = polars_pandera.Field(nullable=True, ge=datetime.datetime(2024, 1, 1))
    zoned: pl.Datetime(time_unit="us", time_zone="Europe/Vienna") = polars_pandera.Field(nullable=True)  # type: ignore[valid-type]
    tags: pl.List(pl.String) = polars_pandera.Field(nullable=True)  # type: ignore[valid-type]
    small: pl.Int8 = polars_pandera.Field(nullable=True)

    @polars_pandera.check("sgv", name="even")
    def _even(cls, data: Any) -> Any:
        return data.lazyframe.select(pl.col(data.key) % 2 == 0)

    @polars_pandera.dataframe_check(name="id_is_not_sgv")
    def _differ(cls, data: Any) -> Any:
        return data.lazyframe.select(pl.col("id") != pl.col("sgv").cast(pl.String))

    @polars_pandera.dataframe_check(name="vienna")
    def _zone(cls, data: Any) -> bool:
        schema = data.lazyframe.collect_schema()
        return schema["zoned"].time_zone == "Europe/Vienna" and schema["at"].time_zone is None


READING = model_columns(Reading)
GOOD = {"id": "a", "sgv": 100, "at": "2024-01-15T00:00:00Z", "zoned": None, "tags": ["x"], "small": 1}


def test_columns_of_a_polars_model() -> None:
    kinds = {column.name: str(column.type) for column in READING.columns}
    zoned = "timestamp[us, tz=UTC]"
    assert kinds == {
        "id": "string", "sgv": "int64", "at": zoned, "zoned": zoned, "tags": "list<element: string>", "small": "int32"
    }  # fmt: skip
    expect(READING["id"], unique=True, description="the id", pii=True)


def test_rules_of_a_polars_model() -> None:
    records = [
        GOOD,
        {**GOOD, "sgv": 0},
        {**GOOD, "sgv": 101, "id": "101"},
        {**GOOD, "at": "2023-01-01"},
        {**GOOD, "sgv": None},
        {**GOOD, "sgv": "many"},
        {**GOOD, "small": 128},
    ]
    table, failures = conform(records, READING, str)
    _, failures = validate(table, READING, key=("id",), conversion_failures=failures)
    found = sorted((failure.column, re.sub(r"\(.*", "", failure.check), failure.rows) for failure in failures)
    assert found == [
        ("", "id_is_not_sgv", (2,)),
        ("at", "greater_than_or_equal_to", (3,)),
        ("sgv", "even", (2,)),
        ("sgv", "greater_than_or_equal_to", (1,)),
        ("sgv", "is_integer", (5,)),
        ("sgv", "not_nullable", (4,)),
        ("small", "is_integer", (6,)),
    ]


def test_a_polars_check_that_raises_answers_once_or_warns(caplog: pytest.LogCaptureFixture) -> None:
    class Model(polars_pandera.DataFrameModel):
        x: int = polars_pandera.Field(ge=1000, raise_warning=True)

        @polars_pandera.check("x", name="breaks")
        def _breaks(cls, data: Any) -> Any:
            raise RuntimeError("secret 42")

        @polars_pandera.dataframe_check(name="once")
        def _once(cls, data: Any) -> bool:
            return False

    with caplog.at_level(logging.WARNING):
        found = validate(pa.table({"x": [42, 43]}), model_columns(Model))[1]
    assert sorted((each.column, each.check.partition(" ")[0], each.rows) for each in found) == [
        ("", "once", None),
        ("x", "breaks", None),
    ]
    assert "only warns" in caplog.text
    assert "42" not in caplog.text + str(found)


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.none() | st.integers(-3, 3), min_size=1, max_size=8))
def test_both_backends_find_the_same_rows(values: list[Any]) -> None:
    fields = {"ge": -1, "isin": [-1, 0, 1, 2]}
    polars_model = type(
        "Model",
        (polars_pandera.DataFrameModel,),
        {"__annotations__": {"x": int}, "x": polars_pandera.Field(nullable=True, **fields)},
    )
    declared, other = declare(int, nullable=True, **fields), model_columns(polars_model)
    table, _ = conform([{"x": value} for value in values], declared, str)
    rules = [Rules({"x": list(each.schema.columns["x"].checks)}, []) for each in (declared, other)]
    one, two = by_pandas(table, declared, rules[0]), by_polars(table, other, rules[1])
    assert {failure.rows for failure in one} == {failure.rows for failure in two}
    assert validate(table, declared)[1] == one


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (decimal.Decimal, pa.decimal128(38, 9)),
        (decimal.Decimal | None, pa.decimal128(38, 9)),
        (pl.Decimal, pa.decimal128(38, 9)),
        (pl.Decimal(10, 2), pa.decimal128(10, 2)),
        (Annotated[pl.Decimal, 28, 0], pa.decimal128(28, 0)),
    ],
)
def test_decimals_of_a_polars_model(annotation: Any, kind: pa.DataType) -> None:
    model = type("Model", (polars_pandera.DataFrameModel,), {"__annotations__": {"x": annotation}})
    assert model_columns(model)["x"].type == kind


def test_rules_of_a_polars_model_see_the_whole_decimal() -> None:
    class Model(polars_pandera.DataFrameModel):
        x: decimal.Decimal

        @polars_pandera.check("x", name="no_fraction")
        def _whole(cls, data: Any) -> Any:
            return data.lazyframe.select(pl.col("x") % 1 == 0)

    declared = model_columns(Model)
    table, _ = conform([{"x": "1.50"}, {"x": "2"}], declared, str)
    assert [(each.check, each.rows) for each in validate(table, declared)[1]] == [("no_fraction", (0,))]


def test_polars_types_without_a_counterpart() -> None:
    model = type("Model", (polars_pandera.DataFrameModel,), {"__annotations__": {"x": pl.Duration}})
    with pytest.raises(SchemaError, match="Column 'x' of Model has type"):
        model_columns(model)
