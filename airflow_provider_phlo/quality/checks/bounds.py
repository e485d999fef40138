"""Bounds of ranges: whether they compare with a column, and the condition that values of it meet."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from fractions import Fraction
from numbers import Number
from typing import Any

from airflow_provider_phlo.sql import Query, quote_identifier

# what 64 bits hold
_NANOSECONDS = datetime(1677, 9, 22, tzinfo=UTC), datetime(2262, 4, 11, tzinfo=UTC)
_BEYOND_MICROSECONDS = re.compile(r"\d[.,]\d{6}(\d+)")
_WIDTHS = {"TINY": 8, "SMALL": 16, "": 32, "BIG": 64, "HUGE": 128}


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
    if _is_cut(bound, kind):
        return f"{kind}: {bound!s} is more exact than microseconds, which is as exact as a bound can be: round it"
    if isinstance(bound, bool):  # a number to Python
        return f"{kind}: a bound must be {words}, not bool"
    if isinstance(bound, str) and _parser(kind):
        try:
            _typed(bound, kind)
        except ValueError:
            return f"{kind}: {bound!r} is not {words} in ISO format"
        return None
    return None if isinstance(bound, types) else f"{kind}: a bound must be {words}, not {type(bound).__name__}"


def within_bound(column: str, kind: str, sign: str, bound: Any) -> Query:
    """Return :func:`value_within` of a column."""
    return value_within(quote_identifier(column), kind, sign, bound)


def value_within(value: str, kind: str, sign: str, bound: Any) -> Query:
    """
    Return the condition that a value is within one bound, exactly; NULL or true for NULL.

    Engines would compare a float with integers or decimals as floats, which are inexact beyond 2^53, and do not take
    numbers beyond those of the column: such a bound becomes the next value that the column can hold.

    :param value: the value as SQL, once.
    :param kind: its type, in DuckDB's words.
    :param sign: ``>=`` or ``>`` for a lower bound, ``<=`` or ``<`` for an upper one.
    """
    upper, excluded = sign.startswith("<"), len(sign) == 1
    bound = bound.item() if hasattr(bound, "item") and hasattr(bound, "dtype") else bound
    if kind in ("FLOAT", "DOUBLE") and isinstance(bound, int | Fraction):
        nearest = _next_double(bound, upper)
        sign = sign if nearest == bound else f"{sign[0]}="  # no value of the column lies between the two
        bound = nearest
    if kind == "TIMESTAMPTZ_NS":
        return _within_nanoseconds(value, sign, _typed(bound, kind))
    limits = _limits(kind)
    if limits is None or not isinstance(bound, int | float | Decimal | Fraction):
        return Query(f"{value} {sign} ?", (_typed(bound, kind),))
    low, high, scale = limits
    if bound > high or bound < low:
        # NULL is ignored, whatever the bound
        return Query("true") if upper == (bound > high) else Query(f"{value} IS NULL")
    steps = Fraction(bound) * 10**scale
    whole = math.floor(steps) if upper else math.ceil(steps)
    if excluded and whole == steps:
        whole += -1 if upper else 1
        if not low * 10**scale <= whole <= high * 10**scale:
            return Query(f"{value} IS NULL")
    if not kind.startswith("DECIMAL"):
        return Query(f"{value} {sign[0]}= ?", (whole,))
    exact = Decimal(whole).scaleb(-scale, Context(prec=100))
    return Query(f"{value} {sign[0]}= CAST('{exact:f}' AS {kind})")


def _within_nanoseconds(value: str, sign: str, bound: Any) -> Query:
    """Return the condition for times that DuckDB compares with no others, in the years that they can have."""
    moment = bound if isinstance(bound, datetime) else datetime(bound.year, bound.month, bound.day)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if _NANOSECONDS[0] <= moment <= _NANOSECONDS[1]:
        return Query(f"{value} {sign} CAST(CAST(? AS TIMESTAMPTZ) AS TIMESTAMPTZ_NS)", (moment,))
    return Query("true") if sign.startswith("<") == (moment > _NANOSECONDS[1]) else Query(f"{value} IS NULL")


def _limits(kind: str) -> tuple[int | Fraction, int | Fraction, int] | None:
    """Return the smallest and the largest value of an integer or decimal type, and its digits behind the point."""
    if kind.startswith("DECIMAL"):
        digits, _, scale = kind[len("DECIMAL(") : -1].partition(",")
        largest = Fraction(10 ** int(digits) - 1, 10 ** int(scale))
        return -largest, largest, int(scale)
    name = kind.removesuffix("INTEGER").removesuffix("INT")
    if name == kind:
        return None
    unsigned, bits = name.startswith("U"), _WIDTHS[name.removeprefix("U")]
    return (0, 2**bits - 1, 0) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0)


def _next_double(bound: int | Fraction, upper: bool) -> float:
    """Return the double that is nearest to ``bound`` on the side of the range."""
    try:
        nearest = float(bound)
    except OverflowError:
        nearest = math.inf if bound > 0 else -math.inf
    if upper and nearest > bound:
        return math.nextafter(nearest, -math.inf)
    return math.nextafter(nearest, math.inf) if not upper and nearest < bound else nearest


def _typed(bound: Any, kind: str) -> Any:
    """Return ``bound`` in the form in which values of a column compare with it: ISO text becomes a date or time."""
    parser = _parser(kind)
    return parser(bound) if parser and isinstance(bound, str) else bound


def _is_cut(bound: Any, kind: str) -> bool:
    """Return whether a time has more digits than Python's times, which leave out the others."""
    if not isinstance(bound, str):
        return bool(getattr(bound, "nanosecond", 0))  # pandas' timestamps
    further = _BEYOND_MICROSECONDS.search(bound) if _parser(kind) else None
    return further is not None and further[1].strip("0") != ""


def _accepted(kind: str) -> tuple[str, tuple[type, ...]] | None:
    """Return which bounds a column takes, in words and as types; None for columns whose bounds are not checked."""
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
