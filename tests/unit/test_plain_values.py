"""Objects of classes and libraries, wherever they come: as a value, inside one, and in the quarantine."""

from __future__ import annotations

import array
import collections
import datetime as dt
import enum
import fractions
import io
import itertools
import types
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pydantic.dataclasses
import pytest
from typing_extensions import TypedDict

from airflow_provider_phlo.ingestion.records import raw_text, read_raw
from airflow_provider_phlo.row_hash import canonical_json
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.schemas.conversion.conform import conform

NOON = dt.datetime(2024, 1, 15, 12)


class Colour(enum.Enum):
    RED = 1


class Size(enum.StrEnum):
    SMALL = "s"


class Pair(NamedTuple):
    a: int
    b: Any = None


class Model(pydantic.BaseModel):
    a: int
    b: Decimal = Decimal("1.10")


@pydantic.dataclasses.dataclass
class Point:
    a: int
    b: Any = None


class Moment(dt.datetime):
    """As pendulum's."""


class Amount(Decimal):
    pass


class Named(str):
    def __str__(self) -> str:
        return "another"


def same(value: Any) -> list[Any]:
    return [value, value]


# an object, and the plain value that it stands for: in a column, and in JSON
OBJECTS: dict[str, tuple[Any, Any, Any]] = {
    "enum": (Colour.RED, *same(1)),
    "string enum": (Size.SMALL, *same("s")),
    "text": (Named("real"), *same("real")),
    "user string": (collections.UserString("a"), *same("a")),
    "decimal": (Amount("1.50"), Decimal("1.5"), "1.50"),
    "date-time": (Moment(2024, 1, 15, 12), NOON, "2024-01-15T12:00:00"),
    "timestamp": (pd.Timestamp(NOON), NOON, "2024-01-15T12:00:00"),
    "nanoseconds": (pd.Timestamp("2024-01-15T12:00:00.000000001"), *same("2024-01-15T12:00:00.000000001")),
    "numpy second": (np.datetime64("2024-01-15T12", "s"), NOON, "2024-01-15T12:00:00"),
    "numpy nanosecond": (np.datetime64("2024-01-15T12", "ns"), NOON, "2024-01-15T12:00:00"),
    "numpy nanoseconds": (np.datetime64("2024-01-15T12:00:00.000000001"), *same("2024-01-15T12:00:00.000000001")),
    "attosecond": (np.datetime64(1, "as"), *same("1970-01-01T00:00:00.000000000000000001")),
    "numpy hour": (np.datetime64("2024-01-15T12", "h"), NOON, "2024-01-15T12:00:00"),
    "numpy day": (np.datetime64("2024-01-15"), dt.date(2024, 1, 15), "2024-01-15"),
    "numpy month": (np.datetime64("2024-01"), dt.date(2024, 1, 1), "2024-01-01"),
    "numpy gap": (np.datetime64("NaT"), *same(None)),
    "gap of durations": (np.timedelta64("NaT"), *same(None)),
    "NaT": (pd.NaT, *same(None)),
    "NA": (pd.NA, *same(None)),
    "arrow gap": (pa.scalar(None, pa.int64()), *same(None)),
    "arrow": (pa.scalar(5, pa.int8()), *same(5)),
    "arrow decimal": (pa.scalar(Decimal("1.5")), Decimal("1.5"), "1.5"),
    "arrow struct": (pa.scalar({"a": 1}), '{"a":1}', {"a": 1}),
    "arrow list": (pa.array([1, None]), "[1,null]", [1, None]),
    "long double": (np.longdouble(0.5), *same(0.5)),
    "longer double": (np.longdouble(2) ** 63 + 1, *same(str(np.longdouble(2) ** 63 + 1))),
    "unsigned": (np.uint64(2**64 - 1), *same(2**64 - 1)),
    "boolean": (np.bool_(True), *same(True)),
    "no dimension": (np.array(5), *same(5)),
    "array": (np.arange(2), "[0,1]", [0, 1]),
    "other way": (np.arange(6).reshape(2, 3).T[:1], "[[0,3]]", [[0, 3]]),
    "other bytes": (np.arange(2, dtype=">i4"), "[0,1]", [0, 1]),
    "array of times": (np.array(["2024-01-15", "NaT"], "M8[D]"), '["2024-01-15",null]', ["2024-01-15", None]),
    "array of objects": (np.array([Pair(1), None], object)[1:], "[null]", [None]),
    "records": (np.array([(1, 2.0)], [("a", int), ("b", float)]), '[{"a":1,"b":2.0}]', [{"a": 1, "b": 2.0}]),
    "record": (np.array([(1, 2.0)], [("a", int), ("b", float)])[0], '{"a":1,"b":2.0}', {"a": 1, "b": 2.0}),
    "complex": (np.complex128(1j), *same("1j")),
    "fraction": (fractions.Fraction(1, 3), *same("1/3")),
    "period": (pd.Period("2024-01"), *same("2024-01")),
    "named tuple": (Pair(1), '{"a":1,"b":null}', {"a": 1, "b": None}),
    "nested tuple": (Pair(1, Pair(2)), '{"a":1,"b":{"a":2,"b":null}}', {"a": 1, "b": {"a": 2, "b": None}}),
    "dataclass": (Point(1, {2}), '{"a":1,"b":[2]}', {"a": 1, "b": [2]}),
    "model": (Model(a=1), '{"a":1,"b":"1.10"}', {"a": 1, "b": "1.10"}),
    "deque": (collections.deque([1, 2]), "[1,2]", [1, 2]),
    "array of C": (array.array("i", [1]), "[1]", [1]),
    "range": (range(2), "[0,1]", [0, 1]),
    "keys": ({"b": 1, "a": 2}.keys(), '["b","a"]', ["b", "a"]),
    "values": ({"b": 1}.values(), "[1]", [1]),
    "series": (pd.Series([1, None], dtype="Int64"), "[1,null]", [1, None]),
    "polars": (pl.Series([1, None]), "[1,null]", [1, None]),
    "chain": (collections.ChainMap({"a": 1}), '{"a":1}', {"a": 1}),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_case_15_an_object_is_the_value_that_it_stands_for(case: str) -> None:
    value, column, member = OBJECTS[case]
    table, failures = conform([{"k": 1, "v": value, "n": {"m": [value]}}], None, str)
    assert failures == []
    assert table.to_pylist()[0].get("v") == column
    assert table["n"].to_pylist() == [canonical_json({"m": [member]})]
    # whatever takes the longer way, beside an integer beyond 64 bits
    assert canonical_json([value, 2**70]) == canonical_json([member, 2**70])


@pytest.mark.parametrize("case", OBJECTS)
def test_case_15_what_is_set_aside_comes_back_as_the_value_that_it_stands_for(case: str) -> None:
    value, _, _ = OBJECTS[case]
    record = {"k": 1, "v": value, "n": {"m": [value]}}
    first, again = (conform([each], None, str)[0] for each in (record, read_raw(raw_text(record))))
    assert again.to_pylist() == first.to_pylist()


class Member(TypedDict):
    a: int
    at: dt.datetime | None


DAY = dt.datetime(2024, 1, 15, tzinfo=dt.UTC)
DECLARED: dict[str, tuple[Any, Any, Any]] = {
    "enumeration": (int, Colour.RED, 1),
    "day": (dt.datetime, np.datetime64("2024-01-15"), DAY),
    "nanoseconds": (dt.datetime, np.datetime64("2024-01-15T00:00:00.000000001"), DAY),
    "moment": (dt.date, np.datetime64("2024-01-15T23:00"), dt.date(2024, 1, 15)),
    "integer of NumPy": (Decimal, np.int64(5), Decimal(5)),
    "float of NumPy": (Decimal, np.float64(0.1), Decimal("0.1")),
    "gap": (int, pd.NA, None),
    "json": (dict, Point(1, [Pair(2)]), '{"a":1,"b":[{"a":2,"b":null}]}'),
    "list": (list[int], collections.deque([1, np.int8(2), None, pd.NA]), [1, 2, None, None]),
    "lists": (list[list[int]], (range(2), np.array([2])), [[0, 1], [2]]),
    "set": (list[str], {"c", "a", "b"}, ["a", "b", "c"]),
    "member": (Member, collections.UserDict(a=Colour.RED, at=np.datetime64("2024-01-15")), {"a": 1, "at": DAY}),
    "members": (list[Member], [Pair(1), Point(2)], [{"a": 1, "at": None}, {"a": 2, "at": None}]),
    "values": (dict[str, int], {Size.SMALL: Colour.RED}, '{"s":1}'),
    # bytes are not a list of integers, and who reads an iterator twice finds nothing
    "bytes": (list[int], b"ab", "is_nested_value"),
    "iterator": (list[int], iter([1]), "is_nested_value"),
    "object": (str, object(), "is_text"),
}


@pytest.mark.parametrize("case", DECLARED)
def test_case_15_an_object_in_a_declared_column(case: str) -> None:
    kind, value, expected = DECLARED[case]
    model = type("Model", (PhloSchema,), {"__annotations__": {"v": kind | None}, "__module__": __name__})
    table, failures = conform([{"v": value}], model_columns(model), str)
    bad = [each.check for each in failures]
    assert bad == [expected] if isinstance(expected, str) and expected.startswith("is_") else not bad
    assert table["v"].to_pylist() == [None if bad else expected]


def test_case_10_text_of_arrows_times_keeps_their_nanoseconds() -> None:
    model = type("Model", (PhloSchema,), {"__annotations__": {"v": str | None}, "__module__": __name__})
    times = pa.array([1, 1000, 86_399_999_999_999, None], pa.time64("ns"))
    table, failures = conform(pa.table({"v": times}), model_columns(model), str)
    assert (table["v"].to_pylist(), failures) == (
        ["00:00:00.000000001", "00:00:00.000001", "23:59:59.999999999", None],
        [],
    )


def _count() -> Any:
    yield 1


WITHOUT_TEXT = [
    object(),
    _count(),
    iter([1]),
    itertools.count(),
    map(str, []),
    len,
    lambda: 1,
    int,
    types,
    io.BytesIO(),
    pd.DataFrame({"a": [1]}),
    pl.DataFrame({"a": [1]}),
    pa.table({"a": [1]}),
    {1: "a", "1": "b"},
    {None: 1, "null": 2},
    {True: 1, "true": 2},
    {(1, 2): 1},
    [{"a": {1: "a", "1": "b"}}],
    Point(1, float("nan")),
    collections.deque([float("inf")]),
    Pair(1, b"\xff"),
]


@pytest.mark.parametrize("value", WITHOUT_TEXT, ids=range(len(WITHOUT_TEXT)))
def test_case_15_an_object_that_has_no_text_makes_its_row_bad(value: Any) -> None:
    """An address in memory says nothing, and two members of one name are not one of them."""
    for odd in (value, [value], {"m": {"n": value}}):
        for declared in ([{"k": 1, "v": odd}, {"k": 2, "v": "a"}], [{"k": 1, "v": odd}]):
            table, failures = conform(declared, None, str)
            assert [(each.column, each.check, each.rows) for each in failures] == [("v", "is_text", (0,))]
            assert table["k"].to_pylist() == [each["k"] for each in declared]


@pytest.mark.parametrize("text", ["10000-01-01", "0000", "-0001-01", "10000-01-01T00", "146138514283-06-19T07:45:04"])
def test_case_10_a_time_of_numpy_outside_the_years_is_bad(text: str) -> None:
    value = np.datetime64(text)
    for odd, check in ((value, "is_timestamp"), ([value], "is_text")):
        _, failures = conform([{"k": 1, "v": odd}, {"k": 2, "v": None}], None, str)
        assert [(each.column, each.check, each.rows) for each in failures] == [("v", check, (0,))]


def test_names_that_are_not_text_are_written_as_text() -> None:
    names = {1: 1, 1.5: 2, False: 3, None: 4, dt.date(2024, 1, 15): 5, Size.SMALL: 6, np.int64(7): 7, 2**70: 8}
    written = '{"1":1,"1.5":2,"1180591620717411303424":8,"2024-01-15":5,"7":7,"false":3,"null":4,"s":6}'
    assert canonical_json(names) == written


def test_a_value_that_holds_itself_is_nested_too_deeply() -> None:
    point = Point(1)
    point.b = [point]
    _, failures = conform([{"k": 1, "v": {"p": point}}], None, str)
    assert [each.check for each in failures] == ["is_text"]
