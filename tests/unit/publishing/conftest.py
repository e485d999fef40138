from __future__ import annotations

import psycopg
import pytest

from airflow_provider_phlo.services.postgres import ensure_postgres, stop_postgres


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("postgres")
    try:
        yield ensure_postgres(home)
    finally:
        stop_postgres(home)


@pytest.fixture
def connection(server):
    with psycopg.connect(server.uri, autocommit=True) as connection:
        yield connection
        connection.execute("DROP SCHEMA IF EXISTS marts CASCADE")
