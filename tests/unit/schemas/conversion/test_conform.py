"""What sources yield, as tables of declared names and types."""

from __future__ import annotations

import datetime
import decimal
import enum
import importlib.util
import json
import uuid
from collections import OrderedDict
from typing import Annotated, Any

import dlt
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pandera.pandas import Field
from typing_extensions import TypedDict

from airflow_provider_phlo.exact_json import ExactNumber
from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import DECIMAL, TIMESTAMP, model_columns
from airflow_provider_phlo.schemas.conversion.conform import conform, conform_loosely
from airflow_provider_phlo.schemas.conversion.records import Malformed
from airflow_provider_phlo.schemas.conversion.undeclared import JSON, NAIVE
from airflow_provider_phlo.schemas.failures import Failure
from tests.sizes import size

UTC = datetime.UTC
normalize = dlt.Schema("test").naming.normalize_identifier
NAN = float("nan")


def declare(annotation: Any, **field: Any) -> Any:
    field = {"nullable": True, **field}
    return model_columns(type("Model", (PhloSchema,), {"__annotations__": {"x": annotation}, "x": Field(**field)}))


def as_declared(values: list[Any], annotation: Any) -> tuple[list[Any], list[int]]:
    """Return the values of one declared column, from records; an Arrow column must give the same."""
    table, failures = conform([{"x": value} for value in values], declare(annotation), normalize)
    return table["x"].to_pylist(), [row for failure in failures for row in failure.rows or ()]


def inferred(values: list[Any]) -> pa.ChunkedArray:
    return conform([{"x": value} for value in values], None, normalize)[0]["x"]


def repr_short(value: Any) -> str:
    return type(value).__name__


class Actor(TypedDict):
    id: int
    at: datetime.datetime


# --- names


def test_names_follow_dlt() -> None:
    record = {"_id": 1, "dateString": "x", "utcOffset": 0, "Some Name": 1, "é": 3}
    table, _ = conform([record], None, normalize)
    assert table.column_names == ["_id", "date_string", "utc_offset", "some_name", normalize("é")]


def test_a_configured_convention_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEMA__NAMING", "direct")
    direct = dlt.Schema("direct").naming.normalize_identifier
    assert conform([{"dateString": 1}], None, direct)[0].column_names == ["dateString"]


def test_columns_of_a_table_that_become_one() -> None:
    with pytest.raises(SchemaError, match="'dateString' and 'date_string' are both named 'date_string'"):
        conform(pa.table({"dateString": [1], "date_string": [2]}), None, normalize)


def test_names_that_become_one() -> None:
    table, failures = conform([{"dateString": 1}, {"date_string": 2}, {"c": 3}], None, normalize)
    assert table.to_pydict() == {"date_string": [1, 2, None], "c": [None, None, 3]}
    assert failures == []


def test_a_record_in_which_two_names_become_one() -> None:
    table, failures = conform([{"dateString": 1, "date_string": 2}, {"date_string": 3}], None, normalize)
    assert table.to_pydict() == {"date_string": [None, 3]}
    assert failures == [Failure("", "unique_names", (0,))]


@pytest.mark.parametrize("name", ["", "  ", 1, None, ("a", "b"), "x" * 256, "\ud800"])
def test_names_that_are_not_names(name: Any) -> None:
    table, failures = conform([{"a": 1}, {name: 1, "a": 2}], None, normalize)
    assert table.to_pydict() == {"a": [1, None]}
    assert failures == [Failure("", "column_names", (1,))]


@pytest.mark.parametrize("name", ["", "  ", "x" * 256])
def test_columns_of_a_table_without_a_name(name: str) -> None:
    with pytest.raises(SchemaError, match="a name must be text"):
        conform(pa.table({name: [1]}), None, normalize)


def test_what_is_not_a_record() -> None:
    records = [{"x": 1}, Malformed("{", "is_json"), {}, Malformed(5, "is_record"), Malformed("[", "is_json")]
    table, failures = conform(records, declare(int), normalize)
    assert table.to_pydict() == {"x": [1, None, None, None, None]}
    assert failures == [Failure("", "is_json", (1, 4)), Failure("", "is_record", (3,))]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [deep(260), deep(100_000), {"a": deep(5000)}, 10**5000, [10**5000]], ids=repr_short)
