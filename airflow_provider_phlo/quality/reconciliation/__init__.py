"""
Reconciliation: does the table under check (the target) agree with other tables (the sources)?

The five checks share their arguments (:class:`Reconciliation`). ``docs/reconciliation.md`` explains which values are
equal, what tolerances mean, and how a checksum is made.
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
