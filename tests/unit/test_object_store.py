"""Staging on object stores: which connection is taken. Reading and writing: tests/services."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.object_store import object_storage_path
from tests.expect import expect

S3 = {
    "s3.endpoint": "http://127.0.0.1:9",
    "s3.region": "us-east-1",
    "s3.access-key-id": "a",
    "s3.secret-access-key": "bb",
}
AWS = {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"}


@pytest.fixture(autouse=True)
def _no_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})


@pytest.mark.parametrize(
    "connection",
    [
        {"conn_type": "iceberg", "host": "https://catalog.example.com", "extra": {**S3, "warehouse": "w"}},
        {"conn_type": "aws", "login": "key", "password": "secret", "extra": AWS},
    ],
    ids=["iceberg", "aws"],
)
def test_the_connection_gives_address_and_keys(monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any]) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
    path = object_storage_path("s3://store@bucket/staging") / "t"
    expect(path, bucket="bucket", key="staging/t", conn_id="store")
    assert path.fs.fs.region == "us-east-1"
    with pytest.raises(OSError, match="bucket"):  # nobody listens there: the address was taken
        path.exists()


def test_extras_that_are_not_known_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "iceberg", "extra": {"s3.secret": "hidden"}}
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
    with pytest.raises(ConfigurationError, match=r"unknown extras: s3\.secret") as caught:
        object_storage_path("s3://store@bucket/staging")
    assert "hidden" not in str(caught.value)


def test_a_store_that_nothing_reads_is_an_error_that_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"no installed provider reads abfs:// URLs"):
        object_storage_path("abfs://container/staging")
