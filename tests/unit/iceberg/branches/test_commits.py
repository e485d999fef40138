from __future__ import annotations

import threading
import time
from itertools import count
from uuid import uuid4

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.commits import commit_files
from airflow_provider_phlo.iceberg.catalogs import retries
from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog
from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit
from airflow_provider_phlo.iceberg.tables.refs import branch_head

TABLE = "raw.t"


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    catalog.create_namespace("raw")
    catalog.create_table(TABLE, pa.schema([("a", pa.int64())]))
    return catalog


def written(table: Table, *values: int) -> list[DataFile]:
    rows = pa.table({"a": pa.array(values, pa.int64())})
    return list(_dataframe_to_data_files(table.metadata, rows, table.io, uuid4(), count()))


def content(catalog: Catalog, branch: str = "main") -> list[int]:
    table = catalog.load_table(TABLE)
    head = branch_head(table, branch)
    return sorted(table.scan(snapshot_id=head).to_arrow()["a"].to_pylist()) if head else []


def test_nothing_to_do_makes_no_commit(catalog: Catalog) -> None:
    table = catalog.load_table(TABLE)
    assert commit_files(catalog, table, "b", added=[], summary={}) is None
    assert catalog.load_table(TABLE).metadata_location == table.metadata_location


def test_the_first_snapshot_is_born_on_its_branch_in_one_commit(catalog: Catalog) -> None:
    before = catalog.load_table(TABLE)
    location = before.metadata_location
    snapshot = commit_files(catalog, before, "b", added=written(before, 1, 2), summary={"phlo.x": "y"})
    table = catalog.load_table(TABLE)
    assert [entry.metadata_file for entry in table.metadata.metadata_log] == [location]
    assert (branch_head(table), branch_head(table, "b")) == (None, snapshot)
    assert table.snapshot_by_id(snapshot).summary["phlo.x"] == "y"
    assert "commit.retry.num-retries" not in table.properties


def test_files_are_replaced_in_one_snapshot(catalog: Catalog) -> None:
    table = catalog.load_table(TABLE)
    commit_files(catalog, table, "main", added=written(table, 1, 2), summary={})
    table = catalog.load_table(TABLE)
    old = [task.file for task in table.scan().plan_files()]
    commit_files(catalog, table, "main", added=written(table, 3), removed=old, summary={})
    assert content(catalog) == [3]
    table = catalog.load_table(TABLE)
    commit_files(
        catalog, table, "main", added=[], removed=[task.file for task in table.scan().plan_files()], summary={}
    )
    assert content(catalog) == []
    assert len(catalog.load_table(TABLE).metadata.snapshots) == 3


def test_commits_to_other_branches_do_not_disturb(catalog: Catalog) -> None:
    catalog.load_table(TABLE).append(pa.table({"a": [0]}))
    mine = branches.create(catalog, TABLE, "mine")
    files = written(mine, 1)
    for value in range(3):  # each takes the sequence number that our snapshot was to have
        other = branches.create(catalog, TABLE, f"other{value}")
        commit_files(catalog, other, f"other{value}", added=written(other, 100 + value), summary={})
    commit_files(catalog, mine, "mine", added=files, summary={})
    assert content(catalog, "mine") == [0, 1]
    numbers = [snapshot.sequence_number for snapshot in catalog.load_table(TABLE).metadata.snapshots]
    assert numbers == sorted(set(numbers))


def test_a_commit_to_the_same_branch_is_a_conflict(catalog: Catalog) -> None:
    catalog.load_table(TABLE).append(pa.table({"a": [0]}))
    slow = branches.create(catalog, TABLE, "b")
    fast = catalog.load_table(TABLE)
    commit_files(catalog, fast, "b", added=written(fast, 1), summary={})
    with pytest.raises(CommitConflictError, match=r"raw\.t: branch b was changed by another writer"):
        commit_files(catalog, slow, "b", added=written(slow, 1), summary={})
    assert content(catalog, "b") == [0, 1]


def test_a_first_publication_meanwhile_is_a_conflict(catalog: Catalog) -> None:
    slow = catalog.load_table(TABLE)
    files = written(slow, 1)
    catalog.load_table(TABLE).append(pa.table({"a": [1]}))
    with pytest.raises(CommitConflictError):
        commit_files(catalog, slow, "b", added=files, summary={})
    assert (content(catalog), content(catalog, "b")) == ([1], [])


def test_new_partitioning_meanwhile_is_a_conflict(catalog: Catalog) -> None:
    slow = catalog.load_table(TABLE)
    files = written(slow, 1)
    with catalog.load_table(TABLE).update_spec() as update:
        update.add_field("a", IdentityTransform())
    catalog.load_table(TABLE).append(pa.table({"a": [0]}))
    with pytest.raises(CommitConflictError):
        commit_files(catalog, slow, "main", added=files, summary={})


def test_a_column_added_meanwhile_is_null(catalog: Catalog) -> None:
    catalog.load_table(TABLE).append(pa.table({"a": [0]}))
    slow = branches.create(catalog, TABLE, "b")
    with catalog.load_table(TABLE).update_schema() as update:
        update.add_column("n", catalog.load_table(TABLE).schema().find_type("a"))
    commit_files(catalog, slow, "b", added=written(slow, 1), summary={})
    assert content(catalog, "b") == [0, 1]


def test_threads_commit_to_branches_of_their_own(catalog: Catalog) -> None:
    catalog.load_table(TABLE).append(pa.table({"a": [0]}))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        own = open_catalog("phlo", dict(catalog.properties))
        try:
            for value in range(3):
                table = branches.create(own, TABLE, f"b{number}")
                commit_files(own, table, f"b{number}", added=written(table, value), summary={})
        except BaseException as error:  # noqa: BLE001  # reported to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [content(catalog, f"b{number}") for number in range(4)] == [[0, 2]] * 4


def test_races_are_run_again_and_other_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    rounds = count()

    def third_time_lucky() -> str:
        if next(rounds) < 2:
            raise CommitFailedException("raced")
        return "done"

    def always() -> None:
        next(rounds)
        raise CommitFailedException("raced")

    def broken() -> None:
        raise ValueError("broken")

    assert retry_commit(third_time_lucky, TABLE) == "done"
    with pytest.raises(ValueError, match="broken"):
        retry_commit(broken, TABLE)
    start = next(rounds)
    with pytest.raises(CommitConflictError, match=r"raw\.t: other writers committed first"):
        retry_commit(always, TABLE)
    assert next(rounds) - start - 1 == retries.COMMIT_ROUNDS


def test_an_error_that_is_not_a_race_is_raised_as_it_is(catalog: Catalog) -> None:
    table = catalog.load_table(TABLE)
    files = written(table, 1)
    catalog.load_table(TABLE).append(pa.table({"a": [0]}))
    snapshot = catalog.load_table(TABLE).current_snapshot().snapshot_id
    catalog.load_table(TABLE).manage_snapshots().create_tag(snapshot, "tagged").commit()
    with pytest.raises(ValueError, match="is a tag, not a branch"):
        commit_files(catalog, catalog.load_table(TABLE), "tagged", added=files, summary={})
