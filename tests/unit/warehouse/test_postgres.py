"""What only an SQL warehouse can meet, on a real PostgreSQL."""

from __future__ import annotations

import threading

import psycopg
import pytest

from airflow_provider_phlo.exceptions import AccountingError, ConfigurationError, PhloError, SchemaError
from airflow_provider_phlo.warehouse.postgres import PostgresDialect
from airflow_provider_phlo.warehouse.sql_warehouse import SqlWarehouse
from airflow_provider_phlo.warehouse.stage_batches import StageBatch
from tests.unit.warehouse.models import LINES, ORDERS, lines, order, orders

pytestmark = pytest.mark.xdist_group("published")


def breaking_connection(postgres, at, *, after):
    """Return a connection that breaks at its n-th statement, before or after the server has executed it."""
    left = iter(range(at - 1, -1, -1))

    class Breaking(psycopg.Cursor):
        def execute(self, *given, **options):
            return self._counted(super().execute, *given, **options)

        def copy(self, *given, **options):
            return self._counted(super().copy, *given, **options)

        def _counted(self, call, *given, **options):
            breaks = next(left, None) == 0
            if breaks and not after:
                self.connection.close()
            result = call(*given, **options)
            if breaks:
                self.connection.close()
                raise psycopg.OperationalError("the answer is lost")
            return result

    connection = postgres.connect()
    connection.cursor_factory = Breaking
    return connection


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_connection_that_breaks_at_any_statement_leaves_all_or_nothing_and_a_retry_finishes(postgres, after):
    batch = postgres.write(orders=[orders(order("x", 2), order("x", 1), order("y", 1))], lines=[lines((1, "x", 1))])
    tables, broken = [ORDERS, LINES], 0
    for at in range(1, 100):
        breaking = SqlWarehouse(PostgresDialect(), lambda at=at: breaking_connection(postgres, at, after=after))
        token = f"{after}{at}"
        try:
            breaking.load(postgres.stage, tables, [batch], token, run_id="r", partition_date="2026-11-28")
        except PhloError:
            broken += 1
        else:
            break
        loads = postgres.load(tables, batch, token=token)
        assert [(load.rows, load.inserted + load.unchanged, load.duplicates) for load in loads] == [
            (3, 2, 1),
            (1, 1, 0),
        ]
        assert postgres.rows("raw.orders", "order_id") == [("x",), ("y",)]
        with postgres.connect() as connection:
            recorded = connection.execute("SELECT count(*) FROM raw.phlo_loads WHERE token = %s", [token]).fetchone()
            assert recorded == (2,)
            connection.execute("DROP SCHEMA raw CASCADE")
    assert broken > 20


def test_two_loads_at_once_take_turns(postgres):
    batches = [
        postgres.write(token=f"t{n}", orders=[orders(*(order(str(key), n, float(n)) for key in range(200)))])
        for n in range(6)
    ]
    results, errors = [], []

    def load(batch):
        try:
            results.append(postgres.load([ORDERS], batch, token=batch.token)[0])
        except PhloError as error:
            errors.append(error)

    threads = [threading.Thread(target=load, args=[batch]) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(result.inserted for result in results) == 200
    assert set(postgres.rows("raw.orders", "amount")) == {(5.0,)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "DROP COLUMN amount",
            r'it has no column amount: ALTER TABLE "raw"."orders" ADD COLUMN "amount" double precision',
        ),
        ("ADD COLUMN mine int NOT NULL", "its column mine must not be NULL, and the model does not have it"),
        ("ALTER COLUMN amount TYPE int", "its column amount is integer, and the model's is double precision"),
        (
            "ALTER COLUMN customer TYPE varchar(3)",
            r"its column customer is character varying\(3\), and the model's is text",
        ),
        ("ALTER COLUMN updated_at TYPE timestamp", "its column updated_at is timestamp without time zone"),
    ],
)
def test_a_table_that_was_changed_is_refused_by_name_before_anything_is_written(postgres, change, message):
    postgres.load([ORDERS, LINES])
    with postgres.connect() as connection:
        connection.execute(f"ALTER TABLE raw.orders {change}")
    batch = postgres.write(orders=[orders(order("oct", 1))], lines=[lines((1, "x", 1))])
    with pytest.raises(SchemaError, match=rf"raw\.orders does not fit its model; nothing was written\. {message}"):
        postgres.load([LINES, ORDERS], batch, token="token2")
    assert postgres.rows("raw.order_lines", "line_id") == []


@pytest.mark.parametrize(
    "change", ["ADD COLUMN mine int", "ADD COLUMN mine int NOT NULL DEFAULT 1", "ALTER COLUMN customer TYPE varchar"]
)
def test_a_table_that_still_takes_the_rows_takes_them(postgres, change):
    postgres.load([ORDERS])
    with postgres.connect() as connection:
        connection.execute(f"ALTER TABLE raw.orders {change}")
    assert postgres.load([ORDERS], postgres.write(orders=[orders(order("x", 1))]), token="token2")[0].inserted == 1


