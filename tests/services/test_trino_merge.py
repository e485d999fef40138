"""Trino merges as the embedded engine does, and both as the contract says: random sequences, row for row."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import os
import random
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED
from airflow_provider_phlo.iceberg.trino import TrinoEngine
from tests.expect import expect
from tests.services.batches import batch, comparable, content, create, run
from tests.services.model import Model

# in one worker: the groups "trino" and "trino checks" at once are enough for Trino
pytestmark = pytest.mark.xdist_group("trino")

SEEDS = range(int(os.environ.get("PHLO_TEST_SEEDS", "10")))
STEPS = 5
DAYS = ("2024-01-15", "2024-01-16")
NAN = float("nan")
COUNTS = (
    "rows inserted updated unchanged duplicates deleted outdated replaced deleted_duplicates".split()  # noqa: SIM905
)

TYPES = {
    "id": pa.int64(),
    "part": pa.string(),
    "ratio": pa.float64(),
    "x": pa.float64(),
    "text": pa.string(),
    "amount": pa.decimal128(12, 2),
    "at": pa.timestamp("us", "UTC"),
    "tags": pa.list_(pa.int64()),
    "pair": pa.struct([("a", pa.int64()), ("b", pa.string())]),
    "parts": pa.struct([("x", pa.list_(pa.struct([("y", pa.int64())]))), ("m", pa.map_(pa.string(), pa.int64()))]),
    "version": pa.int64(),
    "measured": pa.float64(),
    "gone": pa.bool_(),
    "gone_at": pa.string(),
}
LATER = {"added": pa.string()}
VALUES: dict[str, list[Any]] = {
    "x": [None, NAN, 0.0, -0.0, 1.5, math.inf],
    "text": [None, "", "ä'\"", "same"],
    "amount": [None, decimal.Decimal("1.50"), decimal.Decimal("-2.00")],
    "at": [None, dt.datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)],
    "tags": [None, [], [1, None]],
    "pair": [None, {"a": 1, "b": None}, {"a": None, "b": "b"}],
    "parts": [None, {"x": None, "m": None}, {"x": [], "m": []}, {"x": [None, {"y": None}], "m": [("k", None)]}],
    "added": [None, "new"],
}
KEYS = (("id",), ("part", "ratio"), ("ratio",))


RATIOS = [NAN, 0.0, -0.0, 2.5, 3.5]


def random_rows(chance: random.Random, columns: list[str], narrow: bool) -> list[dict[str, Any]]:
    """Return rows with few keys and few values, so that they meet.

    But for ``narrow``, rows of one version are equal, so that a table has one newest row of each key.
    """
    rows = []
    for _ in range(chance.choice([0, 8, 16, 16, 24, 24, 24])):
        row: dict[str, Any] = {
            "id": chance.randrange(12),
            "part": chance.choice("pqrs"),
            "ratio": chance.choice(RATIOS),
            "version": chance.choice([None, chance.randrange(4 if narrow else 10**9)]),
            "measured": chance.choice([None, NAN, float(chance.randrange(4 if narrow else 10**9))]),
            "gone": chance.choice([None, False, True]),
            "gone_at": chance.choice([None, None, "2024"]),
        }
        row |= {name: chance.choice(values) for name, values in VALUES.items() if name in columns}
        if chance.random() < 0.5:
            newness = 2 if narrow else row["id"] + 100 * ("pqrs".index(row["part"]) + 4 * RATIOS.index(row["ratio"]))
            row = {**row, **dict.fromkeys(VALUES), "version": newness, "measured": float(newness)}
            row |= {"gone": None, "gone_at": None}
        if rows and chance.random() < 0.2:
            row = dict(chance.choice(rows))  # an exact copy
        rows.append(row)
    return rows


def random_plan(chance: random.Random, key: tuple[str, ...], strategies: list[str]) -> MergePlan:
    strategy = chance.choice(strategies)
    method = chance.choice(["last", "first", "hash"])
    return MergePlan(
        strategy,
        key,
        deduplication=strategy != "append" or chance.random() < 0.6,
        method=method,
        order_by=chance.choice([None, None, "version", "measured"]) if strategy == "merge" else None,
        hard_delete=chance.choice([None, "gone", "gone", "gone_at"]) if strategy == "merge" else None,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_random_sequences_leave_the_rows_that_the_contract_says(trino, lake, table_name, seed):
    chance = random.Random(seed)
    duplicates = seed % 2 == 1  # appended rows may share keys
    key = KEYS[seed % len(KEYS)]
    strategies, days = (["merge"], ["merge", "append", "replace"])[duplicates], DAYS
    if seed % 4 == 1:
        strategies = ["append", "replace"]
    elif duplicates:
        days = DAYS[:1]  # in which partition the one that is kept lies decides what is replaced
    engine, model, types = TrinoEngine(trino.connect), Model(), dict(TYPES)
    twin = f"{table_name}_embedded"
    for name in (table_name, twin):
        create(lake, name, types)
    for step in range(STEPS):
        if step == 2:
            types |= LATER
        rows = random_rows(chance, list(types), narrow=not duplicates)
        plan, day = random_plan(chance, key, strategies), chance.choice(days)
        staged = batch(rows, types, day)
        expected = model.merge(rows, plan, day)
        result, audited = run(engine, lake, table_name, staged, plan, day)
        after = content(lake, table_name)
        assert audited == after, f"the audit saw another table in step {step}, {plan}"
        assert without_hash(after) == model_rows(model), f"step {step}, {plan}"
        assert counts(result.to_json()) == counts({**expected, "rows": len(rows)}), f"{plan}"
        same, _ = run(EMBEDDED, lake, twin, staged, plan, day)
        assert content(lake, twin) == after, f"the engines differ in step {step}, {plan}"
        assert counts(same.to_json()) == counts(result.to_json()), f"{plan}"


def model_rows(model: Model) -> list[tuple[Any, ...]]:
    return without_hash(
        comparable({**{n: v for n, v in row.items() if n != "day"}, "_phlo_row_hash": ""} for row in model.rows)
    )


def without_hash(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(item for item in row if item[0] != "_phlo_row_hash") for row in rows), key=repr)


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {name: int(found.get(name, 0)) for name in COUNTS}


def test_engines_take_turns_on_one_table(trino, lake, table_name):
    chance, engines = random.Random(7), (TrinoEngine(trino.connect), EMBEDDED)
    model, types, plan = Model(), dict(TYPES), MergePlan(key=("id",))
    create(lake, table_name, types)
    for step in range(8):
        rows = random_rows(chance, list(types), narrow=True)
        expected = model.merge(rows, plan, DAYS[0])
        result, audited = run(engines[step % 2], lake, table_name, batch(rows, types), plan)
        assert without_hash(content(lake, table_name)) == model_rows(model) == without_hash(audited), f"step {step}"
        assert counts(result.to_json()) == counts({**expected, "rows": len(rows)}), f"step {step}"


SMALL = {"id": pa.int64(), "x": pa.float64()}


def test_one_snapshot_per_run_and_none_without_change(trino, lake, table_name):
    create(lake, table_name, SMALL)
    engine, plan = TrinoEngine(trino.connect), MergePlan(key=("id",))
    rows = [{"id": number, "x": float(number)} for number in range(20)]
    for expected in (1, 1):
        run(engine, lake, table_name, batch(rows, SMALL), plan)
        table = lake.load_table(table_name)
        assert len(table.snapshots()) == expected
    assert list(table.refs()) == ["main"]
    assert not [name for _, name in lake.list_tables("raw") if name.startswith(table_name[4:] + "__staging")]


def test_rows_of_others_without_hash_are_compared_by_their_columns(trino, lake, table_name):
    create(lake, table_name, SMALL)
    trino.query(f"INSERT INTO {table_name} (id, x) VALUES (1, nan()), (2, 2e0), (2, 2e0), (3, NULL)")
    engine = TrinoEngine(trino.connect)
    rows = batch([{"id": 1, "x": NAN}, {"id": 2, "x": 5.0}, {"id": 3, "x": None}, {"id": 4, "x": 4.0}], SMALL)
    result, audited = run(engine, lake, table_name, rows, MergePlan(key=("id",)))
    expect(result, inserted=1, updated=1, unchanged=2, deleted_duplicates=1)
    assert audited == content(lake, table_name)
    appended, _ = run(engine, lake, table_name, rows, MergePlan("append", method="hash"))
    expect(appended, inserted=0, duplicates=4)


@pytest.mark.parametrize("strategy", ["merge", "append"])
@pytest.mark.parametrize("method", ["last", "first", "hash"])
def test_a_batch_without_rows_changes_nothing(trino, lake, table_name, strategy, method):
    create(lake, table_name, SMALL)
    engine, plan = TrinoEngine(trino.connect), MergePlan(strategy, ("id",), method=method)
    run(engine, lake, table_name, batch([{"id": 1, "x": 1.0}], SMALL), plan)
    before = lake.load_table(table_name).current_snapshot()
    result, audited = run(engine, lake, table_name, batch([], SMALL), plan)
    assert counts(result.to_json()) == dict.fromkeys(COUNTS, 0)
    assert audited == content(lake, table_name)
    assert lake.load_table(table_name).current_snapshot() == before


def test_what_cannot_be_merged_is_refused_before_anything_is_written(trino, lake, table_name):
    create(lake, table_name, {**SMALL, "pair": TYPES["pair"]})
    engine = TrinoEngine(trino.connect)

    def refused(error: type[Exception], text: str, rows: pa.Table, plan: MergePlan, name: str = table_name) -> None:
        with pytest.raises(error, match=text):
            engine.merge(lake, name, rows, plan, token="refused", partition_date=DAYS[0])

    one = batch([{"id": 1}], SMALL)
    refused(SchemaError, "Key column 'id' has 1 NULL", batch([{"id": None}], SMALL), MergePlan(key=("id",)))
    refused(ConfigurationError, "no key column", one, MergePlan(key=("nope",)))
    refused(ConfigurationError, "no column 'nope', which order_by names", one, MergePlan(key=("id",), order_by="nope"))
    refused(ConfigurationError, "'pair' is nested", one, MergePlan(key=("pair",)))
    refused(SchemaError, "are not of 2024-01-15", batch([{"id": 1}], SMALL, DAYS[1]), MergePlan("replace", ("id",)))
    bare = f"{table_name}_bare"
    lake.create_table(bare, pa.schema([("id", pa.int64())]))
    refused(ConfigurationError, "needs the metadata columns", one.select(["id"]), MergePlan(key=("id",)), bare)
    hidden = {"id": pa.int64(), "$path": pa.string()}
    create(lake, f"{table_name}_hidden", hidden)
    text = r"Trino has a column '\$path' of its own"
    refused(ConfigurationError, text, batch([{"id": 1}], hidden), MergePlan(key=("id",)), f"{table_name}_hidden")
    assert lake.load_table(table_name).current_snapshot() is None
    assert not [name for _, name in lake.list_tables("raw") if name.endswith("__staging_refused")]
