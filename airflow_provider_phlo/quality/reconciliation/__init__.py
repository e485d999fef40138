"""
Reconciliation: does the table under check (the target) say what other tables (the sources) say?

The five checks share their arguments (:class:`Reconciliation`). What is equal, how tolerances are meant and what a
checksum is made of is written down in ``docs/reconciliation.md``.
"""

from __future__ import annotations

from airflow_provider_phlo.quality.reconciliation.aggregate_checks import (
    AggregateConsistencyCheck,
    AggregateSpec,
    MultiAggregateConsistencyCheck,
)
from airflow_provider_phlo.quality.reconciliation.row_checks import (
    ChecksumReconciliationCheck,
    KeyParityCheck,
    ReconciliationCheck,
)
from airflow_provider_phlo.quality.reconciliation.two_sided import Reconciliation

__all__ = [
    "AggregateConsistencyCheck",
    "AggregateSpec",
    "ChecksumReconciliationCheck",
    "KeyParityCheck",
    "MultiAggregateConsistencyCheck",
    "Reconciliation",
    "ReconciliationCheck",
]
