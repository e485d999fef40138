"""
Snowflake's dialect and protocol on this machine: fakesnow, over DuckDB, in an environment of its own.

It needs other releases of libraries than this package. It cannot MERGE in a transaction that has written before, nor
does it know that a session has a time zone: here every statement commits by itself, which is harder on retries.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.services import programs
from tests.services.running import HOST, free_port, running

DATABASE = "LAKE"
_TRANSACTIONS = ("BEGIN", "COMMIT")


@contextmanager
def running_snowflake(folder: Path) -> Iterator[int]:
    """Run the server for the time of the block, which gets its port."""
    port = free_port()
    command = [str(programs.fakesnow()), "-s", "--port", str(port), "--host", HOST]
    with running(
        command, ready=lambda: _listens(port), log=folder / "snowflake.log", environment={"HOME": str(folder)}
    ):
        yield port


def connect(port: int) -> Any:
    """Open a connection, in which transactions do nothing."""
    import snowflake.connector
    from snowflake.connector.cursor import SnowflakeCursor

    class Cursor(SnowflakeCursor):
        def execute(self, command: str, params: Any = None, **options: Any) -> Any:
            return self if command in _TRANSACTIONS else super().execute(command, params, **options)

    connection = snowflake.connector.connect(
        user="user",
        password="password",
        account="account",
        host=HOST,
        port=port,
        protocol="http",
        database=DATABASE,
        schema="PUBLIC",
        login_timeout=20,
        # the server answers 500 where it fails itself, which the connector would try again for ever
        network_timeout=5,
        session_parameters={"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False, "TIMEZONE": "UTC"},
    )
    connection.cursor = lambda: Cursor(connection)
    return connection


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False
