from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from airflow_provider_phlo.services.postgres.server import PostgresServer, allow_roles, stop_postgres
from tests.unit.serving.postgrest_requests import Api


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Return a server whose role may make others."""
    if given := os.environ.get("PHLO_TEST_POSTGRES"):  # see tests/postgres_versions.py
        parts = urlsplit(given)
        yield PostgresServer(
            str(parts.hostname), int(parts.port or 0), str(parts.username), str(parts.password), parts.path[1:]
        )
        return
    home = tmp_path_factory.mktemp("served")
    try:
        yield allow_roles(home)
    finally:
        stop_postgres(home)


@pytest.fixture
def connection(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """Return a connection; schemas and roles that a test makes are gone after it."""
    with psycopg.connect(server.uri, autocommit=True) as connection:
        if connection.info.server_version < 150_000 and "old_server" not in request.keywords:
            pytest.skip("its views cannot read with the rights of whoever asks")
        before = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        yield connection
        schemas = connection.execute(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE pg_has_role(nspowner, 'USAGE') AND nspname !~ '^pg_' "
            "AND nspname <> 'public'"
        ).fetchall()
        for (schema,) in schemas:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
        for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall():
            if name not in before:
                quoted = '"' + name.replace('"', '""') + '"'
                connection.execute(f"GRANT {quoted} TO CURRENT_USER")
                connection.execute(f"DROP OWNED BY {quoted}; DROP ROLE {quoted}")


@pytest.fixture
def api(connection: psycopg.Connection, tmp_path: Path) -> Iterator[Api]:
    """Return what asks as PostgREST does."""
    asking = Api(connection, tmp_path)
    yield asking
    asking.close()
