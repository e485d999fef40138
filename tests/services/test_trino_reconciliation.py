"""Reconciliation on Trino: the same row hashes, checksums and verdicts as on DuckDB."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import os
import struct
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.iceberg.catalog import ensure_namespace
from airflow_provider_phlo.iceberg.trino_queries import Queries
from airflow_provider_phlo.quality.canonical import HASHES, Type, parse
from airflow_provider_phlo.quality.engines import Engine, reading
from airflow_provider_phlo.quality.sides import forms_of
from airflow_provider_phlo.sql import quote_identifier

SEEDS = range(int(os.environ.get("PHLO_TEST_SEEDS", "6")))
NAN = float("nan")
ODD_NAN = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0]
TYPES = {
    "flag": pa.bool_(),
    "small": pa.int32(),
    "large": pa.int64(),
    "amount": pa.decimal128(12, 2),
    "whole": pa.decimal128(20, 0),
    "long": pa.decimal128(38, 10),
    "single": pa.float32(),
    "ratio": pa.float64(),
    "text": pa.string(),
    "raw": pa.binary(),
    "day": pa.date32(),
    "clock": pa.time64("us"),
    "local": pa.timestamp("us"),
    "at": pa.timestamp("us", "UTC"),
    "tags": pa.list_(pa.string()),
    "ratios": pa.list_(pa.float64()),
    "pair": pa.struct([("b", pa.string()), ("a", pa.decimal128(6, 2)), ("deep", pa.list_(pa.int64()))]),
    "counts": pa.map_(pa.string(), pa.int64()),
}
MOMENTS = [
    dt.datetime(1970, 1, 1),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
    dt.datetime(2024, 2, 29, 12, 0, 0, 1),
    dt.datetime(2024, 3, 31, 2, 30),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999999),
    dt.datetime(1, 1, 1),
]
VALUES: dict[str, list[Any]] = {
    "flag": [True, False],
    "small": [0, -1, 2**31 - 1, -(2**31)],
    "large": [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)],
    "amount": [decimal.Decimal(text) for text in ("0.00", "-0.50", "1.50", "100.00", "-9999999999.99")],
    "whole": [decimal.Decimal(text) for text in ("0", "100", "-12345678901234567890")],
    "long": [
        decimal.Decimal(text) for text in ("0", "1.5", "-0.0000000001", "1234567890123456789012345678.0000000001")
    ],
    "single": [0.0, -0.0, NAN, math.inf, 0.1, 1e-45, 3.4e38],
    "ratio": [0.0, -0.0, NAN, ODD_NAN, math.inf, -math.inf, 0.1, 5e-324, 1.7976931348623157e308, 1 / 3],
    "text": [
        "",
        " ",
        "a",
        "A",
        "a ",
        "ä",
        "a\u0308",
        "\U0001f469\u200d\U0001f4bb",
        "N",
        "1:a",
        "a\x00b",
        "'\"\\",
        "\n",
    ],
    "raw": [b"", b"\x00", b"\xff\x00\xfe", b"abc"],
    "day": [moment.date() for moment in MOMENTS],
    "clock": [dt.time(), dt.time(23, 59, 59, 999999), dt.time(1, 2, 3, 40)],
    "local": MOMENTS,
    "at": [moment.replace(tzinfo=dt.UTC) for moment in MOMENTS],
    "tags": [[], [None], [""], ["a", None], ["N"], ["1:a"], ["a", "b"], ["b", "a"], ["ä"]],
    "ratios": [[], [None], [NAN, -0.0, 0.0], [ODD_NAN, 0.1, math.inf]],
    "pair": [
        {"b": None, "a": None, "deep": None},
        {"b": "x", "a": decimal.Decimal("1.50"), "deep": []},
        {"b": "", "a": decimal.Decimal("-0.10"), "deep": [1, None]},
    ],
    "counts": [[], [("a", 1), ("b", None)], [("b", None), ("a", 1)], [("ä", -1)]],
}


def every_value() -> list[dict[str, Any]]:
    """Return rows that have each value of each column, and a NULL."""
    longest = max(map(len, VALUES.values())) + 1
    return [
        {name: ([None, *values] * longest)[place] for name, values in VALUES.items()} | {"id": place}
        for place in range(longest)
    ]


def create(lake: Any, name: str, rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> None:
    ensure_namespace(lake, "raw")
    schema = pa.schema(list(types.items()))
    lake.create_table(name, schema).append(pa.Table.from_pylist(rows, schema))


@pytest.fixture
def engines(trino, lake, table_name):
    """Return DuckDB and Trino over a table of every value."""
    create(lake, table_name, every_value(), {"id": pa.int64(), **TYPES})
    with reading(lake, table_name) as duckdb, reading(lake, table_name, trino=Queries(trino.connect)) as on_trino:
        assert (duckdb.dialect.name, on_trino.dialect.name) == ("duckdb", "trino")
        yield duckdb, on_trino


def texts(engine: Engine, table: str, column: str) -> dict[int, str]:
    source = engine.table(table)
    kind = kind_of(engine.columns(source)[column])
    text = forms_of(engine).text(quote_identifier(column), kind, kind)
    return dict(engine.fetch(f"SELECT id, {text} FROM {source}"))


def kind_of(name: str) -> Type:
    kind = parse(name)
    assert kind is not None, name
    return kind


@pytest.mark.parametrize("column", TYPES)
def test_every_value_has_the_same_text(engines, table_name, column):
    duckdb, trino = (texts(engine, table_name, column) for engine in engines)
    assert duckdb == trino
    assert len(duckdb) == len(every_value())


@pytest.mark.parametrize("algorithm", HASHES)
def test_every_row_has_the_same_hash(engines, table_name, algorithm):
    found = []
    for engine in engines:
        source = engine.table(table_name)
        kinds = {name: kind_of(kind) for name, kind in engine.columns(source).items()}
        forms = forms_of(engine)
        text = forms.row_text((quote_identifier(name), kind, kind) for name, kind in kinds.items())
        rows = engine.fetch(f"SELECT id, {forms.row_hash(text, algorithm)} FROM {source}")
        found.append({number: int(value) % 2**64 for number, value in rows})
    assert found[0] == found[1]
    assert len(set(found[0].values())) == len(found[0])
