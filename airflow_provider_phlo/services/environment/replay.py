"""
The recorded APIs: one server for each ``PHLO_HOME``, started when first needed, at a port that stays the same.

It is the project's own ``include.replay``; like the bundled Postgres, it outlives whoever started it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.machine.ports import HOST, free_port, is_free

LOGIN = "octo-phlo"
ORGANIZATION = "phlo-labs"
READY_SECONDS = 30
#: the connections of the examples' sources
SOURCES = ("AIRFLOW_CONN_GITHUB_DEFAULT", "AIRFLOW_CONN_NIGHTSCOUT_DEFAULT")


@dataclass(frozen=True)
class Replay:
    """
    The server of one ``PHLO_HOME``.

    :param secret: without it nobody reads Nightscout's entries or lets time pass.
    """

    port: int
    secret: str = field(repr=False)

    def connections(self) -> dict[str, str]:
        """Return the connections to it, as variables of Airflow."""
        url = f"http://{HOST}:{self.port}"
        return {
            "AIRFLOW_CONN_GITHUB_DEFAULT": json.dumps(
                {
                    "conn_type": "http",
                    "host": f"{url}/github",
                    "login": LOGIN,
                    # recordings have no limit per minute
                    "extra": {"organizations": [ORGANIZATION], "requests_per_minute": 1_000_000},
                }
            ),
            "AIRFLOW_CONN_NIGHTSCOUT_DEFAULT": json.dumps(
                {"conn_type": "http", "host": f"{url}/nightscout", "password": self.secret}
            ),
        }

    def last_day(self) -> str:
        """Return the last recorded day."""
        return str(self._call("GET", "/replay/health")["end"])

    def advance(self) -> None:
        """Let the replayed APIs return their later state: readings that are edited, late or new."""
        self._call("POST", "/replay/advance")

    def misread(self) -> None:
        """Let the sensor misread once on the last day, until the next :meth:`advance`."""
        self._call("POST", "/replay/misread")

    def answers(self) -> bool:
        """Return whether the server is there, and is the one that knows the secret."""
        try:
            return isinstance(self._call("GET", "/nightscout/api/v1/entries.json?count=1"), list)
        except (OSError, ValueError):
            return False

    def _call(self, method: str, path: str) -> Any:
        digest = hashlib.sha1(self.secret.encode()).hexdigest()  # noqa: S324 - as Nightscout asks for it
        data = b"" if method == "POST" else None
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}{path}", method=method, data=data, headers={"api-secret": digest}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return json.load(answer)


def has_recordings(root: Path) -> bool:
    """Return whether the project has APIs to replay."""
    return (root / "include" / "replay" / "__main__.py").is_file()


def recorded_connections(home: Path, secret: str) -> dict[str, str]:
    """Return the connections to the server of ``home``, whether it runs or not; none if it never did."""
    known = (home / "replay" / "port").exists()
    return Replay(_port(home / "replay"), secret).connections() if known else {}


def ensure_replay(home: Path, root: Path, secret: str, mark: str, environment: Mapping[str, str]) -> Replay:
    """
    Return the running server of ``home``; start it when needed.

    :param root: the project that has the recordings.
    :param secret: what its readers have to know.
    :param mark: what ``make stop`` finds it by.
    :param environment: the variables that it starts with.
    :raises TransientError: it did not get ready in time; says where its log is.
    """
    folder = home / "replay"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        replay = Replay(_port(folder), secret)
        if replay.answers():
            return replay
        if not is_free(replay.port):
            (folder / "port").unlink()
            replay = Replay(_port(folder), secret)
        log = home / "logs" / "processes" / "replay.log"
        options = ["--port", str(replay.port), "--home", str(folder), "--login", LOGIN]
        variables = {**environment, "PYTHONPATH": str(root), "REPLAY_API_SECRET": secret}
        process = processes.start(
            [sys.executable, "-m", "include.replay", *options], mark=mark, environment=variables, log=log
        )
        deadline = time.monotonic() + READY_SECONDS
        while not replay.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise TransientError(f"The recorded APIs do not answer; see {log}.")
            time.sleep(0.1)
    return replay


def _port(folder: Path) -> int:
    """Return the port: chosen once and kept, so that a shell's connections stay valid."""
    path = folder / "port"
    if not path.exists():
        path.write_text(str(free_port()))
    return int(path.read_text())
