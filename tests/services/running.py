"""Server processes of a test session: on loopback, at a free port, ended with it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.patience import PATIENCE

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str],
    *,
    ready: Callable[[], bool],
    log: Path,
    environment: Mapping[str, str],
    seconds: float = PATIENCE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` for the time of the block, which begins when it is ``ready``."""
    # the server ends with this process, also when that is killed
    bound = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*bound, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(environment)
        )
    try:
        deadline = time.monotonic() + seconds
        while not ready():
            assert process.poll() is None, f"{command[0]} ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"{command[0]} is not ready: {log.read_text()[-2000:]}"
            time.sleep(0.1)
        yield process
    finally:
        # what it holds is thrown away, and Nessie may not end for minutes: nothing is gained by waiting for it
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
