"""Properties that other writers have set: used, or refused by name before a byte is written."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.catalogs.sql import CachingSqlCatalog
from airflow_provider_phlo.iceberg.duckdb import views
from airflow_provider_phlo.iceberg.maintenance.planning import MaintenanceOptions, plan
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.lake import open_lake

TABLE = "raw.t"
NUMBERS = [
    "write.target-file-size-bytes",
    "write.parquet.row-group-limit",
    "write.parquet.page-size-bytes",
    "write.parquet.page-row-limit",
    "write.parquet.dict-size-bytes",
    "commit.manifest.target-size-bytes",
]
TRUTHS = [
    "write.metadata.delete-after-commit.enabled",
    "write.object-storage.enabled",
    "write.object-storage.partitioned-paths",
]
MALFORMED = [
    *((name, value) for name in NUMBERS for value in ("abc", "0", "-1", "1.5", "1_000", "128MB", str(2**70))),
    *((name, "maybe") for name in TRUTHS),
    ("write.metadata.previous-versions-max", "many"),
    ("write.parquet.compression-codec", "lzo"),
    ("write.parquet.compression-level", "high"),
    ("write.avro.compression-codec", "lzma"),
    ("write.metadata.metrics.default", "truncate"),
    ("write.metadata.metrics.column.v", "some"),
    ("write.py-location-provider.impl", "nowhere.Provider"),
    ("write.py-location-provider.impl", "pyiceberg.table.locations.SimpleLocationProvider"),
]
USABLE = [
    {name: "" for name in (*NUMBERS, *TRUTHS, "write.avro.compression-codec", "write.metadata.previous-versions-max")},
    {"write.parquet.compression-codec": "ZSTD", "write.parquet.compression-level": "-3"},
    {"write.parquet.compression-codec": "snappy", "write.parquet.compression-level": "3"},
    {"write.parquet.compression-codec": "uncompressed", "write.parquet.compression-level": "3"},
    {"write.parquet.compression-codec": "lz4_raw"},
    {"write.avro.compression-codec": "uncompressed"},
    {"write.avro.compression-codec": "zstd", "write.metadata.previous-versions-max": "0"},
    {"write.target-file-size-bytes": "1", "write.parquet.row-group-limit": "1", "write.parquet.page-row-limit": "1"},
    {"write.metadata.metrics.default": "TRUNCATE(4)", "write.metadata.metrics.max-inferred-column-defaults": "5"},
    {"history.expire.max-snapshot-age-ms": "soon", "history.expire.min-snapshots-to-keep": "-1"},
]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    found = open_lake(tmp_path)
    ensure_table(found, TABLE, arrow_to_iceberg(rows(0).schema))
    load(found, 0)
    return found


def rows(value: int) -> pa.Table:
    return pa.table({"k": list(range(5)), "v": [value] * 5})


def load(catalog: Catalog, value: int) -> None:
    merge(catalog, TABLE, rows(value), MergePlan(key=("k",)), token=f"r{value}", partition_date="2024-01-15")
    branches.move_main(catalog, TABLE, branches.branch_name(f"r{value}"))


def as_another_writer_sets(catalog: Catalog, properties: dict[str, str]) -> None:
    """Set what PyIceberg would not commit."""
    path = Path(catalog.load_table(TABLE).metadata_location.removeprefix("file://"))
    content = json.loads(path.read_text())
    content["properties"] |= properties
    path.write_text(json.dumps(content))
    assert isinstance(catalog, CachingSqlCatalog)
    catalog._parsed.clear()


@pytest.mark.long
@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_a_malformed_property_is_named_before_a_byte_is_written(
    catalog: Catalog, tmp_path: Path, name: str, value: str
) -> None:
    as_another_writer_sets(catalog, {name: value})
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    for write in (lambda: load(catalog, 1), lambda: branches.create(catalog, TABLE, "phlo_other")):
        with pytest.raises(ConfigurationError, match=name):
            write()
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("properties", USABLE, ids=str)
def test_what_iceberg_allows_is_written_by(catalog: Catalog, properties: dict[str, str]) -> None:
    as_another_writer_sets(catalog, properties)
    load(catalog, 1)
    assert catalog.load_table(TABLE).scan().to_arrow().sort_by("k") == rows(1)


def test_authors_are_held_to_the_same(catalog: Catalog) -> None:
    for name, value in MALFORMED:
        with pytest.raises(ConfigurationError, match=name):
            ensure_table(catalog, "raw.other", arrow_to_iceberg(rows(0).schema), properties={name: value})


@pytest.mark.parametrize("value", ["false", "no", "flase"])
def test_what_may_be_removed_is_not_guessed(catalog: Catalog, value: str) -> None:
    as_another_writer_sets(catalog, {"gc.enabled": value})
    with pytest.raises(ConfigurationError, match=f"gc.enabled={value}"):
        plan(catalog, TABLE, MaintenanceOptions(jobs=("expiry",)))


def test_a_broken_name_mapping_is_named(catalog: Catalog) -> None:
    as_another_writer_sets(catalog, {"schema.name-mapping.default": "[{"})
    with pytest.raises(ConfigurationError, match=r"schema\.name-mapping\.default"):
        views.connect(catalog, tables=[TABLE]).execute(f"SELECT * FROM {TABLE}")
