"""
What is wrong with a value, as SQL: no value, out of bounds, too long, without the pattern, not among the allowed ones.

A condition is true of a value that breaks the promise. NULL breaks no promise but that of a value.
"""

from __future__ import annotations

import math
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

from airflow_provider_phlo.contracts.model.contract import Bounds
from airflow_provider_phlo.quality.checks.bounds import bound_problem, value_within
from airflow_provider_phlo.quality.engines.dialects import Dialect
from airflow_provider_phlo.sql import Query

_GREATEST_FLOAT = 3.4e38
_INEXACT_TEXT = ("FLOAT", "DOUBLE", "TIME", "STRUCT", "MAP", "BLOB")


class Criterion(ABC):
    """
    What a value must not be.

    :cvar check_type: the kind of check, in results.
    """

    check_type: ClassVar[str]

    @abstractmethod
    def problem(self, kind: str) -> str | None:
        """Return why values of a type (in DuckDB's words) cannot be judged, or None."""

    @abstractmethod
    def broken(self, value: str, kind: str, dialect: Dialect) -> Query:
        """Return the condition that a value breaks it."""

    @abstractmethod
    def words(self) -> str:
        """Return what is promised, behind ``must``."""


@dataclass(frozen=True)
class Missing(Criterion):
    """
    The value is not there.

    :param also: values that stand for a missing one.
    """

    also: tuple[Any, ...] = ()

    check_type = "not_null"

    def problem(self, kind: str) -> str | None:
        """Return None: whatever the type, a value can be missing."""
        return None

    def broken(self, value: str, kind: str, dialect: Dialect) -> Query:
        """Return the condition; what the column cannot hold is not among its values."""
        named = [each for each in (_of_kind(item, kind) for item in self.also if item is not None) if each is not None]
        if not named:
            return Query(f"{value} IS NULL")
        among = _among(value, kind, named, dialect)
        return Query(f"({value} IS NULL OR {among.sql})", among.parameters)

    def words(self) -> str:
        """Return what is promised."""
        shown = ", ".join(repr(item) for item in self.also if item is not None)
        return f"have a value, and not {shown}" if shown else "have a value"


@dataclass(frozen=True)
class OutOfBounds(Criterion):
    """The value is beyond a bound; NaN always is."""

    bounds: Bounds

    check_type = "range"

    def problem(self, kind: str) -> str | None:
        """Return why the bounds do not compare with values of the type."""
        for _, bound in _signed(self.bounds):
            found = bound_problem(_as_written(bound, kind), kind)
            if found:
                return f"it is {found}"
        return None

    def broken(self, value: str, kind: str, dialect: Dialect) -> Query:
        """Return the condition."""
        parts = [value_within(value, kind, sign, _as_written(bound, kind)) for sign, bound in _signed(self.bounds)]
        within = [part.sql for part in parts]
        if kind in ("FLOAT", "DOUBLE"):  # which DuckDB takes for the greatest number
            within.append(f"NOT {dialect.is_nan(value)}")
        return Query(f"NOT ({' AND '.join(within)})", tuple(each for part in parts for each in part.parameters))

    def words(self) -> str:
        """Return the bounds."""
        return f"be {self.bounds.words()}"


@dataclass(frozen=True)
class WrongLength(Criterion):
    """The text has too few or too many characters, the list too few or too many items."""

    bounds: Bounds

    check_type = "length"

    def problem(self, kind: str) -> str | None:
        """Return why values of the type have no length."""
        if kind.endswith("]") or not kind.startswith(_INEXACT_TEXT):
            return None
        return f"it is {kind}, which has no length"

    def broken(self, value: str, kind: str, dialect: Dialect) -> Query:
        """Return the condition."""
        length = dialect.item_count(value) if kind.endswith("]") else f"length({_text(value, kind)})"
        parts = [(f"{length} {sign} ?", bound) for sign, bound in _signed(self.bounds)]
        return Query(f"NOT ({' AND '.join(sql for sql, _ in parts)})", tuple(bound for _, bound in parts))

    def words(self) -> str:
        """Return the bounds."""
        return f"have {self.bounds.words()} characters or items"


@dataclass(frozen=True)
class RepeatedItems(Criterion):
    """The list holds an item twice; NULL repeats nothing."""

    check_type = "distinct_items"

    def problem(self, kind: str) -> str | None:
        """Return why values of the type have no items."""
        return None if kind.endswith("]") else f"it is {kind}, which has no items"

    def broken(self, value: str, kind: str, dialect: Dialect) -> Query:
        """Return the condition."""
        return Query(dialect.repeats_items(value))

    def words(self) -> str:
        """Return what is promised."""
        return "hold no item twice"


@dataclass(frozen=True)
class WithoutPattern(Criterion):
    """The regular expression is not found in the value."""

    pattern: str

    check_type = "pattern"

    def problem(self, kind: str) -> str | None:
        """Return why engines cannot look for it in values of the type."""
        if kind.endswith("]") or kind.startswith(_INEXACT_TEXT):
            return f"it is {kind}: a pattern needs text, whole numbers, decimals or dates"
        return pattern_problem(self.pattern)

    def broken(self, value: str, kind: str, dialect: Dialect) -> Query:
        """Return the condition."""
        return Query(f"NOT {dialect.matches(_text(value, kind), '?')}", (dialect.pattern(self.pattern),))

    def words(self) -> str:
        """Return the pattern."""
        return f"match {self.pattern!r}"


