"""Plugins by entry point: ``phlo.sources``, ``phlo.checks``, ``phlo.transforms``, ``phlo.publishers``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError


def transform(reference: str | Callable[..., Any]) -> Callable[..., Any]:
    """
    Return the transform that ``reference`` names.

    :param reference: a callable Arrow → Arrow, or the name of an entry point of ``phlo.transforms``.
    :raises ConfigurationError: if there is no such entry point.
    """
    if callable(reference):
        return reference
    found = entry_points(group="phlo.transforms")
    if reference not in found.names:
        raise ConfigurationError(
            f"There is no transform {reference!r}; installed: {', '.join(sorted(found.names)) or 'none'}."
        )
    return found[reference].load()
