"""
What went wrong, and who is notified.

Rules see that something is wrong (:mod:`.rules`); that becomes an incident (:mod:`.incidents`), and what changes about
it becomes messages (:mod:`.delivery`), which are written down with it and then sent: :func:`.processing.process` does
all of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, RunRef, Severity, Verdict

if TYPE_CHECKING:
    from airflow_provider_phlo.alerts.processing import AlertRound, preview, process
    from airflow_provider_phlo.alerts.rules.configuration import Configuration
    from airflow_provider_phlo.alerts.rules.reading import read_configuration

__all__ = [
    "AlertRound",
    "Configuration",
    "RuleKind",
    "RunRef",
    "Severity",
    "Verdict",
    "preview",
    "process",
    "read_configuration",
]


_PLACES = {"Configuration": "rules.configuration", "read_configuration": "rules.reading"}


def __getattr__(name: str) -> Any:
    # tasks name verdicts without having a rule
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'processing')}"), name)
