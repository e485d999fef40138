"""Bounds that may be wrong, in tables that others wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.files.statistics import are_certain
from airflow_provider_phlo.iceberg.maintenance import MaintenanceOptions
from airflow_provider_phlo.iceberg.maintenance.planning import plan, run
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.expect import expect
from tests.lake import open_lake

TABLE = "raw.t"
OPTIONS = MaintenanceOptions(jobs=["manifests"])


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Return a catalog with a table whose bounds are wrong, as PyIceberg wrote it."""
    found = open_lake(tmp_path)
    found.create_namespace("raw")
    rows = pa.table({"k": ["a", "b", "x", "z" * 5000], "v": [0, 0, 0, 0], "s": ["é"] * 4})
    properties = {"write.parquet.row-group-limit": "2", "format-version": "2"}
    found.create_table(TABLE, rows.schema, properties=properties).append(rows)
    found.load_table(TABLE).append(rows.slice(0, 2))
    return found


def found(table: Table, key: str) -> int:
    return len(table.scan(row_filter=f"k == '{key}'").to_arrow())


def test_case_08_wrong_bounds_are_found_and_left_out(catalog: Catalog) -> None:
    before = catalog.load_table(TABLE)
    assert found(before, "x") == 0
    expect(plan(catalog, TABLE, OPTIONS).jobs["manifests"], uncertain_bounds=1, manifests=0)
    expect(run(catalog, TABLE, OPTIONS).jobs["manifests"], uncertain_bounds=1)
    table = catalog.load_table(TABLE)
    assert found(table, "x") == 1
    expect(plan(catalog, TABLE, OPTIONS).jobs["manifests"], uncertain_bounds=0)
    assert _numbers(table) == _numbers(before)
    # certain bounds stay
    assert all(
        task.file.lower_bounds.keys() >= {table.schema().find_field(name).field_id for name in ("v", "s")}
        for task in table.scan().plan_files()
    )
    assert run(catalog, TABLE, OPTIONS).jobs["manifests"]["snapshot_id"] is None


def _numbers(table: Table) -> dict[str, int | None]:
    """Return the sequence number of each file, by which deletes of its rows count."""
    return {
        entry.data_file.file_path: entry.sequence_number
        for manifest in table.current_snapshot().manifests(table.io)  # type: ignore[union-attr]
        for entry in manifest.fetch_manifest_entry(table.io)
    }


@pytest.mark.parametrize("key", ["a", "x", "z" * 5000])
def test_case_08_a_merge_believes_no_bounds_that_may_be_wrong(catalog: Catalog, key: str) -> None:
    """Also before any maintenance: the key would be inserted again."""
    result = merge(catalog, TABLE, pa.table({"k": [key], "v": [1]}), MergePlan(key=("k",)), token="r1")
    expect(result, updated=1, inserted=0)


def test_case_08_a_merge_believes_no_bounds_of_files_that_were_added(tmp_path: Path) -> None:
    catalog = open_lake(tmp_path)
    catalog.create_namespace("raw")
    rows = pa.table({"k": ["a", "b", "z" * 8192, "c"], "v": [1, 2, 3, 4]})
    pq.write_table(rows, tmp_path / "added.parquet", row_group_size=2)
    catalog.create_table(TABLE, rows.schema).add_files([str(tmp_path / "added.parquet")])
    result = merge(catalog, TABLE, rows, MergePlan(key=("k",)), token="r1")
    expect(result, unchanged=4, inserted=0)


def test_case_08_bounds_of_our_files_are_believed(catalog: Catalog) -> None:
    """Whoever of us writes them: others are read in vain."""
    rows = catalog.load_table(TABLE).scan().to_arrow()
    others = rows.set_column(1, "v", pa.array([1] * len(rows)))
    steps: dict[str, Callable[[], object]] = {
        "written": lambda: overwrite_if_changed(catalog, TABLE, others),
        "merged": lambda: merge(catalog, TABLE, rows, MergePlan("append"), token="r1", branch="main"),
        "compacted": lambda: run(catalog, TABLE, MaintenanceOptions(jobs=["compaction"])),
    }
    for label, write in steps.items():
        before = {task.file.file_path for task in catalog.load_table(TABLE).scan().plan_files()}
        write()
        new = [task.file for task in catalog.load_table(TABLE).scan().plan_files() if task.file.file_path not in before]
        assert [f"-{label}-" in file.file_path and are_certain(file) for file in new] == [True] * len(new) != []
    assert any(len(file.split_offsets or ()) > 1 for file in new)


def test_case_08_a_merge_finds_the_key_again(catalog: Catalog) -> None:
    run(catalog, TABLE, OPTIONS)
    rows = pa.table({"k": ["x"], "v": [1]})
    result = merge(catalog, TABLE, rows, MergePlan(key=("k",)), token="r1")
    branches.move_main(catalog, TABLE, branches.branch_name("r1"), expected_head=result.head)
    expect(result, updated=1, inserted=0)
