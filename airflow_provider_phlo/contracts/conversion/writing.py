"""A contract in another form, with what that form has no words for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any

from airflow_provider_phlo.contracts.conversion.losses import left_out
from airflow_provider_phlo.contracts.model.contract import Contract, Form


class Target(StrEnum):
    """What a contract can be written as."""

    SHORT = "short"
    ODCS = "odcs"
    PANDERA = "pandera"
    DBT = "dbt"


@dataclass(frozen=True)
class Written:
    """
    A contract in another form.

    :param left_out: what it says, and the other form has no words for.
    """

    text: str
    left_out: tuple[str, ...]


def write_contract(contract: Contract, target: Target) -> Written:
    """
    Return a contract in another form; in its own one, the text of its file.

    What is left out is found by reading the text again.

    :raises ConfigurationError: the form cannot say it at all: several tables in the short form, a column without a type
        in a model.
    """
    if contract.form is not None and target.value == contract.form.value:
        return Written(contract.source.read_text(encoding="utf-8"), ())
    form: Any = import_module(f"{__package__}.{_MODULES[target]}")
    write: Callable[[Contract], str] = form.write
    read: Callable[[str, Contract], Contract] = form.read
    text = write(contract)
    missing = left_out(contract, read(text, contract))
    if contract.form is Form.ODCS:
        from airflow_provider_phlo.contracts.conversion.odcs import unread

        missing += [each for each in unread(contract) if each not in missing]
    return Written(text, tuple(missing))


_MODULES = {Target.SHORT: "short_form", Target.ODCS: "odcs", Target.PANDERA: "pandera", Target.DBT: "dbt"}
