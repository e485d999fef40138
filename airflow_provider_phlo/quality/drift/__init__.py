"""
Drift checks: is a day like the days before, or like another table?

They compare numbers of a day (:mod:`.statistics`) and the distribution of its values (:mod:`.distributions`) with the
history (:mod:`.history`). How far is too far (:mod:`.bands`, :mod:`.distances`) is explained in ``docs/drift.md``.
"""

from __future__ import annotations

from airflow_provider_phlo.quality.drift.distributions import CategoryDriftCheck, DistributionCheck, HistogramDriftCheck
from airflow_provider_phlo.quality.drift.statistics import (
    DistinctCountDriftCheck,
    MeanDriftCheck,
    NullRateDriftCheck,
    QuantileDriftCheck,
    RowCountAnomalyCheck,
    StatisticDriftCheck,
)

__all__ = [
    "CategoryDriftCheck",
    "DistinctCountDriftCheck",
    "DistributionCheck",
    "HistogramDriftCheck",
    "MeanDriftCheck",
    "NullRateDriftCheck",
    "QuantileDriftCheck",
    "RowCountAnomalyCheck",
    "StatisticDriftCheck",
]
