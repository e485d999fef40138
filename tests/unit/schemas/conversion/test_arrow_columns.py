"""Arrow columns whose values Python, or a table, would have in fewer digits or without their meaning."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.ingestion.extraction import chunks
from airflow_provider_phlo.schemas.conversion.conform import conform
from airflow_provider_phlo.schemas.conversion.undeclared import NAIVE


def conformed(chunk: Any, **known: pa.DataType) -> tuple[pa.Table, list[tuple[str, tuple[int, ...] | None]]]:
    table, failures = conform(chunk, None, str, known)
    return table, [(each.check, each.rows) for each in failures]


def extension(kind: pa.DataType, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        (pa.array([86_400_000, None], pa.date64()), pa.date32(), [dt.date(1970, 1, 2), None]),
        (pa.array([86_400_005], pa.date64()), NAIVE, [dt.datetime(1970, 1, 2, 0, 0, 0, 5000)]),
        (pa.array([-1], pa.date64()), NAIVE, [dt.datetime(1969, 12, 31, 23, 59, 59, 999000)]),
        (pa.array([1000], pa.time64("ns")), pa.time64("us"), [dt.time(0, 0, 0, 1)]),
        (pa.array([1, 86_399_999_999_999], pa.time64("ns")), pa.string(), ["00:00:00.000000001", "23:59:59.999999999"]),
        (pa.array([-1], pa.timestamp("ns")), pa.string(), ["1969-12-31T23:59:59.999999999"]),
        (extension(pa.bool8(), pa.array([1, 0, None], pa.int8())), pa.bool_(), [True, False, None]),
        (extension(pa.opaque(pa.binary(), "geometry", "x"), pa.array([b"\xff"])), pa.binary(), [b"\xff"]),
        (extension(pa.opaque(pa.int64(), "count", "x"), pa.array([2**53 + 1])), pa.int64(), [2**53 + 1]),
        (
            extension(pa.opaque(pa.list_(pa.int8()), "l", "x"), pa.array([[1]], pa.list_(pa.int8()))),
            pa.string(),
            ["[1]"],
        ),
        (
            extension(pa.uuid(), pa.array([bytes(16)], pa.binary(16))),
            pa.string(),
            [f"{'0' * 8}-0000-0000-0000-{'0' * 12}"],
        ),
        (extension(pa.json_(), pa.array(['{"b":1}'])), pa.string(), ['{"b":1}']),
        (pa.array(pd.Series(pd.PeriodIndex(["2024-01", None], freq="M"))), pa.string(), ["2024-01", None]),
        (pa.array(pd.Series(pd.arrays.IntervalArray.from_tuples([(0, 1), None]))), pa.string(), ["(0.0, 1.0]", None]),
    ],
    ids=lambda each: str(each.type) if isinstance(each, pa.Array) else "",
)
def test_case_15_types_that_a_table_lacks_keep_value_and_meaning(
    column: pa.Array, kind: pa.DataType, expected: list[Any]
) -> None:
    table, failures = conformed(pa.table({"v": column}))
    assert (table["v"].type, table["v"].to_pylist(), failures) == (kind, expected, [])


NESTED = {
    "list": (pa.list_, lambda one: [one]),
    "large list": (pa.large_list, lambda one: [None, one]),
    "list view": (pa.list_view, lambda one: [one]),
    "fixed list": (lambda kind: pa.list_(kind, 1), lambda one: [one]),
    "struct": (lambda kind: pa.struct([("a", kind)]), lambda one: {"a": one}),
    "map": (lambda kind: pa.map_(pa.string(), kind), lambda one: [("a", one)]),
    "key": (lambda kind: pa.map_(kind, pa.int64()), lambda one: [(one, 1)]),
    "deep": (lambda kind: pa.struct([("a", pa.list_(pa.struct([("b", kind)])))]), lambda one: {"a": [{"b": one}]}),
}


@pytest.mark.parametrize("shape", NESTED)
@pytest.mark.parametrize(
    ("kind", "fine", "longer"), [(pa.time64("ns"), 1000, 1001), (pa.date64(), 86_400_000, 86_400_001)], ids=str
)
def test_case_15_nested_digits_that_no_text_would_have_make_their_row_bad(
    shape: str, kind: pa.DataType, fine: int, longer: int
) -> None:
    within, value = NESTED[shape]
    column = pa.array([value(fine), value(longer), None], within(kind))
    table, failures = conformed(pa.table({"v": column}))
    assert failures == [("is_text", (1,))]
    assert [each is None for each in table["v"].to_pylist()] == [False, True, True]
    # neither does a nested column of the table take them
    rougher = pa.time64("us") if pa.types.is_time(kind) else pa.date32()
    table, failures = conformed(pa.table({"v": column}), v=within(rougher))
    assert failures == [("is_text", (1,))]
    assert conformed(pa.table({"v": column.slice(0, 1)}))[1] == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.datetime64("2024-01-15T10:00:00.000000001"), "2024-01-15T10:00:00.000000001"),
        (np.datetime64("2024-01-15T10:00:00.000001"), dt.datetime(2024, 1, 15, 10, 0, 0, 1)),
        (pd.Timestamp("2024-01-15 10:00:00.000000001"), "2024-01-15T10:00:00.000000001"),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (pd.Period("2024-01"), "2024-01"),
    ],
    ids=repr,
)
def test_case_15_values_of_libraries_in_records(value: Any, expected: Any) -> None:
    table, failures = conformed([{"v": value}, {"v": None}])
    assert (table["v"].to_pylist(), failures) == ([expected, None], [])


def drawn(frame: Any) -> list[dict[str, Any]]:
    return [row for each in chunks(frame, "raw.t", 10) for row in (conformed(each)[0].to_pylist())]


def test_case_15_frames_of_pandas_types() -> None:
    frame = pd.DataFrame(
        {
            "k": [1, 2],
            "period": pd.PeriodIndex(["2024-01", None], freq="M"),
            "interval": pd.arrays.IntervalArray.from_tuples([(0, 1), None], closed="left"),
            "sparse": pd.arrays.SparseArray([0, 7]),
        }
    )
    expected = [
        {"k": 1, "period": "2024-01", "interval": "[0.0, 1.0)", "sparse": 0},
        {"k": 2, "period": None, "interval": None, "sparse": 7},
    ]
    assert drawn(frame) == expected
    assert drawn(frame.drop(columns="sparse")) == [{k: v for k, v in row.items() if k != "sparse"} for row in expected]


OBJECTS = {
    "members": [{"a": 1}, {"b": 2}],
    "lists": [[1], [0.5]],
    "empty": [np.array([1]), np.array([])],
    "nanoseconds": [pd.Timestamp("2024-01-15T10:00:00.000000001Z"), pd.Timestamp("2024-01-15T10:00Z")],
    "nested nanoseconds": [{"t": pd.Timestamp("2024-01-15T10:00:00.000000001")}, None],
    "zones": [dt.datetime(2024, 1, 15, tzinfo=dt.UTC), dt.datetime(2024, 1, 15)],
    "bytes and text": [b"a", "a"],
    "text and bytes": ["a", b"a"],
    "digits": [Decimal("1.10"), Decimal("1E-20")],
    "truth": [True, 1],
    "numbers": [2**53 + 1, 0.5],
    "enumerations": [enum.Enum("Colour", {"RED": 1}).RED, 1],  # type: ignore[attr-defined]
    "sets": [{1, 2}, {"a"}],
    "NumPy": [np.int8(1), np.float32(0.1)],
    "gaps": [pd.NaT, pd.NA],
    "plain": ["a", None],
}


@pytest.mark.parametrize("case", OBJECTS)
def test_case_15_objects_in_a_pandas_frame_are_what_they_are_in_records(case: str) -> None:
    """Arrow would unite their types, cut digits, or give a row the members of another."""
    values = OBJECTS[case]
    column = pd.Series(values, dtype=object)
    records = [{"k": at + 1, "v": value} for at, value in enumerate(values)]
    frame = pd.DataFrame({"k": [1, 2], "v": column})
    assert drawn(frame) == drawn(records)
    # whatever else is in the batch, a row is the same
    assert [drawn(frame.iloc[at : at + 1]) for at in (0, 1)] == [drawn([record]) for record in records]


def test_case_11_a_time_with_an_offset_in_a_pandas_frame_is_bad() -> None:
    frame = pd.DataFrame({"k": [1, 2], "v": [dt.time(2, tzinfo=dt.UTC), None]})
    [chunk] = chunks(frame, "raw.t", 10)
    assert conformed(chunk)[1] == [("is_time", (0,))]


def test_case_26_text_of_arrows_json_type_that_is_not_json_makes_its_row_bad() -> None:
    texts = pa.array(['{"a":1}', "{", "1", None, "NaN", '"x', "[" * 100_000])
    column = extension(pa.json_(), texts)
    table, failures = conformed(pa.table({"v": column}))
    assert failures == [("is_json", (1, 4, 5, 6))]
    assert table["v"].to_pylist() == ['{"a":1}', None, "1", None, None, None, None]


@pytest.mark.parametrize("shape", ["dense", "sparse"])
def test_case_15_a_union_of_arrow_has_the_values_of_its_types(shape: str) -> None:
    """Each as a record would have it, and not as JSON text that is not JSON."""
    kinds = pa.array([0, 1, 0, 1], pa.int8())
    if shape == "dense":
        places = pa.array([0, 0, 1, 1], pa.int32())
        column = pa.UnionArray.from_dense(kinds, places, [pa.array([1, None]), pa.array(["a", "b"])])
    else:
        column = pa.UnionArray.from_sparse(kinds, [pa.array([1, 0, None, 0]), pa.array(["", "a", "", "b"])])
    expected = conformed([{"v": 1}, {"v": "a"}, {"v": None}, {"v": "b"}])
    assert conformed(pa.table({"v": column})) == expected
    assert expected[0].to_pydict() == {"v": [1, None, None, None], "v__v_text": [None, "a", None, "b"]}


@pytest.mark.parametrize("kind", ["struct", "list", "map", "dictionary"])
def test_case_3_members_that_have_one_name_are_refused(kind: str) -> None:
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    column = {
        "struct": twice,
        "list": pa.ListArray.from_arrays([0, 1], twice),
        "map": pa.MapArray.from_arrays([0, 1], pa.array(["k"]), twice),
        "dictionary": pa.DictionaryArray.from_arrays(pa.array([0]), twice),
    }[kind]
    with pytest.raises(SchemaError, match="column 'v' whose values have two members named 'a': rename one"):
        conformed(pa.table({"v": column}))


@pytest.mark.parametrize("encode", [pc.dictionary_encode, pc.run_end_encode], ids=["dictionary", "run ends"])
def test_case_15_how_a_column_is_encoded_changes_no_value(encode: Any) -> None:
    columns = [
        pa.array(["a", "a", None]),
        pa.array([2**63 + 1, 0, None], pa.uint64()),
        pa.array([Decimal("1.50"), None, Decimal("2")]),
        pa.array([1, 2001, None], pa.timestamp("ns", "Europe/Rome")),
        pa.array([86_400_001, 0, None], pa.date64()),
        pa.array([1, 2000, None], pa.time64("ns")),
        pa.array([0.5, float("nan"), None]),
        pa.array([b"\xff", b"", None]),
    ]
    for column in columns:
        expected = conformed(pa.table({"v": column}))
        found = conformed(pa.table({"v": encode(column)}))
        assert (found[0].to_pylist(), found[1]) == (expected[0].to_pylist(), expected[1])


@pytest.mark.parametrize("kind", [pl.Object, pl.Int128])
@pytest.mark.parametrize("rows", [0, 1])
def test_case_15_a_polars_type_that_arrow_lacks_is_refused(kind: Any, rows: int) -> None:
    frame = pl.DataFrame({"k": [1], "v": pl.Series([7], dtype=kind)}).head(rows)
    within = pl.DataFrame({"v": [{"a": [7]}]}, schema={"v": pl.Struct({"a": pl.List(pl.Int128)})}).head(rows)
    with pytest.raises(SchemaError, match=r"raw\.t: .* whose column 'v' has the type Struct.*Int128"):
        drawn(within)
    with pytest.raises(SchemaError, match=r"raw\.t: .* whose column 'v' has the type (Object|Int128).*pl\.String"):
        drawn(frame)
