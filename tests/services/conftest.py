"""The servers of these tests, one of each for the session."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.services.postgres.server import PostgresServer, ensure_postgres, stop_postgres
from tests.lake import open_lake
from tests.services.nessie import NessieServer, running_nessie
from tests.services.s3 import S3Server, running_s3
from tests.services.stores import KINDS, Store, embedded, on_nessie, on_postgres, on_s3
from tests.services.trino import shared_trino
from tests.unit.conftest import make_context, run_ingestion  # noqa: F401  # fixtures

# Groups that take long, as they have to begin: workers would wait for one that begins when the others end.
LONG = ("trino checks", "trino", "airflow", "scale", "stores")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests by their group (xdist keeps the order with ``--no-loadscope-reorder``)."""
    items.sort(key=_order)


def _order(item: pytest.Item) -> int:
    marker = item.get_closest_marker("xdist_group")
    return LONG.index(marker.args[0]) if marker and marker.args[0] in LONG else len(LONG)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def nessie(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[NessieServer]:
    with running_nessie(tmp_path_factory.mktemp("nessie"), s3) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    home = tmp_path_factory.mktemp("postgres")
    try:
        yield ensure_postgres(home)
    finally:
        stop_postgres(home)


@pytest.fixture
def nessie_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nessie: NessieServer, s3: S3Server) -> Store:
    return _applied(Store("nessie-s3", tmp_path, on_nessie(tmp_path, nessie, s3)), monkeypatch)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Give the test each store, one after the other."""
    kind = request.param
    if kind == "nessie-s3":
        return request.getfixturevalue("nessie_store")
    settings = embedded(tmp_path)
    if kind.startswith("postgres"):
        settings = on_postgres(settings, request.getfixturevalue("postgres"))
    if kind.endswith("s3"):
        settings = on_s3(settings, request.getfixturevalue("s3"))
    return _applied(Store(kind, tmp_path, settings), monkeypatch)


def _applied(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in store.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
    return store


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the store's ``PHLO_HOME``."""
    return tmp_path


@pytest.fixture
def catalog(home: Path) -> Catalog:
    """Return an embedded catalog beside the store."""
    return open_lake(home)


@pytest.fixture(scope="session")
def trino(tmp_path_factory):
    """Return the Trino of this session, and the catalog that it shares with PyIceberg."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    with shared_trino(session / "trino") as running:
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
