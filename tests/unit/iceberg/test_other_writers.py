"""Tables as Spark, Flink and dlt leave them: read and written right, or refused before a byte is written."""

from __future__ import annotations

import datetime
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.expiry import Retention
from airflow_provider_phlo.iceberg.branches.rollback import plan_rollback, rollback
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.files.manifests import live_tasks
from airflow_provider_phlo.iceberg.files.reading import read_file
from airflow_provider_phlo.iceberg.maintenance import MaintenanceOptions
from airflow_provider_phlo.iceberg.maintenance.planning import plan as plan_maintenance
from airflow_provider_phlo.iceberg.maintenance.planning import run as run_maintenance
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.iceberg.tables import evolve
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from tests.expect import expect
from tests.lake import open_lake, open_views
from tests.other_writers import NAMES, WrittenTable, unpacked

T = "raw.t"
PLAN = MergePlan(key=("k",))
EQUALITY = r"raw\.t has equality deletes.*rewrite_data_files"
AVRO = r"raw\.t has data files of AVRO.*rewrite_data_files"
# no rows of these are read or written
UNREADABLE = {
    "flink/upserted": EQUALITY,
    "flink/upserted_by_partition": EQUALITY,
    "flink/upserted_in_avro": r"raw\.t has (equality deletes|deletes in files of AVRO).*rewrite_data_files",
    "flink/upserted_in_orc": EQUALITY,
    "flink/upserted_v3": EQUALITY,
    "flink/appended_avro": AVRO,
    "spark/added_avro": AVRO,
    "spark/types_avro": AVRO,
    "spark/deletes_in_avro": r"raw\.t has deletes in files of AVRO.*rewrite_data_files",
    "spark/orc_far_timestamp": r"raw\.t: .*\.orc has .* outside of the years 1677 to 2262.*rewrite_data_files",
    "spark/v3_geometry": "DuckDB cannot read columns of Iceberg type geometry",
    "spark/v3_unknown": "DuckDB cannot read columns of Iceberg type unknown",
}
# these are read and not written
UNWRITABLE = {name: "raw.t has format version 3" for name in NAMES if "v3" in name}
# PyIceberg itself reads NULL lists and maps as empty ones, and moments of INT96 outside of the years 1677 to 2262
# wrong; and it refuses equality deletes that apply to no row
WRONG_BY_PYICEBERG = {
    "flink/upserted_once",
    "spark/added_parquet",
    "spark/added_parquet_legacy",
    "spark/types_orc",
    "spark/types_parquet",
}
# what is written here is asked of these always, and of all with PHLO_SOAK=1
WRITTEN = {
    "dlt/partitioned",
    "flink/upserted_and_rewritten",
    "flink/upserted_once",
    "spark/added_partitioned",
    "spark/gzip_and_statistics",
    "spark/orc_deletes_of_parquet",
    "spark/position_deletes_by_partition",
    "spark/refs",
    "spark/required",
    "spark/truncated_binary",
    "spark/types_orc",
    "spark/v1_void",
    "spark/v2_specs",
}
READABLE = [name for name in NAMES if name not in UNREADABLE and name != "spark/v3_variant"]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_lake(tmp_path)


@pytest.fixture
def written(request: pytest.FixtureRequest, catalog: Catalog) -> Iterator[WrittenTable]:
    """Return the table that the test names, in the catalog as ``raw.t``."""
    with unpacked(request.param) as table:
        table.register(catalog)
        yield table


def by_key(rows: pa.Table) -> list[dict[str, Any]]:
    return sorted(rows.to_pylist(), key=lambda row: row["k"])


def by_duckdb(catalog: Catalog, branch: str | None = None) -> list[dict[str, Any]]:
    with open_views(catalog, branch=branch) as connection:
        return by_key(connection.sql(f"SELECT * FROM {T}").to_arrow_table())


def by_files(table: Table) -> list[dict[str, Any]]:
    names = [item.name for item in table.schema().fields]
    tasks = live_tasks(table, branch_head(table))
    parts = [rows for task in tasks for rows in read_file(table, task, names)]
    return by_key(pa.concat_tables(parts)) if parts else []


