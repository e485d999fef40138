"""
DuckDB's view of a table as a staged merge would leave it, for the audit before the merge.

It reads the table's snapshot on which the merge was planned and the staging table, and applies the same SQL that the
engine will run. The rows stay in their files: only what was decided of each staged row is kept in memory.
"""

from __future__ import annotations

import duckdb
from pyiceberg.table import Table

from airflow_provider_phlo.iceberg.duckdb import create_table_view
from airflow_provider_phlo.iceberg.trino.staged_merge import StagedMerge
from airflow_provider_phlo.sql import quote, quote_identifier
from airflow_provider_phlo.terms import MergeStrategy

SCHEMA = "phlo staged"


def create_preview(
    connection: duckdb.DuckDBPyConnection, table: Table, identifier: str, staged: StagedMerge
) -> set[str]:
    """
    Create, or renew, the view ``identifier`` of ``table`` as ``staged`` would leave it.

    :param table: the table, loaded after its columns were made to fit the batch.
    :returns: where the files are that it reads.
    """
    base, rows = f"{SCHEMA}.{identifier}", f"{SCHEMA}.{staged.name}"
    places = create_table_view(connection, table, base, snapshot_id=staged.intent.head)
    places |= create_table_view(connection, staged.table, rows)
    sql = staged.sql(table).for_duckdb(_view(base), _view(rows))
    decisions = _view(f"{SCHEMA}.{staged.name} decisions")
    if sql.plan.strategy == MergeStrategy.MERGE:
        connection.execute(f"CREATE OR REPLACE TABLE {decisions} AS {sql.decisions()}")
    namespace = identifier.rpartition(".")[0]
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(namespace)}")
    connection.execute(f"CREATE OR REPLACE VIEW {quote(identifier)} AS {sql.preview(decisions)}")
    return places


def _view(name: str) -> str:
    namespace, _, table = name.rpartition(".")
    return f"{quote_identifier(namespace)}.{quote_identifier(table)}"
