"""Pandera models out of dbt YAML."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pandera.errors import SchemaErrors, SchemaWarning

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas import PhloSchema, dbt_model_to_pandera
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.schemas.constraints import constraints
from airflow_provider_phlo.schemas.conversion.conform import conform
from airflow_provider_phlo.schemas.dbt_yaml import skipped_tests
from airflow_provider_phlo.schemas.validation.batch import validate
from include.schemas import glucose
from tests.expect import expect

DBT = Path(__file__).parents[3] / "include" / "dbt" / "models"
BETWEEN = "dbt_expectations.expect_column_values_to_be_between"
RANGE = "dbt_utils.accepted_range"


@pytest.fixture
def make(tmp_path):
    """Return a function that makes the class of a model with one column, or with those given."""

    def make(*columns, class_name=None, **column):
        path = tmp_path / "models.yml"
        columns = columns or ({"name": "c", **column},)
        path.write_text(yaml.safe_dump({"models": [{"name": "fct_things", "columns": list(columns)}]}))
        return dbt_model_to_pandera(path, "fct_things", class_name)

    return make


def kind(model, name="c"):
    return model_columns(model)[name].type


def checks(model, name="c"):
    return {check.name: check.statistics for check in model.to_schema().columns[name].checks}


def fails(model, **columns):
    """Return the columns that break a rule."""
    try:
        model.validate(pd.DataFrame(columns), lazy=True)
    except SchemaErrors as errors:
        return set(errors.failure_cases["column"])
    return set()


def test_class(tmp_path):
    path = tmp_path / "models.yml"
    path.write_text(
        """
version: 2
models:
  - name: other
    columns: [{name: x}]
  - name: fct_things
    description: >
      One row
      a thing.
    columns:
      - name: thing_id
        description: " Which one. "
        tests: [not_null, unique]
      - name: _made
        data_type: timestamp with time zone
      - name: Total Weight
        data_type: double
        data_tests: [not_null]
      - name: validate