def test_a_rule_of_the_table_that_a_row_breaks_is_named_without_its_value(postgres):
    postgres.load([ORDERS])
    with postgres.connect() as connection:
        connection.execute("ALTER TABLE raw.orders ADD CONSTRAINT rule CHECK (customer <> 'secret words')")
    batch = postgres.write(orders=[orders(order("x", 1, customer="secret words"))])
    with pytest.raises(SchemaError, match="constraint rule") as error:
        postgres.load([ORDERS], batch, token="token2")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("event", "body", "message"),
    [
        ("BEFORE INSERT", "RETURN NULL", "2 of 3"),
        ("BEFORE UPDATE", "RETURN NULL", "2 of 3"),
        ("AFTER INSERT", "DELETE FROM raw.orders WHERE order_id = new.order_id; RETURN NULL", "2 of 3"),
    ],
)
def test_rows_that_a_trigger_swallows_fail_the_load_and_nothing_is_committed(postgres, event, body, message):
    postgres.load([ORDERS], postgres.write(token="t1", orders=[orders(order("old", 1))]), token="token1")
    with postgres.connect() as connection:
        connection.execute(f"CREATE FUNCTION raw.swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$")
        row = "old" if event == "BEFORE UPDATE" else "a"
        connection.execute(
            f"CREATE TRIGGER swallow {event} ON raw.orders FOR EACH ROW WHEN (new.order_id = '{row}') "
            "EXECUTE FUNCTION raw.swallow()"
        )
    rows = orders(order("old", 2), order("a", 1), order("b", 1))
    batch = postgres.write(token="t2", orders=[rows])
    with pytest.raises(AccountingError, match=rf"{message} row\(s\) are in the table after the merge: a trigger"):
        postgres.load([ORDERS], batch, token="token2")
    assert postgres.rows("raw.orders", "order_id", "updated_at") == [("old", order("old", 1)["updated_at"])]
    assert postgres.rows("raw.phlo_loads", "token") == [("token1",)]


def test_a_trigger_that_changes_other_values_is_left_to_work(postgres):
    postgres.load([ORDERS], token="token1")
    with postgres.connect() as connection:
        connection.execute(
            "CREATE FUNCTION raw.lower() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN new.customer := lower(new.customer); RETURN new; END $$"
        )
        connection.execute(
            "CREATE TRIGGER low BEFORE INSERT OR UPDATE ON raw.orders FOR EACH ROW EXECUTE FUNCTION raw.lower()"
        )
    batch = postgres.write(orders=[orders(order("a", 1, customer="OCTO"))])
    assert [postgres.load([ORDERS], batch, token=token)[0].updated for token in ("token2", "token3")] == [0, 1]
    assert postgres.rows("raw.orders", "customer") == [("octo",)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("customer", "a\0b"),
        ("customer", "\0"),
        ("tags", ["a", "\0"]),
        ("tags", ["a\\\0"]),
        ("tags", ["\\\\\0", "b"]),
    ],
)
def test_text_that_postgres_cannot_hold_fails_by_column_and_number_of_rows(postgres, column, value):
    rows = [order("x", 1), order("y", 1, **{column: value}), order("z", 1, **{column: value})]
    with pytest.raises(SchemaError, match=rf"Column {column} .*U\+0000, and 2 row\(s\) do"):
        postgres.load([ORDERS], postgres.write(orders=[orders(*rows)]))


def test_a_backslash_before_u0000_is_text_like_any_other(postgres):
    values = [r"\u0000", r"\\u0000", r"\\\u0000", "u0000"]
    postgres.load([ORDERS], postgres.write(orders=[orders(order("x", 1, customer=values[0], tags=values))]))
    assert postgres.rows("raw.orders", "customer", "tags") == [(values[0], values)]


def test_an_unwritable_database_is_said(postgres):
    def connect():
        connection = postgres.connect()
        connection.execute("SET default_transaction_read_only = on")
        return connection

    warehouse = SqlWarehouse(PostgresDialect(), connect)
    with pytest.raises(ConfigurationError, match=r"raw\.orders: PostgreSQL does not let this connection write"):
        warehouse.load(postgres.stage, [ORDERS], [postgres.write()], "t", run_id="r", partition_date="2026-11-28")


def test_files_that_were_not_copied_as_they_are_fail_the_load(postgres):
    batch = postgres.write(orders=[orders(order("x", 1))])
    content = batch.to_json()
    content["files"]["orders"][0]["rows"] = 2
    with pytest.raises(AccountingError, match=r"1 of 1 file\(s\) were not copied as they are, .*: 1 of 2 rows"):
        postgres.load([ORDERS], StageBatch.from_json(content))
