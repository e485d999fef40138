"""History and rollback."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.types import StringType

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches import rollback
from airflow_provider_phlo.iceberg.branches.expiry import Retention, expire
from airflow_provider_phlo.iceberg.branches.history import history, kept_branches, load
from airflow_provider_phlo.iceberg.branches.marks import MARK_PREFIX, Mark
from airflow_provider_phlo.iceberg.branches.rollback import RollbackPlan, plan_rollback
from airflow_provider_phlo.iceberg.branches.run_branches import STATE_PROPERTY, branch_name
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.iceberg.merge import MergePlan, MergeResult, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.expect import expect

TABLE = "raw.t"
SCHEMA = pa.schema([("k", pa.int64()), ("v", pa.string())])
PLAN = MergePlan(key=("k",))


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    ensure_table(catalog, TABLE, arrow_to_iceberg(SCHEMA))
    return catalog


def land(catalog: Catalog, token: str, rows: dict[int, str]) -> MergeResult:
    batch = pa.table({"k": list(rows), "v": list(rows.values())}, schema=SCHEMA)
    summary = {"phlo.run-id": f"run {token}", "phlo.quarantined": "0"}
    return merge(catalog, TABLE, batch, PLAN, token=token, partition_date="2024-01-15", summary=summary)


def publish(catalog: Catalog, token: str, result: MergeResult, facts: Mapping[str, Any] | None = None) -> None:
    branches.move_main(
        catalog,
        TABLE,
        branch_name(token),
        token=token,
        result={"token": token, **(facts or {})},
        properties={STATE_PROPERTY: f"state of {token}"},
        expected_head=result.head,
    )


def run(catalog: Catalog, token: str, rows: dict[int, str]) -> int:
    publish(catalog, token, land(catalog, token, rows))
    head = branch_head(catalog.load_table(TABLE))
    assert head is not None
    return head


def back(catalog: Catalog, snapshot_id: int | None = None, time: str | None = None) -> RollbackPlan:
    plan = plan_rollback(catalog, TABLE, to_snapshot=snapshot_id, to_time=time)
    rollback.rollback(catalog, plan)
    return plan


def content(catalog: Catalog) -> dict[int, str]:
    rows = catalog.load_table(TABLE).scan().to_arrow().to_pylist()
    return {row["k"]: row["v"] for row in rows}


def known(catalog: Catalog) -> tuple[set[str], str | None]:
    """Return the tokens that count as done, and dlt's state."""
    properties = catalog.load_table(TABLE).properties
    marks = {name.removeprefix(MARK_PREFIX) for name in properties if name.startswith(MARK_PREFIX)}
    return marks, properties.get(STATE_PROPERTY)


def test_rows_marks_and_state_go_back_together_in_one_commit(catalog: Catalog) -> None:
    one = run(catalog, "one", {1: "a"})
    run(catalog, "two", {1: "b", 2: "b"})
    run(catalog, "three", {3: "c"})
    location = catalog.load_table(TABLE).metadata_location
    plan = plan_rollback(catalog, TABLE, to_snapshot=one)
    assert [entry.token for entry in plan.undone] == ["three", "two"]
    assert (plan.unmarked, plan.state, plan.target.snapshot_id) == (("three", "two"), "restored", one)
    assert catalog.load_table(TABLE).metadata_location == location  # nothing has happened yet
    rollback.rollback(catalog, plan)
    table = catalog.load_table(TABLE)
    assert table.metadata.metadata_log[-1].metadata_file == location
    assert branch_head(table) == one
    assert content(catalog) == {1: "a"}
    assert known(catalog) == ({"one"}, "state of one")
    # so the same run can be done again
    run(catalog, "two", {1: "b", 2: "b"})
    assert content(catalog) == {1: "b", 2: "b"}
    assert known(catalog) == ({"one", "two"}, "state of two")


def test_runs_that_changed_nothing_are_undone_with_what_they_found(catalog: Catalog) -> None:
    one = run(catalog, "one", {1: "a"})
    run(catalog, "same", {1: "a"})  # no snapshot: belongs to the state of main at "one"
    run(catalog, "two", {2: "b"})
    run(catalog, "again", {2: "b"})
    assert plan_rollback(catalog, TABLE, to_snapshot=one).unmarked == ("again", "two")
    back(catalog, one)
    assert known(catalog) == ({"one", "same"}, "state of same")


def test_a_rollback_can_be_rolled_back(catalog: Catalog) -> None:
    one = run(catalog, "one", {1: "a"})
    two = run(catalog, "two", {2: "b"})
    three = run(catalog, "three", {3: "c"})
    back(catalog, one)
    plan = back(catalog, two)
    assert ([entry.token for entry in plan.redone], plan.undone) == (["two"], ())
    assert (content(catalog), known(catalog)) == ({1: "a", 2: "b"}, ({"one", "two"}, "state of two"))
    back(catalog, three)
    assert (content(catalog), known(catalog)) == ({1: "a", 2: "b", 3: "c"}, ({"one", "two", "three"}, "state of three"))
    assert branches.undone_snapshots(catalog.load_table(TABLE)) == set()


