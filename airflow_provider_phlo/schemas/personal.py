"""Which columns hold personal data, by what is said of them, in capitals or not: who means it must not fail by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_PII = "pii"


def is_pii(column: Mapping[str, Any]) -> bool:
    """Return whether dbt's YAML calls a column ``pii``; dbt accepts tags and meta at the top or below ``config``."""
    levels = [column, column.get("config") or {}]
    return any(declares_pii(level.get("meta") or {}, level.get("tags") or ()) for level in levels)


def declares_pii(meta: Mapping[str, Any], tags: Any) -> bool:
    """
    Return whether something is called ``pii``.

    :param tags: a tag, or several.
    """
    given = tags if isinstance(tags, Iterable) and not isinstance(tags, str) else [tags]
    return any(_is_named(name) and bool(value) for name, value in meta.items()) or any(map(_is_named, given))


def is_not_pii(column: Mapping[str, Any]) -> bool:
    """Return whether dbt's YAML says that a column is not ``pii``, though it may be made of one that is."""
    levels = [column, column.get("config") or {}]
    return any(
        _is_named(name) and value is False for level in levels for name, value in (level.get("meta") or {}).items()
    )


def _is_named(name: Any) -> bool:
    return isinstance(name, str) and name.strip().lower() == _PII