@dataclass(frozen=True)
class NotAllowed(Criterion):
    """The value is not among those that are allowed."""

    values: tuple[Any, ...]

    check_type = "allowed_values"

    def problem(self, kind: str) -> str | None:
        """Return which of the allowed values the type does not have."""
        if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "BLOB")):
            return f"it is {kind}: allowed values are text, numbers, dates or truth values"
        wrong = [repr(item) for item in self.values if item is not None and _of_kind(item, kind) is None]
        return f"it is {kind}, and has none of the values {', '.join(wrong)}" if wrong else None

    def broken(self, value: str, kind: str, dialect: Dialect) -> Query:
        """Return the condition."""
        named = [_of_kind(item, kind) for item in self.values if item is not None]
        if not named:
            return Query(f"{value} IS NOT NULL")
        among = _among(value, kind, named, dialect)
        return Query(f"NOT ({among.sql})", among.parameters)

    def words(self) -> str:
        """Return the allowed values."""
        return f"be one of {', '.join(str(item) for item in self.values)}"


@dataclass(frozen=True)
class Invalid(Criterion):
    """
    The value is there, and breaks one of several criteria.

    :param missing: what is taken for a missing value, and not looked at.
    """

    criteria: tuple[Criterion, ...]
    missing: Missing = Missing()

    check_type = "valid_values"

    def problem(self, kind: str) -> str | None:
        """Return the first problem of the criteria."""
        return next(filter(None, (each.problem(kind) for each in self.criteria)), None)

    def broken(self, value: str, kind: str, dialect: Dialect) -> Query:
        """Return the condition."""
        gone = self.missing.broken(value, kind, dialect)
        parts = [each.broken(value, kind, dialect) for each in self.criteria]
        wrong = " OR ".join(part.sql for part in parts)
        values = (value for part in parts for value in part.parameters)
        return Query(f"(NOT {gone.sql} AND ({wrong}))", (*gone.parameters, *values))

    def words(self) -> str:
        """Return what is promised."""
        return " and ".join(each.words() for each in self.criteria)


def pattern_problem(pattern: Any) -> str | None:
    """Return why a pattern is not one that Python and the SQL engines read, or None."""
    from airflow_provider_phlo.quality.checks.values import is_readable_by_engines

    try:
        re.compile(pattern)
    except (re.error, TypeError, OverflowError, RecursionError) as error:
        return f"{pattern!r} is not a pattern: {error}"
    if not is_readable_by_engines(pattern):
        return f"pattern {pattern!r} has look-around, back-references or the like, which SQL engines lack"
    return None


def _signed(bounds: Bounds) -> Iterable[tuple[str, Any]]:
    if bounds.low is not None:
        yield ">" if bounds.exclusive_low else ">=", bounds.low
    if bounds.high is not None:
        yield "<" if bounds.exclusive_high else "<=", bounds.high


def _text(value: str, kind: str) -> str:
    return value if kind == "VARCHAR" else f"CAST({value} AS VARCHAR)"


def _as_written(number: Any, kind: str) -> Any:
    """Return a bound as the column has it: 0.1 is a tenth where that is exact, the nearest number where it is not."""
    if not isinstance(number, float | Decimal) or not math.isfinite(number):
        return number
    return _real(float(number), kind) if kind in ("FLOAT", "DOUBLE") else Decimal(str(number))


def _real(number: float, kind: str) -> float:
    """Return the value of a column of floats that is nearest to a number."""
    if kind == "DOUBLE" or not abs(number) <= _GREATEST_FLOAT:
        return number
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _among(value: str, kind: str, values: Sequence[Any], dialect: Dialect) -> Query:
    """Return the condition that a value is one of several; false or NULL for NULL."""
    numbers = [each for each in values if not (isinstance(each, float) and math.isnan(each))]
    parts = []
    if numbers:
        parts.append(f"{value} IN ({', '.join('?' * len(numbers))})")
    if len(numbers) < len(values):
        parts.append(dialect.is_nan(value))
    return Query(f"({' OR '.join(parts)})", tuple(numbers))


def _of_kind(item: Any, kind: str) -> Any:
    """Return a value of a contract as one of a column's type; None if the column cannot hold it."""
    if kind in ("VARCHAR", "JSON") or kind.startswith("ENUM"):
        return None if isinstance(item, bool) else item.isoformat() if isinstance(item, date) else str(item)
    if kind == "BOOLEAN":
        return item if isinstance(item, bool) else {"true": True, "false": False}.get(str(item).lower())
    if kind == "UUID":
        return str(item).lower()
    if kind.startswith(("DATE", "TIMESTAMP")):
        return _moment(item, kind)
    return _number(item, kind)


def _moment(item: Any, kind: str) -> Any:
    if isinstance(item, str):
        try:
            item = datetime.fromisoformat(item)
        except ValueError:
            return None
    if not isinstance(item, date):
        return None
    if kind == "DATE" and isinstance(item, datetime):
        return item.date() if item.time().isoformat() == "00:00:00" else None
    return item


def _number(item: Any, kind: str) -> Any:
    if isinstance(item, bool):
        return None
    try:
        number = Decimal(str(item).strip())
    except ArithmeticError:
        return None
    if kind in ("FLOAT", "DOUBLE"):
        return _real(float(number), kind)
    if not number.is_finite():
        return None
    if kind.startswith("DECIMAL"):
        return number
    return int(number) if kind.endswith(("INT", "INTEGER")) and number == number.to_integral_value() else None
