"""Turn Apache Airflow 3 into a lakehouse platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_phlo.decorators import phlo_ingestion, phlo_quality, phlo_watch_dag

__version__ = "0.1.0"
__all__ = ["__version__", "phlo_ingestion", "phlo_quality", "phlo_watch_dag"]


def __getattr__(name: str) -> Any:
    # Airflow imports this package to discover it; what DAG files need is imported when they ask for it.
    if name in ("phlo_ingestion", "phlo_quality", "phlo_watch_dag"):
        from airflow_provider_phlo import decorators

        return getattr(decorators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
