"""What Airflow's page of a table says, and that only its producer changes it (cases 48 and 57)."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from airflow.dag_processing.collection import AssetModelOperation
from airflow.models.asset import AssetModel
from airflow.sdk import DAG, Asset, BaseOperator
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.assets.pages import model_page, page
from airflow_provider_phlo.plugins.assets import keep_descriptions
from airflow_provider_phlo.quality import CountCheck, RangeCheck
from tests.expect import expect

SCHEMA = "include.schemas.glucose:RawGlucoseEntries"


def outlet(**arguments):
    @phlo_ingestion(**{"table_name": "sales", "unique_key": ["shop", "day"], "validation_schema": SCHEMA, **arguments})
    def sales():
        """
        What the shops
        sell.

        More of it.
        """

    (asset,) = {task.task_id: task for task in sales.dag().tasks}["sales.publish"].outlets
    return asset


def test_case_57_a_page_has_description_key_columns_and_checks():
    checks = [CountCheck(min_count=1), RangeCheck("sgv", max_value=600, severity="warn")]
    asset = outlet(group="shops", audit=checks, freshness_hours=(24, 48))
    expect(asset, name="raw.sales", group="shops")
    expect(asset.extra, description="What the shops sell.", key="shop, day", strategy="merge")
    assert asset.extra["columns"][:3] == ["_id: str", "sgv: int", "date: int"]
    assert asset.extra["checks"][:2] == ["CountCheck(): at least 1 rows", "RangeCheck(sgv): sgv <= 600 (warn)"]
    assert len(asset.extra["checks"]) == 4
    json.dumps(asset.extra)


def test_case_57_what_is_not_known_is_left_out():
    assert page(None, (), {}, []) == {}
    asset = outlet(group="shops", unique_key="id", validation_schema="no.such.module:Model")
    assert set(asset.extra) == {"description", "key", "strategy"}


def test_case_57_a_models_page_comes_from_the_manifest():
    model = {
        "name": "fct_sales",
        "description": "A line per day.",
        "config": {"unique_key": "day"},
        "columns": {"day": {"data_type": "date"}, "note": {}},
        "phlo_tests": ["not_null(day)"],
    }
    assert model_page(model) == {
        "description": "A line per day.",
        "key": "day",
        "made_by": "dbt model fct_sales",
        "columns": ["day: date", "note"],
        "checks": ["not_null(day)"],
    }


def dag(dag_id, schedule=None, **task):
    found = DAG(dag_id, schedule=schedule, start_date=datetime(2024, 1, 1, tzinfo=UTC))
    BaseOperator(task_id="a_task", dag=found, **task)
    return found


@pytest.fixture
def assets():
    """Return a function that has Airflow write what DAG files say of assets, and gives what it then knows of them."""
    engine = create_engine("sqlite://")
    AssetModel.metadata.create_all(engine, tables=[AssetModel.__table__])
    keep_descriptions()

    def write(*dags):
        with Session(engine) as session:
            serialized = {found.dag_id: LazyDeserializedDAG.from_dag(found) for found in dags}
            AssetModelOperation.collect(serialized).sync_assets(session=session)
            session.commit()
            return {model.name: [model.group, model.extra] for model in session.scalars(select(AssetModel))}

    return write


def test_case_48_airflow_keeps_what_the_producer_says(assets):
    plain = Asset("raw.shipments", "iceberg://phlo/raw/shipments")  # what a file says that knows nothing of it
    producer = dag("producer", outlets=[Asset(plain.name, plain.uri, group="warehouse", extra={"key": "id"})])
    consumer, reader = dag("consumer", schedule=[plain]), dag("reader", inlets=[plain])
    assert assets(consumer) == {"raw.shipments": ["asset", {}]}
    wanted = {"raw.shipments": ["warehouse", {"key": "id"}]}
    assert assets(producer) == wanted
    assert assets(consumer, reader) == wanted
    changed = dag("producer", outlets=[Asset(plain.name, plain.uri, group="stock", extra={"key": "no"})])
    assert assets(changed) == assets(consumer) == {"raw.shipments": ["stock", {"key": "no"}]}


def test_case_48_assets_of_others_are_left_alone(assets):
    assert assets(dag("one", outlets=[Asset("x", "s3://x/y", group="files", extra={"a": 1})]))["x"][0] == "files"
    assert assets(dag("two", schedule=[Asset("x", "s3://x/y")])) == {"x": ["asset", {}]}
