"""The trigger, on an event loop of its own."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from airflow.sdk.module_loading import import_string

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.triggers.partition import PhloPartitionTrigger
from tests.lake import create_table

ARGUMENTS = {
    "table": "raw.t",
    "partition_date": "2024-01-15",
    "partition_column": "_phlo_partition_date",
    "iceberg_conn_id": "iceberg_default",
    "poke_interval": 0.02,
}
ROWS = pa.table({"_phlo_partition_date": [date(2024, 1, 15)]})
SUCCESS = {"status": "success", "table": "raw.t", "partition_date": "2024-01-15"}


def publish(catalog):
    create_table(catalog, "raw.t", ROWS)


async def first_event(**arguments):
    return (await anext(PhloPartitionTrigger(**{**ARGUMENTS, **arguments}).run())).payload


def test_what_is_stored_makes_an_equal_trigger():
    path, arguments = PhloPartitionTrigger(**ARGUMENTS).serialize()
    assert arguments == ARGUMENTS
    again = import_string(path)(**arguments)
    assert isinstance(again, PhloPartitionTrigger)
    assert again.serialize() == (path, arguments)


def test_fires_at_once_and_only_once(catalog):
    publish(catalog)

    async def all_events():
        return [event.payload async for event in PhloPartitionTrigger(**ARGUMENTS).run()]

    assert asyncio.run(all_events()) == [SUCCESS]


def test_waits_until_the_partition_is_published(catalog):
    async def watch():
        waiting = asyncio.create_task(first_event())
        # the loop turns while the trigger looks and sleeps
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        await asyncio.to_thread(publish, catalog)
        return await asyncio.wait_for(waiting, timeout=20)

    assert asyncio.run(watch()) == SUCCESS


def test_looks_that_fail_are_repeated_but_not_for_ever(catalog):
    """As while a store does not answer: the table's files are not to be found."""
    publish(catalog)
    folder = Path(catalog.load_table("raw.t").location().removeprefix("file://"))
    away = folder.with_name("away")
    folder.rename(away)

    async def watch():
        waiting = asyncio.create_task(first_event(poke_interval=0.3))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done
        away.rename(folder)
        return await asyncio.wait_for(waiting, timeout=20)

    assert asyncio.run(watch()) == SUCCESS
    folder.rename(away)
    with pytest.raises(TransientError, match=r"raw\.t"):
        asyncio.run(first_event())


def test_reads_the_catalog_of_the_connection(catalog, tmp_path, monkeypatch):
    publish(catalog)
    elsewhere = {"type": "sql", "uri": f"sqlite:///{tmp_path / 'catalog.db'}", "warehouse": "file:///nowhere"}
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "empty"))
    connection = {"conn_type": "iceberg", "extra": elsewhere}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(connection))
    assert asyncio.run(first_event(iceberg_conn_id="lake")) == SUCCESS


def test_says_when_waiting_cannot_help(catalog):
    publish(catalog)
    event = asyncio.run(first_event(partition_column="day"))
    assert event["status"] == "error"
    assert "raw.t has no column day" in event["message"]
    assert "Connection 'lake' is not set" in asyncio.run(first_event(iceberg_conn_id="lake"))["message"]
