"""
Data quality: what a check is (:mod:`.base`, :mod:`.sql_check`), the built-in ones (:mod:`.checks`, :mod:`.drift`,
:mod:`.reconciliation`), how they run (:mod:`.scan`, :mod:`.engines`) and what comes out (:mod:`.results`).

Light to import: pandas, DuckDB and the like are imported when a check runs, reconciliations when one is named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.quality.base import QualityCheck
from airflow_provider_phlo.quality.checks import (
    CountCheck,
    CustomSQLCheck,
    FreshnessCheck,
    NullCheck,
    PatternCheck,
    RangeCheck,
    SchemaCheck,
    ThresholdCheck,
    UniqueCheck,
)
from airflow_provider_phlo.quality.drift import (
    CategoryDriftCheck,
    DistinctCountDriftCheck,
    HistogramDriftCheck,
    MeanDriftCheck,
    NullRateDriftCheck,
    QuantileDriftCheck,
    RowCountAnomalyCheck,
)
from airflow_provider_phlo.quality.results import QualityCheckResult, raise_for_failures
from airflow_provider_phlo.quality.sql_check import RowCheck, SQLCheck

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.reconciliation import (
        AggregateConsistencyCheck,
        AggregateSpec,
        ChecksumReconciliationCheck,
        KeyParityCheck,
        MultiAggregateConsistencyCheck,
        ReconciliationCheck,
    )

__all__ = [
    "AggregateConsistencyCheck",
    "AggregateSpec",
    "CategoryDriftCheck",
    "ChecksumReconciliationCheck",
    "CountCheck",
    "CustomSQLCheck",
    "DistinctCountDriftCheck",
    "FreshnessCheck",
    "HistogramDriftCheck",
    "KeyParityCheck",
    "MeanDriftCheck",
    "MultiAggregateConsistencyCheck",
    "NullCheck",
    "NullRateDriftCheck",
    "PatternCheck",
    "QualityCheck",
    "QualityCheckResult",
    "QuantileDriftCheck",
    "RangeCheck",
    "ReconciliationCheck",
    "RowCheck",
    "RowCountAnomalyCheck",
    "SQLCheck",
    "SchemaCheck",
    "ThresholdCheck",
    "UniqueCheck",
    "raise_for_failures",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.reconciliation"), name)
