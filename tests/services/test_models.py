"""dbt models on Nessie and S3: written on a branch of the catalog, tested there, published."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import QualityCheckError
from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
from airflow_provider_phlo.iceberg.catalogs import nessie
from airflow_provider_phlo.iceberg.duckdb.views import connect
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