def test_values_that_no_text_can_be_made_of(value: Any) -> None:
    records = [{"x": [1], "y": "a"}, {"x": value, "y": value}, {"x": "b", "y": None}]
    table, failures = conform(records, declare(str), normalize)
    assert table.to_pydict() == {"x": ["[1]", None, "b"], "y": ["a", None, None]}
    assert failures == [Failure("x", "is_text", (1,)), Failure("y", "is_text", (1,))]


def test_repeated_names_of_a_table() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(SchemaError, match="several columns with the same name: a"):
        conform(table, None, normalize)


# --- undeclared columns


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None, 3], pa.int64(), [1, None, 3]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([1.0, NAN, None], pa.float64(), [1.0, None, None]),
        ([True, None], pa.bool_(), [True, None]),
        (["a", NAN, pd.NA, None], pa.string(), ["a", None, None, None]),
        ([True, NAN], pa.bool_(), [True, None]),
        ([1, pd.NA], pa.int64(), [1, None]),
        ([2**63 - 1, -(2**63)], pa.int64(), None),
        ([2**63, 1], pa.decimal128(38, 0), [decimal.Decimal(2**63), decimal.Decimal(1)]),
        ([10**40], pa.string(), [str(10**40)]),
        ([2**70, 0.5], pa.float64(), [float(2**70), 0.5]),
        ([b"\x00"], pa.binary(), None),
        ([datetime.date(2024, 1, 1)], pa.date32(), None),
        ([datetime.datetime(2024, 1, 1)], pa.timestamp("us"), None),
        ([datetime.datetime(2024, 1, 1), pd.NaT], pa.timestamp("us"), [datetime.datetime(2024, 1, 1), None]),
        ([datetime.time(1, 2, 3)], pa.time64("us"), None),
        ([decimal.Decimal("1.5"), decimal.Decimal("1.25")], DECIMAL, None),
        ([decimal.Decimal("1.5"), 2], DECIMAL, [decimal.Decimal("1.5"), decimal.Decimal(2)]),
        ([decimal.Decimal("1." + "1" * 20)], pa.decimal128(21, 20), None),
        ([decimal.Decimal("1." + "1" * 50)], pa.string(), ["1." + "1" * 50]),
        ([{"b": 1, "a": [1, None]}, None], pa.string(), ['{"a":[1,null],"b":1}', None]),
        ([[3, "x"]], pa.string(), ['[3,"x"]']),
        ([(1, 2)], pa.string(), ["[1,2]"]),
        ([{2, 1}], pa.string(), ["[1,2]"]),
        ([OrderedDict(b=1, a=2)], pa.string(), ['{"a":2,"b":1}']),
        ([{"id": 2**70}], pa.string(), ['{"id":1180591620717411303424}']),
        ([{"x": np.arange(3), "y": np.float64(1.5)}], pa.string(), ['{"x":[0,1,2],"y":1.5}']),
        (
            [{"at": datetime.datetime(2024, 1, 1, tzinfo=UTC), 1: 2}],
            pa.string(),
            ['{"1":2,"at":"2024-01-01T00:00:00+00:00"}'],
        ),
        ([np.array([1, 2])], pa.string(), ["[1,2]"]),
        ([np.int64(5)], pa.int64(), [5]),
        (["half \ud800 pair"], pa.string(), ["half \\ud800 pair"]),
        ([{"k": "\ud800"}], pa.string(), [r'{"k":"\\ud800"}']),
        ([uuid.UUID(int=1)], pa.string(), [str(uuid.UUID(int=1))]),
    ],
    ids=str,
)
def test_the_type_of_undeclared_values(values: list[Any], kind: pa.DataType, expected: list[Any] | None) -> None:
    found = inferred(values)
    assert found.type == kind
    if expected is None:
        assert pa.array(values, kind).equals(found.combine_chunks())
    else:
        assert found.to_pylist() == expected


