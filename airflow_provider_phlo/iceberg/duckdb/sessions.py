"""An in-memory DuckDB: where it puts what does not fit into memory, and what SQL of a user may reach."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import duckdb

from airflow_provider_phlo.sql import literal

# seconds after which a folder that nothing was added to is that of a process that was killed: no query takes as long
_FORGOTTEN_AFTER = 7 * 86_400


def spill_privately(connection: duckdb.DuckDBPyConnection) -> None:
    """
    Let an in-memory DuckDB spill to a folder that is its owner's only and goes with the connection.

    DuckDB makes the folder when it spills: a process that is ended in the middle, as tasks are, leaves none otherwise.
    """
    if connection.execute("SELECT current_setting('temp_directory')").fetchone() != (".tmp",):
        return  # chosen already; the default is in the current folder
    folder = _folder_of_owner() / f"{os.getpid()}-{secrets.token_hex(8)}"
    weakref.finalize(connection, _remove_folder, folder, os.getpid())
    connection.execute(f"SET temp_directory = {literal(str(folder))}")


def _folder_of_owner() -> Path:
    """Return the folder of all that this user spills; one of its own where another user has taken its name."""
    folder = Path(tempfile.gettempdir(), f"phlo-duckdb-{os.getuid()}")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        return Path(tempfile.mkdtemp(prefix="phlo-duckdb-"))
    _forget_the_killed(folder, os.getpid())
    return folder


@cache
def _forget_the_killed(folder: Path, _process: int) -> None:
    """Remove what processes left that were killed long ago; once per process."""
    for left in folder.iterdir():
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _FORGOTTEN_AFTER:
                shutil.rmtree(left, ignore_errors=True)


def _remove_folder(folder: Path, process: int) -> None:
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
