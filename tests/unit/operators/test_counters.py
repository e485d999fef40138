"""Counters go where Airflow sends its metrics, and nowhere when those are off."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk._shared.observability.metrics.statsd_logger import get_statsd_logger
from airflow.sdk.observability import stats
from pandera.pandas import Field

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.schemas import PhloSchema


class Client:
    """What Airflow hands metrics to: the interface of the client of StatsD."""

    sent: dict[str, int]

    def __init__(self, *address: Any) -> None:
        self.sent = {}

    def incr(self, stat: str, count: int = 1, rate: float = 1) -> None:
        self.sent[stat] = self.sent.get(stat, 0) + count


@pytest.fixture
def sent(monkeypatch):
    """Return what is sent, with the tags in the names, as InfluxDB has them."""
    client = Client()
    logger = get_statsd_logger(
        stats_class=lambda *address: client, influxdb_tags_enabled=True, statsd_influxdb_enabled=True
    )
    stats.initialize(factory=lambda: logger, export_legacy_names=True)
    yield client.sent
    stats.initialize(factory=NoStatsLogger, export_legacy_names=True)


class Thing(PhloSchema):
    id: int = Field(unique=True)


@phlo_ingestion("counted", unique_key="id", validation_schema=Thing, group="test")
def counted(partition_date):
    """Two records, one of them twice."""
    return [{"id": 1}, {"id": 2}, {"id": 2}]


def test_rows_are_counted_once_they_are_published(monkeypatch, sent, run_ingestion):
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    run_ingestion(counted)
    ours = {name: count for name, count in sent.items() if name.startswith("phlo.")}
    assert ours == {
        "phlo.rows.read,table=raw.counted": 3,
        "phlo.rows.inserted,table=raw.counted": 2,
        "phlo.rows.duplicates,table=raw.counted": 1,
        "phlo.publications,table=raw.counted": 1,
    }


def test_nothing_is_counted_where_metrics_are_off(monkeypatch, sent, run_ingestion):
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "False")
    run_ingestion(counted)
    assert not [name for name in sent if name.startswith("phlo.")]
