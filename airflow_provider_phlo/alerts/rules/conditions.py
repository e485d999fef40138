"""When a metric is wrong: ``cv_pct > 40 for 7 consecutive days``, and whether values of days meet it."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

#: What is compared: whole numbers and decimals exactly.
Number = int | float | Decimal
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "<>": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(
    r"\s*(?P<value>.*?)\s*(?P<operator>>=|<=|!=|<>|==|=|>|<)\s*(?P<bound>[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*"
    r"(?:\bfor\s+(?P<days>\d+)\s*\+?\s*(?:consecutive\s+)?days?)?\s*",
    re.IGNORECASE | re.DOTALL,
)
MOST_DAYS = 366
#: The newest day with a value may be this many days old: marts are built the day after.
FRESH_DAYS = 2


@dataclass(frozen=True)
class Condition:
    """
    When a value is wrong.

    :param value: the column, or an expression of SQL; None for the one value that there is.
    :param bound: as it is written: 0.1 is a tenth beside decimals, and the nearest double beside doubles.
    :param days: on how many days in a row.
    """

    text: str
    value: str | None
    operator: str
    bound: Decimal
    days: int = 1

    def holds(self, value: Number) -> bool:
        """Return whether a value is wrong, exactly."""
        return _OPERATORS[self.operator](value, float(self.bound) if isinstance(value, float) else self.bound)


def parse_condition(text: str) -> Condition:
    """
    Return what a condition says.

    :raises ValueError: it is not one.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not a condition: write a comparison with a number, such as cv_pct > 40, and for 7 "
            "consecutive days if it is about several"
        )
    days = int(found["days"] or 1)
    if not 0 < days <= MOST_DAYS:
        raise ValueError(f"{days} days: write 1 to {MOST_DAYS}")
    return Condition(" ".join(text.split()), found["value"] or None, found["operator"], Decimal(found["bound"]), days)


@dataclass(frozen=True)
class Streak:
    """
    What the values of days say.

    :param wrong: None when nothing can be said; ``why`` says why.
    :param first: the first and the last day that count, and the value of the last.
    """

    wrong: bool | None
    why: str = ""
    first: date | None = None
    last: date | None = None
    value: Number | None = None


def as_number(value: Any) -> Number | None:
    """
    Return a value as a number; None for NULL and NaN, which say nothing.

    :raises TypeError: it is not a number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TypeError(type(value).__name__)
    return None if math.isnan(value) else value


def judge_days(condition: Condition, values: Mapping[date, Number | None], today: date) -> Streak:
    """
    Return whether a condition holds on as many days in a row as it says, up to the newest day with a row.

    A day without a row, or without a value, says nothing: it neither counts as wrong nor as right. So a streak with
    such a day in it is neither: what is open stays open, and nothing is opened. One day that is right ends it.

    :param values: by day; days after tomorrow are left aside.
    :param today: in the metric's zone.
    """
    known = {day: value for day, value in values.items() if day <= today + timedelta(days=1)}
    if not known:
        return Streak(None, "there is no day with a row")
    last = max(known)
    if (today - last).days > FRESH_DAYS:
        return Streak(None, f"the newest day is {last}, {(today - last).days} days ago")
    first = last - timedelta(days=condition.days - 1)
    window = [known.get(first + timedelta(days=number)) for number in range(condition.days)]
    if any(value is not None and not condition.holds(value) for value in window):
        return Streak(False, first=first, last=last, value=window[-1])
    missing = sum(value is None for value in window)
    if missing:
        return Streak(
            None, f"{missing} of the {condition.days} days up to {last} {'has' if missing == 1 else 'have'} no value"
        )
    return Streak(True, first=first, last=last, value=window[-1])
