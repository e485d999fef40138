"""Objects of classes and libraries, wherever they come: as a value, inside one, and in the quarantine."""

from __future__ import annotations

import collections
import datetime as dt
import io
import itertools
import types
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from typing_extensions import TypedDict

from airflow_provider_phlo.ingestion.records import raw_text, read_raw
from airflow_provider_phlo.row_hash import canonical_json
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.schemas.conversion.conform import conform
from tests.unit.objects import OBJECTS, Colour, Pair, Point, Size


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
