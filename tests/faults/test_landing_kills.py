"""Kill a run with SIGKILL wherever it matters, retry it as Airflow would: nothing is lost, nothing is there twice."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pandera.pandas import Field

from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.branches import run_branches
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.merge import MergePlan, copy_on_write
from airflow_provider_phlo.ingestion import landing, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.quarantine import quarantine_table
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from tests.expect import expect
from tests.faults.killing import Wrapper, die_after, dying_after, dying_before, exit_code, length_of
from tests.lake import open_lake

TABLE = "raw.t"
DAY = "2024-01-15"
KEYS = 40


class Reading(PhloSchema):
    k: int = Field(unique=True)
    v: float = Field(ge=0)


DECLARED = model_columns(Reading)
MERGE = TableDefinition(TABLE, MergePlan(key=("k",)), DECLARED)
APPEND = TableDefinition(TABLE, MergePlan("append", deduplication=False), DECLARED)


def run(home: Path, token: str, version: int, definition: TableDefinition) -> dict[str, Any]:
    """Do what the tasks of one run do, one after the other: every one of them can be repeated."""
    catalog, root = open_lake(home), home / "staging"
    records = [{"k": key, "v": float(version)} for key in range(KEYS)] + [{"k": KEYS + version, "v": -1.0}]
    batch = stage(
        lambda: iter(records),
        StagingPlan(TABLE, key=definition.plan.key, declared=definition.declared, strict=False),
        root=root,
        token=token,
        partition_date=DAY,
        run_id=f"run {token}",
        pipelines_dir=home / "dlt",
    )
    assert batch is not None
    landed = landing.land(catalog, root, staged_batches.load(root, batch.folder), definition)
    assert landed is not None
    return publication.publish(catalog, root, landed, definition, lambda branch: None).to_json()


# where: the module, the function that is wrapped, how, and at which call
POINTS: dict[str, tuple[Any, str, Wrapper, int]] = {
    "before the manifest of the staged batch": (staged_batches.BatchWriter, "finish", dying_before, 1),
    "staged": (staged_batches.BatchWriter, "finish", dying_after, 1),
    "the table is there, its columns are not": (tables, "evolve", dying_before, 1),
    "data files written": (copy_on_write, "commit_files", dying_before, 1),
    "merged on the branch": (copy_on_write, "commit_files", dying_after, 1),
    "quarantine written, not published": (copy_on_write, "commit_files", dying_after, 2),
    "quarantine published": (branches, "move_main", dying_after, 1),
    "before publication": (branches, "move_main", dying_before, 2),
    "published, the result not returned": (branches, "move_main", dying_after, 2),
    "metadata written, the catalog does not know": (run_branches, "_property_updates", dying_after, 2),
}


def child(home: Path, token: str, version: int, append: bool, point: str | None, seconds: float | None) -> None:
    if point is not None:
        owner, name, wrapper, calls = POINTS[point]
        setattr(owner, name, wrapper(calls, getattr(owner, name)))
    if seconds is not None:
        die_after(seconds)
    run(home, token, version, APPEND if append else MERGE)


def attempt(
    home: Path, version: int, *, append: bool = True, point: str | None = None, seconds: float | None = None
) -> int:
    """Run in a process of its own and return its exit code, -9 when it was killed."""
    return exit_code(child, home, f"v{version}", version, append, point, seconds)


def rows(home: Path, table: str = TABLE) -> list[dict[str, Any]]:
    catalog = open_lake(home)
    return catalog.load_table(table).scan().to_arrow().to_pylist() if catalog.table_exists(table) else []


@contextmanager
def polled(home: Path) -> Iterator[list[Counter[float]]]:
    """Read main again and again meanwhile, and yield what was seen: how many rows of each version."""
    seen: list[Counter[float]] = []
    done = threading.Event()

    def poll() -> None:
        while not done.is_set():
            seen.append(Counter(row["v"] for row in rows(home)))
            time.sleep(0.1)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def check_end(home: Path, tokens: list[str]) -> None:
    """Each run has one snapshot on main and its mark, the quarantine holds each bad record once."""
    table = open_lake(home).load_table(TABLE)
    published = [table.snapshot_by_id(entry.snapshot_id) for entry in table.history()]
    assert [snapshot.summary["phlo.token"] for snapshot in published if snapshot and snapshot.summary] == tokens
    for token, snapshot in zip(tokens, published, strict=True):
        result = find_published_result(table, token)
        assert result is not None
        assert snapshot is not None
        expect(result, snapshot_id=snapshot.snapshot_id, read=KEYS + 1, quarantined=1)
        assert result["rows"] == KEYS
    assert set(table.refs()) == {"main"}
    bad = sorted(row["run_id"] for row in rows(home, quarantine_table(TABLE)))
    assert bad == sorted(f"run {token}" for token in tokens)


def test_the_first_run_is_killed_at_one_step_after_the_other(tmp_path: Path) -> None:
    with polled(tmp_path) as seen:
        for point in POINTS:
            assert attempt(tmp_path, 0, append=False, point=point) in (0, -signal.SIGKILL), point
        assert attempt(tmp_path, 0, append=False) == 0
    check_end(tmp_path, ["v0"])
    whole = Counter({0.0: KEYS})
    assert Counter(row["v"] for row in rows(tmp_path)) == whole
    assert all(state in (Counter(), whole) for state in seen)


@pytest.mark.parametrize("point", POINTS)
def test_every_point_is_reached(tmp_path: Path, point: str) -> None:
    """A point that nothing passes would prove nothing; one kill, one retry."""
    assert attempt(tmp_path, 0) == 0
    assert attempt(tmp_path, 1, point=point) == -signal.SIGKILL
    assert attempt(tmp_path, 1) == 0
    check_end(tmp_path, ["v0", "v1"])
    assert Counter(row["v"] for row in rows(tmp_path)) == Counter({0.0: KEYS, 1.0: KEYS})


def test_killed_at_random_moments(tmp_path: Path) -> None:
    length = length_of(lambda home: attempt(home, 0), tmp_path / "elsewhere")
    assert attempt(tmp_path, 0) == 0
    chance = random.Random(7)
    codes = []
    with polled(tmp_path) as seen:
        for version in range(1, 4):
            codes += [attempt(tmp_path, version, seconds=chance.uniform(0.02, 0.6) * length) for _ in range(3)]
            assert attempt(tmp_path, version) == 0
    check_end(tmp_path, [f"v{version}" for version in range(4)])
    assert set(codes) <= {0, -signal.SIGKILL}
    assert codes.count(-signal.SIGKILL) >= 3
    whole = [Counter({float(version): KEYS for version in range(count)}) for count in range(5)]
    assert all(state in whole for state in seen)
    assert Counter(row["v"] for row in rows(tmp_path)) == whole[4]