def require(catalog: Catalog, rows: list[dict[str, Any]], name: str = "") -> None:
    """Check that each way reads these rows; as text, since a NaN is not itself."""
    table = catalog.load_table(T)
    found = {"duckdb": by_duckdb(catalog), "files": by_files(table)}
    if name not in WRONG_BY_PYICEBERG:
        found["pyiceberg"] = by_key(table.scan().to_arrow())
    for way, read in found.items():
        assert [repr(row) for row in read] == [repr(row) for row in rows], way


def rows_of(written: WrittenTable) -> list[dict[str, Any]]:
    assert written.rows is not None
    return by_key(written.rows)


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in READABLE if name not in UNWRITABLE])
def test_case_22_a_table_of_another_writer_is_read_merged_and_kept(name: str, catalog: Catalog) -> None:
    with unpacked(name) as written:
        table = written.register(catalog)
        before = rows_of(written)
        require(catalog, before, name)
        refs = {ref: by_duckdb(catalog, ref) for ref in table.refs()}
        if name not in WRITTEN and "PHLO_SOAK" not in os.environ:
            return
        if before and name != "flink/types":  # no dbt model has bytes of one length
            assert not overwrite_if_changed(catalog, T, written.rows).changed
        after = merged(catalog, before, 1000)
        require(catalog, after, name)
        if before:
            undone(catalog, table)
            require(catalog, before, name)
        maintained(catalog)
        require(catalog, before if before else after, name)
        assert {ref: by_duckdb(catalog, ref) for ref in refs if ref != "main"} == {
            ref: rows for ref, rows in refs.items() if ref != "main"
        }
        again = merged(catalog, before if before else after, 2000)
        require(catalog, again, name)


def merged(catalog: Catalog, before: list[dict[str, Any]], key: int) -> list[dict[str, Any]]:
    """Merge a change of the last row, and a new row; then the same rows again, which changes nothing."""
    schema = catalog.load_table(T).schema().as_arrow()
    text = not pa.types.is_integer(schema.field("v").type)
    last = before[-1] if before else dict.fromkeys(schema.names)
    changed = [last | {"v": "changed here" if text else 77}] if before else []
    new = last | {"k": key, "v": "new" if text else 78}
    batch = pa.Table.from_pylist([*changed, new], schema=schema)
    for number, counts in enumerate(({"updated": len(changed), "inserted": 1}, {"unchanged": len(changed) + 1})):
        token = f"{key}-{number}"
        result = merge(catalog, T, batch, PLAN, token=token)
        expect(result, **counts)
        branches.move_main(catalog, T, branches.branch_name(token), expected_head=result.head)
    return [*before[: len(before) - len(changed)], *changed, new]


def undone(catalog: Catalog, before: Table) -> None:
    snapshot = before.current_snapshot()
    assert snapshot is not None
    rollback(catalog, plan_rollback(catalog, T, to_snapshot=snapshot.snapshot_id))


def maintained(catalog: Catalog) -> None:
    """Run every job as in a year, when all that may go is old."""
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=400)
    options = MaintenanceOptions(retention=Retention(keep_last=1))
    for _ in range(2):  # files of an old partitioning become one for each partition of the new one first
        run_maintenance(catalog, T, options, now=later)
    left = plan_maintenance(catalog, T, MaintenanceOptions(jobs=["compaction", "orphans"]), now=later)
    expect(left.jobs["compaction"], files=0)
    expect(left.jobs["orphans"], files=0)


def writes(catalog: Catalog) -> dict[str, Any]:
    """Return whatever writes rows or manifests, by name."""
    schema = catalog.load_table(T).schema().as_arrow()
    row = {name: 0 if name == "p" else None for name in schema.names} | {"k": 1, "v": "changed"}
    batch = pa.Table.from_pylist([row], schema=schema)
    jobs = {job: MaintenanceOptions(jobs=[job]) for job in ("compaction", "manifests")}
    return {
        "merge": lambda: merge(catalog, T, batch, PLAN, token="r1"),
        "overwrite": lambda: overwrite_if_changed(catalog, T, batch),
    } | {job: lambda options=options: run_maintenance(catalog, T, options) for job, options in jobs.items()}


