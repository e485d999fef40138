"""A Nessie server, in memory, with its warehouse on an S3 server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.services import programs
from tests.services.running import HOST, free_port, running
from tests.services.s3 import S3Server

JAVA = 21
JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True)
class NessieServer:
    """
    Where the server answers.

    :param warehouse: the S3 location below which it puts tables.
    """

    url: str
    warehouse: str

    @property
    def iceberg(self) -> str:
        """Return the address of its Iceberg REST catalog, which shows ``main``."""
        return f"{self.url}/iceberg"

    @property
    def api(self) -> str:
        """Return the address of its own REST API."""
        return f"{self.url}/api/v2"


def java(at_least: int) -> str:
    """Return a ``java`` of a Java that is new enough: ``JAVA_HOME``, what is on the path, or installed beside it."""
    homes = [os.environ.get("JAVA_HOME", ""), str(Path(shutil.which("java") or "/").resolve().parents[1])]
    homes += sorted(map(str, Path("/usr/lib/jvm").glob("*")), reverse=True)
    for home in homes:
        release = Path(home) / "release"
        if home and release.is_file() and _version(release.read_text()) >= at_least:
            return str(Path(home) / "bin" / "java")
    raise RuntimeError(f"Java {at_least} or newer is needed: set JAVA_HOME.")


def _version(release: str) -> int:
    line = next((line for line in release.splitlines() if line.startswith("JAVA_VERSION=")), '="0"')
    return int(line.partition("=")[2].strip('"').partition(".")[0])


@contextmanager
def running_nessie(folder: Path, s3: S3Server) -> Iterator[NessieServer]:
    """Run Nessie for the time of the block."""
    port = free_port()
    server = NessieServer(f"http://{HOST}:{port}", f"{s3.create_bucket('nessie')}/warehouse")
    catalog, store = "nessie.catalog", "nessie.catalog.service.s3.default-options"
    settings = {
        "quarkus.http.host": HOST,
        "quarkus.http.port": str(port),
        "quarkus.management.host": HOST,
        "quarkus.management.port": str(free_port()),
        "quarkus.otel.sdk.disabled": "true",
        "nessie.version.store.type": "IN_MEMORY",
        f"{catalog}.default-warehouse": "warehouse",
        f"{catalog}.warehouses.warehouse.location": server.warehouse,
        f"{store}.endpoint": s3.endpoint,
        f"{store}.region": s3.region,
        f"{store}.path-style-access": "true",
        f"{store}.access-key": "urn:nessie-secret:quarkus:s3-keys",
        "s3-keys.name": s3.access_key,
        "s3-keys.secret": s3.secret_key,
    }
    configuration = folder / "config" / "application.properties"
    configuration.parent.mkdir()
    configuration.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    environment = {"PATH": os.environ["PATH"], "QUARKUS_CONFIG_LOCATIONS": str(configuration)}
    with running(
        [java(JAVA), *JVM, "-jar", str(programs.nessie())],
        ready=lambda: _ready(server),
        log=folder / "nessie.log",
        environment=environment,
    ):
        yield server


def _ready(server: NessieServer) -> bool:
    try:
        return requests.get(f"{server.api}/config", timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False
