"""dbt models on Nessie and S3: written on a branch of the catalog, tested there, published."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_provider_phlo.dbt.runner import ModelRun, build_model
from airflow_provider_phlo.exceptions import QualityCheckError, SchemaError
from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
from airflow_provider_phlo.iceberg.catalogs import nessie
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.expect import expect
from tests.services.stores import Store
from tests.unit import raw_tables

# one worker starts Nessie, S3 and Postgres
pytestmark = pytest.mark.xdist_group("stores")

TABLE = "bronze.stg_glucose_entries"
MODEL = "model.phlo.stg_glucose_entries"


def test_a_tested_model_is_published_and_a_failing_one_is_not(nessie_store: Store) -> None:
    store = nessie_store
    raw_tables.make_home(store.home)  # the project, parsed

    def build(token: str) -> object:
        environment = {
            "PHLO_RUN_TOKEN": token,
            "PHLO_CATALOG_PROPERTIES": json.dumps(PhloIcebergHook().properties),
        }
        return build_model(raw_tables.PROJECT, MODEL, home=store.home, environment=environment)

    def count(branch: str | None = None) -> int:
        with connect(store.catalog, tables=[TABLE], branch=branch) as connection:
            return int(connection.sql(f"SELECT count(*) FROM {TABLE}").fetchall()[0][0])

    rows = raw_tables.glucose()[:100]
    raw_tables.write(store.catalog, "raw.glucose_entries", rows)
    done = build("model1")
    expect(done, rows=100, changed=True, tests=5)
    assert (count(), done.snapshot_id) == (100, store.catalog.load_table(TABLE).current_snapshot().snapshot_id)
    assert not build("model2").changed
    bad = raw_tables.entry("x", dt.datetime(2024, 5, 1, tzinfo=dt.UTC), 1500)
    raw_tables.write(store.catalog, "raw.glucose_entries", [*rows, bad])
    with pytest.raises(QualityCheckError):
        build("model3")
    assert (count(), count("phlo_model3")) == (100, 101)
    assert {name for name in nessie.run_branches(store.catalog) if "model" in name} == {"phlo_model3"}


DAILY = """{{ config(materialized='incremental', unique_key='id', incremental_strategy='merge') }}
select id, version from {{ source('raw', 'events') }}
{% if is_incremental() %}where version > (select min(version) from {{ this }}){% endif %}"""


def test_increments_on_a_branch_of_the_catalog(nessie_store: Store, tmp_path: Path) -> None:
    store, project = nessie_store, tmp_path / "shop"
    for name, content in {
        "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {+schema: marts}\n",
        "models/daily.sql": DAILY,
        "models/batched.sql": "{{ config(materialized='incremental', incremental_strategy='microbatch', "
        "event_time='seen_at', batch_size='year', begin='2023-01-01', lookback=3) }} "
        "select id, version, date '2024-05-01' as seen_at from {{ source('raw', 'events') }}",
        "models/s.yml": "sources: [{name: raw, tables: [{name: events}]}]\n"
        "models: [{name: daily, columns: [{name: id, data_tests: [unique]}]}]",
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content)

    def build(model: str, token: str) -> ModelRun:
        environment = {
            "PHLO_RUN_TOKEN": token,
            "PHLO_CATALOG_PROPERTIES": json.dumps(PhloIcebergHook().properties),
        }
        return build_model(project, f"model.shop.{model}", home=store.home, environment=environment)

    def write(version: int, *ids: int) -> None:
        rows = {"id": [0, *ids], "version": [1, *[version] * len(ids)]}
        overwrite_if_changed(store.catalog, "raw.events", pa.table(rows))

    def content(model: str) -> list[tuple[int, int]]:
        table = f"shop_marts.{model}"
        with connect(store.catalog, tables=[table]) as connection:
            return connection.sql(f"SELECT id, version FROM {table} ORDER BY ALL").fetchall()

    def branches() -> set[str]:
        return {name for name in nessie.run_branches(store.catalog) if "inc" in name}

    write(1, 1, 2)
    for model in ("daily", "batched"):
        assert build(model, f"inc1{model}").changed
    # several batches, or columns and rows, go into one branch
    write(2, 2, 3)
    assert build("daily", "inc2").changed
    assert content("daily") == [(0, 1), (1, 1), (2, 2), (3, 2)]
    assert build("batched", "inc3").changed
    assert content("batched") == [(0, 1), (2, 2), (3, 2)]
    assert branches() == set()
    for model in ("daily", "batched"):
        assert build(model, f"inc4{model}").changed is False
    assert branches() == set()
    write(3, 3, 3)
    with pytest.raises(SchemaError, match="share their unique_key"):
        build("daily", "inc5")
    assert content("daily") == [(0, 1), (1, 1), (2, 2), (3, 2)]
    write(3, 3)
    assert build("daily", "inc5").changed  # starts from main, not from what the failed attempt left
    assert content("daily") == [(0, 1), (1, 1), (2, 2), (3, 3)]
    assert branches() == set()
