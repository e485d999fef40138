"""Rows that break their model, or that a warehouse cannot hold, go to the quarantine of their table."""

from __future__ import annotations

import dataclasses
import datetime
import json

import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.warehouse.set_aside import failing_rows
from airflow_provider_phlo.warehouse.snowflake import SnowflakeDialect
from airflow_provider_phlo.warehouse.stage_batches import StageFile
from tests.unit.warehouse.models import LINES, ORDER_SCHEMA, ORDERS, lines, order, orders
from tests.unit.warehouse.test_postgres import breaking_connection

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")
QUARANTINE = "raw.orders__quarantine"
BAD = [
    order("negative", 1, -1.0),
    order("nobody", 1, customer=None),
    order("too early", 1, updated_at=None),
]
NUL = [order("nul", 1, customer="a\0b"), order("list", 1, tags=["a", "\0"])]


@pytest.fixture
def lenient(loader):
    loader.warehouse = dataclasses.replace(loader.warehouse, strict=False)
    return loader


@pytest.fixture
def lenient_postgres(postgres):
    postgres.warehouse = dataclasses.replace(postgres.warehouse, strict=False)
    return postgres


def adds_up(load):
    return load.rows == load.inserted + load.updated + load.unchanged + load.duplicates + load.quarantined


def left(loader):
    """Return the copies that a load has made for itself, and has not removed."""
    return [path for path in loader.stage.root.rglob("*") if "_load_" in str(path)]


def test_rows_that_break_their_model_are_set_aside_and_counts_add_up(lenient):
    batches = [
        lenient.write("a", orders=[orders(order("x", 1), *BAD[:2]), orders(BAD[2], order("x", 2))]),
        lenient.write("b", orders=[orders(order("y", 1))], lines=[lines((1, "y", 1))]),
    ]
    first = lenient.load([ORDERS, LINES], *batches)
    assert all(map(adds_up, first))
    assert [(load.rows, load.inserted, load.duplicates, load.quarantined) for load in first] == [
        (6, 2, 1, 3),
        (1, 1, 0, 0),
    ]
    assert [load.table for load in first] == ["raw.orders", "raw.order_lines"]
    assert lenient.rows("raw.orders", "order_id") == [("x",), ("y",)]
    found = lenient.rows(QUARANTINE, "reason", "run_id", "record")
    assert {json.loads(record)["order_id"]: reason.partition(":")[0] for reason, _, record in found} == {
        "negative": "amount", "nobody": "customer", "too early": "updated_at"
    }  # fmt: skip
    assert {run for _, run, _ in found} == {"manual__1"}
    assert lenient.load([ORDERS, LINES], *batches) == first
    again = lenient.load([ORDERS], *batches, token="token2")[0]
    assert (again.unchanged, again.quarantined) == (2, 3)
    assert len(lenient.rows(QUARANTINE, "quarantine_id")) == 3
    assert left(lenient) == []


def test_files_of_nothing_but_bad_rows(lenient):
    load = lenient.load([ORDERS], lenient.write(orders=[orders(*BAD), orders(BAD[0])]))[0]
    assert (load.rows, load.quarantined, load.inserted) == (4, 4, 0)
    assert lenient.rows("raw.orders", "order_id") == []
    assert len(lenient.rows(QUARANTINE, "quarantine_id")) == 4


def test_a_value_of_another_type_is_set_aside_and_what_can_be_read_as_the_declared_type_is_loaded(lenient):
    schema = ORDER_SCHEMA.set(2, pa.field("amount", pa.string()))
    rows = pa.Table.from_pylist([order("x", 1, "1.5"), order("y", 1, "secret words")], schema)
    only = pa.Table.from_pylist([order("z", 1, "2.5")], schema)
    load = lenient.load([ORDERS], lenient.write(orders=[rows, only]))[0]
    assert (load.inserted, load.quarantined) == (2, 1)
    assert lenient.rows("raw.orders", "order_id", "amount") == [("x", 1.5), ("z", 2.5)]


def test_without_bad_rows_there_is_no_quarantine(lenient_postgres):
    batch = lenient_postgres.write(orders=[orders(order("x", 1))])
    assert lenient_postgres.load([ORDERS], batch)[0].quarantined == 0
    with lenient_postgres.connect() as connection:
        assert connection.execute("SELECT to_regclass(%s)", [QUARANTINE]).fetchone() == (None,)


