"""Reconciliation on Trino: the same row hashes, checksums and verdicts as on DuckDB."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import os
import random
import struct
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.iceberg.trino.queries import Queries
from airflow_provider_phlo.operators.reconcile import ReconcileOperator
from airflow_provider_phlo.quality.engines import SQLEngine, open_engine, xxhash64
from airflow_provider_phlo.quality.reconciliation import (
    AggregateSpec,
    ChecksumReconciliationCheck,
    KeyParityCheck,
    MultiAggregateConsistencyCheck,
    ReconciliationCheck,
)
from airflow_provider_phlo.quality.reconciliation.canonical import HASHES
from airflow_provider_phlo.quality.reconciliation.sides import forms_of
from airflow_provider_phlo.quality.reconciliation.value_types import ValueType, parse_type
from airflow_provider_phlo.quality.scan import run_checks
from airflow_provider_phlo.sql import Query, quote_identifier
from tests.unit.quality.reconciliation.documented_rules import Rule, judge, rules
from tests.unit.quality.reconciliation.oracle import random_pair
from tests.unit.quality.reconciliation.test_oracle import Cases
from tests.unit.quality.reconciliation.test_oracle import judge as judge_case

# beside the merges, on a Trino of its own
pytestmark = pytest.mark.xdist_group("trino checks")

SEEDS = range(int(os.environ.get("PHLO_TEST_SEEDS", "3")))
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
    with (
        open_engine(lake, table_name) as duckdb,
        open_engine(lake, table_name, trino=Queries(trino.connect)) as on_trino,
    ):
        assert (duckdb.dialect.name, on_trino.dialect.name) == ("duckdb", "trino")
        yield duckdb, on_trino


def texts(engine: SQLEngine, table: str, column: str) -> dict[int, str]:
    source = engine.table(table)
    kind = kind_of(engine.columns(source)[column])
    text = forms_of(engine).text(quote_identifier(column), kind, kind)
    return dict(engine.fetch(Query(f"SELECT id, {text} FROM {source}")))


def kind_of(name: str) -> ValueType:
    kind = parse_type(name)
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
        rows = engine.fetch(Query(f"SELECT id, {forms.row_hash(text, algorithm)} FROM {source}"))
        found.append({number: int(value) % 2**64 for number, value in rows})
    assert found[0] == found[1]
    assert len(set(found[0].values())) == len(found[0])


def test_texts_of_all_lengths_have_trinos_own_hash(trino):
    texts = ["".join(chr(97 + place % 26) for place in range(size)) for size in range(140)] + ["ä" * 33, "\x00"]
    values = ", ".join(f"({number}, '{text}')" for number, text in enumerate(texts))
    rows = trino.query(f"SELECT n, from_big_endian_64(xxhash64(to_utf8(x))) FROM (VALUES {values}) AS t (n, x)")
    with duckdb.connect() as connection:
        xxhash64.register(connection)
        ours = connection.execute("SELECT xxhash64(x) FROM (SELECT unnest(?) AS x)", [texts]).fetchall()
    assert [found for (found,) in ours] == [found for _, found in sorted(rows)]


def both(trino: Any, lake: Any, table: str, checks: list[Any], **where: Any) -> list[tuple[Any, Any]]:
    """Return the results of each check on DuckDB and on Trino."""
    ours = run_checks(lake, table, checks, **where)
    theirs = run_checks(lake, table, checks, trino=Queries(trino.connect), **where)
    return list(zip(ours, theirs, strict=True))


def comparable(result: Any) -> dict[str, Any]:
    """Return what has to be the same on every engine."""
    own = ("execution_time_seconds",)
    return {name: value for name, value in result.to_dict().items() if name not in own}


@pytest.mark.parametrize("found", rules(), ids=lambda found: found.title)
def test_rules_of_the_page(trino, lake, table_name, found: Rule):
    ensure_namespace(lake, "raw")
    source = f"{table_name}_source"
    for name, side in ((source, "source"), (table_name, "target")):
        rows = found.table(side)
        lake.create_table(name, rows.schema).append(rows)
    (result,) = run_checks(lake, table_name, [found.check(source)], trino=Queries(trino.connect))
    judge(found, result, source, table_name)


def changed(chance: random.Random, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what became of rows: some dropped, doubled, changed in a cell, in another order."""
    left: list[dict[str, Any]] = []
    for row in rows:
        fate = chance.random()
        if fate < 0.1:
            continue
        if fate < 0.2:
            name = chance.choice([*VALUES, "id"])
            row = {**row, name: chance.choice([None, *VALUES[name]]) if name != "id" else chance.randrange(40)}
        left += [row] * (2 if fate > 0.95 else 1)
    chance.shuffle(left)
    return left


