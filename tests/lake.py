"""Embedded catalogs of tests."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace


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


def create_table(catalog: Catalog, name: str, rows: pa.Table) -> Table:
    """Create a table, and its namespace, with these rows."""
    ensure_namespace(catalog, name.partition(".")[0])
    table = catalog.create_table(name, rows.schema)
    table.append(rows)
    return table
