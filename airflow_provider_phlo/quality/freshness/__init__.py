"""Freshness as policy: how old a table may be, on the days and from the times at which new data is due."""

from airflow_provider_phlo.quality.freshness.policy import CLOCK_SKEW, Freshness, FreshnessPolicy, State, in_words
from airflow_provider_phlo.quality.freshness.table_policy import POLICY_PROPERTY, TablePolicy, table_policy

__all__ = [
    "CLOCK_SKEW",
    "POLICY_PROPERTY",
    "Freshness",
    "FreshnessPolicy",
    "State",
    "TablePolicy",
    "in_words",
    "table_policy",
]