def test_a_column_without_values_is_left_out_and_its_rows_stay() -> None:
    for chunk in ([{"a": None}, {}], pa.table({"a": pa.nulls(2)})):
        table, failures = conform(chunk, None, normalize)
        assert (table.column_names, len(table), failures) == ([], 2, [])


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array(["a", "b"]).dictionary_encode(), pa.string()),
        (pa.array(["a"], pa.large_string()), pa.string()),
        (pa.array(["a"], pa.string_view()), pa.string()),
        (pa.array([b"a"], pa.large_binary()), pa.binary()),
        (pa.array([1000], pa.timestamp("ns")), pa.timestamp("us")),
        (pa.array([1], pa.timestamp("s", "Europe/Berlin")), TIMESTAMP),
        (pa.array([86_400_000], pa.date64()), pa.date32()),
        (pa.array([1.5], pa.float16()), pa.float32()),
        (pa.array([1000], pa.time64("ns")), pa.time64("us")),
        (pa.array([1], pa.int8()), pa.int8()),
        (pa.array([[1]]), pa.string()),
        (pa.array([{"b": 1, "a": None}]), pa.string()),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_undeclared_arrow_types(column: pa.Array, kind: pa.DataType) -> None:
    assert conform(pa.table({"x": column}), None, normalize)[0]["x"].type == kind


@pytest.mark.parametrize(
    ("values", "known", "columns"),
    [
        ([1], pa.float64(), {"x": [1.0]}),
        ([1], pa.large_string(), {"x": [None], "x__v_bigint": [1]}),
        (["a"], pa.large_string(), {"x": ["a"]}),
        ([1.0], pa.int64(), {"x": [1]}),
        ([118, 118.5, None], pa.int64(), {"x": [118, None, None], "x__v_double": [None, 118.5, None]}),
        ([-0.0], pa.int64(), {"x": [None], "x__v_double": [0.0]}),
        ([NAN], pa.int64(), {}),
        (["007", "7"], pa.int64(), {"x": [None, None], "x__v_text": ["007", "7"]}),
        ([True, 1], pa.int64(), {"x": [None, 1], "x__v_bool": [True, None]}),
        ([2**60 + 1, 2**60], pa.float64(), {"x": [None, 2.0**60], "x__v_bigint": [2**60 + 1, None]}),
        ([2**70, 2**63], pa.int64(), {"x": [None] * 2, "x__v_wei": [decimal.Decimal(2**70), decimal.Decimal(2**63)]}),
        ([10**40], pa.int64(), {"x": [None], "x__v_text": [str(10**40)]}),
        (["2024-01-01"], TIMESTAMP, {"x": [None], "x__v_text": ["2024-01-01"]}),
        ([datetime.date(2024, 1, 1)], TIMESTAMP, {"x": [None], "x__v_date": [datetime.date(2024, 1, 1)]}),
        (
            [datetime.datetime(2024, 1, 1, 5, 30, tzinfo=UTC)],
            pa.date32(),
            {"x": [None], "x__v_timestamp": [datetime.datetime(2024, 1, 1, 5, 30, tzinfo=UTC)]},
        ),
        (
            [datetime.datetime(2024, 1, 1)],
            TIMESTAMP,
            {"x": [None], "x__v_timestamp_ntz": [datetime.datetime(2024, 1, 1)]},
        ),
        (
            [pd.Timestamp("2024-01-01T00:00:00.000000001")],
            NAIVE,
            {"x": [None], "x__v_text": ["2024-01-01T00:00:00.000000001"]},
        ),
        ([0.5, 0.1], DECIMAL, {"x": [decimal.Decimal("0.5"), None], "x__v_double": [None, 0.1]}),
        (
            [decimal.Decimal("0.1"), decimal.Decimal("0.5")],
            pa.float64(),
            {"x": [None, 0.5], "x__v_decimal": [decimal.Decimal("0.1"), None]},
        ),
        ([decimal.Decimal("1E-12")], DECIMAL, {"x": [None], "x__v_text": ["0.000000000001"]}),
        ([decimal.Decimal("1.234")], pa.decimal128(10, 2), {"x": [None], "x__v_decimal": [decimal.Decimal("1.234")]}),
        (["x"], pa.uuid(), {"x": [None], "x__v_text": ["x"]}),
        ([str(uuid.UUID(int=7))], pa.uuid(), {"x": [uuid.UUID(int=7)]}),
        ([b"1234", b"123"], pa.binary(4), {"x": [b"1234", None], "x__v_binary": [None, b"123"]}),
        (["01:02:03"], pa.time64("us"), {"x": [None], "x__v_text": ["01:02:03"]}),
        ([[1], [0.5]], pa.large_list(pa.int64()), {"x": [[1], None], "x__v_json": [None, "[0.5]"]}),
        ([{"a": 1}, '{"a":1}'], pa.string(), {"x": [None, '{"a":1}'], "x__v_json": ['{"a":1}', None]}),
        ([{"a": 1}, '{"a":1}'], JSON, {"x": ['{"a":1}', None], "x__v_text": [None, '{"a":1}']}),
        ([b"a"], pa.string(), {"x": [None], "x__v_binary": [b"a"]}),
        ([datetime.timedelta(1)], pa.string(), {"x": [None], "x__v_text": ["1 day, 0:00:00"]}),
    ],
    ids=str,
)
def test_a_value_that_the_column_cannot_hold_goes_to_a_variant(
    values: list[Any], known: pa.DataType, columns: dict[str, list[Any]]
) -> None:
    table, failures = conform([{"x": value} for value in values], None, normalize, {"x": known})
    found = {name: table[name].to_pylist() for name in table.column_names}
    assert (found or {"x": [None]}, failures) == (columns or {"x": [None]}, [])


