"""Catalogs that several processes write to: SQLite, and the bundled Postgres."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties
from airflow_provider_phlo.services.postgres.server import ensure_postgres, stop_postgres
from tests.faults.killing import CatalogSettings


@pytest.fixture(scope="session")
def postgres_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URI of a Postgres for this process's tests."""
    home = tmp_path_factory.mktemp("postgres")
    try:
        yield ensure_postgres(home).uri.replace("postgresql://", "postgresql+psycopg2://")
    finally:
        stop_postgres(home)


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> CatalogSettings:
    """Return an empty catalog; its files are below ``tmp_path``."""
    properties = embedded_properties(tmp_path)
    if request.param == "postgres":
        properties["uri"] = request.getfixturevalue("postgres_uri")
    return CatalogSettings(f"phlo_{uuid.uuid4().hex}", properties)
