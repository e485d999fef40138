"""
A real Trino on a catalog that it shares with PyIceberg: PostgreSQL (Iceberg's JDBC catalog) and local files.

All workers of pytest-xdist share one: until a Trino is warm, each query takes it several times as long. It is a process
of its own (``python -m tests.services.trino FOLDER``) that ends when the last worker that uses it does, also by a kill.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog
from trino import exceptions as trino_errors

from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.postgres.server import PostgresServer, ensure_postgres, stop_postgres
from tests.patience import PATIENCE
from tests.services import downloads, programs

CATALOG = "lake"  # Trino's name of the catalog
NAME = "phlo"  # the catalog's name in its own tables: that of PyIceberg
JVM = [
    "-Xmx1G",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # the 48 MB of this level are full after some queries: compiled code would be thrown away and compiled again
    "-XX:ReservedCodeCacheSize=256M",
    # no full collections while classes are loaded
    "-XX:MetaspaceSize=256M",
    "-XX:+ExitOnOutOfMemoryError",
    "--add-modules=jdk.incubator.vector",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
]


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

    def connect(self, **options: Any) -> Any:
        """Open a DB-API connection to Trino."""
        from trino.dbapi import connect

        return connect(host="127.0.0.1", port=self.port, user="phlo", catalog=CATALOG, http_scheme="http", **options)

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
def shared_trino(folder: Path) -> Iterator[Trino]:
    """
    Use the Trino of ``folder``, which the first process that does so starts.

    :param folder: the same for all workers of a session; has what Trino and its Postgres keep.
    """
    programs.trino(), downloads.java(at_least=22)  # here it may skip
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder / "state.json"
    try:
        with (folder / "users").open("a") as users:
            # held until this block ends, or this process: Trino stays as long as anyone holds it
            fcntl.flock(users, fcntl.LOCK_SH)
            with (folder / "starting").open("a") as starting:
                fcntl.flock(starting, fcntl.LOCK_EX)
                if not state.exists():
                    _start_server(folder, state)
            running = json.loads(state.read_text())
            home = Path(running["home"])
            yield Trino(home, running["port"], ensure_postgres(home))
    finally:
        _await_end(folder / "users", state)


def _start_server(folder: Path, state: Path) -> None:
    log = folder / "server.log"
    with log.open("ab") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.services.trino", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=Path(__file__).parents[2],
        )
    while not state.exists():
        assert server.poll() is None, f"Trino has not started:\n{log.read_text()[-3000:]}"
        time.sleep(0.1)


def _await_end(users: Path, state: Path) -> None:
    """Return when Trino has ended, or at once where others use it."""
    deadline = time.monotonic() + PATIENCE
    while state.exists() and time.monotonic() < deadline:
        # the server holds it alone while it stops
        if not _is_free(users, fcntl.LOCK_EX) and _is_free(users, fcntl.LOCK_SH):
            return
        time.sleep(0.05)


def _is_free(path: Path, kind: int) -> bool:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def serve(folder: Path) -> None:
    """Run Trino for as long as anyone holds the lock on ``users`` of ``folder``."""
    home, state = Path(tempfile.mkdtemp(prefix="trino-", dir=folder)), folder / "state.json"
    with (folder / "users").open("a") as users:
        try:
            with running_trino(home) as trino:
                part = state.with_suffix(".part")
                part.write_text(json.dumps({"home": str(home), "port": trino.port}))
                part.rename(state)
                fcntl.flock(users, fcntl.LOCK_EX)
        finally:
            shutil.rmtree(home, ignore_errors=True)
            state.unlink(missing_ok=True)


@contextmanager
def running_trino(home: Path) -> Iterator[Trino]:
    """Run Trino and its Postgres with all state in ``home`` for the time of the block."""
    program, java = programs.trino(), downloads.java(at_least=22)
    mark = f"phlo-trino-{uuid.uuid4().hex}"
    server = None
    try:
        trino = Trino(home, _free_port(), ensure_postgres(home))
        # PyIceberg creates the catalog's tables, Trino does not; two workers at once must not create a namespace
        trino.catalog().create_namespace("raw")
        _configure(trino)
        server = processes.start(
            _command(trino, program, java), mark=mark, environment={"PATH": "/usr/bin:/bin"}, log=home / "trino.log"
        )
        _await(trino, server)
        yield trino
    finally:
        processes.stop(mark, patience=1)
        stop_postgres(home)
        if server is not None:
            server.wait(timeout=PATIENCE)  # it is this process that has to take note of its end


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
        "catalog.management=dynamic\n"
        # what has ended is kept a quarter of an hour otherwise, and looked through five times in a second: with
        # thousands of queries that took a third of the time of all
        "task.info.max-age=1m\n"
        "query.min-expire-age=1m\n"
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


def _await(trino: Trino, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{trino.port}/v1/info", timeout=5) as answer:
                if not json.load(answer)["starting"]:
                    trino.query("SELECT count(*) FROM system.runtime.nodes")  # it has found itself as a worker
                    return
        except (OSError, http.client.HTTPException, ValueError, trino_errors.Error, trino_errors.HttpError):
            pass
        time.sleep(0.2)
    log = (trino.home / "trino.log").read_text()[-3000:] if (trino.home / "trino.log").exists() else ""
    raise AssertionError(f"Trino has ended, or is not ready after {PATIENCE} s:\n{log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    serve(Path(sys.argv[1]))
