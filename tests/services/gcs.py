"""Google Cloud Storage on this machine: an emulator that keeps objects in memory."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.services import programs
from tests.services.running import HOST, free_port, running

BUCKET = "bucket"


@contextmanager
def running_gcs(folder: Path) -> Iterator[str]:
    """Run the emulator for the time of the block, which gets an Airflow connection to it."""
    port = free_port()
    command = [
        str(programs.gcs()),
        "start",
        f"--host={HOST}",
        f"--port={port}",
        "--in-memory",
        f"--default-bucket={BUCKET}",
    ]
    with running(command, ready=lambda: _listens(port), log=folder / "gcs.log", environment={"HOME": str(folder)}):
        extra = {
            "warehouse": "unused",
            "gcs.service.host": f"http://{HOST}:{port}",
            "gcs.oauth2.token": "a token",
            "gcs.oauth2.token-expires-at": "4102444800000",
            "gcs.project-id": "project",
        }
        yield json.dumps({"conn_type": "iceberg", "host": "https://catalog.example.com", "extra": extra})


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False
