"""
Locks that processes of one catalog share: a file beside an SQLite catalog, an advisory lock of a Postgres catalog.

Both are the operating system's or the server's own: whoever waits is served in the order of arrival, and a process
that dies lets go. A process that is forked while its parent has a lock has no part in it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

# what can go wrong with a lock: no right to write its file, no connection left on the server
LOCK_ERRORS = (OSError, SQLAlchemyError)


class Lock(Protocol):
    """A lock of one table, for one turn; after :meth:`release` it is used up."""

    def try_now(self) -> bool:
        """Take the lock if it is free."""

    def wait(self) -> bool:
        """Wait for the lock, however long; return whether it was given."""

    def give_up(self) -> None:
        """End :meth:`wait` in another thread, if that can be done; nothing is given any more then."""

    def holder(self) -> str | None:
        """Return what names the turn of whoever has the lock, another name for each turn; None if it is not known."""

    def release(self) -> None:
        """Give the lock to the next; let go of what was opened for it."""

    def forget(self) -> None:
        """In a forked process: close what the parent has opened, without letting go of its lock."""


_open: set[Lock] = set()


class FileLock:
    """
    A lock on a file, which only its owner can open.

    :param path: created when missing, never removed: a lock on a file that another has removed excludes nobody.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _open.add(self)

    def try_now(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._sign()
        return True

    def wait(self) -> bool:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._sign()
        return True

    def give_up(self) -> None:
        """Do nothing: a call that waits for a file cannot be ended from outside."""

    def holder(self) -> str | None:
        return os.pread(self._file, 100, 0).decode("ascii", "replace") or None

    def release(self) -> None:
        _open.discard(self)
        # a process that was forked meanwhile may have the same file open
        fcntl.flock(self._file, fcntl.LOCK_UN)
        os.close(self._file)

    def forget(self) -> None:
        os.close(self._file)

    def _sign(self) -> None:
        name = f"process {os.getpid()} since {time.monotonic_ns()}".encode()
        os.pwrite(self._file, name, 0)
        os.ftruncate(self._file, len(name))


class AdvisoryLock:
    """
    An advisory lock of a Postgres server, which a transaction holds.

    Not a session: behind a connection pooler (pgbouncer) two statements of a session may reach two sessions of the
    server, and a lock would be left in one of them.

    :param engine: connects to the server; one connection is taken for as long as the lock is held or waited for.
    :param key: the number of the lock, of 64 bits.
    """

    def __init__(self, engine: Engine, key: int) -> None:
        self._engine = engine
        self._key = key
        self._connection = engine.connect()
        _open.add(self)

    def try_now(self) -> bool:
        return bool(self._ask(_TRY, key=self._key))

    def wait(self) -> bool:
        try:
            self._ask("SELECT pg_advisory_xact_lock(:key)", key=self._key)
        except SQLAlchemyError:
            return False
        return True

    def give_up(self) -> None:
        cancel = getattr(self._connection.connection.dbapi_connection, "cancel", None)
        if cancel is not None:
            with suppress(Exception):  # of any driver
                cancel()

    def holder(self) -> str | None:
        # from another connection: this one waits
        with self._engine.connect() as connection:
            found = connection.scalar(text(_HOLDER), _halves(self._key))
        return f"transaction {found} of the catalog's server" if found else None

    def release(self) -> None:
        _open.discard(self)
        self._connection.close()

    def forget(self) -> None:
        _detach(self._connection)

    def _ask(self, sql: str, **parameters: Any) -> Any:
        return self._connection.scalar(text(sql), parameters)


# a turn takes as long as a merge does, whatever the server ends by itself elsewhere
_TRY = (
    "SELECT pg_try_advisory_xact_lock(:key) FROM (SELECT set_config('statement_timeout', '0', true), "
    "set_config('idle_in_transaction_session_timeout', '0', true), set_config('lock_timeout', '0', true)) settings"
)
_HOLDER = (
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND classid::bigint = :high AND objid::bigint = :low "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _halves(key: int) -> Mapping[str, int]:
    """Return the two halves of a lock's number, as the server lists them."""
    return {"high": key >> 32 & 0xFFFFFFFF, "low": key & 0xFFFFFFFF}


def _detach(connection: Connection) -> None:
    """Let a connection that is the parent process's lead nowhere: whatever is sent here would end its transaction."""
    fileno = getattr(connection.connection.dbapi_connection, "fileno", None)
    if fileno is not None:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, fileno())
        os.close(nowhere)


def is_open(lock: Lock) -> bool:
    """Return whether this process has opened the lock, and has not released it."""
    return lock in _open


class Waiter(threading.Thread):
    """Waits for a lock, so that the thread that wants it can be interrupted, or stop waiting."""

    def __init__(self, lock: Lock) -> None:
        super().__init__(name="phlo-turn", daemon=True)
        self.ended = threading.Event()
        self._lock = lock
        self._deciding = threading.Lock()
        self._wanted = True
        self._given = False

    def run(self) -> None:
        try:
            given = self._lock.wait()
        except LOCK_ERRORS:
            given = False
        with self._deciding:
            self._given = given and self._wanted
        if not self._given:
            with suppress(*LOCK_ERRORS):
                self._lock.release()
        self.ended.set()

    def settle(self) -> bool:
        """Stop waiting, if it has not ended; return whether the lock was given."""
        with self._deciding:
            self._wanted = False
            given = self._given
        if not given and not self.ended.is_set():
            self._lock.give_up()
        return given


def _forget_all() -> None:
    for lock in tuple(_open):
        with suppress(*LOCK_ERRORS):
            lock.forget()
    _open.clear()


os.register_at_fork(after_in_child=_forget_all)
