"""A Redis server, in memory, behind a password."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.downloads import missing
from tests.services.running import HOST, free_port, running


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Run Redis for the time of the block; return its URL, which holds the password."""
    program = shutil.which("redis-server")
    if program is None:
        missing("redis-server is not installed", "install it (Debian: apt-get install redis-server).")
    port, password = free_port(), secrets.token_hex(16)
    settings = {"bind": HOST, "port": port, "requirepass": password, "save": '""', "dir": folder}
    (folder / "redis.conf").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    with running(
        [program, str(folder / "redis.conf")],
        ready=lambda: _answers(port),
        log=folder / "redis.log",
        environment={"PATH": os.environ["PATH"]},
    ):
        yield f"redis://:{password}@{HOST}:{port}/0"


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
