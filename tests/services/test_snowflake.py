"""Loads into Snowflake, as far as a stand-in executes them."""

from __future__ import annotations

import dataclasses
import json
import uuid

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, SchemaError
from airflow_provider_phlo.warehouse.snowflake import SnowflakeDialect
from airflow_provider_phlo.warehouse.sql_warehouse import SqlWarehouse
from airflow_provider_phlo.warehouse.stage import Stage
from tests.services.snowflake import connect, running_snowflake
from tests.unit.warehouse.conftest import Loader
from tests.unit.warehouse.models import LINES, ORDERS, at, lines, order, orders

pytestmark = pytest.mark.xdist_group("snowflake")
RUN = {"run_id": "r", "partition_date": "2026-11-28"}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with running_snowflake(tmp_path_factory.mktemp("snowflake")) as port:
        yield port


class SnowflakeLoader(Loader):
    """Tables of the server, with an external stage over a folder."""

    def rows(self, table, *columns):
        names = ", ".join(columns)
        return sorted(self.execute(f"SELECT {names} FROM {table}"), key=repr)

    def execute(self, sql):
        connection = self.connect()
        try:
            return connection.cursor().execute(sql).fetchall()
        finally:
            connection.close()


@pytest.fixture
def snowflake(port, tmp_path):
    stage = f"STAGE_{uuid.uuid4().hex[:8].upper()}"
    warehouse = SqlWarehouse(SnowflakeDialect(f"LAKE.PUBLIC.{stage}"), lambda: connect(port))
    loader = SnowflakeLoader(warehouse, Stage(tmp_path / "stage", "shop"), connect=lambda: connect(port))
    loader.execute(f"CREATE STAGE LAKE.PUBLIC.{stage} URL = 'file://{tmp_path}/stage'")
    yield loader
    loader.execute("DROP SCHEMA IF EXISTS RAW CASCADE")


def test_batches_go_in_once_and_the_newest_row_of_each_key_stays(snowflake):
    batches = [
        snowflake.write("it's ours", orders=[orders(order("x", 1), order("y", 1))], lines=[lines((1, "x", 2))]),
        snowflake.write("b", orders=[orders(order("z", 1, None), order("x", 2, 9.0))]),
    ]
    first = snowflake.load([ORDERS, LINES], *batches)
    assert [(load.rows, load.inserted, load.updated, load.duplicates) for load in first] == [(4, 3, 0, 1), (1, 1, 0, 0)]
    # names without quotes: they are as Snowflake writes them
    assert snowflake.rows("raw.orders", "order_id", "amount", "updated_at") == [
        ("x", 9.0, at(2)),
        ("y", 1.0, at(1)),
        ("z", None, at(1)),
    ]
    assert snowflake.load([ORDERS, LINES], *batches) == first
    again = snowflake.load([ORDERS], *batches, token="token2")[0]
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, 3)
    assert snowflake.rows("raw.orders__stage", "order_id") == []


def test_an_older_batch_never_overwrites_newer_rows(snowflake):
    older = snowflake.write(token="t1", orders=[orders(order("x", 1, 1.0), order("y", 1, 1.0))])
    newer = snowflake.write(token="t2", orders=[orders(order("x", 2, 2.0))])
    snowflake.load([ORDERS], newer)
    load = snowflake.load([ORDERS], older, token="token2")[0]
    assert (load.inserted, load.updated, load.unchanged) == (1, 0, 1)
    assert snowflake.rows("raw.orders", "order_id", "amount") == [("x", 2.0), ("y", 1.0)]


def test_a_text_column_that_may_be_too_short_is_refused_before_anything_is_written(snowflake):
    snowflake.load([ORDERS])
    snowflake.execute("DROP TABLE raw.orders")
    snowflake.execute(
        "CREATE TABLE raw.orders (order_id VARCHAR NOT NULL, customer VARCHAR(10), amount FLOAT, tags VARIANT, "
        "updated_at TIMESTAMP_LTZ(6))"
    )
    batch = snowflake.write(orders=[orders(order("x", 1))])
    with pytest.raises(SchemaError, match=r"its column CUSTOMER is TEXT\(10\), and the model's is VARCHAR"):
        snowflake.load([ORDERS], batch, token="token2")


def test_nested_values_are_compared_by_content(snowflake):
    values = [["a"], ["a"], ["a", "b"], None, []]
    for number, tags in enumerate(values):
        batch = snowflake.write(token=f"t{number}", orders=[orders(order("x", 1, tags=tags))])
        load = snowflake.load([ORDERS], batch, token=str(number))[0]
        assert (load.inserted, load.updated, load.unchanged) == [(1, 0, 0), (0, 0, 1), *[(0, 1, 0)] * 3][number]


def test_of_rows_that_are_equally_new_the_one_that_was_written_last_wins(snowflake):
    batches = [
        snowflake.write(token=f"t{n}", orders=[orders(order("x", 1, n)), orders(order("x", 1, n + 0.5))])
        for n in (1, 2)
    ]
    snowflake.load([ORDERS], *batches)
    assert snowflake.rows("raw.orders", "amount") == [(2.5,)]


