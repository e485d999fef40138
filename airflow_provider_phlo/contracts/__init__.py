"""
Data contracts: what a table promises to those who read it, and whether it keeps that.

Two forms are read (:mod:`.forms`): a short one and the Open Data Contract Standard v3. Both become a :class:`Contract`
(:mod:`.model`), whose promises become checks (:mod:`.rules`); :mod:`.enforcement` judges tables by them.
"""

from __future__ import annotations

from airflow_provider_phlo.contract_files import find_contracts
from airflow_provider_phlo.contracts.forms.reading import read_contract
from airflow_provider_phlo.contracts.model.contract import Contract
from airflow_provider_phlo.contracts.rules.validation import Breach, validate

__all__ = ["Breach", "Contract", "find_contracts", "read_contract", "validate"]
