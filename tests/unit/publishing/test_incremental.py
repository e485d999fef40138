"""Incremental publication: only what differs is written, and never on a guess."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.publishing import publish_marts_to_postgres
from airflow_provider_phlo.publishing.postgres import Declaration
from tests.lake import open_lake

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("v", pa.float64()),
        ("t", pa.string()),
        ("d", pa.decimal128(9, 2)),
        ("l", pa.list_(pa.int64())),
    ]
)
KEYED = {"m": Declaration(key=("id",))}
TABLES = {"m": "marts.m"}


def some(*ids, v=1.5, t="text"):
    rows = [{"id": n, "v": v, "t": t, "d": Decimal(n), "l": [n, None]} for n in ids]
    return pa.Table.from_pylist(rows, SCHEMA)


@pytest.fixture
def catalog(tmp_path):
    catalog = open_lake(tmp_path)
    ensure_namespace(catalog, "marts")
    return catalog


@pytest.fixture
def table(catalog):
    table = catalog.create_table("marts.m", SCHEMA)
    table.append(some(*range(100)))
    return table


def publish(catalog, connection, declared=None, tables=TABLES):
    return publish_marts_to_postgres(None, None, connection, tables, catalog=catalog, declared=declared)["m"]


def rows_of(connection, table="m"):
    return sorted(map(repr, connection.execute(f"SELECT id, v, t, d, l FROM marts.{table}", prepare=False).fetchall()))


def rows_in(table):
    rows = table.scan().to_arrow().to_pylist()
    return sorted(repr((row["id"], row["v"], row["t"], row["d"], row["l"])) for row in rows)


@pytest.mark.parametrize("declared", [None, KEYED], ids=["whole rows", "key"])
def test_only_what_differs_is_written(connection, catalog, table, declared):
    first = publish(catalog, connection, declared)
    assert (first.mode, first.created, first.rows) == ("full", True, 100)
    again = publish(catalog, connection, declared)
    assert (again.mode, again.rows) == ("unchanged", 100)
    assert "holds snapshot" in again.reason
    untouched = connection.execute("SELECT ctid, xmin FROM marts.m WHERE id = 50").fetchone()
    table.overwrite(pa.concat_tables([some(1, t="new"), some(*range(2, 90)), some(200, 201)]))
    found = publish(catalog, connection, declared)
    assert (found.mode, found.inserted, found.deleted, found.rows) == ("incremental", 3, 12, 91)
    assert rows_of(connection) == rows_in(table)
    assert connection.execute("SELECT ctid, xmin FROM marts.m WHERE id = 50").fetchone() == untouched
    table.append(some(300))
    assert publish(catalog, connection, declared).summary == "1 rows inserted and 0 deleted, of 92 now"
    assert rows_of(connection) == rows_in(table)
