from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.catalogs import turns
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.catalogs.turn_locks import is_open
from airflow_provider_phlo.iceberg.catalogs.turns import FOLDER_SUFFIX, SECONDS_PROPERTY, end_kept_turn, take_turn
from tests.patience import PATIENCE

FORKED = multiprocessing.get_context("fork")
TABLE, OTHER = "raw.t", "raw.other"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with ExitStack() as stack:
        catalog = open_catalog("phlo", embedded_properties(tmp_path))
        stack.callback(catalog.close)
        stack.callback(end_kept_turn)
        yield catalog


def in_thread(target: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


class Holder:
    """A thread that has a turn until the test ends it."""

    def __init__(self, catalog: Catalog, table: str = TABLE) -> None:
        self.has_it, self.end = threading.Event(), threading.Event()
        self.thread = in_thread(self._run, catalog, table)
        assert self.has_it.wait(PATIENCE)

    def _run(self, catalog: Catalog, table: str) -> None:
        with take_turn(catalog, table):
            self.has_it.set()
            self.end.wait(PATIENCE)

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: Any) -> None:
        self.end.set()
        self.thread.join(PATIENCE)


def test_turns_come_in_the_order_of_asking(catalog: Catalog) -> None:
    order: list[int] = []

    def write(number: int) -> None:
        with take_turn(catalog, TABLE):
            order.append(number)

    with Holder(catalog):
        writers = []
        for number in range(5):
            writers.append(in_thread(write, number))
            while sum(thread.name == "phlo-turn" for thread in threading.enumerate()) <= number:
                time.sleep(0.01)
            time.sleep(0.05)
        assert order == []
    for each in writers:
        each.join(PATIENCE)
    assert order == [0, 1, 2, 3, 4]


def test_other_tables_and_readers_do_not_wait(catalog: Catalog) -> None:
    with Holder(catalog):
        started = time.monotonic()
        with take_turn(catalog, OTHER):
            assert catalog.list_namespaces() == []
        assert time.monotonic() - started < 20


def test_two_tables_never_wait_for_each_other_in_a_circle(catalog: Catalog) -> None:
    both = threading.Barrier(2)

    def write(first: str, second: str) -> None:
        with take_turn(catalog, first):
            both.wait(PATIENCE)
            with take_turn(catalog, second):
                both.wait(PATIENCE)

    for each in [in_thread(write, TABLE, OTHER), in_thread(write, OTHER, TABLE)]:
        each.join(PATIENCE)
        assert not each.is_alive()


def test_a_kept_turn_is_gone_on_with_and_ends_by_itself(catalog: Catalog) -> None:
    with take_turn(catalog, TABLE, keep=True):
        pass
    waiting = time.monotonic()
    with take_turn(catalog, TABLE, keep=True):
        assert time.monotonic() - waiting < turns.KEPT_SECONDS / 2
    with Holder(catalog):
        assert time.monotonic() - waiting >= turns.KEPT_SECONDS


