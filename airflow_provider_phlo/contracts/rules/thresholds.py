"""What a rule of a contract compares: a number that was measured, the operator and the number that is promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from airflow_provider_phlo.contracts.model.contract import Rule

_PERCENT = frozenset({"percent", "percentage", "%"})
_ROWS = frozenset({"", "row", "rows", "count"})
_SAYS: Mapping[str, str] = {
    "mustBe": "{}",
    "mustNotBe": "not {}",
    "mustBeGreaterThan": "more than {}",
    "mustBeGreaterOrEqualTo": "at least {}",
    "mustBeLessThan": "less than {}",
    "mustBeLessOrEqualTo": "at most {}",
    "mustBeBetween": "from {} to {}",
    "mustNotBeBetween": "not from {} to {}",
}
_HOLDS: Mapping[str, Callable[..., bool]] = {
    "mustBe": lambda found, wanted: found == wanted,
    "mustNotBe": lambda found, wanted: found != wanted,
    "mustBeGreaterThan": lambda found, wanted: found > wanted,
    "mustBeGreaterOrEqualTo": lambda found, wanted: found >= wanted,
    "mustBeLessThan": lambda found, wanted: found < wanted,
    "mustBeLessOrEqualTo": lambda found, wanted: found <= wanted,
    "mustBeBetween": lambda found, low, high: low <= found <= high,
    "mustNotBeBetween": lambda found, low, high: not low <= found <= high,
}


@dataclass(frozen=True)
class Threshold:
    """
    What a measured value has to be.

    :param operator: ``mustBe``, ``mustBeLessThan`` and so on.
    :param operand: a value; two for the operators that say ``Between``, which both belong to what is between them.
    :param percent: whether counts are compared as a share of what was counted.
    """

    operator: str = "mustBe"
    operand: Any = 0
    percent: bool = False

    def counts(self, found: int, total: int) -> bool:
        """Return whether ``found`` of ``total`` is as it has to be; of nothing, nothing is found."""
        if not self.percent:
            return self.value(found)
        return self.value(Fraction(100 * found, total) if total else 0)

    def value(self, found: Any) -> bool:
        """Return whether a value is as it has to be; NULL and NaN never are, nor is a value of another kind."""
        if found is None or (isinstance(found, float | Decimal) and math.isnan(found)):
            return False
        wanted = self.operand if isinstance(self.operand, list | tuple) else [self.operand]
        try:
            return bool(_HOLDS[self.operator](_comparable(found), *map(_comparable, wanted)))
        except TypeError:
            return False

    @property
    def allows_none(self) -> bool:
        """Whether it holds when nothing is found."""
        return self.value(0)

    def words(self) -> str:
        """Return ``less than 1 %``."""
        wanted = self.operand if isinstance(self.operand, list | tuple) else [self.operand]
        return _SAYS[self.operator].format(*wanted) + (" %" if self.percent else "")


NONE = Threshold()


def threshold_of(rule: Rule) -> Threshold:
    """Return what a rule compares."""
    return Threshold(rule.operator, rule.operand, is_percent(rule.unit))


def is_percent(unit: str) -> bool:
    """Return whether a unit is a share of the rows."""
    return unit.strip().lower() in _PERCENT


def is_unit(unit: str) -> bool:
    """Return whether a unit is known."""
    return is_percent(unit) or unit.strip().lower() in _ROWS


def _comparable(value: Any) -> Any:
    """Return numbers as they are written (0.1 is a tenth), moments as text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return Fraction(str(value)) if math.isfinite(value) else value
    if isinstance(value, Decimal):
        return Fraction(value) if value.is_finite() else float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value
