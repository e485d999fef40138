"""
Drift: is a day as the days before were, or as another table is?

Numbers of a day (:mod:`.statistics`) and how its values are distributed (:mod:`.distributions`), compared with the
history (:mod:`.history`). How far is too far (:mod:`.bands`, :mod:`.distances`) is written down in ``docs/drift.md``.
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
