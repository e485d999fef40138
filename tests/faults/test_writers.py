"""Processes that write to one table at once: the outcome is that of some order, and readers see whole runs only."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.iceberg.branches.marks import MARK_PREFIX, all_marks
from airflow_provider_phlo.iceberg.catalogs.turns import DEFAULT_SECONDS, SECONDS_PROPERTY, take_turn
from airflow_provider_phlo.iceberg.duckdb import views as duckdb_views
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from tests.faults.killing import PROCESSES, CatalogSettings
from tests.sizes import size

WRITERS, MERGES = size(8, 16), size(10, 50)
TABLE, DAY, OTHER_DAY = "raw.t", "2024-01-15", "2024-01-16"
KEYS, BATCH = 30, 12
SECONDS = size(240, 7200)
Content = frozenset[tuple[int, str, str]]

PLANS = {
    "merge": MergePlan(key=("k",)),
    "append": MergePlan("append", method="hash"),
    "replace": MergePlan("replace"),
}


def batch(token: str, strategy: str) -> dict[int, str]:
    """Return keys and values of a run: merges write their token to keys that others have as well."""
    chance = random.Random(token)
    keys = chance.sample(range(KEYS), BATCH)
    if strategy == "append":  # the same few rows again and again
        return {1000 + key: "appended" for key in keys}
    return {key + (2000 if strategy == "replace" else 0): token for key in keys}


def strategy_of(token: str) -> str:
    return token.partition("-")[0]


def land_and_publish(root: Path, settings: CatalogSettings, token: str) -> None:
    strategy = strategy_of(token)
    day = OTHER_DAY if strategy == "replace" else DAY
    rows = batch(token, strategy)
    writer = staged_batches.BatchWriter(root, TABLE, day, token)
    columns = {"k": list(rows), "v": list(rows.values())}
    days = pa.repeat(pa.scalar(day), len(rows)).cast(pa.date32())
    writer.write(pa.table({**columns, "_phlo_partition_date": days}))
    staged = writer.finish(
        staged_batches.StagedBatch(
            TABLE, token, day, token, writer.attempt, tuple(writer.files), read=len(rows), rows=len(rows)
        )
    )
    definition = TableDefinition(TABLE, PLANS[strategy])
    with settings.open() as catalog:
        landed = landing.land(catalog, root, staged, definition)
        assert landed is not None
        publication.publish(catalog, root, landed, definition, lambda branch: None)


def write(root: Path, settings: CatalogSettings, tokens: list[str], lost: Any) -> None:
    """Write one run after the other; a run that ends in an error that Airflow would retry is put into ``lost``."""
    for token in tokens:
        try:
            land_and_publish(root, settings, token)
        except TransientError:
            lost.put(token)
    lost.put(None)


def read(settings: CatalogSettings, done: Any, seen: Any) -> None:
    """Read with both engines until ``done``, and hand over the states that were seen."""
    states: set[tuple[str, int | None, Content]] = set()
    while not done.is_set():
        try:
            table = settings.load_table(TABLE)
            snapshot = table.current_snapshot()
            states.add(("pyiceberg", snapshot.snapshot_id if snapshot else None, scanned(table)))
            with settings.open() as catalog, duckdb_views.connect(catalog, tables=[TABLE]) as connection:
                rows = connection.sql(f"SELECT k, v, CAST(_phlo_partition_date AS VARCHAR) FROM {TABLE}").fetchall()
        except NoSuchTableError:
            time.sleep(0.05)
            continue
        states.add(("duckdb", None, unique(rows)))
        time.sleep(0.1)
    seen.put(states)


def unique(rows: list[tuple[int, str, str]]) -> Content:
    assert len(set(rows)) == len(rows), "a row is there twice"
    return frozenset(rows)


def scanned(table: Table, snapshot_id: int | None = None) -> Content:
    rows = table.scan(snapshot_id=snapshot_id).to_arrow().to_pylist()
    return unique([(row["k"], row["v"], str(row["_phlo_partition_date"])) for row in rows])


def after(state: Content, token: str) -> Content:
    """Return what the table holds when the run has been added to ``state``."""
    strategy, rows = strategy_of(token), batch(token, strategy_of(token))
    if strategy == "replace":
        return frozenset(row for row in state if row[2] != OTHER_DAY) | {(k, v, OTHER_DAY) for k, v in rows.items()}
    if strategy == "append":
        return state | {(k, v, DAY) for k, v in rows.items()}
    return frozenset(row for row in state if row[0] not in rows) | {(k, v, DAY) for k, v in rows.items()}


@contextmanager
def running(processes: list[Any]) -> Iterator[None]:
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.join(20)
            if process.exitcode is None:
                process.kill()
                process.join()


def play(root: Path, settings: CatalogSettings, work: list[list[str]]) -> list[str]:
    """
    Let writers do their work while a reader looks on; check every state.

    :returns: the runs that were lost to others in all rounds.
    """
    lost, seen, done = PROCESSES.Queue(), PROCESSES.Queue(), PROCESSES.Event()
    with settings.open():  # creates the catalog
        pass
    writers = [PROCESSES.Process(target=write, args=(root, settings, tokens, lost)) for tokens in work]
    reader = PROCESSES.Process(target=read, args=(settings, done, seen))
    failed: list[str] = []
    with running([*writers, reader]):
        left, deadline = len(writers), time.monotonic() + SECONDS
        while left:
            token = lost.get(timeout=max(1, deadline - time.monotonic()))
            left -= token is None
            failed += [token] if token is not None else []
        done.set()
        states = seen.get(timeout=60)
    assert [process.exitcode for process in (*writers, reader)] == [0] * (len(writers) + 1)
    check_order(settings, {token for tokens in work for token in tokens} - set(failed), states)
    return failed


def check_order(settings: CatalogSettings, tokens: set[str], states: set[tuple[str, int | None, Content]]) -> None:
    """Main's snapshots say in which order the runs came; each is what the runs until there make of an empty table."""
    table = settings.load_table(TABLE)
    prefixes: dict[int | None, Content] = {None: frozenset()}
    state: Content = frozenset()
    order = []
    for entry in table.history():
        snapshot = table.snapshot_by_id(entry.snapshot_id)
        assert snapshot is not None
        assert snapshot.summary is not None
        order.append(str(snapshot.summary["phlo.token"]))
        state = prefixes[entry.snapshot_id] = after(state, order[-1])
        assert scanned(table, entry.snapshot_id) == state
    assert max(Counter(order).values()) == 1
    # by hash, an append whose rows are all there makes no snapshot
    assert {token for token in tokens if strategy_of(token) != "append"} <= set(order) <= tokens
    assert set(all_marks(table.properties)) == {MARK_PREFIX + token for token in tokens}
    for engine, snapshot_id, content in states:
        assert content in ([prefixes[snapshot_id]] if engine == "pyiceberg" else prefixes.values()), engine
    assert len(states) > 2


