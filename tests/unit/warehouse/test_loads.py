"""What every warehouse does with batches: one row per key, the newest, once per token."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.warehouse.tables import StageTable
from tests.unit.warehouse.models import LINES, ORDERS, Order, at, lines, order, orders

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")


def test_batches_of_several_organizations_go_in_together(loader):
    batches = [
        loader.write("a", orders=[orders(order("x", 1), order("y", 1))], lines=[lines((1, "x", 2))]),
        loader.write("b", orders=[orders(order("z", 1, None), order("x", 2, 9.0))]),
    ]
    loads = loader.load([ORDERS, LINES], *batches)
    assert [(load.table, load.rows, load.inserted, load.duplicates) for load in loads] == [
        ("raw.orders", 4, 3, 1),
        ("raw.order_lines", 1, 1, 0),
    ]
    expected = [
        (key, minute_amount[1], ["a", key], at(minute_amount[0]))
        for key, minute_amount in {"x": (2, 9.0), "y": (1, 1.0), "z": (1, None)}.items()
    ]
    assert loader.rows("raw.orders", "order_id", "amount", "tags", "updated_at") == sorted(expected, key=repr)
    assert loader.rows("raw.order_lines", "line_id", "order_id", "quantity") == [(1, "x", 2)]


def test_the_same_token_loads_once_and_another_changes_nothing(loader):
    batch = loader.write(orders=[orders(order("x", 1))])
    first = loader.load([ORDERS], batch)
    assert loader.load([ORDERS], batch) == first
    again = loader.load([ORDERS], batch, token="token2")[0]
    assert (again.rows, again.inserted, again.updated, again.unchanged) == (1, 0, 0, 1)


def test_a_batch_given_twice_is_loaded_once(loader):
    batch = loader.write(orders=[orders(order("x", 1))])
    assert loader.load([ORDERS], batch, batch)[0].rows == 1


def test_an_older_batch_never_overwrites_newer_rows(loader):
    older = loader.write(token="t1", orders=[orders(order("x", 1, 1.0), order("y", 1, 1.0))])
    newer = loader.write(token="t2", orders=[orders(order("x", 2, 2.0))])
    loader.load([ORDERS], newer)
    load = loader.load([ORDERS], older, token="token2")[0]
    assert (load.inserted, load.updated, load.unchanged) == (1, 0, 1)
    assert loader.rows("raw.orders", "order_id", "amount") == [("x", 2.0), ("y", 1.0)]


def test_of_rows_that_are_equally_new_the_one_that_was_written_last_wins(loader):
    first = loader.write(
        token="t1", orders=[orders(order("x", 1, 1.0)), orders(order("x", 1, 2.0), order("x", 1, 3.0))]
    )
    second = loader.write(token="t2", orders=[orders(order("x", 1, 4.0), order("x", 0, 5.0))])
    loader.load([ORDERS], first)
    assert loader.rows("raw.orders", "amount") == [(3.0,)]
    assert loader.load([ORDERS], first, second, token="token2")[0].updated == 1
    assert loader.rows("raw.orders", "amount") == [(4.0,)]


def test_without_an_order_the_order_of_writing_decides(loader):
    batches = [loader.write(token=f"t{number}", lines=[lines((1, "x", number))]) for number in range(3)]
    loader.load([LINES], *batches)
    assert loader.rows("raw.order_lines", "quantity") == [(2,)]
    loader.load([LINES], batches[0], token="token2")
    assert loader.rows("raw.order_lines", "quantity") == [(0,)]


def test_values_that_become_null_or_get_a_value(loader):
    batches = [
        loader.write(token=f"t{number}", orders=[orders(order("x", number, amount, tags=tags))])
        for number, (amount, tags) in enumerate([(1.0, None), (None, []), (None, None), (2.0, ["a"])])
    ]
    for number, batch in enumerate(batches):
        assert loader.load([ORDERS], batch, token=str(number))[0].updated == bool(number)
    assert loader.rows("raw.orders", "amount", "tags") == [(2.0, ["a"])]


def test_a_load_of_nothing_makes_the_tables(loader):
    assert [load.rows for load in loader.load([ORDERS, LINES], loader.write())] == [0, 0]
    assert loader.rows("raw.orders", "order_id") == loader.rows("raw.order_lines", "line_id") == []


def test_two_entities_cannot_fill_one_table(loader):
    with pytest.raises(ConfigurationError, match="each table from one entity"):
        loader.load([ORDERS, dataclasses.replace(LINES, target="raw.Orders")])
    with pytest.raises(ConfigurationError, match="at least one table"):
        loader.load([])


@pytest.mark.parametrize(("key", "order_by"), [(("no",), None), ((), None), (("order_id",), "no")])
def test_key_and_order_are_columns_of_the_model(loader, key, order_by):
    with pytest.raises(ConfigurationError, match=r"raw\.t: .* is not among the columns"):
        loader.load([StageTable("orders", "raw.t", key, Order, order_by)], loader.write())


def test_a_damaged_file_fails_before_anything_is_written(loader):
    batch = loader.write(orders=[orders(order("x", 1))], lines=[lines((1, "x", 1))])
    path = loader.stage.root / batch.files["lines"][0].path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ConfigurationError, match="is damaged, and its batch cannot be loaded"):
        loader.load([ORDERS, LINES], batch)
    loader.load([ORDERS], loader.write(token="t2"), token="token2")
    assert loader.rows("raw.orders", "order_id") == []


def test_a_column_that_older_files_lack_is_null(loader):
    loader.load([ORDERS], loader.write(orders=[orders(order("x", 1)).drop_columns(["tags"])]))
    assert loader.rows("raw.orders", "order_id", "tags") == [("x", None)]


def test_a_row_without_a_value_that_has_to_be_there_fails_the_load(loader):
    batch = loader.write(orders=[orders(order("x", 1, customer=None))])
    with pytest.raises(PhloError, match="customer"):
        loader.load([ORDERS], batch)


def test_a_value_that_does_not_fit_the_model_fails_the_load(loader):
    rows = orders(order("x", 1)).drop_columns(["amount"]).append_column("amount", pa.array(["secret words"]))
    with pytest.raises(PhloError, match="amount") as error:
        loader.load([ORDERS], loader.write(orders=[rows]))
    assert "secret" not in str(error.value)


def test_what_a_table_holds_can_be_asked(loader):
    count_rows, rows = loader.warehouse.count_rows, loader.warehouse.rows
    octo = {"customer": "octo"}
    assert count_rows("raw.orders", by="customer", where=octo) == {}
    assert rows("raw.orders", ["order_id"], where=octo) == []
    batch = loader.write(orders=[orders(order("x", 1), order("y", 5, None), order("z", 9, customer="other"))])
    loader.load([ORDERS], batch)
    assert count_rows("raw.orders", by="customer", where=octo) == {"octo": 2}
    assert count_rows("raw.orders", by="customer", where={}) == {"octo": 2, "other": 1}
    assert count_rows("raw.orders", by="amount", where={}) == {1.0: 2, None: 1}
    assert count_rows("raw.orders", by="customer", where={"customer": "nobody' OR 1=1 --"}) == {}
    assert count_rows("raw.orders", by="order_id", where={"amount": None, **octo}) == {"y": 1}
    found = rows("raw.orders", ["order_id", "updated_at"], where=octo)
    assert sorted(found, key=lambda row: row["order_id"]) == [
        {"order_id": "x", "updated_at": at(1)},
        {"order_id": "y", "updated_at": at(5)},
    ]
    with pytest.raises(ConfigurationError, match=r"raw\.orders has no column nothing, what"):
        count_rows("raw.orders", by="nothing", where={"what": 1})
    with pytest.raises(ConfigurationError, match=r"raw\.orders has no column nothing"):
        rows("raw.orders", ["nothing"], where={})