def require_refused(catalog: Catalog, written: WrittenTable, attempts: dict[str, Any], message: str) -> None:
    """Check that each attempt is refused with a message that says what to do, and that nothing was written."""
    before, metadata = files_in(written.folder), catalog.load_table(T).metadata_location
    for name, attempt in attempts.items():
        with pytest.raises((SchemaError, ConfigurationError), match=message):
            attempt()
        assert files_in(written.folder) == before, name
    assert catalog.load_table(T).metadata_location == metadata


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(UNREADABLE.keys() - UNWRITABLE.keys()))
def test_case_23_a_table_that_cannot_be_read_is_refused(name: str, catalog: Catalog) -> None:
    with unpacked(name) as written:
        written.register(catalog)
        attempts = writes(catalog)
        manifests = attempts.pop("manifests")
        if "orc_far" in name:  # found when the rows are read
            attempts.pop("compaction")
        attempts["view"] = lambda: by_duckdb(catalog)
        require_refused(catalog, written, attempts, UNREADABLE[name])
        manifests()  # which needs no row
        run_maintenance(catalog, T, MaintenanceOptions(jobs=["expiry", "orphans"]))


@pytest.mark.parametrize("name", sorted(UNWRITABLE.keys() - UNREADABLE.keys() - {"spark/v3_variant"}))
def test_case_22_a_table_of_version_3_is_read_and_not_written(name: str, catalog: Catalog) -> None:
    with unpacked(name) as written:
        written.register(catalog)
        if written.rows is not None:
            require(catalog, rows_of(written), name)
        require_refused(catalog, written, writes(catalog), UNWRITABLE[name])
        run_maintenance(catalog, T, MaintenanceOptions(jobs=["expiry", "orphans"]))


@pytest.mark.parametrize("name", sorted(UNWRITABLE.keys() & UNREADABLE.keys()))
def test_case_22_a_table_of_version_3_that_is_not_read_either(name: str, catalog: Catalog) -> None:
    with unpacked(name) as written:
        written.register(catalog)
        require_refused(catalog, written, {"view": lambda: by_duckdb(catalog)}, UNREADABLE[name])
        require_refused(catalog, written, {"merge": writes(catalog)["merge"]}, UNWRITABLE[name])


def test_case_23_files_that_nothing_says_the_columns_of(catalog: Catalog) -> None:
    """DuckDB would read nothing but NULL."""
    with unpacked("spark/added_partitioned") as written:
        table = written.register(catalog)
        with table.transaction() as change:
            change.remove_properties("schema.name-mapping.default")
        attempts = writes(catalog) | {"view": lambda: by_duckdb(catalog)}
        del attempts["manifests"], attempts["compaction"]
        require_refused(catalog, written, attempts, r"raw\.t has data files without field ids.*name-mapping")


def test_case_22_the_metadata_of_version_3_is_not_changed_either(catalog: Catalog) -> None:
    with unpacked("spark/v3_plain") as written:
        first = written.register(catalog).metadata.snapshots[0].snapshot_id
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=400)
        expiry = MaintenanceOptions(jobs=["expiry"], retention=Retention(keep_last=1))
        attempts = {
            "rollback": lambda: rollback(catalog, plan_rollback(catalog, T, to_snapshot=first)),
            "expiry": lambda: run_maintenance(catalog, T, expiry, now=later),
            "evolve": lambda: evolve(catalog, T, pa.schema([("new", pa.int64())])),
        }
        require_refused(catalog, written, attempts, "raw.t has format version 3")


def test_case_22_metadata_that_pyiceberg_cannot_read_is_named(catalog: Catalog, tmp_path: Path) -> None:
    with unpacked("spark/v3_plain") as other, unpacked("spark/v3_variant") as written:
        other.register(catalog)
        with sqlite3.connect(tmp_path / "catalog.db") as connection:
            connection.execute("UPDATE iceberg_tables SET metadata_location = ?", [written.metadata])
        with pytest.raises(ConfigurationError, match=r"raw\.t has a column of type variant"):
            connect(open_lake(tmp_path), tables=[T])
