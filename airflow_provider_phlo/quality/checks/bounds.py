"""Bounds of ranges: whether they compare with a column, and the value that an engine gets."""

from __future__ import annotations

import math
from datetime import date, datetime, time
from decimal import Decimal
from numbers import Number
from typing import Any

# all 64-bit integers are smaller
_EXACT_INTEGERS = 2.0**63


def bound_problem(bound: Any, kind: str) -> str | None:
    """
    Return what is wrong with a bound of a column, or None.

    :param kind: the column's type, in DuckDB's words.
    """
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP")):
        return f"{kind}: a range needs numbers, text, dates or times"
    accepted = _accepted(kind)
    if accepted is None:
        return None
    words, types = accepted
    if isinstance(bound, str) and _parser(kind):
        try:
            typed_bound(bound, kind)
        except ValueError:
            return f"{kind}: {bound!r} is not {words} in ISO format"
        return None
    return None if isinstance(bound, types) else f"{kind}: a bound must be {words}, not {type(bound).__name__}"


def typed_bound(bound: Any, kind: str, sign: str = ">=") -> Any:
    """
    Return ``bound`` in the form in which values of a column compare with it.

    ISO text becomes a date or time. For a column of integers, a float becomes the next integer within the range:
    engines would compare the two as floats, which are inexact beyond 2^53.

    :param kind: the column's type, in DuckDB's words.
    :param sign: ``>=`` for a lower bound, ``<=`` for an upper one.
    """
    parser = _parser(kind)
    if parser and isinstance(bound, str):
        return parser(bound)
    if _is_integer(kind) and isinstance(bound, float) and abs(bound) < _EXACT_INTEGERS:
        return math.ceil(bound) if sign == ">=" else math.floor(bound)
    return bound


def _accepted(kind: str) -> tuple[str, tuple[type, ...]] | None:
    """Return which bounds a column takes, in words and as types; None for columns whose bounds are not checked."""
    if _is_integer(kind) or kind.startswith(("FLOAT", "DOUBLE", "DECIMAL")):
        return "a number", (Number, Decimal)
    if kind.startswith(("TIMESTAMP", "DATE")):
        return "a date or time", (date,)
    if kind.startswith("TIME"):
        return "a time of day", (time,)
    return ("text", (str,)) if kind.startswith("VARCHAR") else None


def _is_integer(kind: str) -> bool:
    return kind.endswith(("INT", "INTEGER"))


def _parser(kind: str) -> Any:
    if kind.startswith(("TIMESTAMP", "DATE")):
        return datetime.fromisoformat
    return time.fromisoformat if kind.startswith("TIME") else None
