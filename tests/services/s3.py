"""An S3 server that checks every signature: versitygw, on a folder."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.services import programs
from tests.services.running import HOST, free_port, running

REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """
    Where the server answers, and its one account.

    :param folder: what it stores: a folder a bucket.
    """

    endpoint: str
    folder: Path
    access_key: str = "tester"
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    region: str = REGION

    @property
    def properties(self) -> dict[str, str]:
        """Return PyIceberg's names for it."""
        return {
            "s3.endpoint": self.endpoint,
            "s3.access-key-id": self.access_key,
            "s3.secret-access-key": self.secret_key,
            "s3.region": self.region,
        }

    def filesystem(self) -> Any:
        """Return it as PyArrow's file system."""
        from pyarrow.fs import S3FileSystem

        return S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            endpoint_override=self.endpoint,
            allow_bucket_creation=True,
        )

    def create_bucket(self, name: str) -> str:
        """Create a bucket, unless it is there, and return its URL."""
        self.filesystem().create_dir(name)
        return f"s3://{name}"


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """Run an S3 server on ``folder`` for the time of the block."""
    port = free_port()
    store = folder / "s3"
    store.mkdir()
    server = S3Server(f"http://{HOST}:{port}", store)
    # the keys are in the environment, not on the command line, where every user of the machine could read them
    environment = {
        "PATH": os.environ["PATH"],
        "ROOT_ACCESS_KEY_ID": server.access_key,
        "ROOT_SECRET_ACCESS_KEY": server.secret_key,
        "VGW_REGION": server.region,
    }
    command = [str(programs.versitygw()), "--port", f"{HOST}:{port}", "--quiet"]
    with running(
        [*command, "posix", str(store)], ready=lambda: _listens(port), log=folder / "s3.log", environment=environment
    ):
        yield server


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
