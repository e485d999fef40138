"""Maintenance beside running writers, and after killed ones: real processes on one table, nothing lost or doubled."""

from __future__ import annotations

import datetime
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pandera.pandas import Field
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches import commits
from airflow_provider_phlo.iceberg.branches.expiry import Retention
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.maintenance import compaction, planning
from airflow_provider_phlo.iceberg.maintenance.orphans import normalized, referenced
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from tests.faults.killing import PROCESSES, die, die_after, length_of
from tests.lake import open_lake

TABLE = "raw.t"
WRITERS, RUNS, OWN, SHARED = 4, 5, 20, 10
ROWS = OWN + SHARED


class Reading(PhloSchema):
    k: int = Field(unique=True)
    v: int = Field(ge=0)


DEFINITION = TableDefinition(TABLE, MergePlan(key=("k",)), model_columns(Reading), sort_by=("k",))
# everything that may go goes; only files that a writer has not committed yet are left alone
EAGER = planning.MaintenanceOptions(retention=Retention(0, 2, 7), orphan_days=1 / 24, force=True)
AT_REST = planning.MaintenanceOptions(retention=Retention(0, 1, 0), orphan_days=0, force=True)


def catalog_of(home: Path) -> Catalog:
    return open_lake(home)


def version_of(writer: int, number: int) -> int:
    return writer * 100 + number


def run(home: Path, writer: int, number: int) -> None:
    """Do what the tasks of one run do: rows of its own, and contested ones."""
    catalog, root, version = catalog_of(home), home / "staging", version_of(writer, number)
    own = [{"k": 1000 * (writer + 1) + OWN * number + key, "v": version} for key in range(OWN)]
    shared = [{"k": key, "v": version} for key in range(SHARED)]
    batch = stage(
        lambda: iter(own + shared),
        StagingPlan(TABLE, key=("k",), declared=DEFINITION.declared, strict=True),
        root=root,
        token=f"w{version}",
        partition_date=f"2024-01-1{number % 3}",
        run_id=f"run {version}",
        pipelines_dir=home / "dlt",
    )
    assert batch is not None
    landed = landing.land(catalog, root, staged_batches.load(root, batch.folder), DEFINITION)
    assert landed is not None
    publication.publish(catalog, root, landed, DEFINITION, lambda branch: None)


def write_all(home: Path, writer: int) -> None:
    for number in range(RUNS):
        run(home, writer, number)


def maintain_until(home: Path, stop: Path, rounds: Path) -> None:
    done = 0
    while not stop.exists():
        for report in planning.maintain(catalog_of(home), [TABLE], EAGER):
            done += not report.error
        rounds.write_text(str(done))
        time.sleep(0.05)


def rows(home: Path) -> dict[int, int]:
    found = catalog_of(home).load_table(TABLE).scan(selected_fields=("k", "v")).to_arrow().to_pylist()
    keys = Counter(row["k"] for row in found)
    assert max(keys.values(), default=1) == 1, "doubled"
    return {row["k"]: row["v"] for row in found}


@contextmanager
def polled(home: Path) -> Iterator[list[dict[int, int]]]:
    """Read main again and again meanwhile, and yield what was seen."""
    seen: list[dict[int, int]] = []
    errors: list[Exception] = []
    done = threading.Event()

    def poll() -> None:
        while not done.is_set():
            try:
                seen.append(rows(home))
            except FileNotFoundError:  # the catalog's metadata file of a moment ago, when 50 newer ones have come
                continue
            except (OSError, ValueError, LookupError, AssertionError) as error:
                errors.append(error)
                return
            time.sleep(0.1)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
    assert not errors


def started(target: Callable[..., None], *arguments: Any) -> Any:
    process = PROCESSES.Process(target=target, args=arguments)
    process.start()
    return process


def joined(process: Any, seconds: float = 240) -> int:
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        pytest.fail("a process hangs")
    return process.exitcode


def own_keys(writer: int, number: int) -> dict[int, int]:
    version = version_of(writer, number)
    return {1000 * (writer + 1) + OWN * number + key: version for key in range(OWN)}


def check_whole(state: dict[int, int]) -> None:
    """A run's own rows are all there or not at all, and contested ones are all of one run."""
    versions = Counter(version for key, version in state.items() if key >= SHARED)
    assert set(versions.values()) <= {OWN}
    contested = {version for key, version in state.items() if key < SHARED}
    assert len(contested) == 1
    assert contested <= versions.keys()


def check_end(home: Path, done: list[tuple[int, int]]) -> None:
    state = rows(home)
    check_whole(state)
    expected: dict[int, int] = {}
    for writer, number in done:
        expected |= own_keys(writer, number)
    assert {key: value for key, value in state.items() if key >= SHARED} == expected
    table = catalog_of(home).load_table(TABLE)
    for writer, number in done:
        assert find_published_result(table, f"w{version_of(writer, number)}") is not None


def check_at_rest(home: Path) -> None:
    """Every file that is left is needed."""
    before = rows(home)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    planning.run(catalog_of(home), TABLE, AT_REST, now=later)
    planning.run(catalog_of(home), TABLE, AT_REST, now=later)
    table = catalog_of(home).load_table(TABLE)
    root = Path(table.location().removeprefix("file://"))
    assert {normalized(str(path)) for path in root.rglob("*") if path.is_file()} == referenced(table)
    assert len(table.metadata.snapshots) == 1
    assert rows(home) == before


