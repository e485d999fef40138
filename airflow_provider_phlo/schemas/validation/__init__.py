"""
Which rows of a batch break which rule of its model (:mod:`.batch`): Arrow evaluates what it can (:mod:`.arrow_rules`),
the rest by Pandera's own backends (:mod:`.pandas_rules`, :mod:`.polars_rules`); and which rows of a run share a value
that has to be unique (:mod:`.duplicates`).
"""

from airflow_provider_phlo.schemas.validation.batch import missing_values, validate
from airflow_provider_phlo.schemas.validation.duplicates import duplicate_rows

__all__ = ["duplicate_rows", "missing_values", "validate"]
