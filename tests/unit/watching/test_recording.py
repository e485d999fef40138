"""What is written into ``phlo.check_results``: changes, and once an hour that somebody has looked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.cli.lake.query import run as query
from airflow_provider_phlo.watching.reading import FactsCache
from airflow_provider_phlo.watching.round import watch
from tests.lake import open_lake


@pytest.fixture
def rows(catalog: Catalog) -> Callable[[], list[tuple[Any, ...]]]:
    def read() -> list[tuple[Any, ...]]:
        sql = (
            "SELECT check_type, table_name, severity, passed FROM phlo.check_results WHERE check_type <> 'watch.round' "
            "ORDER BY checked_at, check_type"
        )
        return query(catalog, sql).rows

    return read


def test_only_changes_are_recorded(publish: Callable[..., None], look: Any, rows: Any, catalog: Catalog) -> None:
    publish("one", {1: 1.0, 2: 2.0})
    assert [look(hours).recorded for hours in (0, 0.1, 0.9, 1.1)] == [1, 0, 0, 1]
    assert rows() == []
    # late, later and stale; the hourly record is one row each
    assert [look(hours).recorded for hours in (25, 25.1, 49, 49.1)] == [2, 0, 2, 0]
    publish("two", {3: -1.0, 4: 4.0})
    assert [look(hours).recorded for hours in (0.2, 0.3)] == [3, 0]  # fresh again, half of it in quarantine
    assert rows() == [
        ("watch.freshness", "raw.readings", "warn", False),
        ("watch.freshness", "raw.readings", "error", False),
        ("watch.freshness", "raw.readings", "error", True),
        ("watch.quarantine_rate", "raw.readings", "warn", False),
    ]
    assert query(catalog, "SELECT DISTINCT task_id FROM phlo.check_results").rows == [("phlo_watch",)]
    catalog.drop_table("raw.readings")
    assert [look(hours).recorded for hours in (0.4, 1.5)] == [0, 1]
    assert "raw.readings" not in catalog.load_table("phlo.check_results").properties["phlo.watched"]


def test_a_dry_run_writes_nothing(publish: Callable[..., None], look: Any, catalog: Catalog) -> None:
    publish("one", {1: 1.0})
    assert look(49, dry_run=True).wrong
    assert not catalog.table_exists("phlo.check_results")


def test_two_watchers_record_a_change_once(publish: Callable[..., None], home: Path, rows: Any) -> None:
    publish("one", {1: 1.0})
    now = dt.datetime.now(dt.UTC) + dt.timedelta(hours=49)

    def one_watcher(_: int) -> int:
        return watch(open_lake(home), home, now, known=FactsCache()).recorded

    with ThreadPoolExecutor(4) as pool:
        recorded = list(pool.map(one_watcher, range(4)))
    assert sorted(recorded) == [0, 0, 0, 2]
    assert rows() == [("watch.freshness", "raw.readings", "error", False)]