@pytest.mark.parametrize(
    ("values", "known", "kind"),
    [
        ([2**40], pa.int32(), pa.int64()),
        ([0.1], pa.float32(), pa.float64()),
        ([decimal.Decimal("123456789012.34")], pa.decimal128(10, 2), pa.decimal128(38, 2)),
        ([7], pa.int32(), pa.int32()),
    ],
    ids=str,
)
def test_what_iceberg_widens_is_widened(values: list[Any], known: pa.DataType, kind: pa.DataType) -> None:
    table, _ = conform([{"x": value} for value in values], None, normalize, {"x": known})
    assert (table.column_names, table["x"].type, table["x"].to_pylist()) == (["x"], kind, values)


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        ([1, True], {"x": [1, None], "x__v_bool": [None, True]}),
        ([1, "a", None, 2.5], {"x": [1.0, None, None, 2.5], "x__v_text": [None, "a", None, None]}),
        (["a", 1, 2.5], {"x": ["a", None, None], "x__v_bigint": [None, 1, None], "x__v_double": [None, None, 2.5]}),
        ([0.5, 2**60 + 1], {"x": [0.5, None], "x__v_bigint": [None, 2**60 + 1]}),
        ([{"a": 1}, 5], {"x": ['{"a":1}', None], "x__v_bigint": [None, 5]}),
        ([b"a", "a"], {"x": [b"a", None], "x__v_text": [None, "a"]}),
    ],
    ids=str,
)
def test_the_first_value_decides_the_type(values: list[Any], columns: dict[str, list[Any]]) -> None:
    table, _ = conform([{"x": value} for value in values], None, normalize)
    assert {name: table[name].to_pylist() for name in table.column_names} == columns


def test_a_variant_makes_way_for_a_column_of_the_source() -> None:
    record = {"x": 0.5, "x__v_double": 7}
    table, _ = conform([record], None, normalize, {"x": pa.int64()})
    assert table.to_pylist() == [{"x": None, "x__v_double__v_double": 0.5, "x__v_double": 7}]


def test_a_key_of_another_type_is_bad_and_has_no_variant() -> None:
    table, [failure] = conform([{"k": 7}, {"k": "007"}], None, normalize, key=("k",))
    assert (table.to_pylist(), failure.check, failure.rows) == ([{"k": 7}, {"k": None}], "is_integer", (1,))


def test_variants_can_be_refused() -> None:
    with pytest.raises(
        SchemaError, match=r"column 'x' has 1 value.* that its type int64 cannot hold.*x__v_text.*declare"
    ):
        conform([{"x": 1}, {"x": "secret"}], None, normalize, variants=False)


# --- declared columns


class Colour(enum.StrEnum):
    RED = "red"


def moment(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=UTC)


MORNING, DAY = moment(2024, 1, 2, 3, 4, 5), datetime.date(2024, 1, 2)