@pytest.mark.parametrize("seed", SEEDS)
def test_random_tables_have_the_same_verdicts_and_checksums(trino, lake, table_name, seed):
    chance = random.Random(seed)
    source = f"{table_name}_source"
    rows = [
        {name: chance.choice([None, *values]) for name, values in VALUES.items()} | {"id": number}
        for number in range(chance.choice([0, 20, 40]))
    ]
    types = {"id": pa.int64(), **TYPES}
    create(lake, source, rows, types)
    create(lake, table_name, changed(chance, rows) if seed else rows, types)
    keys = [["id"], ["ratio", "at"], ["amount"], ["text", "tags"], ["pair"], ["local", "raw", "flag"]]
    groups = [(), "day", ["flag", "single"], ["whole"], ["clock"], ["tags"]]
    specs = [
        AggregateSpec(name, sql, target_expression=sql)
        for name, sql in {
            "n": "count(*)",
            "total": "sum(amount)",
            "least": "min(small)",
            "last": 'max("at")',
            "text": "max(text)",
            "mean": "avg(CAST(small AS DOUBLE))",
        }.items()
    ]
    checks = [
        ReconciliationCheck(source, "day", tolerance=0.2, limit=100),
        ReconciliationCheck(source, "at", "rowcount_gte", absolute_tolerance=1, limit=100),
        *(KeyParityCheck(source, key, limit=100, show_keys=False) for key in keys),
        *(
            ChecksumReconciliationCheck(
                source, key_columns=key, hash_algorithm=chance.choice(HASHES), checksums=True, show_keys=False
            )
            for key in [*keys, []]
        ),
        ChecksumReconciliationCheck(
            source, key_columns=["id"], columns=["ratio", "single", "long"], value_tolerance=1e-3
        ),
        ChecksumReconciliationCheck(
            source, key_columns=["id"], columns=["ratio", "amount"], absolute_value_tolerance=1.0
        ),
        *(MultiAggregateConsistencyCheck(source, specs, group, tolerance=0.1, show_keys=False) for group in groups),
    ]
    for ours, theirs in both(trino, lake, table_name, checks):
        assert "cannot be evaluated" not in ours.message
        assert {**comparable(theirs), "snapshot_id": None} == {**comparable(ours), "snapshot_id": None}


@pytest.mark.parametrize("seed", SEEDS)
def test_random_pairs_are_as_plain_python_has_them(trino, lake, table_name, seed):
    chance = random.Random(seed)
    pair = random_pair(chance, stored=True, unique=chance.random() < 0.5)
    ensure_namespace(lake, "raw")
    for name, side in ((f"{table_name}_source", 0), (table_name, 1)):
        rows = pair.table(side)
        lake.create_table(name, rows.schema, properties={"format-version": "2"}).append(rows)
    cases = Cases(chance, pair, f"{table_name}_source").some()
    for queries in (None, Queries(trino.connect)):
        results = run_checks(lake, table_name, [case.check for case in cases], trino=queries)
        for result, case in zip(results, cases, strict=True):
            judge_case(result, case, (seed, pair))


def test_partitions_branches_and_several_tables(trino, lake, table_name):
    days = [dt.date(2024, 1, 15), dt.date(2024, 1, 16)]
    types = {"id": pa.int64(), "taken": pa.timestamp("us", "UTC"), "note": pa.string()}
    rows = [
        {"id": number, "taken": dt.datetime(2024, 1, 15 + number % 2, 23, tzinfo=dt.UTC), "note": "x"}
        for number in range(8)
    ]
    first, second = f"{table_name}_a", f"{table_name}_b"
    create(lake, first, rows[:5], types)
    create(lake, second, rows[5:], types)
    facts = [{"key": row["id"], "day": row["taken"].date(), "note": row["note"]} for row in rows[:7]]
    create(lake, table_name, facts, {"key": pa.int64(), "day": pa.date32(), "note": pa.string()})
    table = lake.load_table(table_name)
    table.manage_snapshots().create_branch(table.metadata.current_snapshot_id, "phlo_run").commit()
    last = pa.table({"key": [7], "day": [days[1]], "note": ["x"]}, table.schema().as_arrow())
    lake.load_table(table_name).append(last, branch="phlo_run")
    called = {"key": "id", "day": "CAST(taken AS DATE)"}
    checks = [
        ReconciliationCheck([first, second], "day", source_columns=called),
        KeyParityCheck([first, second], "key", source_columns=called),
        ChecksumReconciliationCheck([first, second], key_columns="key", source_columns=called, source_filter="id >= 0"),
    ]
    for where, passed in (
        ({}, False),
        ({"branch": "phlo_run"}, True),
        ({"partition": days[0], "partition_column": "day"}, True),
        ({"partition": days[1], "partition_column": "day"}, False),
    ):
        for ours, theirs in both(trino, lake, table_name, checks, **where):
            assert (ours.passed, theirs.passed) == (passed, passed), (ours.message, theirs.message)
            assert ours.message == theirs.message


def test_the_operator_runs_on_trino(trino, lake, table_name, on_trino, make_context):
    types = {"id": pa.int64(), "v": pa.float64()}
    source = f"{table_name}_source"
    create(lake, source, [{"id": 1, "v": NAN}, {"id": 2, "v": 1.0}], types)
    create(lake, table_name, [{"id": 1, "v": NAN}, {"id": 2, "v": 2.0}], types)
    task = ReconcileOperator(
        task_id="reconcile",
        target=table_name,
        source=source,
        checks=[ChecksumReconciliationCheck(key_columns="id")],
        engine="trino",
        blocking=False,
    )
    (result,) = task.execute(make_context(task))["results"]
    assert result["different"] == ["id=2"]
    assert result["source_checksum"] != result["target_checksum"]
