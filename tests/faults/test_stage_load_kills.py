"""Kill a task that stages, or that loads a stage, at every step: its retry finishes, and every row is there once."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.merge import copy_on_write
from airflow_provider_phlo.ingestion import staged_batches
from airflow_provider_phlo.services.postgres.server import PostgresServer, ensure_postgres, stop_postgres
from airflow_provider_phlo.warehouse import sql_warehouse
from airflow_provider_phlo.warehouse import stage as stage_module
from airflow_provider_phlo.warehouse.stage import Stage, StageWriter
from tests.faults.killing import Wrapper, dying_after, dying_before, exit_code
from tests.unit.warehouse.conftest import Loader, iceberg_loader, postgres_loader
from tests.unit.warehouse.models import LINES, ORDERS, lines, order, orders

Point = tuple[Any, str, Wrapper, int]
STAGING: dict[str, Point] = {
    "a file is written": (StageWriter, "write", dying_after, 1),
    "before the manifest": (stage_module, "put_in_place", dying_before, 1),
    "after the manifest": (stage_module, "put_in_place", dying_after, 1),
}
# two tables: the calls of the second come after those of the first
ICEBERG: dict[str, Point] = {
    "one table staged": (staged_batches.BatchWriter, "finish", dying_after, 1),
    "one table merged": (copy_on_write, "commit_files", dying_after, 1),
    "both merged": (copy_on_write, "commit_files", dying_after, 2),
    "before the first publication": (branches, "move_main", dying_before, 1),
    "one table published": (branches, "move_main", dying_after, 1),
    "both published, nothing returned": (branches, "move_main", dying_after, 2),
}
# statement by statement, then COMMIT: before it and after
POSTGRES: dict[str, Point] = {
    **{f"before statement {call}": (sql_warehouse, "execute", dying_before, call) for call in range(2, 23, 4)},
    **{f"after statement {call}": (sql_warehouse, "execute", dying_after, call) for call in range(20, 23)},
}
POINTS = {**STAGING, **ICEBERG, **POSTGRES}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("postgres")
    try:
        yield ensure_postgres(home)
    finally:
        stop_postgres(home)


def stage_rows(loader: Loader) -> None:
    """Stage three orders, one of them twice, and a line."""
    loader.write(orders=[orders(order("x", 2), order("y", 1)), orders(order("x", 1))], lines=[lines((1, "x", 1))])


def load(loader: Loader) -> None:
    loader.load([ORDERS, LINES], *loader.stage.batches())


def do(home: Path, server: PostgresServer | None, step: str, point: str | None) -> None:
    """Do one step in a process of its own, which dies at a point."""
    if point is not None:
        where, name, wrap, call = POINTS[point]
        setattr(where, name, wrap(call, getattr(where, name)))
    loader = iceberg_loader(home) if server is None else postgres_loader(server, home)
    (stage_rows if step == "stage" else load)(loader)


def check(loader: Loader) -> None:
    assert loader.rows("raw.orders", "order_id") == [("x",), ("y",)]
    assert loader.rows("raw.order_lines", "line_id") == [(1,)]
    orders_load, lines_load = loader.load([ORDERS, LINES], *loader.stage.batches())
    assert (orders_load.rows, orders_load.inserted, orders_load.duplicates, lines_load.inserted) == (3, 2, 1, 1)


@pytest.mark.parametrize("point", STAGING)
def test_staging_that_was_killed_is_done_by_its_retry(tmp_path, point):
    assert exit_code(do, tmp_path, None, "stage", point) == -signal.SIGKILL
    batches = Stage(tmp_path / "stage", "shop").batches()
    assert len(batches) == (point == "after the manifest")
    do(tmp_path, None, "stage", None)
    loader = iceberg_loader(tmp_path)
    assert len(loader.stage.batches()) == 1
    load(loader)
    check(loader)


@pytest.mark.parametrize("point", ICEBERG)
def test_a_load_into_iceberg_that_was_killed_is_finished_by_its_retry(tmp_path, point):
    loader = iceberg_loader(tmp_path)
    stage_rows(loader)
    assert exit_code(do, tmp_path, None, "load", point) == -signal.SIGKILL
    load(loader)
    check(loader)


@pytest.mark.parametrize("point", POSTGRES)
def test_a_load_into_postgres_that_was_killed_is_finished_by_its_retry(tmp_path, server, point):
    loader = postgres_loader(server, tmp_path)
    with psycopg.connect(server.uri, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS raw CASCADE")
    stage_rows(loader)
    assert exit_code(do, tmp_path, server, "load", point) == -signal.SIGKILL
    load(loader)
    check(loader)