def test_a_failure_at_any_statement_is_finished_by_a_retry(snowflake, port):
    batch = snowflake.write(orders=[orders(order("x", 2), order("x", 1), order("y", 1))])

    def breaking(at):
        connection = connect(port)
        make = connection.cursor

        def cursor():
            made, execute = make(), None
            execute = made.execute

            def counted(*given, **options):
                nonlocal at
                at -= 1
                if at == 0:
                    raise ConnectionAbortedError
                return execute(*given, **options)

            made.execute = counted
            return made

        connection.cursor = cursor
        return connection

    broken = 0
    for at_statement in range(1, 60, 2):
        token = f"token{at_statement}"
        try:
            SqlWarehouse(snowflake.warehouse.database, lambda n=at_statement: breaking(n)).load(
                snowflake.stage, [ORDERS], [batch], token, **RUN
            )
        except ConnectionAbortedError:
            broken += 1
        else:
            break
        load = snowflake.load([ORDERS], batch, token=token)[0]
        assert (load.rows, load.inserted + load.unchanged, load.duplicates) == (3, 2, 1)
        assert snowflake.rows("raw.orders", "order_id") == [("x",), ("y",)]
        recorded = snowflake.execute(f"SELECT count(*) FROM raw.phlo_loads WHERE token = '{token}'")
        assert recorded == [(1,)]
        snowflake.execute("DROP SCHEMA RAW CASCADE")
    assert broken > 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DROP COLUMN amount", r'it has no column AMOUNT: ALTER TABLE "RAW"\."ORDERS" ADD COLUMN "AMOUNT" FLOAT'),
        (
            "ALTER COLUMN amount SET DATA TYPE NUMBER(10,0)",
            r"its column AMOUNT is NUMBER\(10,0\), and the model's is FLOAT",
        ),
    ],
)
def test_a_table_that_was_changed_is_refused_by_name_before_anything_is_written(snowflake, change, message):
    snowflake.load([ORDERS])
    snowflake.execute(f"ALTER TABLE raw.orders {change}")
    with pytest.raises(SchemaError, match=message):
        snowflake.load([ORDERS], snowflake.write(orders=[orders(order("x", 1))]), token="token2")


def test_a_stage_table_of_another_model_is_made_anew(snowflake):
    snowflake.load([ORDERS], snowflake.write(orders=[orders(order("x", 1))]))
    snowflake.execute("ALTER TABLE raw.orders__stage DROP COLUMN amount")
    batch = snowflake.write(token="t2", orders=[orders(order("y", 1, 7.0))])
    assert snowflake.load([ORDERS], batch, token="token2")[0].inserted == 1
    assert snowflake.rows("raw.orders", "amount") == [(1.0,), (7.0,)]


def test_a_stage_that_does_not_exist_is_named(snowflake):
    warehouse = SqlWarehouse(SnowflakeDialect("LAKE.PUBLIC.NOPE"), snowflake.connect)
    with pytest.raises(ConfigurationError, match="NOPE"):
        warehouse.load(snowflake.stage, [ORDERS], [snowflake.write(orders=[orders(order("x", 1))])], "t", **RUN)


def test_a_file_that_is_gone_fails_the_load(snowflake):
    batch = snowflake.write(orders=[orders(order("x", 1))])
    (snowflake.stage.root / batch.files["orders"][0].path).unlink()
    with pytest.raises(PhloError, match=r"raw\.orders"):
        snowflake.load([ORDERS], batch)
    assert snowflake.rows("raw.orders", "order_id") == []


def test_what_a_table_holds_can_be_asked(snowflake):
    count_rows, rows = snowflake.warehouse.count_rows, snowflake.warehouse.rows
    assert count_rows("raw.orders", by="customer", where={}) == {}
    snowflake.load([ORDERS], snowflake.write(orders=[orders(order("x", 1), order("z", 9, customer="it's"))]))
    assert count_rows("raw.orders", by="customer", where={}) == {"octo": 1, "it's": 1}
    assert count_rows("raw.orders", by="order_id", where={"customer": "it's"}) == {"z": 1}
    assert rows("raw.orders", ["order_id"], where={"customer": "' OR 1=1 --"}) == []
    assert rows("raw.orders", ["order_id", "amount"], where={"customer": "octo"}) == [{"order_id": "x", "amount": 1.0}]
    with pytest.raises(ConfigurationError, match="no column nothing"):
        count_rows("raw.orders", by="nothing", where={})


def test_rows_that_break_their_model_are_set_aside(snowflake):
    warehouse = dataclasses.replace(snowflake.warehouse, strict=False)
    rows = [order("x", 1), order("n", 1, -1.0), order("nobody", 1, customer=None), order("x", 2)]
    batches = [snowflake.write("a", orders=[orders(*rows)]), snowflake.write("b", orders=[orders(order("y", 1))])]
    first = warehouse.load(snowflake.stage, [ORDERS], batches, "token1", **RUN)
    assert [(load.rows, load.inserted, load.duplicates, load.quarantined) for load in first] == [(5, 2, 1, 2)]
    assert snowflake.rows("raw.orders", "order_id") == [("x",), ("y",)]
    for token, inserted in [("token1", 2), ("token2", 0)]:
        assert warehouse.load(snowflake.stage, [ORDERS], batches, token, **RUN)[0].inserted == inserted
        found = snowflake.rows("raw.orders__quarantine", "reason", "run_id", "source_position", "record")
        assert [row[:3] for row in found] == [
            ("amount: greater_than_or_equal_to(0)", "r", 1),
            ("customer: not_nullable", "r", 2),
        ]
        assert [json.loads(row[3])["order_id"] for row in found] == ["n", "nobody"]
    assert [path for path in snowflake.stage.root.rglob("*") if "_load_" in str(path)] == []
