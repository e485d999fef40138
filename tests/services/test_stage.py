"""A stage in a bucket, and what a load of it makes of an Iceberg catalog of each kind."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from dataclasses import replace

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.hooks.warehouse import open_stage, open_warehouse
from airflow_provider_phlo.iceberg.branches import publication
from airflow_provider_phlo.library_errors import keep_values_in
from tests.services.gcs import BUCKET, running_gcs
from tests.unit.warehouse.models import LINES, ORDERS, lines, order, orders

RUN = {"run_id": "r", "partition_date": "2026-11-28"}
ORGANIZATION = "it's / ours & ж%20"


def staged(stage, token="t1", organization=ORGANIZATION):
    with stage.writer(organization, "2026-11-28", token) as writer:
        writer.write("orders", orders(order("x", 2), order("y", 1)))
        writer.write("orders", orders(order("x", 1)))
        writer.write("lines", lines((1, "x", 1)))
    return writer.batch


def tables_in(store):
    """Return the two tables in the store's own namespace: catalogs of several tests are one."""
    return [replace(table, target=f"{store.namespace}.{table.entity}") for table in (ORDERS, LINES)]


@pytest.fixture
def stage(store, monkeypatch):
    """Return a stage beside the store's staging area."""
    area = store.variables["AIRFLOW__PHLO__STAGING_PATH"]
    monkeypatch.setenv("AIRFLOW__PHLO__STAGE_PATH", f"{area}-stage")
    return open_stage("shop")


def test_batches_are_staged_found_loaded_once_and_removed(store, stage):
    batch = staged(stage)
    assert stage.batches(organizations=[ORGANIZATION]) == [batch]
    assert stage.find(batch.name) == batch
    assert staged(stage) == batch
    warehouse = open_warehouse("iceberg")
    loads = warehouse.load(stage, tables_in(store), [batch], "token1", **RUN)
    assert [(load.rows, load.inserted, load.duplicates) for load in loads] == [(3, 2, 1), (1, 1, 0)]
    assert warehouse.load(stage, tables_in(store), [batch], "token1", **RUN) == loads
    assert warehouse.count_rows(f"{store.namespace}.orders", by="customer", where={}) == {"octo": 2}
    assert stage.remove_expired(0) == 1
    assert stage.batches() == []
    with pytest.raises(ConfigurationError, match="is missing, and its batch cannot be loaded"):
        list(stage.read(batch, "orders"))


def test_on_nessie_all_tables_are_published_in_one_commit(nessie_store, monkeypatch):
    area = nessie_store.variables["AIRFLOW__PHLO__STAGING_PATH"]
    monkeypatch.setenv("AIRFLOW__PHLO__STAGE_PATH", f"{area}-stage")
    stage, warehouse = open_stage("shop"), open_warehouse("iceberg")
    batch, merges = staged(stage), []
    merge = publication._merge
    monkeypatch.setattr(publication, "_merge", lambda catalog, which: merges.append(which) or merge(catalog, which))
    warehouse.load(stage, tables_in(nessie_store), [batch], "token1", **RUN)
    assert [[each.identifier for _, each in which] for which in merges] == [
        [table.target for table in tables_in(nessie_store)]
    ]


class TestBuckets:
    """What a bucket that refuses, or is not there, makes of a task."""

    @pytest.fixture
    def bucket(self, s3, monkeypatch, tmp_path):
        monkeypatch.setenv("PHLO_HOME", str(tmp_path))
        monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
        name = f"b{uuid.uuid4().hex[:8]}"
        s3.create_bucket(name)
        self.connect(monkeypatch, s3, s3.secret_key)
        return name

    @staticmethod
    def connect(monkeypatch, s3, secret):
        extra = {"endpoint_url": s3.endpoint, "region_name": s3.region}
        connection = {"conn_type": "aws", "login": s3.access_key, "password": secret, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_BUCKET", json.dumps(connection))
        monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})

    @pytest.mark.parametrize("refused", ["key", "bucket"])
    def test_writing_and_reading_say_what_the_store_answered(self, s3, bucket, monkeypatch, refused):
        batch = staged(open_stage("shop", f"s3://bucket@{bucket}/stage"))
        if refused == "key":
            self.connect(monkeypatch, s3, "wrong")
        else:
            bucket = "gone"
        stage = open_stage("shop", f"s3://bucket@{bucket}/stage")
        for work in (lambda: staged(stage, "t2"), lambda: list(stage.read(batch, "orders"))):
            with pytest.raises(ConfigurationError) as error:
                keep_values_in(work)()
            said = str(error.value)
            assert "is missing" in said or ("AWS Error" in said and "Check that the bucket in [phlo]" in said), said
            assert "wrong" not in said

    def test_an_attempt_that_fails_leaves_nothing(self, bucket):
        stage = open_stage("shop", f"s3://bucket@{bucket}/stage")
        with suppress(ConfigurationError), stage.writer("o", "2026-11-28", "t") as writer:
            writer.write("orders", orders(order("x", 1)))
            writer.write("Not An Entity", orders())
        assert stage.batches() == []
        assert [path for path in stage.folder.rglob("*") if path.is_file()] == []


def test_on_google_cloud_storage(tmp_path, monkeypatch):
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
    with running_gcs(tmp_path) as connection:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE", connection)
        stage = open_stage("shop", f"gs://google@{BUCKET}/stage")
        batch = staged(stage)
        assert stage.batches(organizations=[ORGANIZATION]) == [batch]
        assert [len(rows) for rows in stage.read(batch, "orders")] == [2, 1]
        load = open_warehouse("iceberg").load(stage, [ORDERS, LINES], [batch], "token1", **RUN)[0]
        assert (load.rows, load.inserted) == (3, 2)
        assert stage.remove_expired(0) == 1
        assert stage.batches() == []
        with pytest.raises(ConfigurationError, match=r"NOT_FOUND.* Check that the bucket in \[phlo\] stage_path"):
            keep_values_in(lambda: staged(open_stage("shop", "gs://google@gone/stage")))()
