"""
Schemas: what a table's rows look like.

A model (:mod:`.base`, read by :mod:`.columns`) becomes an Iceberg schema and back (:mod:`.iceberg`), can be made from a
dbt model's YAML (:mod:`.dbt_yaml`), and is compared with others (:mod:`.diff`). What a source yields is converted to it
(:mod:`.conversion`) and checked against it (:mod:`.validation`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.process import keep_offsets

if TYPE_CHECKING:
    from airflow_provider_phlo.schemas.base import PhloSchema
    from airflow_provider_phlo.schemas.dbt_yaml import dbt_model_to_pandera
    from airflow_provider_phlo.schemas.diff import schema_diff
    from airflow_provider_phlo.schemas.iceberg import iceberg_to_pandera, pandera_to_iceberg

__all__ = ["PhloSchema", "dbt_model_to_pandera", "iceberg_to_pandera", "pandera_to_iceberg", "schema_diff"]

# Pandera is imported below, here or by whoever declares a model
keep_offsets()

_MODULES = {
    "PhloSchema": "base",
    "dbt_model_to_pandera": "dbt_yaml",
    "iceberg_to_pandera": "iceberg",
    "pandera_to_iceberg": "iceberg",
    "schema_diff": "diff",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
