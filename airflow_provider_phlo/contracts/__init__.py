"""
Data contracts: what a table promises to those who read it, and whether it keeps that.

Two forms are read (:mod:`.reading`): a short one (:mod:`.short_form`) and the Open Data Contract Standard v3
(:mod:`.odcs`). Both become a :class:`Contract` (:mod:`.contract`), which is compared with a table (:mod:`.validation`).
"""

from __future__ import annotations

from airflow_provider_phlo.contract_files import find_contracts
from airflow_provider_phlo.contracts.contract import Contract
from airflow_provider_phlo.contracts.reading import read_contract
from airflow_provider_phlo.contracts.validation import Breach, validate

__all__ = ["Breach", "Contract", "find_contracts", "read_contract", "validate"]
