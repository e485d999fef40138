"""The real servers of these tests, each started once."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.services.trino import running_trino
from tests.unit.conftest import home, make_context, run_ingestion  # noqa: F401  # fixtures


@pytest.fixture(scope="session")
def trino(tmp_path_factory):
    """Return a running Trino and the catalog that it shares with PyIceberg."""
    with running_trino(tmp_path_factory.mktemp("trino")) as running:
        yield running


@pytest.fixture
def lake(trino):
    """Return the shared catalog, opened by PyIceberg."""
    return trino.catalog()


@pytest.fixture
def table_name():
    """Return the name of a table that no other test uses."""
    return f"raw.t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def on_trino(trino, monkeypatch):
    """Point Airflow's default connections to the real Trino and the catalog behind it."""
    monkeypatch.setenv("AIRFLOW_CONN_TRINO_DEFAULT", trino.airflow_connection)
    catalog = json.dumps({"conn_type": "iceberg", "extra": trino.properties})
    monkeypatch.setenv("AIRFLOW_CONN_ICEBERG_DEFAULT", catalog)
