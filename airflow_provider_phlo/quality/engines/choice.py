"""Which SQL engine reads a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_phlo.quality.engines.duckdb import DuckDBCatalogEngine
from airflow_provider_phlo.quality.engines.kept import open_duckdb
from airflow_provider_phlo.quality.engines.protocol import CatalogEngine
from airflow_provider_phlo.quality.engines.trino import TrinoCatalogEngine, trino_can_read

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.iceberg.trino.queries import Queries


@contextmanager
def open_engine(
    catalog: Catalog,
    table: str,
    *,
    branch: str | None = None,
    trino: Queries | None = None,
    connection: DuckDBPyConnection | None = None,
) -> Iterator[CatalogEngine]:
    """
    Open the engine that reads ``table`` and the other tables of its catalog.

    :param table: ``namespace.table``; bare names in queries belong to its namespace.
    :param branch: the branch to read where a table has it; main of the others.
    :param trino: let this Trino read where it can; DuckDB reads what Trino cannot: a staged merge, a branch of Nessie.
    :param connection: a DuckDB that serves one table after the other; to open one (:func:`open_duckdb`) takes
        longer than to read a small table. None opens one.
    """
    namespace = table.rpartition(".")[0]
    if trino is not None and trino_can_read(catalog, table, branch):
        yield TrinoCatalogEngine(trino, catalog, namespace, branch)
        return
    if connection is not None:
        yield DuckDBCatalogEngine(connection, catalog, namespace, branch)
        return
    with open_duckdb() as opened:
        yield DuckDBCatalogEngine(opened, catalog, namespace, branch)
