"""
The SQL engines of checks: DuckDB or Trino over the tables of a catalog, DuckDB over a data frame.

A check is SQL; what engines spell differently is in :mod:`.dialects`. An engine runs the SQL, names the types of
columns in DuckDB's words, and makes the tables readable that a query names: the branch under audit where a table has
it, else main. :func:`open_engine` chooses between them.
"""

from __future__ import annotations

from airflow_provider_phlo.quality.engines.choice import open_engine
from airflow_provider_phlo.quality.engines.duckdb import FRAME, DuckDBCatalogEngine, DuckDBFrameEngine
from airflow_provider_phlo.quality.engines.kept import open_duckdb
from airflow_provider_phlo.quality.engines.protocol import CatalogEngine, EvaluationError, SQLEngine
from airflow_provider_phlo.quality.engines.time_limit import TookTooLongError, time_limit
from airflow_provider_phlo.quality.engines.trino import TrinoCatalogEngine

__all__ = [
    "FRAME",
    "CatalogEngine",
    "DuckDBCatalogEngine",
    "DuckDBFrameEngine",
    "EvaluationError",
    "SQLEngine",
    "TookTooLongError",
    "TrinoCatalogEngine",
    "open_duckdb",
    "open_engine",
    "time_limit",
]
