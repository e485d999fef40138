"""
The DuckDB in which checks run: a process opens one, and keeps it for the next checks.

To open one takes 15 ms, ten times what most checks of a data frame take. What is kept holds no rows and has no threads,
which a fork would be without.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_phlo.quality.engines import xxhash64
from airflow_provider_phlo.quality.engines.duckdb import set_up
from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# by process: a fork leaves alone what it has of its parent
_kept: dict[int, DuckDBPyConnection] = {}

_WORKSPACE = quote_identifier("phlo checks")
_BEFORE = f"RESET threads; RESET async_threads; ATTACH ':memory:' AS {_WORKSPACE}"
# files that were read are forgotten too
_AFTER = (
    f"DETACH {_WORKSPACE}; SET enable_external_file_cache = false; SET enable_external_file_cache = true; "
    "SET async_threads = 0; SET threads = 1"
)


@contextmanager
def open_duckdb() -> Iterator[DuckDBPyConnection]:
    """
    Open a DuckDB for engines: for one, or for one after the other.

    Nobody else has it meanwhile, and it begins empty: what is created in it, registered with it or set is gone with it.
    After an error of any kind it is not kept.
    """
    kept = _kept.pop(os.getpid(), None) or _open()
    try:
        kept.execute(_BEFORE)
        with kept.cursor() as connection:
            connection.execute(f"USE {_WORKSPACE}")
            set_up(connection)
            yield connection
        kept.execute(_AFTER)
    except BaseException:
        kept.close()
        raise
    if _kept.setdefault(os.getpid(), kept) is not kept:
        kept.close()


def _open() -> DuckDBPyConnection:
    import duckdb

    from airflow_provider_phlo.iceberg.duckdb.sessions import spill_privately

    connection = duckdb.connect()
    spill_privately(connection)
    # a function lasts no longer than the connection that it was created with
    xxhash64.register(connection)
    return connection


@atexit.register
def _close() -> None:
    """Close what is kept before the interpreter takes away what it needs for that."""
    if connection := _kept.pop(os.getpid(), None):
        connection.close()
