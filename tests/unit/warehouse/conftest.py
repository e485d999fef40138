"""Warehouses that run in a test: Iceberg tables, and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from airflow_provider_phlo.sql import quote
from airflow_provider_phlo.warehouse.iceberg import IcebergWarehouse
from airflow_provider_phlo.warehouse.postgres import PostgresDialect
from airflow_provider_phlo.warehouse.sql_warehouse import SqlWarehouse
from airflow_provider_phlo.warehouse.stage import Stage
from airflow_provider_phlo.warehouse.tables import StageTable, TableLoad, Warehouse
from tests.lake import open_lake
from tests.unit.publishing.conftest import server

__all__ = ["server"]
DAY = "2026-11-28"


@dataclass
class Loader:
    """A warehouse and a stage, and what is in the warehouse's tables."""

    warehouse: Warehouse
    stage: Stage
    catalog: Any = None
    connect: Any = None

    def write(self, organization="octo-org", date=DAY, token="t1", **entities: Sequence[pa.Table]):
        """Stage a batch."""
        with self.stage.writer(organization, date, token) as writer:
            for entity, tables in entities.items():
                for table in tables:
                    writer.write(entity, table)
        return writer.batch

    def load(self, tables: Sequence[StageTable], *batches, token="token1") -> list[TableLoad]:
        """Load batches."""
        return self.warehouse.load(self.stage, tables, batches, token, run_id="manual__1", partition_date=DAY)

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Return the rows of a table, in an order of their own."""
        if self.catalog is not None:
            found = self.catalog.load_table(table).scan(selected_fields=columns).to_arrow().to_pylist()
            found = [tuple(row[name] for name in columns) for row in found]
        else:
            with self.connect() as connection:
                names = ", ".join(map(quote, columns))
                found = connection.execute(f"SELECT {names} FROM {quote(table)}").fetchall()
        return sorted(found, key=repr)


def iceberg_loader(home, **options) -> Loader:
    """Return Iceberg tables below ``home``."""
    catalog = open_lake(home)
    warehouse = IcebergWarehouse(catalog, home / "staging", home / "dlt", **options)
    return Loader(warehouse, Stage(home / "stage", "shop"), catalog=catalog)


def postgres_loader(server, home) -> Loader:
    """Return the tables of a PostgreSQL server."""

    def connect():
        return psycopg.connect(server.uri, autocommit=True)

    return Loader(SqlWarehouse(PostgresDialect(), connect), Stage(home / "stage", "shop"), connect=connect)


@pytest.fixture
def iceberg(tmp_path):
    return iceberg_loader(tmp_path)


@pytest.fixture
def postgres(server, tmp_path):
    loader = postgres_loader(server, tmp_path)
    yield loader
    with loader.connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS raw CASCADE")


@pytest.fixture(params=["iceberg", "postgres"])
def loader(request):
    return request.getfixturevalue(request.param)
