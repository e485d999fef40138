"""Tables: find and create them, evolve their schema, fit rows to it; how they are partitioned and what others wrote."""

from __future__ import annotations

from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace, ensure_table, partition_spec, sort_order
from airflow_provider_phlo.iceberg.tables.evolution import evolve, fit, rename_columns, require_fit
from airflow_provider_phlo.iceberg.tables.lookup import column_names, existing_table, find_table

__all__ = [
    "column_names",
    "ensure_namespace",
    "ensure_table",
    "evolve",
    "existing_table",
    "find_table",
    "fit",
    "partition_spec",
    "rename_columns",
    "require_fit",
    "sort_order",
]
