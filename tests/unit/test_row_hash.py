"""The content hash: stable over everything that is not content, different for different rows, the same for ever."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.row_hash import canonical_json, decimal_text, encoded_rows, row_hashes

UTC = datetime.UTC
NAN, INFINITY = float("nan"), float("inf")


def hashes(**columns: Any) -> list[str]:
    return row_hashes(pa.table(columns)).to_pylist()


def encoded(kind: pa.DataType, *values: Any) -> list[bytes]:
    return encoded_rows(pa.table({"x": pa.array(values, kind)}), ["x"]).to_pylist()


# Written down once: a release, here or in a library, that changes one of them changes every table's hashes.
MORNING = datetime.datetime(2024, 1, 15, 6, tzinfo=UTC)
NESTED = pa.struct([("b", pa.int64()), ("a", pa.list_(pa.string()))])
GOLDEN = [
    (pa.int64(), 42, b"1:x=2:42;", "529790871fb973562c020545765b21b7"),
    (pa.float64(), 0.1, b"1:x=19:4591870180066957722;", "6d279c7b0fb7c14314b3872e678979a2"),
    (pa.float64(), -0.0, b"1:x=1:0;", "e82dcdbc0b2818e701af7e2cb82b5de4"),
    (pa.float64(), NAN, b"1:x=19:9221120237041090560;", "0f5be6f987630736fde27c668e8e7bdb"),
    (pa.bool_(), True, b"1:x=4:true;", "4f2bf486b3d6cfcd18d3162897ff7f8d"),
    (pa.string(), "né;", "1:x=4:né;;".encode(), "f135ca1249a516ec7eb33e451f2e0d9d"),
    (pa.string(), "", b"1:x=0:;", "9e4e3ddae436c20bcd5b570a8308e573"),
    (pa.binary(), b"\x00\xff", b"1:x=4:00ff;", "1bca392138f2e35849c55244345ef3f6"),
    (pa.timestamp("us", "UTC"), MORNING, b"1:x=16:1705298400000000;", "2742d1eaa28f3caf4f6f9e819ac74f56"),
    (pa.date32(), datetime.date(2024, 1, 15), b"1:x=5:19737;", "4963df87bed0b683f490c6abc4c455fb"),
    (pa.time64("us"), datetime.time(1, 2, 3), b"1:x=10:3723000000;", "c1505fdc2a28e077f4641252262ad5e1"),
    (pa.decimal128(10, 2), decimal.Decimal("1.50"), b"1:x=3:1.5;", "9223a6791b9ab8bcb4764cb5e1b10b8b"),
    (NESTED, {"b": 1, "a": ["z", None]}, b'1:x=22:{"a":["z",null],"b":1};', "f492dcf07d3cee7abbb176eb6ab8c33e"),
    (pa.string(), None, b"", "cae66941d9efbd404e4d88758ea67670"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "content", "expected"), GOLDEN, ids=[str(row[:2]) for row in GOLDEN])
def test_golden_hashes(kind: pa.DataType, value: Any, content: bytes, expected: str) -> None:
    assert encoded(kind, value) == [content]
    assert hashes(x=pa.array([value], kind)) == [expected]


def test_a_golden_row() -> None:
    row = {"_id": "65a4", "sgv": 112, "date": 1705298400000, "direction": "Flat", "delta": -1.5, "raw": None}
    assert hashes(**{name: [value] for name, value in row.items()}) == ["be66338c9b15727f05aadde9edb0562b"]


@pytest.mark.parametrize(
    "columns",
    [
        [pa.array([1, 255], kind) for kind in (pa.uint8(), pa.int16(), pa.int32(), pa.int64(), pa.uint64())],
        [pa.array([0.5, -3.25, NAN, INFINITY, -0.0], kind) for kind in (pa.float32(), pa.float64())],
        [pa.array([0.0, -0.0], pa.float64()), pa.array([-0.0, 0.0], pa.float32())],
        [pa.array(["a", "é", ""], kind) for kind in (pa.string(), pa.large_string(), pa.string_view())],
        [pa.array([b"a", b"\xff"], kind) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())],
        [pa.array(["a", "b", "a"]), pa.array(["a", "b", "a"]).dictionary_encode()],
        [pa.array([1, -1, 86_400], pa.timestamp("s")).cast(pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")],
        [pa.array([7], pa.timestamp("us", zone)) for zone in ("UTC", "Europe/Berlin", "+02:00")],
        [pa.array([0, 19737], pa.date32()), pa.array([0, 19737], pa.date32()).cast(pa.date64())],
        [pa.array([1], pa.time32("s")), pa.array([1_000_000], pa.time64("us")), pa.array([10**9], pa.time64("ns"))],
        [pa.array([decimal.Decimal("1.5")], pa.decimal128(*shape)) for shape in ((5, 1), (38, 9), (20, 4))],
        [pa.array([[1, 2]], pa.list_(pa.int32())), pa.array([[1, 2]], pa.large_list(pa.int64()))],
        [pa.array([{"a": 1, "b": "x"}]), pa.array([{"b": "x", "a": 1}])],
        [pa.array([{"a": 1, "b": "x"}]), pa.array(['{"a":1,"b":"x"}'])],
        [pa.nulls(2), pa.nulls(2, pa.string()), pa.nulls(2, pa.float64()), pa.nulls(2, pa.list_(pa.int8()))],
    ],
    ids=lambda columns: str(columns[0].type),
)
def test_width_and_encoding_of_a_type_are_not_content(columns: list[pa.Array]) -> None:
    assert len({tuple(hashes(x=column)) for column in columns}) == 1


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.none() | st.integers(-(2**63), 2**63 - 1),
            "f": st.none() | st.floats(),
            "s": st.none() | st.text(max_size=6),
            "b": st.none() | st.booleans(),
            "y": st.none() | st.binary(max_size=4),
            "t": st.none() | st.datetimes(timezones=st.just(UTC)),
            "d": st.none() | st.dates(),
            "n": st.none() | st.decimals(min_value=-1000, max_value=1000, places=3),
            "l": st.none() | st.lists(st.integers(0, 5), max_size=3),
        }
    ),
    min_size=1,
    max_size=8,
)
SCHEMA = pa.schema(
    {
        "i": pa.int64(),
        "f": pa.float64(),
        "s": pa.string(),
        "b": pa.bool_(),
        "y": pa.binary(),
        "t": pa.timestamp("us", "UTC"),
        "d": pa.date32(),
        "n": pa.decimal128(38, 9),
        "l": pa.list_(pa.int64()),
    }
)


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(rows=ROWS, order=st.permutations(SCHEMA.names), cut=st.integers(0, 8))
def test_order_chunks_and_empty_columns_are_not_content(rows: list[dict[str, Any]], order: list[str], cut: int) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    expected = row_hashes(table)
    assert row_hashes(table.select(order)).equals(expected)
    assert row_hashes(pa.concat_tables([table.slice(0, cut), table.slice(cut)])).equals(expected)
    assert row_hashes(table.append_column("new", pa.nulls(len(table), pa.int64()))).equals(expected)
    assert row_hashes(table, order).equals(expected)
    assert row_hashes(table.slice(1)).equals(expected.slice(1))


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_different_rows_have_different_encodings(rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    contents = encoded_rows(table, SCHEMA.names).to_pylist()

    def content(row: dict[str, Any]) -> str:
        # what the definition calls equal: -0.0 and 0.0, every NaN, decimals of any scale
        return repr([None if row[name] is None else _normal(row[name]) for name in SCHEMA.names])

    for one, encoding in zip(rows, contents, strict=True):
        for other, another in zip(rows, contents, strict=True):
            assert (encoding == another) == (content(one) == content(other))


def _normal(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if value != value else value + 0.0
    return decimal_text(value) if isinstance(value, decimal.Decimal) else value


def test_values_cannot_imitate_columns() -> None:
    columns = {"a": ["1", "1;1:b=1:2"], "b": ["2", None]}
    assert len(set(hashes(**columns))) == 2
    assert hashes(a=["x"], b=[None]) != hashes(a=[None], b=["x"])
    assert hashes(a=[""]) != hashes(a=[None])
    assert hashes(a=["x"]) != hashes(b=["x"])


def test_tables_without_columns_or_rows() -> None:
    assert row_hashes(pa.table({"x": [1, 2]}), []).to_pylist() == ["cae66941d9efbd404e4d88758ea67670"] * 2
    assert row_hashes(pa.table({"x": pa.array([], pa.int64())})).to_pylist() == []
    assert row_hashes(pa.table({"x": pa.chunked_array([], pa.string())})).to_pylist() == []
    nothing = {"x": pa.chunked_array([], pa.float64()), "y": pa.chunked_array([], pa.int8())}
    assert row_hashes(pa.table(nothing)).to_pylist() == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": {"d": 1, "c": 2}}, '{"a":{"c":2,"d":1},"b":1}'),
        ([1, 1.5, None, True, "é"], '[1,1.5,null,true,"é"]'),
        ({"n": NAN}, '{"n":null}'),
        ({"big": 2**64}, '{"big":18446744073709551616}'),
        ({"s": "\ud83d", "\udc00": [1]}, r'{"s":"\\ud83d","\\udc00":[1]}'),
        ({"s": "\ud83d", "n": [NAN, {"i": float("-inf")}]}, r'{"n":[null,{"i":null}],"s":"\\ud83d"}'),
        ({2: "b", 1: "a"}, '{"1":"a","2":"b"}'),
        ({"s": {3, 1, 2}}, '{"s":[1,2,3]}'),
        ({"d": decimal.Decimal("1.10")}, '{"d":"1.10"}'),
        ({"at": datetime.datetime(2024, 1, 1, tzinfo=UTC)}, '{"at":"2024-01-01T00:00:00+00:00"}'),
    ],
)
def test_canonical_json(value: Any, text: str) -> None:
    assert canonical_json(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [("1.50", "1.5"), ("100", "100"), ("1E+2", "100"), ("0.000", "0"), ("-2.0", "-2"), ("0", "0")]
)
def test_decimal_text(value: str, text: str) -> None:
    assert decimal_text(decimal.Decimal(value)) == text


def test_what_json_has_no_number_for_is_told_apart_inside_nested_values():
    inf, nan = float("inf"), float("nan")
    values = [[inf], [-inf], [nan], [None], [0.0], [1.5], []]
    hashes = row_hashes(pa.table({"c": pa.array(values, pa.list_(pa.float64()))})).to_pylist()
    assert len(set(hashes)) == len(values)
    zeros = pa.array([{"x": [0.0]}, {"x": [-0.0]}], pa.struct([("x", pa.list_(pa.float64()))]))
    assert len(set(row_hashes(pa.table({"c": zeros})).to_pylist())) == 1
