"""What ``phlo lineage`` reads of DAG files."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, Asset, AssetAlias, PartitionedAssetTimetable

from airflow_provider_phlo.assets.iceberg import iceberg_asset
from airflow_provider_phlo.cli.lake.facts import assets_that_start

READINGS, ORDERS = iceberg_asset("raw.readings"), iceberg_asset("raw.orders")


@pytest.mark.parametrize(
    ("schedule", "names"),
    [
        (None, ()),
        ("@daily", ()),
        (READINGS, ("raw.readings",)),
        ([READINGS, Asset("s3://b/c")], ("raw.readings", "s3://b/c")),
        (READINGS & (ORDERS | Asset("s3://b/c")), ("raw.readings", "raw.orders", "s3://b/c")),
        ([Asset.ref(uri=READINGS.uri), Asset.ref(name="orders")], ("raw.readings", "orders")),
        (AssetAlias("later"), ()),
        (PartitionedAssetTimetable(assets=READINGS), ("raw.readings",)),
    ],
)
def test_the_assets_that_a_dag_is_scheduled_on(schedule: Any, names: tuple[str, ...]) -> None:
    assert assets_that_start(DAG("a_dag", schedule=schedule)) == names
