"""
DuckDB's view of a table as a staged merge would leave it, for the audit before the merge.

It reads the table's snapshot on which the merge was planned and the staging table, and applies the same SQL that the
engine will run. The rows stay in their files: only what was decided of each staged row is kept in memory.
"""

from __future__ import annotations

import duckdb
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from airflow_provider_phlo.iceberg.duckdb.views import create_table_view, view_name
from airflow_provider_phlo.iceberg.trino.staged_merge import StagedMerge, find_by_branch
from airflow_provider_phlo.sql import quote_identifier
from airflow_provider_phlo.terms import MergeStrategy

SCHEMA = "phlo staged"


def create_staged_view(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, table: Table, identifier: str, branch: str
) -> set[str] | None:
    """
    Create or replace the view of what a merge has staged under the name of ``branch``.

    :returns: where the files are that the view reads; None if nothing is staged.
    """
    staged = find_by_branch(catalog, identifier, branch)
    return None if staged is None else create_preview(connection, table, identifier, staged)


def create_preview(
    connection: duckdb.DuckDBPyConnection, table: Table, identifier: str, staged: StagedMerge
) -> set[str]:
    """
    Create or replace the view ``identifier``, which shows ``table`` as ``staged`` would leave it.

    :param table: the table, loaded after its columns were made to fit the batch.
    :returns: where the files are that the view reads.
    """
    base, rows = f"{SCHEMA}.{identifier}", f"{SCHEMA}.{staged.name}"
    locations = create_table_view(connection, table, base, snapshot_id=staged.intent.head)
    locations |= create_table_view(connection, staged.table, rows)
    sql = staged.sql(table).for_duckdb(view_name(base), view_name(rows))
    decisions = view_name(f"{SCHEMA}.{staged.name} decisions")
    if sql.plan.strategy == MergeStrategy.MERGE:
        connection.execute(f"CREATE OR REPLACE TABLE {decisions} AS {sql.decisions()}")
    namespace = identifier.rpartition(".")[0]
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(namespace)}")
    connection.execute(f"CREATE OR REPLACE VIEW {view_name(identifier)} AS {sql.preview(decisions)}")
    return locations
