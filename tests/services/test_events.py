"""Public events in buckets: batches are written there, and loaded from there once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_phlo.events.batches import write_batches
from airflow_provider_phlo.events.loading import load_events
from airflow_provider_phlo.object_store import open_folder
from tests.services.gcs import BUCKET, running_gcs
from tests.services.s3 import S3Server
from tests.unit.files.conftest import event


def written_and_loaded(folder: Any, database: Path) -> None:
    assert len(write_batches(folder, [event(number) for number in range(4)], size=3)) == 2
    (folder / "year=2026" / "100% #1.JSON").write_bytes(b'{"id": "x"}\n{"id": "y"}')
    first = load_events(folder, database)
    assert (first.scanned_files, first.loaded_files, first.inserted_events) == (3, 3, 6)
    again = load_events(folder, database, verify=True)
    assert (again.loaded_files, again.skipped_files) == (0, 3)


def test_in_s3(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"endpoint_url": s3.endpoint, "region_name": s3.region}
    connection = {"conn_type": "aws", "login": s3.access_key, "password": s3.secret_key, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_EVENTS_STORE", json.dumps(connection))
    s3.create_bucket("events")
    written_and_loaded(open_folder("s3://events_store@events/raw"), tmp_path / "events.duckdb")


def test_in_google_cloud_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_gcs(tmp_path) as connection:
        monkeypatch.setenv("AIRFLOW_CONN_EVENTS_GCS", connection)
        written_and_loaded(open_folder(f"gs://events_gcs@{BUCKET}/raw"), tmp_path / "events.duckdb")
