from __future__ import annotations

import json
import time

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches import marks as run_marks
from airflow_provider_phlo.iceberg.branches.marks import MARK_PREFIX, find_published_result
from airflow_provider_phlo.iceberg.branches.run_branches import branch_name
from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog
from airflow_provider_phlo.iceberg.merge import MergePlan, MergeResult, merge
from airflow_provider_phlo.iceberg.tables.refs import branch_head, is_ancestor
from tests.expect import expect

TABLE = "raw.t"
APPEND = MergePlan("append", deduplication=False)
DAY = 86_400_000


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    catalog.create_namespace("raw")
    catalog.create_table(TABLE, pa.schema([("a", pa.int64())]))
    return catalog


def write(catalog: Catalog, token: str, *values: int) -> MergeResult:
    return merge(catalog, TABLE, pa.table({"a": pa.array(values, pa.int64())}), APPEND, token=token)


def publish(catalog: Catalog, token: str, **options: object) -> int | None:
    return branches.move_main(catalog, TABLE, branch_name(token), token=token, **options)  # type: ignore[arg-type]


def content(catalog: Catalog, branch: str = "main") -> list[int]:
    table = catalog.load_table(TABLE)
    head = branch_head(table, branch)
    return sorted(table.scan(snapshot_id=head).to_arrow()["a"].to_pylist()) if head else []


def refs(catalog: Catalog) -> set[str]:
    return set(catalog.load_table(TABLE).refs())


def test_main_changes_on_publication_only_and_in_one_commit(catalog: Catalog) -> None:
    write(catalog, "one", 1)
    publish(catalog, "one")
    result = write(catalog, "two", 2)
    assert (content(catalog), content(catalog, "phlo_two")) == ([1], [1, 2])
    before = catalog.load_table(TABLE).metadata.metadata_log
    head = publish(catalog, "two", result={"inserted": 1}, properties={"x": "y"}, expected_head=result.head)
    table = catalog.load_table(TABLE)
    assert (content(catalog), refs(catalog), head) == ([1, 2], {"main"}, result.snapshot_id)
    assert len(table.metadata.metadata_log) == len(before) + 1
    assert find_published_result(table, "two") == {"inserted": 1}
    assert find_published_result(table, "three") is None
    assert table.properties["x"] == "y"
    assert table.history()[-1].snapshot_id == head


def test_a_second_publication_is_a_no_op_with_the_first_result(catalog: Catalog) -> None:
    write(catalog, "one", 1)
    head = publish(catalog, "one", result={"n": 1}, properties={"state": "1"})
    location = catalog.load_table(TABLE).metadata_location
    assert publish(catalog, "one", result={"n": 2}, properties={"state": "2"}) == head
    table = catalog.load_table(TABLE)
    assert table.metadata_location == location
    assert (find_published_result(table, "one"), table.properties["state"]) == ({"n": 1}, "1")


def test_what_a_slower_attempt_of_a_published_run_left_never_shows(catalog: Catalog) -> None:
    write(catalog, "one", 1)
    publish(catalog, "one", result={})
    slower = write(catalog, "one", 1)
    publish(catalog, "one", expected_head=slower.head)
    assert (content(catalog), refs(catalog)) == ([1], {"main"})


def test_the_mark_outlives_its_snapshot(catalog: Catalog) -> None:
    for value, token in enumerate(("one", "two")):
        write(catalog, token, value)
        publish(catalog, token, result={"n": value})
    table = catalog.load_table(TABLE)
    table.maintenance.expire_snapshots().by_id(table.history()[0].snapshot_id).commit()
    table = catalog.load_table(TABLE)
    assert len(table.metadata.snapshots) == 1
    assert find_published_result(table, "one") == {"n": 0}


def test_main_moved_is_a_conflict_that_changes_nothing(catalog: Catalog) -> None:
    write(catalog, "zero", 0)
    publish(catalog, "zero")
    write(catalog, "one", 1)
    write(catalog, "two", 2)
    publish(catalog, "two", result={})
    with pytest.raises(CommitConflictError, match=r"main of raw\.t moved since branch phlo_one was made"):
        publish(catalog, "one", result={}, properties={"state": "1"})
    table = catalog.load_table(TABLE)
    assert (content(catalog), content(catalog, "phlo_one")) == ([0, 2], [0, 1])
    assert find_published_result(table, "one") is None
    assert "state" not in table.properties


def test_first_writers_of_an_empty_table_conflict_too(catalog: Catalog) -> None:
    write(catalog, "one", 1)
    write(catalog, "two", 2)
    publish(catalog, "one")
    with pytest.raises(CommitConflictError):
        publish(catalog, "two")
    write(catalog, "two", 2)
    publish(catalog, "two")
    assert content(catalog) == [1, 2]


def test_only_the_audited_snapshot_is_published(catalog: Catalog) -> None:
    write(catalog, "zero", 0)
    publish(catalog, "zero")
    audited = write(catalog, "one", 1)
    write(catalog, "one", 666)
    with pytest.raises(CommitConflictError, match="no longer points to the audited snapshot"):
        publish(catalog, "one", expected_head=audited.head)
    branches.drop(catalog, TABLE, "phlo_one")
    with pytest.raises(CommitConflictError, match="no longer points to the audited snapshot"):
        publish(catalog, "one", expected_head=audited.head)
    assert content(catalog) == [0]


