from __future__ import annotations

import os
from urllib.parse import urlsplit

import psycopg
import pytest

from airflow_provider_phlo.services.postgres.server import PostgresServer, allow_roles, stop_postgres


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    if given := os.environ.get("PHLO_TEST_POSTGRES"):  # see tests/postgres_versions.py
        parts = urlsplit(given)
        yield PostgresServer(parts.hostname, parts.port, parts.username, parts.password, parts.path[1:])
        return
    home = tmp_path_factory.mktemp("postgres")
    try:
        yield allow_roles(home)
    finally:
        stop_postgres(home)


@pytest.fixture
def connection(server):
    with psycopg.connect(server.uri, autocommit=True) as connection:
        yield connection
        connection.execute("DROP SCHEMA IF EXISTS marts CASCADE")
