"""Tables whose locations have characters that PyIceberg takes for the end of a path."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO

from airflow_provider_phlo.iceberg.catalogs.whole_locations import WholeLocations
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.maintenance import MaintenanceOptions, plan, run
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from tests.lake import open_lake

ROWS = pa.table({"k": [1, 2, 3]})
LOCATIONS = {
    "fragment": "file://{folder}/a#b",
    "query": "file://{folder}/a?b=c",
    "both": "file://{folder}/a?b#c?d",
    "written like a URL": "file://{folder}/a%23b%20c",
    "glob": "file://{folder}/a[bc]d*",
    "semicolon": "file://{folder}/a;b=c",
    "space": "file://{folder}/a b",
    "letters": "file://{folder}/größe 表",
    "host": "file://localhost{folder}/a#b",
    "Hadoop": "file:{folder}/a#b",
    "path": "{folder}/a#b",
}


@pytest.mark.long
@pytest.mark.parametrize("location", LOCATIONS.values(), ids=LOCATIONS)
def test_a_table_lives_where_its_location_says(tmp_path: Path, location: str) -> None:
    catalog, folder = open_lake(tmp_path), tmp_path / "elsewhere"
    written = location.format(folder=folder)
    ensure_namespace(catalog, "raw")
    catalog.create_table("raw.t", ROWS.schema, location=written)
    for rows in (ROWS.slice(1), ROWS):
        overwrite_if_changed(catalog, "raw.t", rows)
    place = Path(f"{folder}{written.partition(str(folder))[2]}")
    assert {each.name for each in place.iterdir()} == {"data", "metadata"}
    assert [each.name for each in folder.iterdir()] == [place.name]
    with connect(open_lake(tmp_path), tables=["raw.t"]) as connection:
        assert connection.sql("SELECT k FROM raw.t ORDER BY k").fetchall() == [(1,), (2,), (3,)]
    # what nothing names is found, and only that, also while another table's files are looked at
    overwrite_if_changed(catalog, "raw.other", ROWS)
    (place / "data" / "left#behind.parquet").write_bytes(b"x")
    options = MaintenanceOptions(jobs=["orphans"])
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=9)
    assert plan(catalog, "raw.other", options, now=later).jobs["orphans"]["files"] == 0
    if "localhost" not in location:
        run(catalog, "raw.t", options, now=later)
        assert not (place / "data" / "left#behind.parquet").exists()
    assert open_lake(tmp_path).load_table("raw.t").scan().to_arrow().num_rows == 3


@pytest.mark.parametrize(
    "location",
    ["s3://bucket/a/b.parquet", "gs://bucket/a", "hdfs://host:80/a/b", "viewfs://c/a", "file:///a/b", "/a/b", "a/b",
     "abfss://container@account.dfs.core.windows.net/a", "s3a://bucket", "relative", "file:/a"],
)  # fmt: skip
def test_other_locations_are_what_pyiceberg_takes_them_for(location: str) -> None:
    assert WholeLocations.parse_location(location) == PyArrowFileIO.parse_location(location)