def test_an_audit_of_no_change_covers_no_later_change(catalog: Catalog) -> None:
    write(catalog, "zero", 0)
    publish(catalog, "zero")
    nothing = write(catalog, "one")
    expect(nothing, snapshot_id=None, head=branch_head(catalog.load_table(TABLE)))
    write(catalog, "one", 666)
    with pytest.raises(CommitConflictError):
        publish(catalog, "one", expected_head=nothing.head)
    assert content(catalog) == [0]


def test_a_run_that_changed_nothing_leaves_its_mark(catalog: Catalog) -> None:
    empty = write(catalog, "one")
    assert publish(catalog, "one", result={"rows": 0}, expected_head=empty.head) is None
    write(catalog, "two", 2)
    head = publish(catalog, "two")
    nothing = write(catalog, "three")
    assert publish(catalog, "three", result={"rows": 0}, expected_head=nothing.head) == head
    table = catalog.load_table(TABLE)
    assert len(table.metadata.snapshots) == 1
    assert refs(catalog) == {"main"}
    assert find_published_result(table, "one") == find_published_result(table, "three") == {"rows": 0}


def test_a_branch_starts_at_main_whatever_was_left_there(catalog: Catalog) -> None:
    write(catalog, "one", 666)
    table = branches.create(catalog, TABLE, "phlo_one")
    assert branch_head(table, "phlo_one") is None
    write(catalog, "two", 1)
    publish(catalog, "two")
    write(catalog, "one", 667)
    table = branches.create(catalog, TABLE, "phlo_one")
    assert branch_head(table, "phlo_one") == branch_head(table)
    location = table.metadata_location
    assert branches.create(catalog, TABLE, "phlo_one").metadata_location == location


def test_several_branches_live_side_by_side(catalog: Catalog) -> None:
    write(catalog, "zero", 0)
    publish(catalog, "zero")
    for value in (1, 2, 3):
        write(catalog, str(value), value)
    assert refs(catalog) == {"main", "phlo_1", "phlo_2", "phlo_3"}
    assert [content(catalog, f"phlo_{value}") for value in (1, 2, 3)] == [[0, 1], [0, 2], [0, 3]]
    publish(catalog, "2")
    assert refs(catalog) == {"main", "phlo_1", "phlo_3"}
    branches.drop(catalog, TABLE, "phlo_1")
    branches.drop(catalog, TABLE, "phlo_1")
    assert refs(catalog) == {"main", "phlo_3"}
    assert content(catalog) == [0, 2]


def set_marks(catalog: Catalog, ages: dict[str, int], now: int) -> None:
    marks = {MARK_PREFIX + token: json.dumps({"at": now - age, "result": {}}) for token, age in ages.items()}
    with catalog.load_table(TABLE).transaction() as transaction:
        transaction.set_properties(marks)


def marks(catalog: Catalog) -> set[str]:
    names = catalog.load_table(TABLE).properties
    return {name.removeprefix(MARK_PREFIX) for name in names if name.startswith(MARK_PREFIX)}


def test_marks_go_when_they_are_many_and_old(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_marks, "MARKS_KEPT", 3)
    now = 1_700_000_000_000
    monkeypatch.setattr(time, "time", lambda: now / 1000)
    set_marks(catalog, {"a": 0, "b": DAY, "c": 2 * DAY, "d": 3 * DAY, "e": 8 * DAY, "f": 9 * DAY}, now)
    write(catalog, "new", 1)
    publish(catalog, "new")
    assert marks(catalog) == {"a", "b", "c", "d", "new"}


def test_few_marks_stay_however_old(catalog: Catalog) -> None:
    set_marks(catalog, {"a": 900 * DAY, "b": 800 * DAY}, 1_700_000_000_000)
    write(catalog, "new", 1)
    publish(catalog, "new")
    assert marks(catalog) == {"a", "b", "new"}


def test_another_run_may_prune_the_same_marks_at_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_marks, "MARKS_KEPT", 0)
    set_marks(catalog, {"old": 30 * DAY}, 1_700_000_000_000)
    slow = open_catalog("phlo", dict(catalog.properties))
    stale = slow.load_table(TABLE)
    publish(catalog, "fast")
    seen = iter([stale])
    load = slow.load_table
    monkeypatch.setattr(slow, "load_table", lambda identifier: next(seen, None) or load(identifier))
    publish(slow, "slow")
    assert marks(catalog) == {"fast", "slow"}


def test_ancestry(catalog: Catalog) -> None:
    heads = []
    for value in range(3):
        write(catalog, str(value), value)
        heads.append(publish(catalog, str(value)))
    metadata = catalog.load_table(TABLE).metadata
    assert all(is_ancestor(metadata, head, of=heads[-1]) for head in [None, *heads])
    assert not is_ancestor(metadata, heads[2], of=heads[1])
