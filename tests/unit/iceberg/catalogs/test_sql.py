from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.catalogs.sql import CachingSqlCatalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.iceberg.tables.lookup import find_current_table
from tests.lake import create_table

TABLE = "raw.t"
ROWS = pa.table({"k": [1, 2]})


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Catalog]:
    with closing(open_catalog("phlo", embedded_properties(tmp_path))) as catalog:
        yield catalog


def require_as_pyiceberg_reads_it(catalog: Catalog) -> Table:
    table = catalog.load_table(TABLE)
    assert table.metadata == FromInputFile.table_metadata(table.io.new_input(table.metadata_location))
    return table


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_what_another_process_writes_is_read_as_pyiceberg_reads_it(tmp_path: Path, other: Catalog, codec: str) -> None:
    with closing(open_catalog("phlo", embedded_properties(tmp_path))) as catalog:
        table = create_table(other, TABLE, ROWS)
        first = require_as_pyiceberg_reads_it(catalog)
        for _ in range(3):
            table.append(ROWS)
            table.manage_snapshots().create_tag(table.metadata.current_snapshot_id or 0, "kept").commit()
            table.overwrite(ROWS)
            require_as_pyiceberg_reads_it(catalog)
        last = require_as_pyiceberg_reads_it(catalog)
        assert {id(each) for each in first.snapshots()} & {id(each) for each in last.snapshots()}
        table.maintenance.expire_snapshots().by_id(table.snapshots()[0].snapshot_id).commit()
        require_as_pyiceberg_reads_it(catalog)
        # another table by the same name
        other.drop_table(TABLE)
        create_table(other, TABLE, ROWS)
        assert len(require_as_pyiceberg_reads_it(catalog).snapshots()) == 1


def test_a_table_as_it_is_now_lacks_only_its_history(other: Catalog) -> None:
    table = create_table(other, TABLE, ROWS)
    assert isinstance(other, CachingSqlCatalog)
    for _ in range(2):
        table.append(ROWS)
    now = other.current_table(TABLE)
    assert now.name() == table.name()
    assert now.current_snapshot() == table.current_snapshot()
    assert now.schema() == table.schema()
    assert now.scan().to_arrow() == table.scan().to_arrow()
    assert len(now.snapshots()) == 1
    with pytest.raises(NoSuchTableError):
        other.current_table("raw.other")
    assert find_current_table(other, "raw.other") is None


def test_a_table_without_a_snapshot_is_read_as_it_is_now(other: Catalog) -> None:
    ensure_namespace(other, "raw")
    other.create_table(TABLE, ROWS.schema)
    found = find_current_table(other, TABLE)
    assert found is not None
    assert found.current_snapshot() is None


@pytest.mark.parametrize("broken", ["", "{", "[]", "{}", '{"table-uuid": 1, "snapshots": [1]}'])
def test_broken_metadata_is_the_same_error_with_and_without_a_version_before(
    tmp_path: Path, other: Catalog, broken: str
) -> None:
    table = create_table(other, TABLE, ROWS)
    with closing(open_catalog("phlo", embedded_properties(tmp_path))) as known:
        known.load_table(TABLE)
        table.append(ROWS)
        Path(table.metadata_location.removeprefix("file://")).write_text(broken)
        with closing(open_catalog("phlo", embedded_properties(tmp_path))) as fresh:
            with pytest.raises(Exception) as expected:  # noqa: PT011
                fresh.load_table(TABLE)
            with pytest.raises(type(expected.value)) as found:
                known.load_table(TABLE)
    assert str(found.value) == str(expected.value)


def test_compressed_metadata_is_read(other: Catalog, tmp_path: Path) -> None:
    table = create_table(other, TABLE, ROWS)
    packed = tmp_path / "00000-x.gz.metadata.json"
    packed.write_bytes(gzip.compress(Path(table.metadata_location.removeprefix("file://")).read_bytes()))
    assert other.register_table("raw.packed", f"file://{packed}").metadata == table.metadata
    found = find_current_table(other, "raw.packed")
    assert found is not None
    assert found.metadata == table.metadata


def test_the_journal_of_sqlite_stays_and_does_not_bring_anything_back(tmp_path: Path, other: Catalog) -> None:
    create_table(other, TABLE, ROWS)
    assert (tmp_path / "catalog.db-journal").exists()
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection:
        assert connection.execute("SELECT table_name FROM iceberg_tables").fetchall() == [("t",)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
