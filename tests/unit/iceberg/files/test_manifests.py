from __future__ import annotations

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.files import manifests
from airflow_provider_phlo.iceberg.files.manifests import SMALL_MANIFESTS, SnapshotFiles, manifest_files
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg

TABLE = "raw.t"
APPEND = MergePlan("append", deduplication=False)


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    schema = arrow_to_iceberg(pa.schema([("k", pa.int64()), ("v", pa.int64())]))
    tables.ensure_table(catalog, TABLE, schema, partition_by="k")
    return catalog


def run(catalog: Catalog, token: str, keys: list[int], plan: MergePlan = APPEND, value: int = 0) -> None:
    rows = pa.table({"k": keys, "v": [value] * len(keys)})
    merge(catalog, TABLE, rows, plan, token=token)
    branches.move_main(catalog, TABLE, f"phlo_{token}")


def sizes(catalog: Catalog) -> list[int]:
    snapshot = catalog.load_table(TABLE).current_snapshot()
    assert snapshot is not None
    found = snapshot.manifests(catalog.load_table(TABLE).io)
    return sorted((each.added_files_count or 0) + (each.existing_files_count or 0) for each in found)


def paths(catalog: Catalog) -> set[str]:
    table = catalog.load_table(TABLE)
    return {each.manifest_path for each in SnapshotFiles(table, branch_head(table)).manifests}


@pytest.mark.long
def test_manifests_of_small_runs_are_folded(catalog: Catalog) -> None:
    for number in range(3 * SMALL_MANIFESTS):
        run(catalog, f"t{number}", [number])
        assert len(sizes(catalog)) <= 2 * SMALL_MANIFESTS
    assert sum(sizes(catalog)) == 3 * SMALL_MANIFESTS
    rows = catalog.load_table(TABLE).scan().to_arrow()
    assert sorted(rows["k"].to_pylist()) == list(range(3 * SMALL_MANIFESTS))


def test_a_commit_to_few_partitions_writes_few_entries(catalog: Catalog) -> None:
    run(catalog, "all", list(range(400)))
    assert sizes(catalog) == [20] * 20
    before = paths(catalog)
    run(catalog, "few", [398, 399], MergePlan(key=("k",)), 1)
    after = paths(catalog)
    assert len(before - after) == 1
    assert sum(sizes(catalog)) == 400


def test_the_size_of_a_manifest_goes_with_the_table() -> None:
    assert [manifest_files(files) for files in (1, 300, 10_000, 1_000_000)] == [16, 17, 100, 1000]


def test_a_file_that_is_not_there_cannot_be_removed(catalog: Catalog) -> None:
    run(catalog, "one", [1])
    table = catalog.load_table(TABLE)
    gone = [task.file for task in SnapshotFiles(table, branch_head(table)).tasks()]
    run(catalog, "two", [1], MergePlan(key=("k",)), 1)
    table = catalog.load_table(TABLE)
    with pytest.raises(ValueError, match=r"1 file.s. to remove are not in snapshot"):
        manifests.next_manifests(SnapshotFiles(table, branch_head(table)), manifests.FileChanges(removed=gone), 1)