def test_beside_running_writers(tmp_path: Path) -> None:
    run(tmp_path, WRITERS, 0)
    root = Path(catalog_of(tmp_path).load_table(TABLE).location().removeprefix("file://"))
    strangers = [root / "data" / f"stranger-{number}" for number in range(5)]
    for path in strangers:
        path.write_text("left by a killed writer")
        os.utime(path, (time.time() - 86_400,) * 2)
    with polled(tmp_path) as seen:
        keeper = started(maintain_until, tmp_path, tmp_path / "stop", tmp_path / "rounds")
        writers = [started(write_all, tmp_path, writer) for writer in range(WRITERS)]
        codes = [joined(process) for process in writers]
        (tmp_path / "stop").touch()
        assert joined(keeper) == 0
    assert codes == [0] * WRITERS  # every writer got through
    assert int((tmp_path / "rounds").read_text()) >= 3
    for state in seen:
        check_whole(state)
    check_end(tmp_path, [(WRITERS, 0), *((writer, number) for writer in range(WRITERS) for number in range(RUNS))])
    assert not any(path.exists() for path in strangers)
    check_at_rest(tmp_path)


def killed_after(seconds: float, work: Callable[..., None], *arguments: Any) -> None:
    die_after(seconds)
    work(*arguments)


def test_what_killed_writers_leave_is_reclaimed(tmp_path: Path) -> None:
    assert joined(started(run, tmp_path, 0, 0)) == 0
    length = length_of(lambda home: joined(started(run, home, 0, 0)), tmp_path / "elsewhere")
    chance = random.Random(3)
    codes = []
    for number in range(1, 4):
        for _ in range(4):
            codes.append(joined(started(killed_after, chance.uniform(0.02, 0.5) * length, run, tmp_path, 0, number)))
        assert joined(started(run, tmp_path, 0, number)) == 0
    assert codes.count(-signal.SIGKILL) >= 3
    # a run that dies with files written and nothing committed
    assert joined(started(die_before, "merge", tmp_path)) == -signal.SIGKILL
    check_end(tmp_path, [(0, number) for number in range(4)])
    table = catalog_of(tmp_path).load_table(TABLE)
    root = Path(table.location().removeprefix("file://"))
    left = {normalized(str(path)) for path in root.rglob("*") if path.is_file()} - referenced(table)
    assert any(name.endswith(".parquet") for name in left)
    assert planning.plan(catalog_of(tmp_path), TABLE).jobs["orphans"] == {"files": 0, "bytes": 0}  # too young
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=4)
    only = planning.MaintenanceOptions(jobs=["orphans"])
    removed = planning.run(catalog_of(tmp_path), TABLE, only, now=later).jobs["orphans"]
    assert removed["files"] == len(left)
    assert not any(Path(name.removeprefix("file:")).exists() for name in left)
    check_end(tmp_path, [(0, number) for number in range(4)])
    # the run that died can still be done
    assert joined(started(run, tmp_path, 0, 5)) == 0
    check_end(tmp_path, [(0, number) for number in (0, 1, 2, 3, 5)])
    check_at_rest(tmp_path)


def die_before(step: str, home: Path) -> None:
    """Do one run, or one maintenance, and die before what it has written is committed."""
    if step == "merge":
        from airflow_provider_phlo.iceberg.merge import copy_on_write

        copy_on_write.commit_files = lambda *_, **__: die()  # type: ignore[assignment]
        run(home, 0, 5)
        return
    places: dict[str, tuple[Any, str]] = {
        "compaction written": (compaction, "_commit"),
        "rewrite not committed": (commits, "_commit_snapshot"),
        "expiry planned": (branches, "commit"),
    }
    owner, name = places[step]
    setattr(owner, name, lambda *_, **__: die())
    planning.run(catalog_of(home), TABLE, EAGER)


@pytest.mark.parametrize("step", ["compaction written", "rewrite not committed", "expiry planned"])
def test_killed_maintenance_harms_nothing(tmp_path: Path, step: str) -> None:
    for number in range(4):
        run(tmp_path, 0, number)
    assert joined(started(die_before, step, tmp_path)) == -signal.SIGKILL
    check_end(tmp_path, [(0, number) for number in range(4)])
    run(tmp_path, 0, 4)
    check_end(tmp_path, [(0, number) for number in range(5)])
    check_at_rest(tmp_path)


def test_orphans_are_looked_at_again_before_they_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer as old as the age guard commits between plan and removal: its files stay."""
    run(tmp_path, 0, 0)
    from airflow_provider_phlo.iceberg.maintenance import orphans

    planned = orphans.plan_orphans

    def plan_orphans(*args: Any, **options: Any) -> Any:
        merged = commits.commit_files

        def commit_files(*arguments: Any, **named: Any) -> Any:
            found.append(planned(*args, **options))
            return merged(*arguments, **named)

        from airflow_provider_phlo.iceberg.merge import copy_on_write

        with monkeypatch.context() as patch:
            patch.setattr(copy_on_write, "commit_files", commit_files)
            run(tmp_path, 0, 1)
        return found[0]

    found: list[Any] = []
    monkeypatch.setattr(orphans, "plan_orphans", plan_orphans)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    removed = orphans.remove_orphans(catalog_of(tmp_path), TABLE, days=0, now=later)
    assert any(file.location.endswith(".parquet") for file in found[0].files)
    assert not any(file.location.endswith(".parquet") for file in removed.files)
    check_end(tmp_path, [(0, 0), (0, 1)])