"""
    )
    model = dbt_model_to_pandera(str(path), "fct_things")
    assert issubclass(model, PhloSchema)
    expect(model, __name__="FctThings", __doc__="One row a thing.")
    assert dbt_model_to_pandera(path, "fct_things", class_name="Thing").__name__ == "Thing"
    found = [(c.name, str(c.type), c.nullable, c.unique, c.description) for c in model_columns(model).columns]
    assert found == [
        ("thing_id", "string", False, True, "Which one."),
        ("_made", "timestamp[us, tz=UTC]", True, False, None),
        ("Total Weight", "double", False, False, None),
        ("validate", "string", True, False, None),
    ]


@pytest.mark.parametrize("key", ["tests", "data_tests"])
@pytest.mark.parametrize("name", ["not_null", "dbt.not_null", {"not_null": None}, {"test_name": "not_null"}])
def test_every_way_to_write_a_test(make, key, name):
    assert not model_columns(make(**{key: [name]}))["c"].nullable
    assert model_columns(make(**{key: ["unique"]}))["c"].nullable


def test_both_keys_at_once(make):
    column = model_columns(make(tests=["not_null"], data_tests=["unique"]))["c"]
    expect(column, nullable=False, unique=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("read_timestamp", datetime), ("reading_date", datetime), ("created_at", datetime), ("thing_id", str),
        ("id", str), ("day_count", int), ("net_amount", int), ("row_num", int), ("order_qty", int), ("cv_pct", float),
        ("time_percent", float), ("name", str), ("date", str), ("flat", str), ("CREATED_AT", datetime),
    ],
)  # fmt: skip
def test_types_from_names(make, name, expected):
    model = make({"name": name})
    assert model.__annotations__[name] is expected
    assert name in model_columns(model)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("varchar", pa.string()), ("VARCHAR(20)", pa.string()), ("bigint", pa.int64()), ("Integer", pa.int64()),
        ("double", pa.float64()), ("DOUBLE PRECISION", pa.float64()), ("boolean", pa.bool_()), ("date", pa.date32()),
        ("timestamp(6) with time zone", pa.timestamp("us", "UTC")), ("timestamp_ntz", pa.timestamp("us", "UTC")),
        ("decimal(10, 2)", pa.decimal128(10, 2)), ("number(38)", pa.decimal128(38, 0)),
        ("numeric", pa.decimal128(38, 9)), ("varbinary", pa.binary()),
    ],
)  # fmt: skip
def test_data_type_wins(make, declared, expected):
    column = {"name": "x_count", "data_type": declared, "tests": [{"accepted_values": {"values": [1]}}]}
    assert kind(make({**column, "tests": []}), "x_count") == expected
    if expected not in (pa.date32(), pa.timestamp("us", "UTC")):
        assert kind(make(column), "x_count") == expected


def test_an_unknown_data_type(make):
    with pytest.raises(SchemaError, match=r"data_type 'row\(a int\)' of column 'c' of model 'fct_things' in .*varchar"):
        make(data_type="row(a int)")


@pytest.mark.parametrize(
    ("arguments", "expected", "accepted"),
    [
        ({"values": [0, 1]}, pa.int64(), [0, 1]),
        ({"values": ["a", "b"]}, pa.string(), ["a", "b"]),
        ({"values": ["0", "1"]}, pa.string(), ["0", "1"]),
        ({"values": ["0", "1"], "quote": False}, pa.int64(), [0, 1]),
        ({"values": ["'a'", "'it''s'"], "quote": False}, pa.string(), ["a", "it's"]),
        ({"values": [0, 1], "quote": True}, pa.int64(), [0, 1]),
        ({"values": [0.5, 1]}, pa.float64(), [0.5, 1.0]),
        ({"values": [True, False]}, pa.bool_(), [True, False]),
        ({"values": ["true", "false"], "quote": False}, pa.bool_(), [True, False]),
        ({"values": ["a", 1]}, pa.string(), ["a", "1"]),
    ],
)
@pytest.mark.parametrize("below", [True, False], ids=["arguments:", "beside"])
def test_accepted_values(make, arguments, expected, accepted, below):
    model = make(tests=[{"accepted_values": {"arguments": arguments} if below else arguments}])
    assert kind(model) == expected
    assert checks(model) == {"isin": {"allowed_values": accepted}}


def test_accepted_values_have_the_columns_type(make):
    test = {"accepted_values": {"values": [1, 2]}}
    assert checks(make(data_type="varchar", tests=[test])) == {"isin": {"allowed_values": ["1", "2"]}}
    assert checks(make({"name": "x_pct", "tests": [test]}), "x_pct") == {"isin": {"allowed_values": [1.0, 2.0]}}
    test = {"accepted_values": {"values": ["2024-01-15"]}}
    assert checks(make(data_type="date", tests=[test])) == {"isin": {"allowed_values": [date(2024, 1, 15)]}}
    test = {"accepted_values": {"values": ["false"]}}
    assert checks(make(data_type="boolean", tests=[test])) == {"isin": {"allowed_values": [False]}}


def test_accepted_values_that_cannot_be(make):
    with pytest.raises(
        SchemaError, match=r"accepted_values of column 'x_count' of .* are not all of type int: set .*data_type"
    ):
        make({"name": "x_count", "tests": [{"accepted_values": {"values": ["a"]}}]})
    with pytest.raises(SchemaError, match="lists no values"):
        make(tests=[{"accepted_values": {}}])


@pytest.mark.parametrize("test", [BETWEEN, RANGE])
@pytest.mark.parametrize("below", [True, False], ids=["arguments:", "beside"])
@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1, 1000, pa.int64()), (0.5, 9, pa.float64()), ("1", "2", pa.int64()), (1, None, pa.int64())],
)
def test_bounds(make, test, below, low, high, expected):
    arguments = {name: value for name, value in (("min_value", low), ("max_value", high)) if value is not None}
    model = make(tests=["not_null", {test: {"arguments": arguments} if below else arguments}])
    assert kind(model) == expected
    assert not fails(model, c=[float(low)] if expected == pa.float64() else [int(low)])
    assert fails(model, c=[0])
    assert len(checks(model)) == len(arguments)


def test_exclusive_bounds(make):
    for exclusive in ({BETWEEN: {"min_value": 0, "strictly": True}}, {RANGE: {"min_value": 0, "inclusive": False}}):
        model = make(tests=[exclusive])
        assert (fails(model, c=[0]), fails(model, c=[1])) == ({"c"}, set())


def test_bounds_of_every_type(make):
    model = make(
        {"name": "seen_at", "tests": [{RANGE: {"min_value": "'2024-01-15 06:00'"}}]},
        {"name": "born", "data_type": "date", "tests": [{RANGE: {"min_value": "'2020-01-01'"}}]},
        {"name": "price", "data_type": "decimal(10,2)", "tests": [{RANGE: {"min_value": 0.1}}]},
        {"name": "half_count", "tests": [{RANGE: {"min_value": 0.5}}]},
    )
    good = {"seen_at": "2024-01-15T06:00:00Z", "born": date(2020, 1, 1), "price": Decimal("0.10"), "half_count": 1}
    bad = {"seen_at": "2024-01-15T07:59:59+02:00", "born": date(2019, 1, 1), "price": Decimal("0.09"), "half_count": 0}
    assert fails(model, **{name: [value] for name, value in good.items()}) == set()
    assert fails(model, **{name: [value] for name, value in bad.items()}) == set(bad)
    declared = model_columns(model)
    rows, failures = conform([good, bad], declared, str)
    assert not failures
    found = validate(rows, declared)[1]
    assert {failure.column: failure.rows for failure in found} == dict.fromkeys(bad, (1,))


SOME, NOWHERE, EXPRESSION = "it applies to some rows only", "it is disabled", "min_value is a SQL expression"


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ({RANGE: {"min_value": "current_date"}}, EXPRESSION),
        ({RANGE: {"inclusive": False}}, "it has no bounds"),
        ({"accepted_values": {"values": ["lower('A')"], "quote": False}}, "a value is a SQL expression"),
        ({RANGE: {"min_value": 5, "config": {"where": "x > 1"}}}, SOME),
        ({RANGE: {"min_value": 5, "where": "x > 1"}}, SOME),
        ({BETWEEN: {"arguments": {"min_value": 5, "row_condition": "x > 1"}}}, SOME),
        ({RANGE: {"min_value": 5, "config": {"enabled": False}}}, NOWHERE),
        ({"not_null": {"config": {"where": "x > 1"}}}, SOME),
        ({"not_null": {"severity": "warn"}}, "it only warns"),
        ({"unique": {"config": {"severity": "WARN"}}}, "it only warns"),
        ({"relationships": {"to": "ref('x')", "field": "id"}}, "unknown test"),
        ("my_package.is_odd", "unknown test"),
        ({"my_package.is_odd": {"severity": "warn"}}, "unknown test"),
    ],
)
def test_what_does_not_hold_for_every_row_constrains_nothing_and_is_listed(make, caplog, test, reason):
    with caplog.at_level("INFO"):
        model = make(tests=[test])
    assert checks(model) == {}
    column = model_columns(model)["c"]
    expect(column, nullable=True, unique=False)
    (skipped,) = skipped_tests(model)
    expect(skipped, column="c", reason=reason)
    (message,) = caplog.messages
    assert "'fct_things'" in message
    assert f"c: {skipped.test} ({reason})" in message


def test_all_that_is_skipped_is_one_line(make, caplog):
    with caplog.at_level("INFO"):
        model = make({"name": "a", "tests": ["odd"]}, {"name": "b", "tests": ["even", "not_null"]})
    assert [(each.column, each.test) for each in skipped_tests(model)] == [("a", "odd"), ("b", "even")]
    assert len(caplog.messages) == 1
    assert skipped_tests(make(tests=["not_null"])) == skipped_tests(PhloSchema) == ()
    assert len(caplog.messages) == 1


def test_tests_of_the_model_are_listed(tmp_path):
    path = tmp_path / "models.yml"
    test = {"dbt_utils.unique_combination_of_columns": {"combination_of_columns": ["a"]}}
    path.write_text(yaml.safe_dump({"models": [{"name": "m", "data_tests": [test], "columns": [{"name": "a"}]}]}))
    (skipped,) = skipped_tests(dbt_model_to_pandera(path, "m"))
    assert str(skipped) == "the model: dbt_utils.unique_combination_of_columns (a test of the whole model)"


def test_numbers_do_not_bound_text(make):
    model = make(data_type="varchar", tests=[{RANGE: {"min_value": 5}}])
    assert checks(model) == {}
    assert skipped_tests(model)[0].reason == "a number cannot bound text"


def test_one_bound_may_be_an_expression(make):
    model = make(data_type="int", tests=[{RANGE: {"min_value": 5, "max_value": "other_column"}}])
    assert checks(model) == {"greater_than_or_equal_to": {"min_value": 5}}
    assert skipped_tests(model)[0].reason == "max_value is a SQL expression"


@pytest.mark.parametrize(
    "test",
    [
        {RANGE: {"min_value": 5, "config": {"severity": "warn"}}},
        {"accepted_values": {"values": [5, 6], "severity": "warn"}},
    ],
)
def test_values_that_only_warn_never_block(make, caplog, test):
    model = make(tests=[{RANGE: {"min_value": 1}}, test])
    declared = model_columns(model)
    _, failures = validate(pa.table({"c": [0, 1, 7, None]}, pa.schema([("c", pa.int64())])), declared)
    assert [(failure.column, failure.rows) for failure in failures] == [("c", (0,))]
    assert "only warns" in caplog.text
    assert skipped_tests(model) == ()
    with pytest.warns(SchemaWarning):
        assert fails(model, c=[1]) == set()


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([{RANGE: {"min_value": 1, "max_value": 9}}, {BETWEEN: {"min_value": 3, "max_value": 20}}], (3, 9)),
        ([{RANGE: {"min_value": 3}}, {RANGE: {"max_value": 9}}], (3, 9)),
    ],
)
def test_several_ranges_are_one(make, tests, expected):
    found = constraints(make(tests=tests).to_schema().columns["c"].checks)
    assert (found.low.value, found.high.value) == expected


def test_several_lists_are_what_they_share(make):
    tests = [{"accepted_values": {"values": [1, 2, 3]}}, {"accepted_values": {"values": [3, 2, 5]}}]
    assert checks(make(tests=["unique", *tests])) == {"isin": {"allowed_values": [2, 3]}}


def test_null_among_accepted_values_means_nothing(make):
    model = make(tests=[{"accepted_values": {"values": [1, None]}}])
    assert (checks(model), kind(model)) == ({"isin": {"allowed_values": [1]}}, pa.int64())


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"tests": [{RANGE: {"min_value": 5, "max_value": 1}}]}, "no value is in the range 5 ≤ x ≤ 1"),
        ({"tests": [{RANGE: {"min_value": 5, "max_value": 5, "inclusive": False}}]}, "in the range 5 < x < 5"),
        ({"tests": [{RANGE: {"min_value": 5}}, {BETWEEN: {"max_value": 4}}]}, "in the range 5 ≤ x ≤ 4"),
        (
            {"data_type": "int", "tests": [{RANGE: {"min_value": 1, "max_value": 2, "inclusive": False}}]},
            "in the range 1 < x < 2",
        ),
        ({"data_type": "int", "tests": [{RANGE: {"min_value": 1.2, "max_value": 1.8}}]}, "in the range 1.2 ≤ x ≤ 1.8"),
        (
            {"tests": [{"accepted_values": {"values": [1, 2]}}, {RANGE: {"min_value": 5}}]},
            "none of the allowed values is in the range ≥ 5",
        ),
        (
            {"tests": [{"accepted_values": {"values": [1, 2]}}, {"accepted_values": {"values": [3]}}]},
            "the lists of allowed values share no value",
        ),
    ],
)
def test_tests_that_contradict_each_other(make, column, message):
    with pytest.raises(SchemaError, match=f"The tests of column 'c' of .* contradict each other: .*{message}"):
        make(**column)


@pytest.mark.parametrize(
    ("data_type", "bound", "message"),
    [
        (
            "bigint",
            "'abc'",
            f"min_value of {RANGE} of column 'c' of .* is not of type int: correct it or the data_type",
        ),
        ("date", 5, "is not of type date"),
        ("decimal(10,2)", "'x'", "is not of type Decimal"),
        ("double", math.nan, "is not of type float"),
        ("decimal(50,2)", 1, "a decimal has 1 to 38 digits"),
        ("decimal(5,6)", 1, "a decimal has 1 to 38 digits"),
    ],
)
def test_bounds_that_are_not_of_the_data_type(make, data_type, bound, message):
    with pytest.raises(SchemaError, match=message):
        make(data_type=data_type, tests=[{RANGE: {"min_value": bound}}])


@pytest.mark.parametrize(
    "mark", [{"tags": ["pii"]}, {"tags": "pii"}, {"meta": {"pii": True}}, {"config": {"meta": {"pii": True}}}]
)
def test_personal_data_is_marked(make, mark):
    assert model_columns(make(**mark))["c"].pii
    assert not model_columns(make())["c"].pii


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("models: [{name: stg_a}, {name: stg_b}]", "not have a model 'fct_things': it has stg_a, stg_b"),
        ("version: 2", "it has no models"),
        ("", "it has no models"),
        ("- 1", "it has no models"),
        ("models: {fct_things: {}}", "must be a list of mappings, each with a name"),
        ("models: [{name: fct_things}]", "'fct_things' in .* declares no columns"),
        ("models: [{name: fct_things, columns: [{description: x}]}]", "columns of model 'fct_things' .* with a name"),
        ("models: [{name: fct_things, columns: [{name: c, tests: unique}]}]", "tests of column 'c' .* must be a list"),
        ("models: [{name: fct_things, columns: [{name: c, tests: [5]}]}]", "A test of column 'c' .* neither"),
        ("models: [{name: fct_things, columns: [{name: c, tests: [{not_null: x}]}]}]", "test not_null of column 'c'"),
        ("models: [{name: fct_things, columns: [{name: c}, {name: c}]}]", "columns of .* list c more than once"),
        ("models: [{name: fct_things}, {name: fct_things}]", "models in .* list fct_things more than once"),
        ("models: [", "not valid YAML: .*line \\d"),
        ("models: \xff", "not valid YAML"),
    ],
)
def test_clear_errors(tmp_path, content, message):
    path = tmp_path / "models.yml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(SchemaError, match="(?s)" + message) as raised:
        dbt_model_to_pandera(path, "fct_things")
    assert str(path) in str(raised.value)


def test_a_missing_file(tmp_path):
    for path in (tmp_path / "nope.yml", tmp_path):
        with pytest.raises(SchemaError, match=re.escape(f"{path} cannot be read")):
            dbt_model_to_pandera(path, "fct_things")


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (path, each["name"])
        for path in DBT.glob("*/*.yml")
        for each in yaml.safe_load(path.read_text()).get("models", ())
    ],
)
def test_every_model_of_the_project(path, model):
    assert issubclass(dbt_model_to_pandera(path, model), PhloSchema)


READING = {
    "entry_id": "65a4", "glucose_mg_dl": 112, "reading_timestamp": datetime(2024, 1, 15, 6, 5, tzinfo=UTC),
    "reading_date": date(2024, 1, 15), "hour_of_day": 6, "direction": "Flat", "delta_mg_dl": None, "device": None,
    "glucose_category": "in_range", "is_in_range": 1, "partition_date": date(2024, 1, 15),
    "_transformed_at": datetime(2024, 1, 16, 6, tzinfo=UTC),
}  # fmt: skip
DAY = {
    "reading_date": date(2024, 1, 15), "reading_count": 1, "avg_glucose_mg_dl": 112.0, "stddev_glucose_mg_dl": None,
    "min_glucose_mg_dl": 112, "max_glucose_mg_dl": 112, "time_in_range_pct": 100.0, "time_below_range_pct": 0.0,
    "time_above_range_pct": 0.0, "cv_pct": None, "estimated_a1c_pct": 5.53, "gmi_pct": 5.99,
    "time_very_low_pct": 0.0, "time_very_high_pct": 0.0,
    "_transformed_at": datetime(2024, 1, 16, 6, tzinfo=UTC),
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "row", "bad"),
    [
        (
            glucose.FactGlucoseReadings,
            READING,
            {"entry_id": None, "glucose_mg_dl": 1001, "hour_of_day": 24, "glucose_category": "high", "is_in_range": 2},
        ),
        (glucose.FactDailyGlucoseMetrics, DAY, {"reading_count": 0, "time_in_range_pct": 100.5, "gmi_pct": None}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_rows_of_the_glucose_facts(model, row, bad):
    declared = model_columns(model)
    assert [column.name for column in declared.columns] == list(row)
    assert all(column.description for column in declared.columns)
    assert len(model.validate(pd.DataFrame([row]), lazy=True)) == 1
    rows, failures = conform([row, {**row, **bad}], declared, str)
    found = validate(rows, declared, conversion_failures=failures)[1]
    assert {failure.column: failure.rows for failure in found} == dict.fromkeys(bad, (1,))


@pytest.mark.parametrize(
    ("values", "quote", "accepted"),
    [
        (["O''Neil", "Smith"], True, ["O'Neil", "Smith"]),
        (["'O''Neil'"], False, ["O'Neil"]),
        (["''''"], True, ["''"]),
        (["O'Neil"], True, ["O'Neil"]),
    ],
)
def test_case_69_two_quotes_of_dbt_are_one(make, values, quote, accepted):
    model = make(data_type="text", tests=[{"accepted_values": {"values": values, "quote": quote}}])
    assert checks(model)["isin"]["allowed_values"] == accepted
    assert fails(model, c=accepted) == set()
    assert fails(model, c=["O'''Neil"]) == {"c"}


@pytest.mark.parametrize("test", ["not_null", "unique", "accepted_values", RANGE])
@pytest.mark.parametrize("where", ["config", "beside"])
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"error_if": ">10", "warn_if": ">0"}, "error_if lets some rows fail"),
        ({"error_if": "> 1"}, "error_if lets some rows fail"),
        ({"warn_if": "!= 3"}, "warn_if lets some rows fail"),
        ({"fail_calc": "max(n)"}, "fail_calc says which failures count"),
        ({"limit": 5}, "limit says which failures count"),
        ({"severity": "{{ 'warn' if target.name == 'dev' }}"}, "its severity is a template"),
        ({"enabled": "{{ var('strict') }}"}, "its enabled is a template"),
    ],
)
def test_case_70_a_test_that_lets_rows_fail_constrains_nothing_and_is_listed(make, test, where, config, reason):
    arguments = {"accepted_values": {"values": [1, 2]}, RANGE: {"min_value": 1}}.get(test, {})
    options = {"config": config} if where == "config" else config
    model = make(data_type="bigint", tests=[{test: {**arguments, **options}}])
    (skipped,) = skipped_tests(model)
    assert (skipped.test, skipped.reason) == (test, reason)
    column = model.to_schema().columns["c"]
    assert (column.nullable, column.unique, column.checks) == (True, False, [])


@pytest.mark.parametrize(
    "config", [{"error_if": "!= 0"}, {"error_if": ">0", "warn_if": "!=0"}, {"fail_calc": "count(*)"}]
)
def test_case_70_what_dbt_does_anyway_is_a_rule(make, config):
    model = make(data_type="bigint", tests=[{"not_null": {"config": config}}])
    assert skipped_tests(model) == ()
    assert not model.to_schema().columns["c"].nullable


@pytest.mark.parametrize("values", ["{{ var('kinds') }}", ["{{ var('kind') }}"]])
def test_values_that_are_a_template_are_listed(make, values):
    (skipped,) = skipped_tests(make(data_type="text", tests=[{"accepted_values": {"values": values}}]))
    assert skipped.test == "accepted_values"
