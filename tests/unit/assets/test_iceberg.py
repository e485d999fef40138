"""Assets of tables and the events on them."""

from __future__ import annotations

import pytest
from airflow.sdk import Asset, BaseOperator

from airflow_provider_phlo.assets.iceberg import iceberg_asset, outlets_of, set_event
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.expect import expect


def test_an_asset_has_the_tables_name_and_uri():
    asset = iceberg_asset("readings", group="demo")
    expect(asset, name="raw.readings", uri="iceberg://phlo/raw/readings", group="demo")
    assert iceberg_asset("gold.readings").group == "asset"
    with pytest.raises(ConfigurationError):
        iceberg_asset("not a table")


def test_outlets_of_a_template_are_unknown():
    assert outlets_of("readings") == [iceberg_asset("readings")]
    assert outlets_of("{{ params.table }}") == []


def test_an_event_goes_to_the_tables_outlet_only(make_context):
    readings, other = iceberg_asset("readings", group="demo"), Asset(name="x", uri="s3://bucket/x")
    task = BaseOperator(task_id="a_task", outlets=[other, readings])
    context = make_context(task)
    set_event(context, "raw.readings", {"snapshot_id": 1})
    set_event(context, "raw.others", {"snapshot_id": 2})
    assert context["outlet_events"][readings].extra == {"snapshot_id": 1}
    assert context["outlet_events"][other].extra == {}
