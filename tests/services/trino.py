"""A real Trino on a catalog that it shares with PyIceberg: PostgreSQL (Iceberg's JDBC catalog) and local files."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog
from trino import exceptions as trino_errors

from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.postgres.server import PostgresServer, ensure_postgres
from tests.patience import PATIENCE
from tests.services import downloads

VERSION = "476"  # the newest that is published as one archive; writes delete files that PyIceberg reads

CATALOG = "lake"  # Trino's name of the catalog
NAME = "phlo"  # the catalog's name in its own tables: that of PyIceberg
JVM = [
    "-Xmx1G",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "--add-modules=jdk.incubator.vector",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
]

# Ends what it guards when its standard input closes: at the end of the tests, and when their process is killed.
_GUARD = """
import pathlib, shutil, sys
sys.stdin.read()
from airflow_provider_phlo.services.postgres import server as postgres
from airflow_provider_phlo.services.machine import processes
processes.stop(sys.argv[1], patience=1)
postgres.stop_postgres(pathlib.Path(sys.argv[2]))
shutil.rmtree(sys.argv[2], ignore_errors=True)
"""


@dataclass(frozen=True)
class Trino:
    """A running Trino and the catalog behind it."""

    home: Path
    port: int
    postgres: PostgresServer

    @cached_property
    def properties(self) -> dict[str, str]:
        """PyIceberg's properties of the shared catalog."""
        uri = self.postgres.uri.replace("postgresql://", "postgresql+psycopg2://")
        return {"type": "sql", "uri": uri, "warehouse": f"file://{self.home / 'warehouse'}"}

    def catalog(self) -> Catalog:
        """Open the shared catalog."""
        return open_catalog(NAME, self.properties)

    def connect(self) -> Any:
        """Open a DB-API connection to Trino."""
        from trino.dbapi import connect

        return connect(host="127.0.0.1", port=self.port, user="phlo", catalog=CATALOG, http_scheme="http")

    def query(self, sql: str) -> list[Any]:
        """Return the rows of a statement."""
        connection = self.connect()
        try:
            return connection.cursor().execute(sql).fetchall()
        finally:
            connection.close()

    @property
    def airflow_connection(self) -> str:
        """Trino as Airflow's connection, in JSON."""
        return json.dumps(
            {
                "conn_type": "trino",
                "host": "127.0.0.1",
                "port": self.port,
                "login": "phlo",
                "extra": {"catalog": CATALOG},
            }
        )


@contextmanager
def running_trino(home: Path, catalogs: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[Trino]:
    """
    Run Trino and its Postgres with all state in ``home``; both end with the block, or with this process.

    :param catalogs: more catalogs: name → properties.
    """
    program, java = installation(), downloads.java(at_least=22)
    mark = f"phlo-trino-{uuid.uuid4().hex}"
    guard = subprocess.Popen(
        [sys.executable, "-c", _GUARD, mark, str(home)],
        stdin=subprocess.PIPE,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
    )
    server = None
    try:
        trino = Trino(home, _free_port(), ensure_postgres(home))
        trino.catalog()  # PyIceberg creates the catalog's tables, Trino does not
        _configure(trino)
        for name, properties in (catalogs or {}).items():
            lines = "".join(f"{key}={value}\n" for key, value in properties.items())
            (home / "etc" / "catalog" / f"{name}.properties").write_text(lines)
        server = processes.start(
            _command(trino, program, java), mark=mark, environment={"PATH": "/usr/bin:/bin"}, log=home / "trino.log"
        )
        _await(trino)
        yield trino
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        if server is not None:
            server.wait(timeout=PATIENCE)  # it is this process that has to take note of its end
        guard.wait(timeout=PATIENCE)


def installation() -> Path:
    """Return the folder with Trino's ``server`` and its ``plugins``, fetched on first use."""
    return downloads.unpacked(
        f"trino-{VERSION}",
        {
            "server": f"io.trino:trino-server-core:{VERSION}:tar.gz",
            "plugins/iceberg": f"io.trino:trino-iceberg:{VERSION}:zip",
        },
    )


def _configure(trino: Trino) -> None:
    etc = trino.home / "etc"
    (etc / "catalog").mkdir(parents=True)
    (trino.home / "warehouse").mkdir()
    (etc / "config.properties").write_text(
        "coordinator=true\n"
        "node-scheduler.include-coordinator=true\n"
        f"http-server.http.port={trino.port}\n"
        f"discovery.uri=http://127.0.0.1:{trino.port}\n"
        "query.max-memory-per-node=300MB\n"
        "memory.heap-headroom-per-node=200MB\n"
        f"internal-communication.shared-secret={secrets.token_hex(32)}\n"
        "web-ui.enabled=false\n"
        "http-server.log.enabled=false\n"
        "catalog.management=static\n"
    )
    server = trino.postgres
    (etc / "catalog" / f"{CATALOG}.properties").write_text(
        "connector.name=iceberg\n"
        "iceberg.catalog.type=jdbc\n"
        f"iceberg.jdbc-catalog.catalog-name={NAME}\n"
        "iceberg.jdbc-catalog.driver-class=org.postgresql.Driver\n"
        f"iceberg.jdbc-catalog.connection-url=jdbc:postgresql://{server.host}:{server.port}/{server.dbname}\n"
        f"iceberg.jdbc-catalog.connection-user={server.user}\n"
        f"iceberg.jdbc-catalog.connection-password={server.password}\n"
        f"iceberg.jdbc-catalog.default-warehouse-dir=file://{trino.home / 'warehouse'}\n"
        "fs.native-local.enabled=true\n"
        "local.location=/\n"
    )


def _command(trino: Trino, program: Path, java: Path) -> list[str]:
    options = {
        "node.environment": "test",
        "node.id": "one",
        "node.data-dir": trino.home / "data",
        "node.internal-address": "127.0.0.1",
        "node.bind-ip": "127.0.0.1",
        "config": trino.home / "etc" / "config.properties",
        "plugin.dir": program / "plugins",
        "catalog.config-dir": trino.home / "etc" / "catalog",
    }
    defined = [f"-D{name}={value}" for name, value in options.items()]
    return [str(java), *JVM, *defined, "-cp", f"{program / 'server' / 'lib'}/*", "io.trino.server.TrinoServer"]


def _await(trino: Trino) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{trino.port}/v1/info", timeout=5) as answer:
                if not json.load(answer)["starting"]:
                    trino.query("SELECT count(*) FROM system.runtime.nodes")  # it has found itself as a worker
                    return
        except (OSError, http.client.HTTPException, ValueError, trino_errors.Error, trino_errors.HttpError):
            pass
        time.sleep(0.2)
    log = (trino.home / "trino.log").read_text()[-3000:] if (trino.home / "trino.log").exists() else ""
    raise AssertionError(f"Trino is not ready after {PATIENCE} s:\n{log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
