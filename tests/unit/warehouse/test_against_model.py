"""Random batches, loaded in any order, again, and broken off: Iceberg and PostgreSQL have what a dictionary has."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.exceptions import PhloError
from airflow_provider_phlo.warehouse.iceberg import IcebergWarehouse
from airflow_provider_phlo.warehouse.postgres import PostgresDialect
from airflow_provider_phlo.warehouse.sql_warehouse import SqlWarehouse
from tests.sizes import size
from tests.unit.warehouse.conftest import iceberg_loader, postgres_loader
from tests.unit.warehouse.models import ORDERS, order, orders
from tests.unit.warehouse.test_postgres import breaking_connection

pytestmark = pytest.mark.xdist_group("published")
ROWS = st.lists(
    st.builds(
        order,
        st.sampled_from("abcd"),
        st.integers(0, 3),
        st.sampled_from([None, 0.0, 1.0, 2.5]),
        tags=st.sampled_from([None, [], ["x"], ["x", None]]),
    ),
    max_size=6,
)
# which batches a load takes, and at which statement (if any) its first attempt breaks off
LOADS = st.lists(
    st.tuples(st.sets(st.integers(0, 3), min_size=1), st.one_of(st.none(), st.integers(1, 30))), min_size=1, max_size=5
)
COLUMNS = ("order_id", "amount", "tags", "updated_at")


def merged(table, rows):
    """Merge rows into a dictionary: the newest of each key, of equally new ones the last."""
    newest = {}
    for row in rows:
        present = newest.get(row["order_id"])
        if present is None or row["updated_at"] >= present["updated_at"]:
            newest[row["order_id"]] = row
    for key, row in newest.items():
        if key not in table or row["updated_at"] >= table[key]["updated_at"]:
            table[key] = row


def broken_attempt(loader, tables, batches, token, at):
    """Load, and break off at a statement."""
    if loader.catalog is not None:

        def audit(table, branch):
            raise PhloError("killed")

        made = loader.warehouse
        warehouse = IcebergWarehouse(loader.catalog, made.staging_root, made.pipelines_dir, audit=audit)
    else:
        warehouse = SqlWarehouse(PostgresDialect(), lambda: breaking_connection(loader, at, after=at % 2 == 0))
    try:
        warehouse.load(loader.stage, tables, batches, token, run_id="r", partition_date="2026-11-28")
    except PhloError:
        return


@pytest.mark.long
@settings(
    max_examples=size(12, 500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(contents=st.lists(st.lists(ROWS, max_size=2), min_size=4, max_size=4), loads=LOADS)
def test_all_have_the_same_rows(server, contents, loads):
    home = Path(tempfile.mkdtemp())
    try:
        with psycopg.connect(server.uri, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS raw CASCADE")
        loaders = [iceberg_loader(home), postgres_loader(server, home)]
        batches = [
            loaders[0].write(token=f"t{number}", orders=[orders(*rows) for rows in content])
            for number, content in enumerate(contents)
        ]
        expected = {}
        for number, (chosen, breaks_at) in enumerate(loads):
            picked = [batches[each] for each in sorted(chosen)]
            rows = [row for each in sorted(chosen) for part in contents[each] for row in part]
            merged(expected, rows)
            results = []
            for loader in loaders:
                if breaks_at is not None:
                    broken_attempt(loader, [ORDERS], picked, f"token{number}", breaks_at)
                loader.load([ORDERS], *picked, token=f"token{number}")
                results.append(loader.load([ORDERS], *picked, token=f"token{number}")[0])
            counts = [(load.rows, load.inserted, load.updated, load.unchanged, load.duplicates) for load in results]
            assert counts[0] == counts[1]
            assert sum(counts[0][1:]) == counts[0][0] == len(rows)
            wanted = sorted((tuple(row[name] for name in COLUMNS) for row in expected.values()), key=repr)
            for loader in loaders:
                assert loader.rows("raw.orders", *COLUMNS) == wanted
    finally:
        shutil.rmtree(home)
        with psycopg.connect(server.uri, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS raw CASCADE")
