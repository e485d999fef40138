"""
Data quality: what a check is (:mod:`.base`), the built-in ones (:mod:`.checks`), how they run (:mod:`.scan`) and
what came out (:mod:`.results`).

Light to import: pandas, DuckDB and the like are imported when a check runs.
"""

from __future__ import annotations

from airflow_provider_phlo.quality.base import QualityCheck, RowCheck, SQLCheck
from airflow_provider_phlo.quality.checks import (
    CountCheck,
    FreshnessCheck,
    NullCheck,
    PatternCheck,
    RangeCheck,
    SchemaCheck,
    UniqueCheck,
)
from airflow_provider_phlo.quality.custom_sql import CustomSQLCheck
from airflow_provider_phlo.quality.results import QualityCheckResult, raise_for_failures
from airflow_provider_phlo.quality.threshold import ThresholdCheck

__all__ = [
    "CountCheck",
    "CustomSQLCheck",
    "FreshnessCheck",
    "NullCheck",
    "PatternCheck",
    "QualityCheck",
    "QualityCheckResult",
    "RangeCheck",
    "RowCheck",
    "SQLCheck",
    "SchemaCheck",
    "ThresholdCheck",
    "UniqueCheck",
    "raise_for_failures",
]
