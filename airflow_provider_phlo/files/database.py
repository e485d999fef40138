"""The DuckDB file that files are loaded into: one loader at a time has it open."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.files.scanning import is_passing
from airflow_provider_phlo.library_errors import describe

_MEMORY = "1GB"
# a checkpoint after every few small transactions would write the same blocks again and again
_CHECKPOINT = "256MB"
_MAGIC, _MAGIC_AT = b"DUCK", slice(8, 12)
_PAUSE = 0.1
_LOCKED = re.compile(r"Conflicting lock is held in (.+?) \(PID (\d+)\)")
_NEWER = re.compile(r"storage version|newer version of DuckDB", re.IGNORECASE)
_DAMAGED = re.compile(r"Corrupt database file|Could not read enough bytes|INTERNAL Error|Failure while replaying WAL")

# of the database, its disk or its memory; every other error is about the statement and the values that it got
_STOPPING = (
    *(duckdb.IOException, duckdb.OutOfMemoryException, duckdb.FatalException, duckdb.InternalException),
    *(duckdb.TransactionException, duckdb.ConnectionException, duckdb.InterruptException),
)


def stops_load(error: duckdb.Error) -> bool:
    """Return whether no file can be loaded any more after ``error``, and not just one of them."""
    return isinstance(error, _STOPPING)


@contextlib.contextmanager
def registered(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    """Let SQL read ``table`` under ``name``."""
    connection.register(name, table)
    try:
        yield
    finally:
        # refused where a statement has failed in a transaction: its error is the one to raise
        with contextlib.suppress(duckdb.Error):
            connection.unregister(name)


@contextlib.contextmanager
def open_database(path: Path, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """
    Open the DuckDB file at ``path`` to write to it; create it where it is missing.

    Loaders of one file take turns.

    :param wait_seconds: how long to wait for others who have it open.
    :raises TransientError: they still have it open then; names them.
    :raises ConfigurationError: ``wait_seconds`` is less than 0, or it is not a DuckDB file, or one of a newer version,
        or may not be written to.
    """
    if not wait_seconds >= 0:
        raise ConfigurationError(f"To wait {wait_seconds} seconds for {path} is not possible. Give 0 or more.")
    deadline = time.monotonic() + wait_seconds
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _turn(path, deadline, wait_seconds):
            _prepare(path)
            connection = _connect(path, deadline, wait_seconds)
            try:
                connection.execute(f"SET memory_limit = '{_MEMORY}'; SET checkpoint_threshold = '{_CHECKPOINT}'")
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
            finally:
                connection.close()
    except OSError as error:
        kind = TransientError if is_passing(error) else ConfigurationError
        raise kind(f"{error.filename or path}: {error.strerror or type(error).__name__}.") from None


@contextlib.contextmanager
def _turn(path: Path, deadline: float, wait_seconds: float) -> Iterator[None]:
    """Wait for the loader before this one; the lock's file says who it is."""
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
                    raise TransientError(_busy(path, f"another loader, process {holder}", wait_seconds)) from None
                time.sleep(_PAUSE)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


def _prepare(path: Path) -> None:
    """
    Remove what a crash left of a database that was just being created.

    :raises ConfigurationError: it is a folder.
    """
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder. Give the path of a file.")
    # only an empty file is opened: to close one that DuckDB has open in this process would end its lock
    if path.exists() and not path.stat().st_size:
        with path.open("r+b") as file, contextlib.suppress(BlockingIOError):  # another process creates it now
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT.stop)[_MAGIC_AT] == _MAGIC
    except OSError:
        return True  # DuckDB's error says more


def _connect(path: Path, deadline: float, wait_seconds: float) -> duckdb.DuckDBPyConnection:
    while True:
        try:
            connection = duckdb.connect(path)
            os.chmod(path, 0o600)
            return connection
        except duckdb.Error as error:
            text = str(error)
            held = _LOCKED.search(text)
            if held is None:
                raise _unusable(path, error) from None
            if time.monotonic() >= deadline:
                who = f"{Path(held[1]).name}, process {held[2]}"
                raise TransientError(_busy(path, who, wait_seconds)) from None
        time.sleep(_PAUSE)


def _busy(path: Path, who: str, wait_seconds: float) -> str:
    return (
        f"{path} is held by {who}, and was for {wait_seconds:.0f} s. Nothing was loaded; the next attempt goes on "
        "once it is free."
    )


def _unusable(path: Path, error: duckdb.Error) -> ConfigurationError | TransientError:
    text = str(error)
    if isinstance(error, duckdb.ConnectionException):
        return TransientError(f"{path} is open in this process with other settings. Close it, then load again.")
    if "not a valid DuckDB database file" in text or not _is_database(path):
        return ConfigurationError(f"{path} is not a DuckDB file. Give another path, or move it away.")
    if _NEWER.search(text):
        return ConfigurationError(
            f"{path} was written by another version of DuckDB, which this one ({duckdb.__version__}) cannot read. "
            "Load with that version, or export its tables there (EXPORT DATABASE) and import them here."
        )
    if _DAMAGED.search(text):
        return ConfigurationError(
            f"{path} is damaged. Put a copy of it back, or move it away with its .wal: all files are then loaded again."
        )
    if "Permission denied" in text:
        return ConfigurationError(
            f"{path} cannot be opened: permission denied. Give this user the right to write to it."
        )
    return TransientError(f"{path} cannot be opened: {describe(error)}.")
