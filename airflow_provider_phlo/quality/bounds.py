"""Bounds of ranges: which compare with a column, and what an engine gets to compare."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from numbers import Number
from typing import Any


def bound_problem(bound: Any, kind: str) -> str | None:
    """
    Return what is wrong with a bound of a column, or None.

    :param kind: the column's type, in DuckDB's words.
    """
    wanted = _wanted(kind)
    if wanted is None:
        return None
    words, types = wanted
    if isinstance(bound, str) and _parser(kind):
        try:
            typed_bound(bound, kind)
        except ValueError:
            return f"{kind}: {bound!r} is not {words} in ISO format"
        return None
    return None if isinstance(bound, types) else f"{kind}: a bound must be {words}, not {type(bound).__name__}"


def typed_bound(bound: Any, kind: str) -> Any:
    """Return ``bound``, read from ISO text where it says a date or time."""
    parser = _parser(kind)
    return parser(bound) if parser and isinstance(bound, str) else bound


def _wanted(kind: str) -> tuple[str, tuple[type, ...]] | None:
    if kind.endswith(("INT", "INTEGER")) or kind.startswith(("FLOAT", "DOUBLE", "DECIMAL")):
        return "a number", (Number, Decimal)
    if kind.startswith(("TIMESTAMP", "DATE")):
        return "a date or time", (date,)
    if kind.startswith("TIME"):
        return "a time of day", (time,)
    return ("text", (str,)) if kind.startswith("VARCHAR") else None


def _parser(kind: str) -> Any:
    if kind.startswith(("TIMESTAMP", "DATE")):
        return datetime.fromisoformat
    return time.fromisoformat if kind.startswith("TIME") else None
