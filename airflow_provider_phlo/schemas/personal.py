"""Which columns of dbt's YAML hold personal data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_pii(column: Mapping[str, Any]) -> bool:
    """Return whether a column is tagged ``pii``; dbt accepts tags and meta at the top or below ``config``."""
    levels = [column, column.get("config") or {}]
    tags = [level.get("tags") or () for level in levels]
    return any((level.get("meta") or {}).get("pii") for level in levels) or any(
        "pii" in ([each] if isinstance(each, str) else each) for each in tags
    )
