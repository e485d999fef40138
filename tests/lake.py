"""Embedded catalogs of tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import SetSnapshotRefUpdate

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from airflow_provider_phlo.ingestion.definition import TableDefinition
    from airflow_provider_phlo.quality.freshness import TablePolicy


def open_lake(home: Path) -> Catalog:
    """Open the embedded catalog of a ``PHLO_HOME``."""
    properties = embedded_properties(home)
    database = home / "catalog.db"
    if not database.exists():
        # thousands of tests begin with one: a copy takes half as long as its creation
        database.touch(mode=0o600)
        database.write_bytes(_empty_catalog())
    return open_catalog("phlo", properties)


@cache
def _empty_catalog() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        open_catalog("phlo", embedded_properties(Path(folder))).close()
        return (Path(folder) / "catalog.db").read_bytes()


def publish_run(
    home: Path,
    catalog: Catalog,
    definition: TableDefinition,
    records: Iterable[Mapping[str, Any]],
    token: str,
    *,
    day: str = "2024-01-15",
    policy: TablePolicy | None = None,
) -> None:
    """Publish what a run reads, as the tasks of ``@phlo_ingestion`` do; records that break the schema are set aside."""
    from airflow_provider_phlo.ingestion import landing, publication
    from airflow_provider_phlo.ingestion.results import LandedBatch
    from airflow_provider_phlo.ingestion.staging import StagingPlan, stage

    batch = stage(
        lambda: iter(records),
        StagingPlan(definition.table, key=definition.plan.key, declared=definition.declared, strict=False),
        root=home / "staging",
        token=token,
        partition_date=day,
        run_id=f"manual__{token}",
        pipelines_dir=home / "dlt",
    )
    assert batch is not None
    landed = landing.land(catalog, home / "staging", batch, definition)
    assert isinstance(landed, LandedBatch)
    publication.publish(catalog, home / "staging", landed, definition, lambda branch: None, policy=policy)


@contextmanager
def open_views(catalog: Catalog, **options: Any) -> Iterator[DuckDBPyConnection]:
    """Read a catalog as ``connect`` lets one, in the DuckDB that checks use: to open one takes longer than to read."""
    from airflow_provider_phlo.iceberg.duckdb.views import connect
    from airflow_provider_phlo.quality.engines import open_duckdb

    with open_duckdb() as connection:
        yield connect(catalog, connection=connection, **options)


def create_table(catalog: Catalog, name: str, rows: pa.Table) -> Table:
    """Create a table, and its namespace, with these rows."""
    ensure_namespace(catalog, name.rpartition(".")[0])
    table = catalog.create_table(name, rows.schema)
    table.append(rows)
    return table


def point_with_retention(catalog: Catalog, name: str, branch: str, snapshot_id: int | None, **kept: int) -> None:
    """Say of a table's branch what Spark's ``CREATE BRANCH … WITH SNAPSHOT RETENTION`` says."""
    policy = {"max_ref_age_ms": None, "max_snapshot_age_ms": None, "min_snapshots_to_keep": None, **kept}
    update = SetSnapshotRefUpdate(ref_name=branch, type=SnapshotRefType.BRANCH, snapshot_id=snapshot_id, **policy)
    catalog.commit_table(catalog.load_table(name), (), (update,))
