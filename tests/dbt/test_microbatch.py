"""Microbatch models in a DAG: which batches a run builds, what a failed one costs, and what is said of it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.dbt import batches
from airflow_provider_phlo.dbt.runner import ModelRun, build_model
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("microbatch")

TODAY = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = 6
CONFIG = (
    "{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='seen_at', batch_size='day', "
    f"lookback=1, begin='{TODAY - dt.timedelta(days=DAYS - 1):%Y-%m-%d}') }}}}"
)
FILES = {
    "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {+schema: marts}\n",
    "models/sources.yml": "sources: [{name: raw, tables: [{name: events, config: {event_time: seen_at}}]}]",
    "models/daily.sql": f"{CONFIG} select seen_at, value from {{{{ source('raw', 'events') }}}}",
    "models/wrong.sql": f"{CONFIG} select seen_at, no_such_column from {{{{ source('raw', 'events') }}}}",
    "models/odd.sql": f"{CONFIG} select seen_at, cast(text as int) as n from {{{{ source('raw', 'events') }}}}",
    "models/late.sql": f"{CONFIG} select seen_at, value from {{{{ source('raw', 'events') }}}} cross join "
    "read_csv('{{ env_var('FILES', '') }}/{{ model.batch.event_time_start.strftime('%Y%m%d') if model.batch }}.csv', "
    "names=['there'])",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def catalog(home: Path) -> Catalog:
    return open_lake(home)


def day(ago: int) -> dt.datetime:
    return TODAY - dt.timedelta(days=ago)


def write_events(catalog: Catalog, value: int, text: str = "1") -> None:
    """Write one event per day, from the day before the models begin."""
    days = [day(ago) + dt.timedelta(hours=12) for ago in range(DAYS, 0, -1)]
    texts = [text if at.date() == day(2).date() else "1" for at in days]
    rows = {"seen_at": pa.array(days, pa.timestamp("us", "UTC")), "value": [value] * DAYS, "text": texts}
    overwrite_if_changed(catalog, "raw.events", pa.table(rows))


def build(project: Path, home: Path, model: str, token: str, ago: int | None = None, **options: bool) -> ModelRun:
    environment = {"PHLO_RUN_TOKEN": token, "PHLO_RUN_ID": token, "FILES": str(home)}
    if ago is not None:
        environment["PHLO_PARTITION_DATE"] = f"{day(ago):%Y-%m-%d}"
    return build_model(project, f"model.shop.{model}", home=home, environment=environment, **options)


def values(catalog: Catalog, model: str = "daily") -> dict[int, int]:
    """Return the values by how many days ago they are."""
    rows = connect(catalog).execute(f"SELECT seen_at, value FROM shop_marts.{model}").fetchall()
    found = {(TODAY.date() - at.date()).days: value for at, value in rows}
    assert len(found) == len(rows)
    return found


def test_a_run_builds_the_batches_of_its_day(project: Path, home: Path, catalog: Catalog) -> None:
    write_events(catalog, 1)
    build(project, home, "daily", "first", ago=3)
    every = dict.fromkeys(range(1, DAYS), 1)
    assert values(catalog) == every  # a new table is built from `begin` to now
    write_events(catalog, 2)
    build(project, home, "daily", "backfill", ago=3)
    assert values(catalog) == every | {3: 2, 4: 2}  # the day, and one before it
    build(project, home, "daily", "today", ago=0)
    assert values(catalog) == every | {1: 2, 3: 2, 4: 2}  # as dbt does: up to now
    build(project, home, "daily", "begin", ago=DAYS - 1)
    assert values(catalog) == every | {1: 2, 3: 2, 4: 2, 5: 2}  # nothing before the model begins
    write_events(catalog, 3)
    build(project, home, "daily", "all", ago=3, full_refresh=True)
    assert values(catalog) == dict.fromkeys(range(1, DAYS), 3)


def test_a_wrong_statement_is_named_and_not_tried_again(
    project: Path, home: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_events(catalog, 1)
    waited: list[float] = []
    monkeypatch.setattr(batches.time, "sleep", waited.append)
    with pytest.raises(ConfigurationError, match=r"wrong \(\d of \d batches failed.*Binder Error.*no_such_column"):
        build(project, home, "wrong", "wrong")
    assert waited == []  # nor are those that dbt skips for it
    assert not catalog.table_exists("shop_marts.wrong")


def test_a_batch_that_fails_for_its_data_keeps_all_from_being_published(
    project: Path, home: Path, catalog: Catalog
) -> None:
    write_events(catalog, 1, text="secret")
    with pytest.raises(ConfigurationError) as caught:
        build(project, home, "odd", "odd")
    assert f"(1 of {DAYS} batches failed, the first is that of {day(2):%Y-%m-%d} 00:00)" in str(caught.value)
    assert "Conversion Error" in str(caught.value)
    assert "secret" not in str(caught.value)
    [kept] = home.glob("dbt/**/runs/odd/*/run_results.json")
    assert "secret" not in kept.read_text()
    table = catalog.load_table("shop_marts.odd") if catalog.table_exists("shop_marts.odd") else None
    assert table is None or table.current_snapshot() is None


def test_a_batch_that_fails_for_a_moment_is_tried_again_alone(
    project: Path, home: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_events(catalog, 1)
    for ago in range(DAYS):
        (home / f"{day(ago):%Y%m%d}.csv").write_text("yes\n")
    missing = home / f"{day(3):%Y%m%d}.csv"
    missing.unlink()
    monkeypatch.setattr(batches.time, "sleep", lambda _: missing.write_text("yes\n"))
    build(project, home, "late", "late")
    assert values(catalog, "late") == dict.fromkeys(range(1, DAYS), 1)
    [kept] = home.glob("dbt/**/runs/late/*/run_results.json")
    [result] = [one for one in json.loads(kept.read_text())["results"] if one["unique_id"].endswith("late")]
    assert len(result["batch_results"]["successful"]) == DAYS
    assert result["batch_results"]["failed"] == []
