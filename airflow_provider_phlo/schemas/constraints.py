"""What a model declares about a column's values, beyond type and nullability: range, allowed values, other rules."""

from __future__ import annotations

import copy
import decimal
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pandera.api.checks import Check
from pandera.api.function_dispatch import Dispatcher

# Pandera's checks of one bound: which end, its argument, and whether the bound itself is excluded
_BOUNDS: dict[str, tuple[str, str, bool]] = {
    "greater_than": ("low", "min_value", True),
    "greater_than_or_equal_to": ("low", "min_value", False),
    "less_than": ("high", "max_value", True),
    "less_than_or_equal_to": ("high", "max_value", False),
}


@dataclass(frozen=True)
class Bound:
    """An end of a range; ``exclusive`` leaves the value itself out."""

    value: Any
    exclusive: bool = False


@dataclass(frozen=True)
class Constraints:
    """
    The rules of one column.

    :param allowed: the only values that are allowed; None allows all.
    :param rules: all other rules, in Pandera's words.
    :param warnings: rules of any kind that only warn (``raise_warning=True``): they reject no row.
    """

    low: Bound | None = None
    high: Bound | None = None
    allowed: tuple[Any, ...] | None = None
    rules: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def range(self) -> str | None:
        """Return the range in words: ``1 … 1000``, ``> 0``, ``≤ 5``; None without bounds."""
        if self.low and self.high:
            below, above = ("<" if bound.exclusive else "≤" for bound in (self.low, self.high))
            return f"{plain(self.low.value)} {below} x {above} {plain(self.high.value)}"
        if self.low:
            return f"{'>' if self.low.exclusive else '≥'} {plain(self.low.value)}"
        return f"{'<' if self.high.exclusive else '≤'} {plain(self.high.value)}" if self.high else None

    def whole_ends(self) -> tuple[Bound | None, Bound | None]:
        """Return the ends as whole numbers within the range: ``> 1`` becomes ``≥ 2``."""
        low, high = self.low, self.high
        if low and math.isfinite(low.value):
            low = Bound(math.floor(low.value) + 1 if low.exclusive else math.ceil(low.value))
        if high and math.isfinite(high.value):
            high = Bound(math.ceil(high.value) - 1 if high.exclusive else math.floor(high.value))
        return low, high

    def contradiction(self, *, whole: bool = False) -> str | None:
        """
        Return why no value can satisfy the rules; None if one may.

        :param whole: whether values are whole numbers.
        """
        low, high = self.whole_ends() if whole else (self.low, self.high)
        if low and high and _is_empty(low, high):
            return f"no value is in the range {self.range()}"
        if self.allowed is None:
            return None
        if not self.allowed:
            return "the lists of allowed values share no value"
        if not any(self._in_range(value) for value in self.allowed):
            return f"none of the allowed values is in the range {self.range()}"
        return None

    def _in_range(self, value: Any) -> bool:
        above = self.low is None or not _is_empty(self.low, Bound(value))
        return above and (self.high is None or not _is_empty(Bound(value), self.high))


def plain(value: Any) -> str:
    """Return a bound or an allowed value as people write it."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def constraints(checks: Iterable[Check]) -> Constraints:
    """Return what the ``checks`` of a column declare; the tightest of several bounds counts."""
    ends: dict[str, Bound] = {}
    allowed: tuple[Any, ...] | None = None
    rules, warnings = [], []
    for check in checks:
        if check.raise_warning:
            warnings.append(_words(check))
            continue
        values = _allowed(check)
        if values is not None:
            allowed = values if allowed is None else tuple(value for value in allowed if value in values)
            continue
        bounds = list(_bounds(check))
        for end, bound in bounds:
            ends[end] = bound if end not in ends else _tighter(end, ends[end], bound)
        if not bounds:
            rules.append(_words(check))
    return Constraints(ends.get("low"), ends.get("high"), allowed, tuple(rules), tuple(warnings))


def with_decimals(check: Check) -> Check:
    """
    Return ``check`` for a decimal column: a float in Pandera's own bounds and sets means the decimal as it is written.

    In Python, 0.1 is a binary fraction, slightly larger than ``Decimal("0.1")``.
    """
    if not isinstance(check._check_fn, Dispatcher):
        return check
    check = copy.copy(check)
    check.statistics = {name: _in_decimals(value) for name, value in (check.statistics or {}).items()}
    check._check_kwargs = {name: _in_decimals(value) for name, value in check._check_kwargs.items()}
    return check


def _in_decimals(value: Any) -> Any:
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_in_decimals(each) for each in value]
    return decimal.Decimal(str(value)) if isinstance(value, float) and math.isfinite(value) else value


def is_tighter(end: str, old: Bound | None, new: Bound | None) -> bool:
    """
    Return whether ``new`` allows less than ``old``.

    :param end: ``low`` or ``high``.
    """
    if new is None or new == old:
        return False
    return old is None or _tighter(end, old, new) == new


def _allowed(check: Check) -> tuple[Any, ...] | None:
    statistics = check.statistics or {}
    if check.name == "isin":
        return tuple(statistics["allowed_values"])
    return (statistics["value"],) if check.name == "equal_to" else None


def _bounds(check: Check) -> Iterable[tuple[str, Bound]]:
    statistics = check.statistics or {}
    if check.name in _BOUNDS:
        end, argument, exclusive = _BOUNDS[check.name]
        yield end, Bound(statistics[argument], exclusive)
    elif check.name == "in_range":
        yield "low", Bound(statistics["min_value"], not statistics.get("include_min", True))
        yield "high", Bound(statistics["max_value"], not statistics.get("include_max", True))


def _tighter(end: str, one: Bound, other: Bound) -> Bound:
    if one.value == other.value:
        return one if one.exclusive else other
    try:
        return one if (one.value > other.value) == (end == "low") else other
    except TypeError:  # a date and a date-time: Pandera reports which of them cannot be compared with the column
        return other


def _is_empty(low: Bound, high: Bound) -> bool:
    try:
        return bool(low.value > high.value) or (low.value == high.value and (low.exclusive or high.exclusive))
    except TypeError:
        return False


def _words(check: Check) -> str:
    return str(check.error or check.name or "rule")


def words(values: Sequence[Any] | None) -> tuple[str, ...] | None:
    """Return ``values`` as people write them."""
    return None if values is None else tuple(map(plain, values))
