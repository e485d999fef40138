"""Files that are not local, read by DuckDB through PyArrow: here those of a table below ``file://``."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO

from airflow_provider_phlo.iceberg.files.remote import DataFiles, mount

ROWS = 200_000


@pytest.fixture
def files(tmp_path: Path) -> list[Any]:
    """Write files of several row groups and columns, and return what a manifest says of them."""
    written = []
    for number in range(3):
        path = tmp_path / f"part {number}.parquet"
        start = number * ROWS
        rows = pa.table({"k": range(start, start + ROWS), "s": [f"text {key % 13}" for key in range(ROWS)]})
        pq.write_table(rows, path, row_group_size=10_000)
        written.append(SimpleNamespace(file_path=f"file://{path}", file_size_in_bytes=path.stat().st_size))
    return written


def test_threads_that_share_a_file_read_what_is_there(files: list[Any]) -> None:
    """With one position for all threads this fails, or worse, gives other sums."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 8")
        urls = list(mount(connection, PyArrowFileIO(), files).urls.values())
        for _ in range(5):
            [sums] = connection.sql(
                f"SELECT sum(k), count(DISTINCT s), min(s), max(s) FROM read_parquet({urls})"
            ).fetchall()
            assert sums == (sum(range(3 * ROWS)), 13, "text 0", "text 9")


def test_other_files_do_not_exist(files: list[Any], tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        mounted = mount(connection, PyArrowFileIO(), files[:1])
        other = f"{mounted.root}{files[1].file_path.partition('://')[2]}"
        for wanted in (other, f"{mounted.root}{tmp_path}/*", f"{mounted.root}{tmp_path}/x/../part 1.parquet"):
            with pytest.raises(duckdb.Error, match="No files found"):
                connection.sql(f"SELECT * FROM read_parquet('{wanted}')")


def test_each_mount_has_its_own_files(files: list[Any]) -> None:
    with duckdb.connect() as connection:
        first, second = (mount(connection, PyArrowFileIO(), [file]) for file in files[:2])
        counts = [
            connection.sql(f"SELECT min(k) FROM read_parquet({list(mounted.urls.values())})").fetchall()
            for mounted in (first, second)
        ]
    assert counts == [[(0,)], [(ROWS,)]]


def test_nothing_can_be_written(files: list[Any]) -> None:
    mounted = DataFiles("phlo0", PyArrowFileIO(), files)
    url = mounted.urls[files[0].file_path]
    with pytest.raises(PermissionError, match="can only be read"):
        mounted.open(url, "wb")
    with duckdb.connect() as connection:
        connection.register_filesystem(mounted)
        with pytest.raises(duckdb.Error):
            connection.execute(f"COPY (SELECT 1) TO '{url}' (FORMAT parquet)")


def test_a_reader_moves_on(files: list[Any]) -> None:
    mounted = DataFiles("phlo0", PyArrowFileIO(), files)
    reader = mounted.open(mounted.urls[files[0].file_path])
    assert (reader.read(4), reader.tell()) == (b"PAR1", 4)
    reader.seek(files[0].file_size_in_bytes - 4)
    assert reader.read() == b"PAR1"
    reader.close()
