"""Checks of values, which some rows fail and others pass: NULLs, ranges, patterns, uniqueness."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.base import QualityCheck
from airflow_provider_phlo.quality.checks.bounds import bound_problem, within_bound
from airflow_provider_phlo.quality.repeated_keys import count_repeated_keys, repeated_keys
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.sql_check import RowCheck
from airflow_provider_phlo.sql import Query, quote_identifier
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck

# beside the names of columns, which are never empty: the aggregate that counts rows
_ROWS = ""


@dataclass
class NullCheck(RowCheck):
    """
    No NULL in any of ``columns``. NaN is a value.

    Example::

        NullCheck(columns=["id", "value"])

    :param columns: one name or several.
    """

    columns: Sequence[str]

    check_type: ClassVar[str] = "not_null"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.columns = _names(self, self.columns)

    def aggregates(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Count the NULLs of each column, and the rows that have any."""
        each = {name: Query(f"count(*) - count({quote_identifier(name)})") for name in self.columns}
        return each if len(each) == 1 else {_ROWS: _count(self._any_null()), **each}

    def failing(self, rows: RowsUnderCheck) -> Query:
        """Leave the rows with a NULL."""
        return _where(self._any_null())

    def _any_null(self) -> Query:
        return Query(" OR ".join(f"{quote_identifier(name)} IS NULL" for name in self.columns))

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when no row has a NULL."""
        counts = {name: values[name] for name in self.columns}
        found = ", ".join(f"{count} in {name}" for name, count in counts.items() if count)
        failed = values[_ROWS] if _ROWS in values else sum(counts.values())
        return QualityCheckResult(
            passed=not failed,
            failed=failed,
            message=f"NULL values: {found}" if found else f"no NULL in {', '.join(self.columns)}",
            metrics={"null_count": sum(counts.values()), "null_counts": counts},
        )


@dataclass
class RangeCheck(RowCheck):
    """
    Every value lies between the bounds, both included. NULL is ignored (see :class:`NullCheck`); NaN is out of range.

    Example::

        RangeCheck(column="value", min_value=20, max_value=500)

    :param min_value: a number, text, date or time, whichever the column holds (dates and times also as ISO text);
        None for no lower bound.
    :param max_value: the same for the upper one.
    """

    column: str
    min_value: Any = None
    max_value: Any = None

    check_type: ClassVar[str] = "range"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_value is None and self.max_value is None:
            raise ConfigurationError(f"RangeCheck({self.column}) has no bound: give min_value or max_value.")
        given = [bound for bound in (self.min_value, self.max_value) if bound is not None]
        if any(bound != bound for bound in given):
            raise ConfigurationError(f"RangeCheck({self.column}): NaN is not a bound.")
        if len(given) == 2 and type(given[0]) is type(given[1]) and given[0] > given[1]:
            raise ConfigurationError(f"RangeCheck({self.column}): nothing lies between {given[0]} and {given[1]}.")

    def expectation(self) -> str:
        """Return the bounds."""
        low = "" if self.min_value is None else f"{self.min_value} <= "
        high = "" if self.max_value is None else f" <= {self.max_value}"
        return f"{low}{self.column}{high}"

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return, in addition, why the bounds do not compare with the column."""
        missing = super().problem(types)
        if missing:
            return missing
        bounds = [bound for bound in (self.min_value, self.max_value) if bound is not None]
        problems = [bound_problem(bound, types[self.column]) for bound in bounds]
        return next((f"column {self.column} is {problem}" for problem in problems if problem), None)

    def aggregates(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Count the values that are not within the bounds."""
        return {"failed": _count(self._outside(rows))}

    def failing(self, rows: RowsUnderCheck) -> Query:
        """Leave the rows whose value is out of range."""
        return _where(self._outside(rows))

    def _outside(self, rows: RowsUnderCheck) -> Query:
        kind = rows.columns[self.column]
        bounds = [
            (sign, bound) for sign, bound in ((">=", self.min_value), ("<=", self.max_value)) if bound is not None
        ]
        conditions = [within_bound(self.column, kind, sign, bound) for sign, bound in bounds]
        within = [condition.sql for condition in conditions]
        if self.max_value is None and kind in ("FLOAT", "DOUBLE"):
            # NaN compares as larger than all numbers in DuckDB
            within.append(f"NOT {rows.dialect.is_nan(quote_identifier(self.column))}")
        values = tuple(value for condition in conditions for value in condition.parameters)
        return Query(f"NOT ({' AND '.join(within)})", values)

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when no value is out of range."""
        failed, bounds = values["failed"], self.expectation()
        return QualityCheckResult(
            passed=not failed,
            failed=failed,
            message=f"{failed} values out of range ({bounds})" if failed else f"all values in range ({bounds})",
            metrics={"out_of_range_count": failed},
        )


@dataclass
class PatternCheck(RowCheck):
    r"""
    ``pattern`` is found in every value; ``^`` and ``$`` make it match the whole value. NULL is ignored.

    Example::

        PatternCheck(column="id", pattern=r"^entry_\d+$")

    :param pattern: a regular expression without look-around or back-references, which SQL engines lack.
    """

    column: str
    pattern: str

    check_type: ClassVar[str] = "pattern"

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.pattern)
        except (re.error, TypeError) as error:
            raise ConfigurationError(f"PatternCheck({self.column}): pattern {self.pattern!r}: {error}.") from error

    def expectation(self) -> str:
        """Return the pattern."""
        return self.pattern

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return, in addition, why engines would differ about the pattern or the column's text."""
        missing = super().problem(types)
        if missing:
            return missing
        kind = types[self.column]
        if kind.startswith(("FLOAT", "DOUBLE", "TIME", "STRUCT", "MAP", "BLOB")) or kind.endswith("]"):
            return f"column {self.column} is {kind}: a pattern needs text, whole numbers, decimals or dates"
        if not is_readable_by_engines(self.pattern):
            return f"pattern {self.pattern!r} has look-around, back-references or the like, which SQL engines lack"
        return None

    def aggregates(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Count the values without the pattern."""
        return {"failed": _count(self._without(rows))}

    def failing(self, rows: RowsUnderCheck) -> Query:
        """Leave the rows whose value lacks the pattern."""
        return _where(self._without(rows))

    def _without(self, rows: RowsUnderCheck) -> Query:
        text = f"CAST({quote_identifier(self.column)} AS VARCHAR)"
        return Query(f"NOT {rows.dialect.matches(text, '?')}", (rows.dialect.pattern(self.pattern),))

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when every value has the pattern."""
        failed = values["failed"]
        subject = f"{failed} values of {self.column} lack" if failed else f"all values of {self.column} have"
        return QualityCheckResult(
            passed=not failed,
            failed=failed,
            message=f"{subject} the pattern {self.pattern!r}",
            metrics={"mismatch_count": failed},
        )


@dataclass
class UniqueCheck(RowCheck):
    """
    No two rows share the values of ``columns``. As in SQL, a row with a NULL among them equals no other.

    Example::

        UniqueCheck(columns=["id"])

    :param columns: one name or several.
    """

    columns: Sequence[str]

    check_type: ClassVar[str] = "unique"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.columns = _names(self, self.columns)

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Count the keys that several rows share, and those rows."""
        found = count_repeated_keys(rows, self._keys())
        return {"keys": found.keys, "failed": found.rows}

    def failing(self, rows: RowsUnderCheck) -> Query:
        """Leave one row per key that several rows share."""
        return repeated_keys(self._keys())

    def _keys(self) -> list[str]:
        return [quote_identifier(name) for name in self.columns]

    def sample_columns(self, rows: RowsUnderCheck) -> tuple[str, ...]:
        """Return the columns themselves: their values are the keys that several rows share."""
        return names_of(self.columns)

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when no two rows share a key."""
        keys, failed, names = values["keys"], values["failed"], ", ".join(self.columns)
        number = "one value" if keys == 1 else f"{keys} values"
        return QualityCheckResult(
            passed=not keys,
            failed=failed,
            message=f"{failed} rows share {number} of {names}" if keys else f"{names} is unique",
            metrics={"duplicate_count": keys},
        )


def is_readable_by_engines(pattern: str) -> bool:
    """Return whether RE2, which DuckDB and Arrow use, can read ``pattern``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return True


def _names(check: QualityCheck, names: str | Sequence[str]) -> tuple[str, ...]:
    if not names:
        raise ConfigurationError(f"{type(check).__name__} names no columns.")
    return names_of(names)


def _count(condition: Query) -> Query:
    # twice as fast as FILTER in DuckDB, and every engine knows it
    return Query(f"count(CASE WHEN {condition.sql} THEN 1 END)", condition.parameters)


def _where(condition: Query) -> Query:
    return Query(f"WHERE {condition.sql}", condition.parameters)