@pytest.mark.parametrize(
    ("annotation", "values", "expected", "bad"),
    [
        (int, [1, "2", 3.0, " 4 ", None], [1, 2, 3, 4, None], []),
        (int, [1.5, "x", True, 2**63, "", [1], NAN], [None] * 7, [0, 1, 2, 3, 4, 5]),
        (float, [1.0, NAN, 2], [1.0, None, 2.0], []),
        (float, [1, "2.5", decimal.Decimal("0.5"), "1e3"], [1.0, 2.5, 0.5, 1000.0], []),
        (float, [True, "x", {}], [None] * 3, [0, 1, 2]),
        (bool, [True, "false", 1, 0, "TRUE", " 0 "], [True, False, True, False, True, False], []),
        (bool, [2, "yes", "", 1.5], [None] * 4, [0, 1, 2, 3]),
        (str, [1, 1.5, True, None, NAN, Colour.RED], ["1", "1.5", "true", None, None, "red"], []),
        (str, [{"b": 1, "a": 2}, b"bytes", "\ud800"], ['{"a":2,"b":1}', "bytes", "\\ud800"], []),
        (str, [b"\xff", "ok"], ["\\xff", "ok"], []),
        (str, [datetime.date(2024, 1, 2), moment(2024, 1, 2)], ["2024-01-02", "2024-01-02T00:00:00+00:00"], []),
        (dict, [{"b": 1, "a": 2}, '{"as": "is"}'], ['{"a":2,"b":1}', '{"as": "is"}'], []),
        (
            datetime.datetime,
            ["2024-01-02T03:04:05Z", "2024-01-02T03:04:05+02:00", "2024-01-02 03:04:05.678", "2024-01-02"],
            [MORNING, MORNING.replace(hour=1), MORNING.replace(microsecond=678000), moment(2024, 1, 2)],
            [],
        ),
        (datetime.datetime, [datetime.datetime(2024, 1, 2), datetime.date(2024, 1, 2)], [moment(2024, 1, 2)] * 2, []),
        (datetime.datetime, [pd.Timestamp("2024-01-02T00:00:00.000000001"), pd.NaT], [moment(2024, 1, 2), None], []),
        (datetime.datetime, [1704164645, 1.5, "soon", True], [None] * 4, [0, 1, 2, 3]),
        (datetime.date, ["2024-01-02", moment(2024, 1, 2, 23), DAY, "2024-01-01T23:00:00-05:00"], [DAY] * 4, []),
        (datetime.date, [20240102, "x"], [None, None], [0, 1]),
        (decimal.Decimal, ["1.10", 0.1, 2], [decimal.Decimal("1.1"), decimal.Decimal("0.1"), decimal.Decimal(2)], []),
        (decimal.Decimal, [ExactNumber("0.123456789"), ExactNumber("12345678901234567890.5")],
         [decimal.Decimal("0.123456789"), decimal.Decimal("12345678901234567890.5")], []),
        (str, [ExactNumber("0.10000000000000001")], ["0.10000000000000001"], []),
        (int, [ExactNumber("9007199254740993.0")], [9007199254740993], []),
        (float, [ExactNumber("0.10000000000000001")], [0.1], []),
        (decimal.Decimal, ["x", float("inf"), True, "1e40", "0.12345678901"], [None] * 5, [0, 1, 2, 3, 4]),
        (bytes, [b"a", "é", bytearray(b"b")], [b"a", "é".encode(), b"b"], []),
        (bytes, [5, [1]], [None, None], [0, 1]),
        (list[int], [[1, "2", None], [], None, "[3]"], [[1, 2, None], [], None, [3]], []),
        (list[int], [["x"], 5, {"a": 1}, "{", "5"], [None] * 5, [0, 1, 2, 3, 4]),
        (list[dict], [[{"b": 1, "a": 2}]], [['{"a":2,"b":1}']], []),
        (
            Actor,
            [{"id": "1", "at": "2024-01-02", "more": 5}, {"id": 2}, '{"id": 3}'],
            [{"id": 1, "at": moment(2024, 1, 2)}, {"id": 2, "at": None}, {"id": 3, "at": None}],
            [],
        ),
        (Actor, [{"id": "x"}, [1], "[]", 5], [None] * 4, [0, 1, 2, 3]),
        (list[Actor], [[{"id": 1}], [None]], [[{"id": 1, "at": None}], [None]], []),
    ],
    ids=str,
)  # fmt: skip
def test_values_of_declared_columns(annotation: Any, values: list[Any], expected: list[Any], bad: list[int]) -> None:
    assert as_declared(values, annotation) == (expected, bad)


