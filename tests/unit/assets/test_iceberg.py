"""Assets of tables and the events on them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from airflow.dag_processing.collection import _find_all_assets
from airflow.sdk import DAG, Asset, BaseOperator, PartitionedAssetTimetable
from airflow.sdk.execution_time.task_runner import _serialize_outlet_events
from airflow.serialization.serialized_objects import LazyDeserializedDAG

from airflow_provider_phlo.assets.iceberg import iceberg_asset, iceberg_asset_ref, outlets_of, set_event
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.expect import expect


def test_an_asset_has_the_tables_name_and_uri():
    asset = iceberg_asset("readings", group="demo")
    expect(asset, name="raw.readings", uri="iceberg://phlo/raw/readings", group="demo")
    with pytest.raises(ConfigurationError):
        iceberg_asset("not/a table")
    with pytest.raises(ConfigurationError):
        iceberg_asset_ref("not/a table")


def test_outlets_of_a_template_are_unknown():
    assert outlets_of("readings") == [iceberg_asset("readings")]
    assert outlets_of(None) == []
    assert outlets_of("{{ params.table }}") == []


def test_an_event_goes_to_the_tables_outlet_only(make_context):
    readings, other = iceberg_asset("readings", group="demo"), Asset(name="x", uri="s3://bucket/x")
    task = BaseOperator(task_id="a_task", outlets=[other, readings])
    context = make_context(task)
    set_event(context, "raw.readings", {"snapshot_id": 1})
    set_event(context, "raw.others", {"snapshot_id": 2})
    assert context["outlet_events"][readings].extra == {"snapshot_id": 1}
    assert context["outlet_events"][readings].partition_keys == set()
    assert context["outlet_events"][other].extra == {}


def test_case_44_events_carry_the_day_as_partition_key(make_context):
    """One event for DAGs that are scheduled by partitions, and one for all others, which a key would keep away."""
    readings = iceberg_asset("readings", group="demo")
    task = BaseOperator(task_id="a_task", outlets=[readings])
    context = make_context(task)
    set_event(context, "readings", {"partition_date": "2024-01-15"})
    sent = list(_serialize_outlet_events(context["outlet_events"]))
    assert {event.get("partition_key") for event in sent} == {"2024-01-15", None}
    assert all(event["extra"] == {"partition_date": "2024-01-15"} for event in sent)
    keyed = make_context(task, partition_key="2024-01-15T00:00")
    set_event(keyed, "readings", {"partition_date": "2024-01-15"})
    (event,) = _serialize_outlet_events(keyed["outlet_events"])
    assert event.get("partition_key") is None  # Airflow gives it the key of the run


def test_case_48_what_one_place_says_of_an_asset_all_of_its_file_say():
    before = iceberg_asset("stock")
    producer = iceberg_asset("raw.stock", group="warehouse", extra={"key": "id"})
    after = iceberg_asset("stock")
    assert before == producer == after
    expect(after, group="warehouse", extra={"key": "id"})


def test_case_48_a_reference_does_not_change_the_producers_asset():
    asset = iceberg_asset_ref("shipments")
    expect(asset, uri="iceberg://phlo/raw/shipments")
    dag = DAG("consumer", schedule=PartitionedAssetTimetable(assets=asset), start_date=datetime(2024, 1, 1, tzinfo=UTC))
    BaseOperator(task_id="reads", dag=dag)
    serialized = LazyDeserializedDAG.from_dag(dag)
    assert list(_find_all_assets([serialized])) == []  # so there is nothing that Airflow would write over
    producer = DAG("producer", schedule=None)
    BaseOperator(task_id="writes", outlets=[iceberg_asset("shipments", group="warehouse")], dag=producer)
    (found,) = _find_all_assets([LazyDeserializedDAG.from_dag(producer)])
    expect(found, name="raw.shipments", uri=asset.uri, group="warehouse")
