"""
Writers of one table take turns, so that none has to do again what another has overtaken.

A turn goes from the look at main to the commit that builds on it. Who lands and publishes in one go has one turn for
both. A turn saves work, and nothing rests on it: commits are optimistic, with or without. A writer that has no turn
(of a catalog that has no such lock, of an older release, of another engine) loses nothing and destroys nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.catalogs.sql import CachingSqlCatalog
from airflow_provider_phlo.iceberg.catalogs.turn_locks import (
    LOCK_ERRORS,
    AdvisoryLock,
    FileLock,
    Lock,
    Waiter,
    is_open,
)
from airflow_provider_phlo.library_errors import describe

log = logging.getLogger(__name__)

# a catalog's property: how long one writer may keep the others waiting before they go on without a turn; 0: no turns
SECONDS_PROPERTY = "phlo.turn-seconds"
DEFAULT_SECONDS = 300.0
# beside the file of an SQLite catalog
FOLDER_SUFFIX = "-turns"
# how often a writer that waits looks whether the others get on
LOOK_SECONDS = 5.0
# how long a writer that has landed keeps its turn, to publish
KEPT_SECONDS = 1.0


class _Turn:
    """
    A writer's turn.

    :param table: the catalog's address and name, and the table's.
    """

    def __init__(self, table: tuple[str, str, str], lock: Lock) -> None:
        self.table = table
        self._lock = lock
        self._deciding = threading.Lock()
        self._timer: threading.Timer | None = None

    def keep(self) -> None:
        """End in a second, unless it is resumed."""
        timer = threading.Timer(KEPT_SECONDS, lambda: self._end_kept(timer))
        timer.daemon = True
        self._timer = timer
        timer.start()

    def resume(self) -> bool:
        """Go on with the turn; return whether it has not ended."""
        with self._deciding:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return is_open(self._lock)

    def end(self) -> None:
        with self._deciding:
            self._release()

    def _end_kept(self, timer: threading.Timer) -> None:
        """End the turn, unless it was resumed while this waited to decide: a timer that runs cannot be cancelled."""
        with self._deciding:
            if self._timer is timer:
                self._release()

    def _release(self) -> None:
        # in a process that was forked meanwhile the lock is not open: it has no part in it
        if is_open(self._lock):
            with suppress(*LOCK_ERRORS):
                self._lock.release()


class _OfThread(threading.local):
    running = False
    kept: _Turn | None = None


_of_thread = _OfThread()


@contextmanager
def take_turn(catalog: Catalog, identifier: str, *, keep: bool = False) -> Iterator[None]:
    """
    Wait until no other writer of the table has its turn, and keep others waiting meanwhile.

    Turns come in the order of asking. A writer that takes longer than the catalog's ``phlo.turn-seconds`` is not waited
    for any more. A thread has one turn at a time, of whatever table, and inside it takes no other: writers never wait
    for each other in a circle.

    :param identifier: ``namespace.table``.
    :param keep: this thread is likely to take another turn at once, and keeps this one for it, for a second at most.
    """
    if _of_thread.running:
        yield
        return
    turn = _begin(catalog, identifier)
    _of_thread.running = True
    try:
        yield
    except BaseException:
        keep = False
        raise
    finally:
        _of_thread.running = False
        if turn is not None and keep:
            _of_thread.kept = turn
            turn.keep()
        elif turn is not None:
            turn.end()


def end_kept_turn() -> None:
    """End the turn that this thread keeps, if any: it is not going to publish."""
    turn, _of_thread.kept = _of_thread.kept, None
    if turn is not None:
        turn.end()


def _begin(catalog: Catalog, identifier: str) -> _Turn | None:
    seconds = _seconds(catalog)
    if not seconds or not isinstance(catalog, CachingSqlCatalog):
        return None
    table = (catalog.engine.url.render_as_string(), catalog.name, identifier)
    kept = _of_thread.kept
    if kept is not None and kept.table == table and kept.resume():
        _of_thread.kept = None
        return kept
    end_kept_turn()
    try:
        lock = _lock_of(catalog, identifier)
        return _Turn(table, lock) if lock is not None and _take(lock, identifier, seconds) else None
    except LOCK_ERRORS as error:
        log.info("%s: writers cannot take turns here (%s)", identifier, describe(error))
        return None


def _take(lock: Lock, identifier: str, seconds: float) -> bool:
    try:
        if lock.try_now():
            return True
    except LOCK_ERRORS:
        with suppress(*LOCK_ERRORS):
            lock.release()
        raise
    return _wait(lock, identifier, seconds)


def _lock_of(catalog: CachingSqlCatalog, identifier: str) -> Lock | None:
    """Return the lock of a table; None in catalogs that have none."""
    name = blake2b(f"{catalog.name}\n{identifier}".encode(), digest_size=16)
    if catalog.engine.dialect.name == "postgresql":
        return AdvisoryLock(catalog.lock_engine, int.from_bytes(name.digest()[:8], signed=True))
    database = catalog.engine.url.database or ""
    if catalog.engine.dialect.name == "sqlite" and Path(database).is_file():
        return FileLock(Path(database + FOLDER_SUFFIX) / name.hexdigest())
    return None


def _wait(lock: Lock, identifier: str, seconds: float) -> bool:
    """Wait as long as others get on; one that does not is waited for ``seconds``."""
    started = since = time.monotonic()
    waiter, holder = Waiter(lock), ""
    waiter.start()
    try:
        while time.monotonic() - since < seconds and not waiter.ended.wait(min(LOOK_SECONDS, seconds)):
            now_holder = lock.holder() or "unknown"
            if now_holder != holder:
                log.info("%s: waiting for another writer to end its turn (%s)", identifier, now_holder)
                since, holder = time.monotonic() if holder else since, now_holder
    except BaseException:
        if waiter.settle():
            lock.release()
        raise
    given, waited = waiter.settle(), time.monotonic() - started
    if not given:
        log.warning(
            "%s: another writer (%s) has not ended its turn in %.0f s: going on without one. No change can be lost; "
            "what others commit first is merged again.",
            identifier,
            holder,
            waited,
        )
    elif waited > LOOK_SECONDS:
        log.info("%s: its turn came after %.1f s", identifier, waited)
    return given


def _seconds(catalog: Catalog) -> float:
    try:
        return float(catalog.properties.get(SECONDS_PROPERTY, DEFAULT_SECONDS))
    except ValueError:
        return DEFAULT_SECONDS