@pytest.mark.timeout(SECONDS + 120)
def test_merges_of_the_same_keys(tmp_path: Path, settings: CatalogSettings) -> None:
    work = [[f"merge-{writer}-{number}" for number in range(MERGES)] for writer in range(WRITERS)]
    assert play(tmp_path / "staging", settings, work) == []


@pytest.mark.timeout(SECONDS + 120)
def test_merges_appends_and_replaced_partitions(tmp_path: Path, settings: CatalogSettings) -> None:
    kinds = ["merge", "append", "replace"]
    work = [
        [f"{kinds[(writer + number) % 3]}-{writer}-{number}" for number in range(size(4, 20))]
        for writer in range(size(4, 8))
    ]
    assert play(tmp_path / "staging", settings, work) == []


def stop_or_die(root: Path, settings: CatalogSettings, signal_number: int, turn: Any) -> None:
    """Have a turn, and end up in it; what is stopped goes on when another process lets it."""
    with settings.open() as catalog, take_turn(catalog, TABLE):
        turn.set()
        os.kill(os.getpid(), signal_number)
        land_and_publish(root, settings, "merge-stopped-0")


@pytest.mark.timeout(120)
def test_the_turn_of_a_killed_writer_passes_on(tmp_path: Path, settings: CatalogSettings) -> None:
    turn, root = PROCESSES.Event(), tmp_path / "staging"
    with settings.open():
        pass
    holder = PROCESSES.Process(target=stop_or_die, args=(root, settings, signal.SIGKILL, turn))
    holder.start()
    assert turn.wait(60)
    started = time.monotonic()
    land_and_publish(root, settings, "merge-after-0")
    assert time.monotonic() - started < DEFAULT_SECONDS / 10
    holder.join()
    assert published(settings) == {"merge-after-0"}


@pytest.mark.timeout(120)
def test_a_stopped_writer_is_overtaken_and_merges_again(
    tmp_path: Path, settings: CatalogSettings, caplog: pytest.LogCaptureFixture
) -> None:
    turn, root = PROCESSES.Event(), tmp_path / "staging"
    hasty = CatalogSettings(settings.name, {**settings.properties, SECONDS_PROPERTY: "1"})
    with settings.open():
        pass
    holder = PROCESSES.Process(target=stop_or_die, args=(root, settings, signal.SIGSTOP, turn))
    holder.start()
    try:
        assert turn.wait(60)
        land_and_publish(root, hasty, "merge-overtaking-0")
        assert published(settings) == {"merge-overtaking-0"}
        assert "has not ended its turn in 1 s: going on without one" in caplog.text
    finally:
        os.kill(holder.pid or 0, signal.SIGCONT)
        holder.join(60)
    assert published(settings) == {"merge-overtaking-0", "merge-stopped-0"}


def published(settings: CatalogSettings) -> set[str]:
    return {name.removeprefix(MARK_PREFIX) for name in all_marks(settings.load_table(TABLE).properties)}