@pytest.mark.parametrize("ending", ["another table", "an error", "said"])
def test_a_turn_is_not_kept_where_nothing_will_follow(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(turns, "KEPT_SECONDS", 60)
    try:
        with take_turn(catalog, TABLE, keep=True):
            if ending == "an error":
                raise ValueError(ending)
    except ValueError:
        pass
    if ending == "another table":
        with take_turn(catalog, OTHER):
            pass
    if ending == "said":
        end_kept_turn()
    started = time.monotonic()
    with Holder(catalog):
        assert time.monotonic() - started < turns.KEPT_SECONDS / 2


def test_a_writer_that_does_not_get_on_is_overtaken(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    catalog.properties[SECONDS_PROPERTY] = "0.3"
    caplog.set_level(logging.INFO)
    with Holder(catalog):
        started = time.monotonic()
        with take_turn(catalog, TABLE):
            assert 0.2 < time.monotonic() - started < 20
    assert f"raw.t: another writer (process {os.getpid()} since " in caplog.text
    assert "has not ended its turn in 0 s: going on without one" in caplog.text
    # who has given up waiting does not get the turn afterwards
    started = time.monotonic()
    with Holder(catalog):
        assert time.monotonic() - started < 20


class Queue:
    """A lock that others have, one after the other, until this thread is given it."""

    def __init__(self) -> None:
        self.given, self.turns = threading.Event(), 0

    def wait(self) -> bool:
        return self.given.wait(PATIENCE)

    def holder(self) -> str:
        self.turns += 1
        if self.turns == 40:
            self.given.set()
        return f"turn {self.turns}"


def test_a_queue_that_gets_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LOOK_SECONDS", 0.02)
    queue = Queue()
    started = time.monotonic()
    assert turns._wait(queue, TABLE, seconds=0.5)  # type: ignore[arg-type]
    assert time.monotonic() - started > 0.5
    assert queue.turns == 40


@pytest.mark.parametrize("seconds", ["0", "nonsense"])
def test_turns_can_be_switched_off_and_nonsense_is_the_default(catalog: Catalog, seconds: str) -> None:
    catalog.properties[SECONDS_PROPERTY] = seconds
    folder = Path(str(catalog.engine.url.database) + FOLDER_SUFFIX)  # type: ignore[attr-defined]
    with take_turn(catalog, TABLE):
        assert folder.exists() == (seconds == "nonsense")


def test_lock_files_are_their_owners_only_and_beside_the_catalog(catalog: Catalog, tmp_path: Path) -> None:
    with take_turn(catalog, TABLE):
        folder = tmp_path / f"catalog.db{FOLDER_SUFFIX}"
        [file] = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_folder_for_locks_writers_go_on(
    catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / f"catalog.db{FOLDER_SUFFIX}").write_text("in the way")
    with take_turn(catalog, TABLE):
        assert "raw.t: writers cannot take turns here" in caplog.text


def test_a_catalog_in_memory_has_no_turns() -> None:
    catalog = open_catalog("phlo", {"type": "sql", "uri": "sqlite:///:memory:", "warehouse": "file:///nowhere"})
    with Holder(catalog), take_turn(catalog, TABLE):
        pass


def take_and_fork(home: Path, ready: Any) -> None:
    catalog = open_catalog("phlo", embedded_properties(home))
    with take_turn(catalog, TABLE):
        if os.fork() == 0:
            ready.put(os.getpid())
            time.sleep(60)
            os._exit(0)
        time.sleep(60)


def test_the_turn_of_a_killed_writer_passes_on_even_if_a_child_of_it_lives(catalog: Catalog, tmp_path: Path) -> None:
    ready = FORKED.Queue()
    process = FORKED.Process(target=take_and_fork, args=(tmp_path, ready))
    process.start()
    child = ready.get(timeout=PATIENCE)
    try:
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        started = time.monotonic()
        with take_turn(catalog, TABLE):
            assert time.monotonic() - started < 20
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_process_does_not_end_its_parents_turn(catalog: Catalog) -> None:
    with take_turn(catalog, TABLE):
        child = os.fork()
        if child:  # the child leaves the block, as its parent will
            _, status = os.waitpid(child, 0)
            assert status == 0
            overtaken = threading.Event()

            def write() -> None:
                with take_turn(catalog, TABLE):
                    overtaken.set()

            writer = in_thread(write)
            assert not overtaken.wait(0.3)
    if not child:
        os._exit(0)
    writer.join(PATIENCE)
    assert overtaken.is_set()


def test_an_interrupted_wait_leaves_the_turn_to_others(catalog: Catalog) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Holder(catalog):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt), take_turn(catalog, TABLE):
                pytest.fail("it was not this thread's turn")
    finally:
        signal.signal(signal.SIGALRM, before)
    with Holder(catalog):
        pass


def test_a_timer_that_fires_while_its_turn_is_resumed_does_not_end_it(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "KEPT_SECONDS", 0.2)
    with take_turn(catalog, TABLE, keep=True):
        pass
    turn = turns._of_thread.kept
    assert turn is not None
    assert turn._timer is not None
    timer = turn._timer
    turn._deciding = threading.RLock()  # type: ignore[assignment]  # so that this thread can decide and resume
    with turn._deciding:
        time.sleep(0.3)  # it has fired, and waits to decide
        assert turn.resume()
    timer.join(PATIENCE)
    assert is_open(turn._lock)
    turn.end()
    assert not is_open(turn._lock)
