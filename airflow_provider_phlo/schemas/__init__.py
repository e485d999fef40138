"""Schemas: what a table's rows look like, as Pandera models, Iceberg schemas and dbt YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_phlo.schemas.base import PhloSchema

__all__ = ["PhloSchema"]


def __getattr__(name: str) -> Any:
    if name == "PhloSchema":
        from airflow_provider_phlo.schemas.base import PhloSchema

        return PhloSchema
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
