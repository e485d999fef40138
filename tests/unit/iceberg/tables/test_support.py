"""Tables that others write: read and written right, or refused before a byte is."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFileContent
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import DateType, LongType, NestedField

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.duckdb import views as duckdb
from airflow_provider_phlo.iceberg.files.partition_days import has_partition
from airflow_provider_phlo.iceberg.maintenance import MaintenanceOptions
from airflow_provider_phlo.iceberg.maintenance.planning import run
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.iceberg.tables.evolution import evolve, rename_columns
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.expect import expect
from tests.lake import create_table, open_lake
from tests.unit.position_deletes import commit_deletes, delete_file

TABLE = "raw.t"


def rows(catalog: Catalog) -> list[tuple[int, int]]:
    with duckdb.connect(catalog) as connection:
        return connection.execute(f"SELECT k, v FROM {TABLE} ORDER BY k").fetchall()


@pytest.fixture(params=["1", "2"])
def dropped(tmp_path: Path, request: pytest.FixtureRequest) -> Catalog:
    """Return a catalog with a table whose partition column is gone, in a format version."""
    catalog = open_lake(tmp_path)
    catalog.create_namespace("raw")
    parts = [pa.table({"k": [n], "p": [f"p{n % 2}"], "v": [0]}) for n in range(4)]
    schema = arrow_to_iceberg(parts[0].schema)
    spec = tables.partition_spec(schema, ["p"])
    catalog.create_table(TABLE, schema, partition_spec=spec, properties={"format-version": request.param})
    for part in parts:
        catalog.load_table(TABLE).append(part)
    with catalog.load_table(TABLE).update_spec() as update:
        update.remove_field("p")
    with catalog.load_table(TABLE).update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("p")
    return catalog


def test_case_22_a_merge_into_files_of_a_dropped_partition_column(dropped: Catalog) -> None:
    batch = pa.table({"k": [1, 9], "v": [1, 1]})
    result = merge(dropped, TABLE, batch, MergePlan(key=("k",)), token="r1")
    branches.move_main(dropped, TABLE, branches.branch_name("r1"), expected_head=result.head)
    expect(result, updated=1, inserted=1)
    assert rows(dropped) == [(0, 0), (1, 1), (2, 0), (3, 0), (9, 1)]
    found = dropped.load_table(TABLE).scan().to_arrow()
    assert sorted(found["k"].to_pylist()) == [0, 1, 2, 3, 9]


def test_case_22_maintenance_of_files_of_a_dropped_partition_column(dropped: Catalog) -> None:
    done = run(dropped, TABLE, MaintenanceOptions(jobs=["manifests", "compaction", "expiry"])).jobs
    expect(done["compaction"], files=4, files_after=2)
    assert rows(dropped) == [(k, 0) for k in range(4)]
    run(dropped, TABLE, MaintenanceOptions(jobs=["manifests"]))
    assert rows(dropped) == [(k, 0) for k in range(4)]


def test_case_23_equality_deletes_are_refused_by_every_path(tmp_path: Path) -> None:
    catalog = open_lake(tmp_path)
    table = create_table(catalog, TABLE, pa.table({"k": [1, 2], "v": [0, 0], "day": ["2024-01-01", "2024-01-02"]}))
    [task] = table.scan().plan_files()
    found = delete_file(table, {task.file: [0]}, content=DataFileContent.EQUALITY_DELETES)
    commit_deletes(catalog, TABLE, found)
    before = catalog.load_table(TABLE).metadata_location
    batch = pa.table({"k": [1], "v": [1], "day": ["2024-01-01"]})
    attempts = (
        lambda: duckdb.connect(catalog),
        lambda: merge(catalog, TABLE, batch, MergePlan(key=("k",)), token="r1"),
        lambda: overwrite_if_changed(catalog, TABLE, batch),
        lambda: overwrite_if_changed(catalog, TABLE, batch.append_column("new", pa.array([1]))),
        lambda: has_partition(catalog, TABLE, "day", "2024-01-01"),
    )
    for attempt in attempts:
        with pytest.raises(SchemaError, match=r"raw\.t has equality deletes.*rewrite_data_files"):
            attempt()
    assert catalog.load_table(TABLE).metadata_location == before


@pytest.mark.parametrize("transform", [DayTransform(), IdentityTransform()])
@pytest.mark.parametrize("path", ["evolve", "rename", "model"])
def test_case_22_a_column_that_is_called_like_a_partition(catalog: Catalog, transform: Any, path: str) -> None:
    """Also one of long ago: the column that it was of is gone, and so is the partition."""
    ensure_namespace(catalog, "raw")
    schema = Schema(NestedField(1, "k", LongType()), NestedField(2, "at", DateType()))
    name = "part" if isinstance(transform, DayTransform) else "at"
    spec = PartitionSpec(PartitionField(2, 1000, transform, name))
    table = catalog.create_table("raw.t", schema, partition_spec=spec)
    if name == "at":
        with table.update_spec() as change:
            change.remove_field("at")
        with table.update_schema(allow_incompatible_changes=True) as update:
            update.delete_column("at")
    rows = pa.table({"k": [1], name: ["x"], **({"at": [datetime.date(2024, 1, 15)]} if name == "part" else {})})
    message = f"raw.t is, or was, partitioned by a field called '{name}'.*under another one"
    before = catalog.load_table("raw.t").metadata_location
    paths = {
        "evolve": lambda: evolve(catalog, "raw.t", rows.schema),
        "rename": lambda: rename_columns(catalog, "raw.t", {"k": name}),
        "model": lambda: overwrite_if_changed(catalog, "raw.t", rows),
    }
    with pytest.raises(SchemaError, match=message):
        paths[path]()
    assert catalog.load_table("raw.t").metadata_location == before
