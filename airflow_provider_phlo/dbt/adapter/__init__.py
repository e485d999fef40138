"""
The dbt adapter ``type: phlo``: any dbt project on DuckDB, with its tables in the Iceberg catalog.

Built on dbt-duckdb as adapters build on each other, through dbt's own mechanism: dbt-duckdb's materializations run as
they are, on views of the catalog's tables (:mod:`.lakehouse`), and what they leave in DuckDB when they commit becomes
snapshots. Only what would need the whole of a large table, increments (:mod:`.increments`), goes another way.
"""

from __future__ import annotations

from pathlib import Path

from dbt.adapters.base import AdapterPlugin

from airflow_provider_phlo.dbt.adapter.connections import PhloCredentials
from airflow_provider_phlo.dbt.adapter.dialect import say_duckdb
from airflow_provider_phlo.dbt.adapter.impl import PhloAdapter

__all__ = ["Plugin"]

say_duckdb()

Plugin = AdapterPlugin(
    adapter=PhloAdapter,
    credentials=PhloCredentials,
    include_path=str(Path(__file__).parent),
    dependencies=["duckdb"],
    project_name="dbt_phlo",
)
