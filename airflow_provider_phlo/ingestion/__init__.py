"""
Ingestion: what a source yields becomes rows of a table, or goes to its quarantine; every record is accounted for.

A run stages a batch (:mod:`.staging`; :mod:`.extraction`, :mod:`.transforms`, :mod:`.rejects`), lands it on a branch
(:mod:`.landing`, :mod:`.accounting`) and publishes that (:mod:`.publication`); what was set aside is replayed
(:mod:`.quarantine`). What one step hands to the next is in :mod:`.results`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_phlo.ingestion.definition import TableDefinition
    from airflow_provider_phlo.ingestion.landing import land
    from airflow_provider_phlo.ingestion.publication import LandedTable, publish, publish_together
    from airflow_provider_phlo.ingestion.results import LandedBatch, StagedSummary
    from airflow_provider_phlo.ingestion.staging import StagingPlan, stage

__all__ = [
    "LandedBatch",
    "LandedTable",
    "StagedSummary",
    "StagingPlan",
    "TableDefinition",
    "land",
    "publish",
    "publish_together",
    "stage",
]

_MODULES = {
    "LandedBatch": "results",
    "LandedTable": "publication",
    "StagedSummary": "results",
    "StagingPlan": "staging",
    "TableDefinition": "definition",
    "land": "landing",
    "publish": "publication",
    "publish_together": "publication",
    "stage": "staging",
}


def __getattr__(name: str) -> Any:
    # importing .quarantine or .accounting must not import dlt
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
