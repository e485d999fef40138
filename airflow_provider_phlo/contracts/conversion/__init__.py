"""
Contracts in other forms, and from them: :func:`write_contract` says what the other form has no words for.

One module per form: :mod:`.short_form`, :mod:`.odcs`, :mod:`.pandera`, :mod:`.dbt`, and :mod:`.table`, which can only
be read.
"""

from __future__ import annotations

from airflow_provider_phlo.contracts.conversion.losses import left_out
from airflow_provider_phlo.contracts.conversion.writing import Target, Written, write_contract

__all__ = ["Target", "Written", "left_out", "write_contract"]