class Pair(TypedDict):
    one: Actor
    many: list[Actor]


@pytest.mark.parametrize(
    ("annotation", "value", "more"),
    [
        (Actor, {"id": 1, "z": 3}, {"z": 3}),
        (Actor, {"id": 1, "z": None, "nan": NAN}, None),
        (Actor, {"id": 1, "empty": {}, "0": []}, {"0": [], "empty": {}}),
        (Actor, '{"id": 1, "z": {"b": 1, "a": [2]}}', {"z": {"a": [2], "b": 1}}),
        (Actor, {"id": 1, "at": None}, None),
        (list[Actor], [{"id": 1}, None, {"id": 2, "z": 3}], [None, None, {"z": 3}]),
        (list[Actor], [{"id": 1}], None),
        (
            Pair,
            {"one": {"id": 1, "z": 3}, "many": [{"id": 1}, {"id": 2, "w": "é"}], "v": True},
            {"many": [None, {"w": "é"}], "one": {"z": 3}, "v": True},
        ),
        (
            Annotated[pd.ArrowDtype, pa.map_(pa.string(), pa.struct([("a", pa.int64())]))],
            [("k", {"a": 1}), ("l", {"a": 1, "z": 2})],
            {"l": {"z": 2}},
        ),
        (list[int], [1], None),
        (dict, {"id": 1, "z": 3}, None),
    ],
    ids=str,
)  # fmt: skip
def test_case_15_what_a_declared_struct_has_no_member_for_is_kept_beside_it(
    annotation: Any, value: Any, more: Any
) -> None:
    declared = declare(annotation)
    chunks: list[Any] = [[{"x": value}, {"x": None}]]
    if not isinstance(value, str):
        chunks += [pd.DataFrame({"x": [value, None]}).to_dict("records")]
        array = pa.array([dict(value) if pa.types.is_map(declared["x"].type) else value, None])
        chunks += [pa.table({"x": array})] if not pa.types.is_map(declared["x"].type) else []
    for chunk in chunks:
        table, failures = conform(chunk, declared, normalize)
        assert not failures
        beside = [None if text is None else json.loads(text) for text in table["x__v_json"].to_pylist()] if more else []
        assert beside == ([more, None] if more else [])
        assert table.column_names == (["x", "x__v_json"] if more else ["x"])
        wanted = {"x": declared["x"].type}
        through_transforms, _ = conform_loosely(chunk, wanted, normalize, {}, {})
        assert conform(through_transforms, declared, normalize) == (table, [])
        if more:
            with pytest.raises(SchemaError, match=r"column 'x' has 1 value\(s\).*x__v_json"):
                conform(chunk, declared, normalize, variants=False)


MEMBERS = st.recursive(
    st.integers(-9, 9),
    lambda inside: st.one_of(
        st.dictionaries(st.sampled_from("abc"), inside, min_size=1, max_size=3),
        st.lists(inside, min_size=1, max_size=2),
    ),
    max_leaves=8,
)


def some_of(value: Any, draw: Any) -> pa.DataType | None:
    """Return a type of some of the members of ``value``; None where there would be none."""
    if isinstance(value, dict):
        kinds = {name: some_of(member, draw) for name, member in value.items() if draw(st.booleans())}
        fields = [(name, kind) for name, kind in kinds.items() if kind is not None]
        return pa.struct(fields) if fields else None
    if isinstance(value, list):
        kind = some_of(value[0], draw)
        return None if kind is None else pa.list_(kind)
    return pa.int64()


def together(declared: Any, more: Any) -> Any:
    if isinstance(declared, dict) and isinstance(more, dict):
        return {name: together(declared.get(name), more.get(name)) for name in declared | more}
    if isinstance(declared, list) and isinstance(more, list):
        return [together(*each) for each in zip(declared, more, strict=True)]
    return declared if more is None else more


def present(value: Any) -> Any:
    """Return ``value`` without members that have no value."""
    if isinstance(value, dict):
        return {name: present(member) for name, member in value.items() if member is not None} or None
    return [present(each) for each in value] if isinstance(value, list) else value


