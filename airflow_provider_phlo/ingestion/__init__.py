"""
Ingestion: what a source yields becomes rows of a table, or goes to its quarantine; every record is accounted for.

A run stages a batch (:mod:`.staging`; :mod:`.extraction`, :mod:`.transforms`, :mod:`.rejects`), lands it on a branch
and publishes that (:mod:`.landing`, :mod:`.accounting`); what was set aside is replayed (:mod:`.quarantine`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_phlo.ingestion.landing import TableDefinition, land, publish, publish_together
    from airflow_provider_phlo.ingestion.staging import StagingPlan, stage

__all__ = ["StagingPlan", "TableDefinition", "land", "publish", "publish_together", "stage"]

_MODULES = {"StagingPlan": "staging", "stage": "staging"}


def __getattr__(name: str) -> Any:
    # importing .quarantine or .accounting must not bring dlt along
    if name in __all__:
        return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'landing')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
