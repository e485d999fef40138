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
    return reference if callable(reference) else _load("transform", reference)


def check(name: str) -> Callable[..., Any]:
    """
    Return the check class that is registered as ``name`` in ``phlo.checks``.

    :raises ConfigurationError: if there is no such entry point.
    """
    return _load("check", name)


def _load(kind: str, name: str) -> Any:
    found = entry_points(group=f"phlo.{kind}s")
    if name not in found.names:
        raise ConfigurationError(f"There is no {kind} {name!r}; installed: {', '.join(sorted(found.names)) or 'none'}.")
    return found[name].load()