@given(value=st.dictionaries(st.sampled_from("abc"), MEMBERS, min_size=1), data=st.data())
@settings(max_examples=size(60, 3000), deadline=None)
def test_case_15_a_declared_struct_and_what_is_beside_it_are_the_whole_value(value: Any, data: st.DataObject) -> None:
    kind = some_of(value, data.draw)
    assume(kind is not None)
    table, failures = conform([{"x": value}], declare(Annotated[pd.ArrowDtype, kind]), normalize)
    assume(not failures)  # lists of values of several types
    [row] = table.to_pylist()
    assert present(together(row["x"], json.loads(row.get("x__v_json", "null")))) == value


def test_failures_name_column_and_type_never_the_value() -> None:
    _, failures = conform([{"x": "secret"}, {"x": 1}, {"x": "more"}], declare(int), normalize)
    assert failures == [Failure("x", "is_integer", (0, 2))]
    _, failures = conform([{"x": "secret"}], declare(list[int]), normalize)
    assert failures == [Failure("x", "is_nested_value", (0,))]


@pytest.mark.parametrize(
    ("column", "annotation", "expected", "bad"),
    [
        (pa.array([1, 2], pa.int32()), int, [1, 2], []),
        (pa.array([1.0, 2.5]), int, [1, None], [1]),
        (pa.array([2**63], pa.uint64()), int, [None], [0]),
        (pa.array(["1", "0x1F", "z"]), int, [1, None, None], [1, 2]),
        (pa.array([1, 0]), bool, [True, False], []),
        (pa.array([True]), int, [None], [0]),
        (pa.array([1.0, 1e20, None]), str, ["1.0", "1e+20", None], []),
        (pa.array([b"ok", b"\xff"]), str, ["ok", "\\xff"], []),
        (pa.array([1, 2]), str, ["1", "2"], []),
        (pa.array(["a", None]).dictionary_encode(), str, ["a", None], []),
        (pa.array(["1", "2"]).dictionary_encode(), int, [1, 2], []),
        (pa.array([1], pa.timestamp("ns")), datetime.datetime, [moment(1970, 1, 1)], []),
        (pa.array([3600], pa.timestamp("s", "Europe/Berlin")), datetime.datetime, [moment(1970, 1, 1, 1)], []),
        (pa.array([1704164645]), datetime.datetime, [None], [0]),
        (pa.array(["2024-01-02T00:00:00Z"]), datetime.datetime, [moment(2024, 1, 2)], []),
        (pa.array([moment(2024, 1, 2, 23)]), datetime.date, [datetime.date(2024, 1, 2)], []),
        (pa.array([datetime.date(2024, 1, 2)]), datetime.datetime, [moment(2024, 1, 2)], []),
        (pa.array([0.1, float("inf")]), decimal.Decimal, [decimal.Decimal("0.1"), None], [1]),
        (pa.array([uuid.UUID(int=1)]), str, [str(uuid.UUID(int=1))], []),
        (pa.array([{"b": 1, "a": 2}]), dict, ['{"a":2,"b":1}'], []),
        (pa.array([{"id": 1, "more": 2}]), Actor, [{"id": 1, "at": None}], []),
        (pa.array([[1], [2]], pa.large_list(pa.int32())), list[int], [[1], [2]], []),
        (pa.array([1.5], pa.float16()), float, [1.5], []),
        (pa.nulls(2), int, [None, None], []),
    ],
    ids=str,
)  # fmt: skip
def test_declared_columns_of_arrow_tables(
    column: pa.Array, annotation: Any, expected: list[Any], bad: list[int]
) -> None:
    declared = declare(annotation)
    table, failures = conform(pa.table({"x": column}), declared, normalize)
    assert table["x"].type == declared["x"].type
    assert table["x"].to_pylist() == expected
    assert [row for failure in failures for row in failure.rows or ()] == bad


def test_missing_columns() -> None:
    required, optional = declare(int, nullable=False), declare(int)
    table, failures = conform([{}, {"y": 1}], required, normalize)
    assert failures == [Failure("x", "column_in_data", (0, 1))]
    assert table["x"].to_pylist() == [None, None]
    assert conform([{}, {}], optional, normalize)[1] == []
    assert conform([], required, normalize)[1] == []


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        (int, 7, 7),
        (str, "none", "none"),
        (datetime.datetime, datetime.datetime(2024, 1, 2), moment(2024, 1, 2)),
        (decimal.Decimal, 0, decimal.Decimal(0)),
        (bool, False, False),
    ],
)
def test_defaults(annotation: Any, default: Any, expected: Any) -> None:
    declared = declare(annotation, nullable=False, default=default)
    for chunk in ([{}], [{"x": None}], pa.table({"y": [1]})):
        table, failures = conform(chunk, declared, normalize)
        assert (table["x"].to_pylist(), failures) == ([expected], [])


