"""An in-memory DuckDB: where it puts what does not fit into memory, and what SQL of a user may reach."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable

import duckdb

from airflow_provider_phlo.sql import literal


def spill_privately(connection: duckdb.DuckDBPyConnection) -> None:
    """Let an in-memory DuckDB spill to a folder that is its owner's only and goes with the connection."""
    if connection.execute("SELECT current_setting('temp_directory')").fetchone() != (".tmp",):
        return  # chosen already; the default is in the current folder
    folder = tempfile.mkdtemp(prefix="phlo-duckdb-")
    weakref.finalize(connection, _remove_folder, folder, os.getpid())
    connection.execute(f"SET temp_directory = {literal(folder)}")


def _remove_folder(folder: str, process: int) -> None:
    # a fork ends with a copy of the connection, whose folder is its parent's
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def read_only(connection: duckdb.DuckDBPyConnection, directories: Iterable[str] = ()) -> None:
    """
    Lock the connection for SQL of a user: no files but those below ``directories``, no network, no settings.

    DuckDB knows no directory that may be read but not written: call :func:`assert_read_only` on what runs here.

    :param directories: local folders or URL prefixes that may be read.
    """
    allowed = ", ".join(literal(directory) for directory in sorted(directories))
    connection.execute(f"SET allowed_directories = [{allowed}]")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
