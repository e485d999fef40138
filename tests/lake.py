"""Embedded catalogs of tests."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace


def open_lake(home: Path) -> Catalog:
    """Open the embedded catalog of a ``PHLO_HOME``."""
    return open_catalog("phlo", embedded_properties(home))


def create_table(catalog: Catalog, name: str, rows: pa.Table) -> Table:
    """Create a table, and its namespace, with these rows."""
    ensure_namespace(catalog, name.partition(".")[0])
    table = catalog.create_table(name, rows.schema)
    table.append(rows)
    return table