def test_what_postgres_cannot_hold_is_set_aside(lenient_postgres):
    rows = orders(order("x", 1), *NUL, order("y", 1, tags=["\\u0000"]))
    load = lenient_postgres.load([ORDERS], lenient_postgres.write(orders=[rows]))[0]
    assert (load.rows, load.inserted, load.quarantined) == (4, 2, 2)
    assert lenient_postgres.rows("raw.orders", "order_id") == [("x",), ("y",)]
    found = lenient_postgres.rows(QUARANTINE, "reason", "record", "source_position", "partition_date")
    assert [(reason, json.loads(record)["order_id"]) for reason, record, *_ in found] == [
        ("customer: postgres can hold it", "nul"),
        ("tags: postgres can hold it", "list"),
    ]
    assert [json.loads(record)["customer"] for _, record, *_ in found] == ["a\0b", "octo"]
    assert [row[2:] for row in found] == [(1, datetime.date(2026, 11, 28)), (2, datetime.date(2026, 11, 28))]


def test_iceberg_holds_what_postgres_cannot(iceberg):
    assert iceberg.load([ORDERS], iceberg.write(orders=[orders(*NUL)]))[0].inserted == 2


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_connection_that_breaks_leaves_rows_and_quarantine_or_neither(lenient_postgres, after):
    batch = lenient_postgres.write(orders=[orders(order("x", 1), *BAD)])
    broken = 0
    for at in range(1, 100, 3):
        warehouse = dataclasses.replace(
            lenient_postgres.warehouse, connect=lambda at=at: breaking_connection(lenient_postgres, at, after=after)
        )
        try:
            warehouse.load(lenient_postgres.stage, [ORDERS], [batch], f"t{at}", run_id="r", partition_date="2026-11-28")
        except PhloError:
            broken += 1
        else:
            break
        assert left(lenient_postgres) == []
        load = lenient_postgres.load([ORDERS], batch, token=f"t{at}")[0]
        assert (load.rows, load.inserted + load.unchanged, load.quarantined) == (4, 1, 3)
        assert len(lenient_postgres.rows(QUARANTINE, "quarantine_id")) == 3
        with lenient_postgres.connect() as connection:
            connection.execute("DROP SCHEMA raw CASCADE")
    assert broken > 5


def test_a_record_that_is_too_long_is_looked_up_in_the_stage(lenient_postgres):
    batch = lenient_postgres.write(orders=[orders(order("x", 1), order("y", 1, customer="\0" + "a" * 1_000_000))])
    assert lenient_postgres.load([ORDERS], batch)[0].quarantined == 1
    file = batch.files["orders"][0].name
    assert lenient_postgres.rows(QUARANTINE, "record", "source_file", "source_position") == [(None, file, 1)]


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.int64(), pa.float64(), pa.list_(pa.string())])
def test_what_snowflake_cannot_hold(kind):
    dialect = SnowflakeDialect("STAGE")
    long = {pa.string(): ["a", "é" * (2**23 + 1), None, "x" * 2**24], pa.binary(): [b"a", b"b" * (2**23 + 1)]}
    values = pa.array(long.get(kind, [None]), kind)
    assert dialect.unfit(pa.field("c", kind), values) == ([1] if kind in long else [])


def test_snowflake_refuses_to_set_rows_of_too_many_files_aside():
    files = [
        StageFile(f"shop/_load_t_orders/org=o/date=2026-11-28/f-{number:05}.parquet", 1, 1, 1) for number in range(1001)
    ]
    with pytest.raises(ConfigurationError, match=r"rows are to be set aside, .* load fewer batches"):
        SnowflakeDialect("STAGE").copy("t", ORDER_SCHEMA, "orders", files)


def test_failing_rows_are_found_by_halving():
    calls = []

    def test(values):
        calls.append(len(values))
        if 3 in values.to_pylist():
            raise ValueError

    assert failing_rows(test, pa.array([*range(1000), 3]), (ValueError,)) == [3, 1000]
    assert len(calls) < 50
    assert failing_rows(test, pa.array([], pa.int64()), (ValueError,)) == []
