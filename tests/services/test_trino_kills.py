"""Kill a run that merges by Trino with SIGKILL wherever it matters, and retry it: its effect is there exactly once."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from trino import exceptions as trino_errors

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED
from airflow_provider_phlo.iceberg.trino import TrinoEngine, staged_merge
from airflow_provider_phlo.iceberg.trino import engine as trino_engine
from airflow_provider_phlo.iceberg.trino.staged_merge import Claim, StagedMerge
from airflow_provider_phlo.ingestion import landing, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from tests.expect import expect
from tests.faults.killing import PROCESSES, die, dying_after, dying_before
from tests.patience import PATIENCE
from tests.services.batches import DAY, batch, content, create, publish
from tests.services.trino import Trino

# in one worker: the groups "trino" and "trino checks" at once are enough for Trino
pytestmark = pytest.mark.xdist_group("trino")

TYPES = {"k": pa.int64(), "v": pa.int64(), "gone": pa.bool_()}
KEYS = 20
APPEND = MergePlan("append", deduplication=False)
MERGE = MergePlan(key=("k",), hard_delete="gone")
REPLACE = MergePlan("replace", key=("k",))


def dying_while_it_runs(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` that kills its process some moments later."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        threading.Timer(0.1 * calls, die).start()
        return result

    return wrapped


POINTS: dict[str, tuple[Any, str, Callable[[int, Callable[..., Any]], Callable[..., Any]], int]] = {
    "before the rows are staged": (staged_merge, "stage", dying_before, 1),
    "staged": (staged_merge, "stage", dying_after, 1),
    "counted": (TrinoEngine, "_counts", dying_after, 1),
    "Trino knows the MERGE, it is not claimed": (StagedMerge, "set_claim", dying_before, 1),
    "claimed, the MERGE has not begun": (StagedMerge, "set_claim", dying_after, 1),
    "the MERGE runs": (StagedMerge, "set_claim", dying_while_it_runs, 1),
    "the MERGE runs or has committed": (StagedMerge, "set_claim", dying_while_it_runs, 4),
    "committed, no mark": (trino_engine, "_find_committed", dying_before, 1),
    "marked, the staging table is there": (branches, "move_main", dying_after, 1),
    "all done, the result not returned": (StagedMerge, "drop", dying_after, 1),
}
OFTEN = ("staged", "claimed, the MERGE has not begun", "committed, no mark", "marked, the staging table is there")


def run(server: Trino, name: str, root: Path, token: str, rows: list[dict[str, Any]], plan: MergePlan) -> Any:
    """Do what the merge and publish tasks of one run do."""
    catalog, engine = server.catalog(), TrinoEngine(server.connect)
    staged = staged_batches.find(root, name, DAY, token)
    if staged is None:
        writer = staged_batches.BatchWriter(root, name, DAY, token)
        writer.write(batch(rows, TYPES))
        staged = writer.finish(
            staged_batches.StagedBatch(
                name,
                token,
                DAY,
                f"run {token}",
                writer.attempt,
                tuple(writer.files),
                read=len(rows),
                rows=len(rows),
                state=token,
            )
        )
    definition = TableDefinition(name, plan)
    landed = landing.land(catalog, root, staged, definition, engine)
    assert landed is not None
    return publication.publish(catalog, root, landed, definition, lambda branch: None, engine).to_json()


def child(point: str | None, arguments: tuple[Any, ...]) -> None:
    if point is not None:
        owner, function, wrapper, calls = POINTS[point]
        setattr(owner, function, wrapper(calls, getattr(owner, function)))
    run(*arguments)


def attempt(arguments: tuple[Any, ...], point: str | None = None) -> int:
    """Run in a process of its own and return its exit code, -9 when it was killed."""
    process = PROCESSES.Process(target=child, args=(point, arguments))
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        pytest.fail(f"an attempt hangs ({point=})")
    return process.exitcode


def rows_of(version: int) -> list[dict[str, Any]]:
    return [{"k": key, "v": version} for key in range(KEYS)]


def versions(lake: Any, name: str) -> Counter[int]:
    return Counter(dict(row)["v"] for row in content(lake, name))


def check_clean(lake: Any, name: str, tokens: list[str]) -> None:
    """Each run has its mark, with its own snapshot, and nothing is left of any."""
    table = lake.load_table(name)
    results = [find_published_result(table, token) for token in tokens]
    assert all(result is not None and result["rows"] == KEYS for result in results)
    snapshots = [result["snapshot_id"] for result in results if result]
    assert snapshots == [entry.snapshot_id for entry in table.history()]
    assert table.properties[branches.STATE_PROPERTY] == tokens[-1]
    assert set(table.refs()) == {"main"}
    assert not list(staged_merge.find_all(lake, name))


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_retried(trino, lake, table_name, tmp_path, point):
    create(lake, table_name, TYPES)
    tokens = []
    for version in range(5 if point in OFTEN else 1):
        tokens.append(uuid.uuid4().hex[:16])
        arguments = (trino, table_name, tmp_path, tokens[-1], rows_of(version), APPEND)
        assert attempt(arguments, point) == -9
        assert attempt(arguments) == 0
        assert attempt(arguments) == 0 or version
        assert versions(lake, table_name) == Counter({number: KEYS for number in range(version + 1)})
    check_clean(lake, table_name, tokens)


@pytest.mark.parametrize("plan", [MERGE, REPLACE], ids=["merge", "replace"])
def test_killed_everywhere_before_one_run_gets_through(trino, lake, table_name, tmp_path, plan):
    create(lake, table_name, TYPES)
    run(trino, table_name, tmp_path, "first", rows_of(0), plan)
    arguments = (trino, table_name, tmp_path, "second", rows_of(1), plan)
    for point in POINTS:
        assert attempt(arguments, point) in (0, -9), point
    assert attempt(arguments) == 0
    assert versions(lake, table_name) == Counter({1: KEYS})
    check_clean(lake, table_name, ["first", "second"])


def test_a_late_retry_leaves_alone_what_another_run_has_done_since(trino, lake, table_name, tmp_path):
    create(lake, table_name, TYPES)
    run(trino, table_name, tmp_path, "first", rows_of(0), MERGE)
    changes = [{"k": 0, "v": 1}, {"k": 1, "v": 1, "gone": True}]
    arguments = (trino, table_name, tmp_path, "killed", changes, MERGE)
    assert attempt(arguments, "committed, no mark") == -9
    newer = batch([{"k": 0, "v": 2}, {"k": 1, "v": 2}], TYPES)
    merged = EMBEDDED.merge(lake, table_name, newer, MergePlan(key=("k",)), token="newer", partition_date=DAY)
    expect(merged, updated=1, inserted=1)
    publish(EMBEDDED, lake, table_name, "newer", merged)
    assert attempt(arguments) == 0
    assert versions(lake, table_name) == Counter({0: KEYS - 2, 2: 2})
    result = find_published_result(lake.load_table(table_name), "killed")
    assert result is not None
    expect(result, updated=1, deleted=1)


def test_what_only_deletes_is_not_done_again(trino, lake, table_name, tmp_path):
    """No row of the table bears witness to such a MERGE: its snapshot does."""
    create(lake, table_name, TYPES)
    run(trino, table_name, tmp_path, "first", rows_of(0), MERGE)
    arguments = (trino, table_name, tmp_path, "killed", [{"k": 1, "gone": True}], MERGE)
    assert attempt(arguments, "committed, no mark") == -9
    run(trino, table_name, tmp_path, "again", [{"k": 1, "v": 5}], MERGE)
    assert attempt(arguments) == 0
    assert versions(lake, table_name) == Counter({0: KEYS - 1, 5: 1})


def test_a_slow_attempt_that_was_taken_over_changes_nothing(trino, lake, table_name, tmp_path):
    create(lake, table_name, TYPES)
    engine, plan, token = TrinoEngine(trino.connect), APPEND, "slow"
    slow = engine.merge(lake, table_name, batch(rows_of(0), TYPES), plan, token=token)
    stale = staged_merge.find(lake, table_name, token)
    assert stale is not None
    run(trino, table_name, tmp_path, token, rows_of(0), plan)
    with pytest.raises(CommitConflictError, match="taken over"):
        stale.set_claim(lake, Claim("a query"))
    publish(engine, lake, table_name, token, slow)
    assert versions(lake, table_name) == Counter({0: KEYS})


def test_a_query_that_still_runs_is_ended_first(trino, lake, table_name):
    """The attempt that died had begun a MERGE that takes long."""
    create(lake, table_name, TYPES)
    engine, token = TrinoEngine(trino.connect), "long"
    engine.merge(lake, table_name, batch(rows_of(0), TYPES), APPEND, token=token)
    staged = staged_merge.find(lake, table_name, token)
    assert staged is not None
    numbers = "UNNEST(sequence(1, 10000))"
    endless = f"SELECT count(*) FROM {numbers} a (x), {numbers} b (y), {numbers} c (z) WHERE x + y + z = -1"
    known: list[str] = []
    thread = threading.Thread(target=run_until_killed, args=(trino, endless, known))
    thread.start()
    while not known:
        time.sleep(0.05)
    time.sleep(0.5)
    staged.set_claim(lake, Claim(known[0]))
    engine.recover(lake, table_name, token)
    assert trino.query(f"SELECT state FROM system.runtime.queries WHERE query_id = '{known[0]}'") == [["FAILED"]]
    thread.join(PATIENCE)
    assert find_published_result(lake.load_table(table_name), token) is None


def run_until_killed(server: Trino, sql: str, known: list[str]) -> None:
    with suppress(trino_errors.TrinoQueryError):
        server.connect().cursor(stats_callback=lambda stats: known.append(stats["queryId"])).execute(sql).fetchall()


def test_what_dead_runs_have_staged_is_dropped_after_a_while(trino, lake, table_name, tmp_path):
    create(lake, table_name, TYPES)
    dead = (trino, table_name, tmp_path, "dead", rows_of(0), APPEND)
    done = (trino, table_name, tmp_path, "done", rows_of(1), APPEND)
    assert attempt(done, "committed, no mark") == -9
    assert attempt(dead, "staged") == -9
    engine = TrinoEngine(trino.connect)
    assert engine.clean(lake, table_name, time.time() - 3600) == 0
    assert {staged.intent.token for staged in staged_merge.find_all(lake, table_name)} == {"dead", "done"}
    assert engine.clean(lake, table_name, time.time()) == 2
    assert not list(staged_merge.find_all(lake, table_name))
    table = lake.load_table(table_name)
    assert find_published_result(table, "done") is not None
    assert find_published_result(table, "dead") is None
    assert versions(lake, table_name) == Counter({1: KEYS})
