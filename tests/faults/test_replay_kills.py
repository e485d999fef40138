"""Kill a replay with SIGKILL wherever it matters, go on by a retry or another replay: nothing is lost or doubled."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pandera.pandas import Field

from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.merge import MergePlan, copy_on_write
from airflow_provider_phlo.ingestion import landing, publication, quarantine, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.quarantine import Selection
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from tests.faults.killing import Wrapper, die_after, dying_after, dying_before, exit_code, length_of
from tests.lake import open_lake
from tests.sizes import size

TABLE = "raw.t"
DAY = "2024-01-15"
GOOD, FIXED, BROKEN = 20, 15, 5


class Narrow(PhloSchema):
    k: int = Field(unique=True)
    v: float = Field(le=100)


class Wide(PhloSchema):
    k: int = Field(unique=True)
    v: float = Field(le=1000)


# nothing but the mark and the claims keeps an append from doubling
APPEND = TableDefinition(TABLE, MergePlan("append", deduplication=False), model_columns(Wide))


def ingest(home: Path, token: str, source: Any, schema: type[PhloSchema], **values: Any) -> None:
    catalog, root = open_lake(home), home / "staging"
    batch = stage(
        source,
        StagingPlan(TABLE, declared=model_columns(schema), strict=False),
        root=root,
        token=token,
        partition_date=DAY,
        run_id=f"run {token}",
        pipelines_dir=home / "dlt",
        **values,
    )
    assert batch is not None
    landed = landing.land(catalog, root, staged_batches.load(root, batch.folder), APPEND)
    assert landed is not None
    publication.publish(catalog, root, landed, APPEND, lambda branch: None)


def start(home: Path) -> None:
    values = [1.0] * GOOD + [200.0] * FIXED + [5000.0] * BROKEN
    ingest(home, "first", lambda: iter([{"k": k, "v": v} for k, v in enumerate(values)]), Narrow)


def replay(home: Path, token: str) -> None:
    """Do what the tasks of a replay do, one after the other: every one of them can be repeated."""
    catalog = open_lake(home)
    claimed = quarantine.claim(catalog, TABLE, Selection(), token, f"run {token}")
    ingest(
        home,
        token,
        lambda: quarantine.claimed_records(catalog, TABLE, token) if claimed else iter(()),
        Wide,
        replay=True,
    )


POINTS: dict[str, tuple[Any, str, Wrapper, int]] = {
    "claim written, not published": (copy_on_write, "commit_files", dying_after, 1),
    "claimed": (branches, "move_main", dying_after, 1),
    "staged": (staged_batches.BatchWriter, "finish", dying_after, 1),
    "merged on the branch": (copy_on_write, "commit_files", dying_after, 2),
    "what failed again is released": (branches, "move_main", dying_after, 2),
    "before publication": (branches, "move_main", dying_before, 3),
    "published, not marked": (branches, "move_main", dying_after, 3),
    "mark written, not published": (branches, "move_main", dying_before, 4),
    "marked": (branches, "move_main", dying_after, 4),
}


def child(home: Path, token: str, point: str | None, seconds: float | None) -> None:
    if point is not None:
        owner, name, wrapper, calls = POINTS[point]
        setattr(owner, name, wrapper(calls, getattr(owner, name)))
    if seconds is not None:
        die_after(seconds)
    replay(home, token)


def check_end(home: Path) -> None:
    catalog = open_lake(home)
    rows = catalog.load_table(TABLE).scan().to_arrow()
    assert Counter(rows["v"].to_pylist()) == Counter({1.0: GOOD, 200.0: FIXED})
    assert len(set(rows["k"].to_pylist())) == len(rows)
    held = catalog.load_table(quarantine.quarantine_table(TABLE)).scan().to_arrow()
    assert len(held) == FIXED + BROKEN
    assert held["replayed_at"].null_count == BROKEN
    waiting = quarantine.find(catalog, TABLE, Selection())
    assert {row["reason"] for row in waiting} == {"v: less_than_or_equal_to(1000)"}
    assert len(waiting) == BROKEN


@pytest.mark.parametrize("next_token", ["r", "other"], ids=["retried", "another replay"])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_point(tmp_path: Path, point: str, next_token: str) -> None:
    start(tmp_path)
    assert exit_code(child, tmp_path, "r", point, None) == -signal.SIGKILL
    assert exit_code(child, tmp_path, next_token, None, None) == 0
    check_end(tmp_path)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    start(tmp_path)
    chance, codes = random.Random(11), []

    def replayed(home: Path) -> int:
        start(home)
        return exit_code(child, home, "r", None, None)

    length = length_of(replayed, tmp_path / "elsewhere")
    for number in range(size(4, 200)):
        token = chance.choice(["a", "b", f"n{number}"])
        codes.append(exit_code(child, tmp_path, token, None, chance.uniform(0.02, 0.6 * length)))
    assert exit_code(child, tmp_path, "last", None, None) == 0
    assert -signal.SIGKILL in codes
    check_end(tmp_path)
