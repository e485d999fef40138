"""
Data quality: what is checked (:mod:`.checks`), how it is run (:mod:`.scan`), what came out (:mod:`.results`).

Light to import: pandas, DuckDB and the like are imported when a check runs.
"""

from __future__ import annotations

from airflow_provider_phlo.quality.checks import (
    CountCheck,
    CustomSQLCheck,
    FreshnessCheck,
    NullCheck,
    PatternCheck,
    QualityCheck,
    RangeCheck,
    SchemaCheck,
    SQLCheck,
    UniqueCheck,
)
from airflow_provider_phlo.quality.results import QualityCheckResult, raise_for_failures

__all__ = [
    "CountCheck",
    "CustomSQLCheck",
    "FreshnessCheck",
    "NullCheck",
    "PatternCheck",
    "QualityCheck",
    "QualityCheckResult",
    "RangeCheck",
    "SQLCheck",
    "SchemaCheck",
    "UniqueCheck",
    "raise_for_failures",
]
