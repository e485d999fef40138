"""
The built-in checks: of values (:mod:`.values`), of tables (:mod:`.tables`), by your own query (:mod:`.custom_sql`).

A built-in check is SQL: aggregates that share one scan of the table with those of other checks, or a query of its
own. The same SQL runs on tables and on data frames. :mod:`.threshold` is the smallest.
"""

from __future__ import annotations

from airflow_provider_phlo.quality.checks.custom_sql import CustomSQLCheck
from airflow_provider_phlo.quality.checks.tables import CountCheck, FreshnessCheck, SchemaCheck
from airflow_provider_phlo.quality.checks.threshold import ThresholdCheck
from airflow_provider_phlo.quality.checks.values import NullCheck, PatternCheck, RangeCheck, UniqueCheck

__all__ = [
    "CountCheck",
    "CustomSQLCheck",
    "FreshnessCheck",
    "NullCheck",
    "PatternCheck",
    "RangeCheck",
    "SchemaCheck",
    "ThresholdCheck",
    "UniqueCheck",
]