def test_a_default_of_another_type() -> None:
    with pytest.raises(SchemaError, match="default of column 'x' is not of type integer"):
        conform([{}], declare(int, default="soon"), normalize)
    with pytest.raises(SchemaError, match="default of column 'x' is not of type integer"):
        conform([{}], declare(np.uint8, default=256), normalize)


# --- the same values, however they come


FRAME = {
    "n": [1, 2, None],
    "f": [0.5, None, 2.0],
    "s": ["a", None, "c"],
    "b": [True, False, None],
    "at": [moment(2024, 1, 2), None, moment(2024, 1, 3)],
}


class Frame(PhloSchema):
    n: int | None
    f: float | None
    s: str | None
    b: bool | None
    at: datetime.datetime | None


def frames() -> dict[str, Any]:
    records = [dict(zip(FRAME, row, strict=True)) for row in zip(*FRAME.values(), strict=True)]
    typed = {"n": "Int64", "b": "boolean"}
    found = {
        "records": records,
        "records of pandas": pd.DataFrame(FRAME).to_dict("records"),
        "arrow": pa.table(FRAME),
        "dictionaries": pa.table(FRAME).set_column(2, "s", pa.array(FRAME["s"]).dictionary_encode()),
        "pandas": pa.Table.from_pandas(pd.DataFrame(FRAME)),
        "pandas, nanoseconds": pa.Table.from_pandas(pd.DataFrame(FRAME).astype({"at": "datetime64[ns, UTC]"})),
        "pandas, nullable": pa.Table.from_pandas(pd.DataFrame(FRAME).astype(typed)),
        "views": pa.table(FRAME).set_column(2, "s", pa.array(FRAME["s"], pa.string_view())),
    }
    if importlib.util.find_spec("polars"):
        import polars as pl

        frame = pl.DataFrame(FRAME)
        found["polars"] = pa.table(frame)
        found["polars, categories"] = pa.table(frame.with_columns(pl.col("s").cast(pl.Categorical)))
    return found


@pytest.mark.parametrize("kind", frames())
def test_every_kind_of_frame_gives_the_same_table(kind: str) -> None:
    table, failures = conform(frames()[kind], model_columns(Frame), normalize)
    assert failures == []
    assert table.to_pydict() == FRAME
    assert [str(field.type) for field in table.schema] == ["int64", "double", "string", "bool", "timestamp[us, tz=UTC]"]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(max_size=8),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.times(),
    st.uuids(),
    st.sampled_from([pd.NA, pd.NaT, np.float32(1.5), "\ud800", Colour.RED]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


KINDS = [str, int, float, bool, bytes, datetime.datetime, datetime.date, decimal.Decimal, list[int], Actor]
DECLARED = {kind: declare(kind) for kind in KINDS}


@pytest.mark.long
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=st.lists(VALUES, min_size=1, max_size=6), kind=st.sampled_from(KINDS))
def test_no_value_breaks_a_batch(values: list[Any], kind: Any) -> None:
    declared = DECLARED[kind]
    table, failures = conform([{"x": value, "y": value} for value in values], declared, normalize)
    assert len(table) == len(values)
    assert table["x"].type == declared["x"].type
    for failure in failures:  # a declared struct takes some members only, where JSON text would need all
        found = table[failure.column] if failure.column in table.column_names else pa.nulls(len(table))
        assert all(found[row].as_py() is None for row in failure.rows or ())
    # a second pass, as after a transform, changes nothing more
    again, _ = conform(table, declared, normalize)
    assert again.equals(table)


def test_json_text_is_json() -> None:
    found = inferred([{"z": "é", "a": {"y": None, "x": 1.5}}])[0].as_py()
    assert found == '{"a":{"x":1.5,"y":null},"z":"é"}'
    assert json.loads(found) == {"z": "é", "a": {"y": None, "x": 1.5}}