def test_by_time(catalog: Catalog) -> None:
    run(catalog, "one", {1: "a"})
    time.sleep(0.01)
    between = datetime.datetime.now(datetime.UTC).isoformat()
    time.sleep(0.01)
    run(catalog, "two", {2: "b"})
    back(catalog, time=between)
    assert content(catalog) == {1: "a"}
    # as of a time after the rollback main was where it is
    with pytest.raises(ConfigurationError, match="already"):
        plan_rollback(catalog, TABLE, to_time=datetime.datetime.now(datetime.UTC).isoformat())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to_snapshot": 5}, "no snapshot 5"),
        ({"to_time": "2024-01-15T06:00:00"}, "ambiguous"),
        ({"to_time": "yesterday"}, "not a time"),
        ({"to_time": "2001-01-01T00:00:00Z"}, "known history"),
        ({"to_time": "2999-01-01T00:00:00Z"}, "future"),
        ({}, "one of the two"),
        ({"to_snapshot": 5, "to_time": "2024-01-15T06:00:00Z"}, "one of the two"),
    ],
)
def test_refusals(catalog: Catalog, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        plan_rollback(catalog, TABLE, to_snapshot=1)
    run(catalog, "one", {1: "a"})
    with pytest.raises(ConfigurationError, match=message):
        plan_rollback(catalog, TABLE, **options)


def test_snapshots_that_main_never_had_are_refused(catalog: Catalog) -> None:
    one = run(catalog, "one", {1: "a"})
    failed = land(catalog, "failed", {2: "b"}).head
    with pytest.raises(ConfigurationError, match="neither an ancestor"):
        plan_rollback(catalog, TABLE, to_snapshot=failed)
    two = run(catalog, "two", {2: "b"})
    back(catalog, one)
    run(catalog, "three", {3: "c"})
    with pytest.raises(ConfigurationError, match="neither an ancestor"):  # it would undo three silently
        plan_rollback(catalog, TABLE, to_snapshot=two)
    with pytest.raises(ConfigurationError, match="does not exist"):
        plan_rollback(catalog, "raw.nope", to_snapshot=two)


def test_past_a_compaction_and_new_columns(catalog: Catalog) -> None:
    run(catalog, "one", {1: "a"})
    two = run(catalog, "two", {2: "b"})
    compact(catalog, TABLE)
    with catalog.load_table(TABLE).update_schema() as update:
        update.add_column("w", StringType())
    run(catalog, "three", {3: "c"})
    back(catalog, two)
    rows = catalog.load_table(TABLE).scan().to_arrow().sort_by("k").to_pylist()
    assert rows == [{"k": 1, "v": "a", "w": None}, {"k": 2, "v": "b", "w": None}]
    assert known(catalog) == ({"one", "two"}, "state of two")


def test_a_run_that_merged_on_what_is_undone_cannot_bring_it_back(catalog: Catalog) -> None:
    one = run(catalog, "one", {1: "a"})
    run(catalog, "two", {2: "b"})
    running = land(catalog, "running", {3: "c"})
    nothing = land(catalog, "nothing", {2: "b"})
    back(catalog, one)
    for token, result in (("running", running), ("nothing", nothing)):
        with pytest.raises(CommitConflictError, match="set back"):
            publish(catalog, token, result)
    run(catalog, "running", {3: "c"})
    assert content(catalog) == {1: "a", 3: "c"}


def test_main_that_moved_since_the_plan_is_left(catalog: Catalog) -> None:
    one = run(catalog, "one", {1: "a"})
    run(catalog, "two", {2: "b"})
    plan = plan_rollback(catalog, TABLE, to_snapshot=one)
    run(catalog, "three", {3: "c"})
    with pytest.raises(CommitConflictError, match="plan it again"):
        rollback.rollback(catalog, plan)
    assert content(catalog) == {1: "a", 2: "b", 3: "c"}


def test_a_run_without_changes_between_plan_and_rollback_is_undone(catalog: Catalog) -> None:
    one = run(catalog, "one", {1: "a"})
    run(catalog, "two", {2: "b"})
    plan = plan_rollback(catalog, TABLE, to_snapshot=one)
    run(catalog, "nothing", {2: "b"})
    rollback.rollback(catalog, plan)
    assert known(catalog) == ({"one"}, "state of one")


def forget_metadata(catalog: Catalog) -> None:
    for number in range(2):
        with catalog.load_table(TABLE).transaction() as transaction:
            transaction.set_properties({"write.metadata.previous-versions-max": "1", "x": str(number)})


def test_a_state_that_is_not_known_any_more_is_cleared(catalog: Catalog) -> None:
    one = run(catalog, "one", {1: "a"})
    run(catalog, "two", {2: "b"})
    run(catalog, "again", {2: "b"})
    forget_metadata(catalog)
    plan = back(catalog, one)
    expect(plan, state="cleared", unmarked=("again", "two"))
    assert (content(catalog), known(catalog)) == ({1: "a"}, ({"one"}, None))


def test_without_a_state_nothing_is_cleared(catalog: Catalog) -> None:
    one = run(catalog, "one", {1: "a"})
    with catalog.load_table(TABLE).transaction() as transaction:
        transaction.remove_properties(STATE_PROPERTY)
    table = catalog.load_table(TABLE)
    table.append(pa.table({"k": [2], "v": ["b"]}, schema=SCHEMA))
    assert plan_rollback(catalog, TABLE, to_snapshot=one).state == "unchanged"


def test_expiry_forgets_what_was_undone(catalog: Catalog) -> None:
    one = run(catalog, "one", {1: "a"})
    two = run(catalog, "two", {2: "b"})
    back(catalog, one)
    week = Retention(7, 1, 7)
    now = datetime.datetime.now(datetime.UTC)
    assert expire(catalog, TABLE, week, now + datetime.timedelta(days=6)).snapshots == ()
    assert expire(catalog, TABLE, week, now + datetime.timedelta(days=8)).snapshots == (two,)
    assert branches.UNDONE_PROPERTY not in catalog.load_table(TABLE).properties
    with pytest.raises(ConfigurationError, match="expired"):
        plan_rollback(catalog, TABLE, to_snapshot=two)


@pytest.mark.parametrize("seconds", [-600, 0, 600])
def test_case_40_no_clock_decides_which_runs_are_undone(catalog: Catalog, seconds: int) -> None:
    """A run that found its rows there has no snapshot of its own, and the metadata file of that time may be gone."""
    one = run(catalog, "one", {1: "a"})
    for token, rows in {"same": {1: "a"}, "two": {2: "b"}, "again": {2: "b"}}.items():
        landed = land(catalog, token, rows)
        publish(catalog, token, landed, {"head": landed.head})
    table = catalog.load_table(TABLE)
    names = [MARK_PREFIX + token for token in ("same", "again")]
    marks = {name: Mark.from_json(table.properties[name]) for name in names}
    with table.transaction() as transaction:
        moved = {name: Mark(mark.at + seconds * 1000, mark.result).to_json() for name, mark in marks.items()}
        transaction.set_properties(moved)
    for entry in catalog.load_table(TABLE).metadata.metadata_log:
        Path(entry.metadata_file.removeprefix("file://")).unlink()
    back(catalog, one)
    assert known(catalog)[0] == {"one", "same"}


# --- history -------------------------------------------------------------------------------------------------------


def test_history_shows_runs_counts_and_what_was_undone(catalog: Catalog) -> None:
    assert history(catalog.load_table(TABLE)) == []
    one = run(catalog, "one", {1: "a"})
    run(catalog, "two", {1: "b", 2: "b"})
    compact(catalog, TABLE)
    back(catalog, one)
    run(catalog, "three", {3: "c"})
    entries = history(catalog.load_table(TABLE))
    assert [(entry.token, entry.state) for entry in entries if entry.strategy == "merge"] == [
        ("three", "current"),
        ("two", "undone"),
        ("one", ""),
    ]
    two = next(entry for entry in entries if entry.token == "two")
    expect(two, run_id="run two", partition_date="2024-01-15", operation="overwrite", refs=())
    assert {name: two.counts[name] for name in ("inserted", "updated", "quarantined")} == {
        "inserted": 1,
        "updated": 1,
        "quarantined": 0,
    }
    expect(entries[0], refs=("main",), total_rows=2)
    assert history(catalog.load_table(TABLE), limit=1) == entries[:1]
    assert [entry.at for entry in entries] == sorted((entry.at for entry in entries), reverse=True)


def test_history_of_a_branch(catalog: Catalog) -> None:
    run(catalog, "one", {1: "a"})
    land(catalog, "failed", {2: "b"})
    tokens = [entry.token for entry in history(catalog.load_table(TABLE), branch="phlo_failed")]
    assert tokens == ["failed", "one"]
    with pytest.raises(ConfigurationError, match=r"no branch nope.*main, phlo_failed"):
        history(catalog.load_table(TABLE), branch="nope")


def test_branches_of_failed_runs_are_listed(catalog: Catalog) -> None:
    run(catalog, "one", {1: "a"})
    land(catalog, "failed", {1: "b", 2: "b", 3: "b"})
    branches.create(catalog, TABLE, "phlo_0000000000000be1")
    catalog.load_table(TABLE).manage_snapshots().create_branch(
        branch_head(catalog.load_table(TABLE)) or 0, "mine"
    ).commit()
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)
    begun, failed = kept_branches(load(catalog, TABLE), now)
    expect(begun, name="phlo_0000000000000be1", rows=0, snapshots=0)
    expect(failed, name="phlo_failed", run_id="run failed", rows=3, snapshots=1, age_days=2.0)


def test_writes_of_others_have_no_counts(catalog: Catalog) -> None:
    catalog.load_table(TABLE).append(pa.table({"k": [2], "v": ["b"]}, schema=SCHEMA))
    (entry,) = history(catalog.load_table(TABLE))
    expect(entry, operation="append", strategy="", counts={}, total_rows=1)
