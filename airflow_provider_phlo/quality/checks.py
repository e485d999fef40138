"""
The built-in checks.

A built-in check is SQL: aggregates that share one scan of the table with those of other checks, or a query of its
own. The same SQL runs on tables and on data frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.base import Aggregate, QualityCheck, RowCheck, SQLCheck
from airflow_provider_phlo.quality.bounds import bound_problem, typed_bound
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.sql import quote_identifier
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from pandera.pandas import DataFrameModel

    from airflow_provider_phlo.quality.scan import Rows

# A clock that runs ahead is no fresh data: times further in the future do not count.
CLOCK_SKEW = timedelta(hours=1)


@dataclass
class NullCheck(RowCheck):
    """No NULL in any of ``columns``. NaN is a value."""

    columns: Sequence[str]

    check_type: ClassVar[str] = "not_null"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.columns = _names(self, self.columns)

    def aggregates(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Count NULLs in each column, and rows that have any."""
        each = {name: Aggregate(f"count(*) - count({quote_identifier(name)})") for name in self.columns}
        return each if len(each) == 1 else {"": _count(self._any_null()), **each}

    def failing(self, rows: Rows) -> Aggregate:
        """Return rows with a NULL."""
        return _where(self._any_null())

    def _any_null(self) -> Aggregate:
        return Aggregate(" OR ".join(f"{quote_identifier(name)} IS NULL" for name in self.columns))

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when no row has a NULL."""
        counts = {name: values[name] for name in self.columns}
        found = ", ".join(f"{count} in {name}" for name, count in counts.items() if count)
        failed = values[""] if "" in values else sum(counts.values())
        return QualityCheckResult(
            passed=not failed,
            failed=failed,
            message=f"NULL values: {found}" if found else f"no NULL in {', '.join(self.columns)}",
            metrics={"null_count": sum(counts.values()), "null_counts": counts},
        )


@dataclass
class RangeCheck(RowCheck):
    """
    Every value lies between the bounds, both included. NULL is :class:`NullCheck`'s business; NaN is out of range.

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
            raise ConfigurationError(f"RangeCheck({self.column}): NaN is no bound.")
        if len(given) == 2 and type(given[0]) is type(given[1]) and given[0] > given[1]:
            raise ConfigurationError(f"RangeCheck({self.column}): nothing lies between {given[0]} and {given[1]}.")

    def expectation(self) -> str:
        """Return the bounds."""
        low = "" if self.min_value is None else f"{self.min_value} <= "
        high = "" if self.max_value is None else f" <= {self.max_value}"
        return f"{low}{self.column}{high}"

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Refuse bounds that do not compare with the column."""
        missing = super().problem(types)
        if missing:
            return missing
        bounds = [bound for bound in (self.min_value, self.max_value) if bound is not None]
        problems = [bound_problem(bound, types[self.column]) for bound in bounds]
        return next((f"column {self.column} is {problem}" for problem in problems if problem), None)

    def aggregates(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Count values that are not within the bounds."""
        return {"failed": _count(self._outside(rows))}

    def failing(self, rows: Rows) -> Aggregate:
        """Return rows out of range."""
        return _where(self._outside(rows))

    def _outside(self, rows: Rows) -> Aggregate:
        column, kind = quote_identifier(self.column), rows.columns[self.column]
        bounds = [(">=", self.min_value), ("<=", self.max_value)]
        given = [(f"{column} {sign} ?", typed_bound(bound, kind, sign)) for sign, bound in bounds if bound is not None]
        within = [condition for condition, _ in given]
        if self.max_value is None and kind in ("FLOAT", "DOUBLE"):
            # DuckDB orders NaN above all numbers
            within.append(f"NOT {rows.dialect.is_nan(column)}")
        return Aggregate(f"NOT ({' AND '.join(within)})", tuple(bound for _, bound in given))

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when no value is beyond a bound."""
        failed, bounds = values["failed"], self.expectation()
        return QualityCheckResult(
            passed=not failed,
            failed=failed,
            message=f"{failed} values out of range ({bounds})" if failed else f"all values in range ({bounds})",
            metrics={"out_of_range_count": failed},
        )


@dataclass
class FreshnessCheck(SQLCheck):
    """
    The newest value of a time column is at most ``max_age_hours`` old.

    A date counts from its start, a time without a zone as UTC, ISO text as the time it spells. Times more than an
    hour ahead of the clock are not counted. Without any time, nothing is fresh: the check fails.
    """

    column: str
    max_age_hours: float

    check_type: ClassVar[str] = "freshness"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.max_age_hours, int | float) or not self.max_age_hours > 0:
            raise ConfigurationError(
                f"FreshnessCheck({self.column}): max_age_hours is {self.max_age_hours!r}, use a number above 0."
            )

    def expectation(self) -> str:
        """Return the limit."""
        return f"at most {self.max_age_hours} h old"

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Refuse columns that hold no time."""
        missing = super().problem(types)
        if missing or types[self.column].startswith(("TIMESTAMP", "DATE", "VARCHAR")):
            return missing
        return f"column {self.column} is {types[self.column]}: freshness needs a timestamp, a date or ISO text"

    def aggregates(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Compute the age of the newest value in seconds, and count values ahead of the clock."""
        time = rows.dialect.moment(quote_identifier(self.column), rows.columns[self.column])
        now = datetime.now(UTC)
        newest = f"max(CASE WHEN {time} <= ? THEN {time} END)"
        return {
            "age": Aggregate(
                f"date_diff('second', {newest}, CAST(? AS TIMESTAMP WITH TIME ZONE))", (now + CLOCK_SKEW, now)
            ),
            "ahead": _count(Aggregate(f"{time} > ?", (now + CLOCK_SKEW,))),
        }

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when the newest value is young enough."""
        age, ahead = values["age"], values["ahead"]
        hours = None if age is None else round(age / 3600, 2)
        note = f"; {ahead} times ahead of the clock are not counted" if ahead else ""
        newest = "no usable time" if hours is None else f"newest time is {hours} h old"
        return QualityCheckResult(
            passed=age is not None and age <= self.max_age_hours * 3600,
            message=f"{newest} in {self.column} ({self.expectation()} is wanted){note}",
            metrics={"age_hours": hours, "future_count": ahead},
            actual=None if hours is None else f"{hours} h old",
        )


@dataclass
class UniqueCheck(RowCheck):
    """No two rows share the values of ``columns``. As in SQL, a row with a NULL among them equals no other."""

    columns: Sequence[str]

    check_type: ClassVar[str] = "unique"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.columns = _names(self, self.columns)

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Count keys held by several rows, and those rows; apart from the shared scan, which it would slow down."""
        ((count, failed),) = rows.fetch(
            "SELECT count(*), coalesce(sum(n), 0) FROM ("  # noqa: S608 - quoted
            f"SELECT count(*) AS n FROM (SELECT * FROM {rows.source}) AS t {self.failing(rows).sql}) AS g",
            rows.parameters,
        )
        return {"keys": int(count), "failed": int(failed)}

    def failing(self, rows: Rows) -> Aggregate:
        """Return one row for each key that is held twice."""
        keys = [quote_identifier(name) for name in self.columns]
        present = " AND ".join(f"{key} IS NOT NULL" for key in keys)
        return Aggregate(f"WHERE {present} GROUP BY {', '.join(keys)} HAVING count(*) > 1")

    def sample_columns(self, rows: Rows) -> tuple[str, ...]:
        """Return the columns themselves: their values are the keys that are held twice."""
        return names_of(self.columns)

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when no key is held twice."""
        keys, failed, names = values["keys"], values["failed"], ", ".join(self.columns)
        return QualityCheckResult(
            passed=not keys,
            failed=failed,
            message=f"{failed} rows share {keys} values of {names}" if keys else f"{names} is unique",
            metrics={"duplicate_count": keys},
        )


@dataclass
class CountCheck(SQLCheck):
    """The number of rows lies between the bounds, both included."""

    min_count: int | None = None
    max_count: int | None = None

    check_type: ClassVar[str] = "row_count"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_count is None and self.max_count is None:
            raise ConfigurationError("CountCheck has no bound: give min_count or max_count.")
        given = [bound for bound in (self.min_count, self.max_count) if bound is not None]
        if any(isinstance(bound, bool) or not isinstance(bound, int) or bound < 0 for bound in given):
            raise ConfigurationError(
                f"CountCheck({self.min_count}, {self.max_count}): bounds are whole numbers from 0."
            )
        if given != sorted(given):
            raise ConfigurationError(f"CountCheck({self.min_count}, {self.max_count}): no number lies between these.")

    def expectation(self) -> str:
        """Return the bounds."""
        low = "" if self.min_count is None else f"at least {self.min_count}"
        high = "" if self.max_count is None else f"at most {self.max_count}"
        return f"{' and '.join(filter(None, (low, high)))} rows"

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Compare the number of rows with the bounds."""
        low = self.min_count is None or row_count >= self.min_count
        high = self.max_count is None or row_count <= self.max_count
        message = f"{row_count} rows ({self.expectation()} are wanted)"
        return QualityCheckResult(low and high, message=message, actual=f"{row_count} rows")


@dataclass
class PatternCheck(RowCheck):
    r"""
    ``pattern`` is found in every value; ``^`` and ``$`` make it the whole value. NULL is :class:`NullCheck`'s business.

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
        """Refuse columns that each engine writes as text in its own way."""
        missing = super().problem(types)
        if missing:
            return missing
        kind = types[self.column]
        if kind.startswith(("FLOAT", "DOUBLE", "TIME", "STRUCT", "MAP", "BLOB")) or kind.endswith("]"):
            return f"column {self.column} is {kind}: a pattern needs text, whole numbers, decimals or dates"
        if not _is_known_to_engines(self.pattern):
            return f"pattern {self.pattern!r} has look-around, back-references or the like, which SQL engines lack"
        return None

    def aggregates(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Count values without the pattern."""
        return {"failed": _count(self._without(rows))}

    def failing(self, rows: Rows) -> Aggregate:
        """Return rows without the pattern."""
        return _where(self._without(rows))

    def _without(self, rows: Rows) -> Aggregate:
        text = f"CAST({quote_identifier(self.column)} AS VARCHAR)"
        return Aggregate(f"NOT {rows.dialect.matches(text, '?')}", (rows.dialect.pattern(self.pattern),))

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when every value has the pattern."""
        failed = values["failed"]
        found = f"{failed} values of {self.column} lack" if failed else f"all values of {self.column} have"
        return QualityCheckResult(
            passed=not failed,
            failed=failed,
            message=f"{found} the pattern {self.pattern!r}",
            metrics={"mismatch_count": failed},
        )


@dataclass
class SchemaCheck(SQLCheck):
    """
    The table has the columns of a Pandera model, each of the declared kind of type.

    Kinds are compared, not widths: ``int`` is any integer. A whole number may stand where a fraction is declared.
    More columns than declared are fine unless the model is strict.

    :param schema: the model, or ``"package.module:Class"``, which keeps Pandera out of DAG parsing.
    """

    schema: type[DataFrameModel] | str

    check_type: ClassVar[str] = "schema"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.schema, str | type):
            raise ConfigurationError(
                f"SchemaCheck: schema is {self.schema!r}, use a Pandera model or 'package.module:Class'."
            )

    def check_name(self) -> str:
        """Return the name in results."""
        schema = self.schema if isinstance(self.schema, str) else self.schema.__name__
        return self.name or f"SchemaCheck({schema.rpartition(':')[2]})"

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Compare declared with present columns."""
        from airflow_provider_phlo.quality.columns import compare_columns

        return compare_columns(self.schema, rows.columns)._asdict()

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when there is no difference."""
        findings = {kind: values[kind] for kind in ("missing", "mistyped", "unexpected")}
        text = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in findings.items() if names)
        return QualityCheckResult(
            passed=not text,
            message=text or "all declared columns are there",
            metrics={f"{kind}_columns": list(names) for kind, names in findings.items()},
        )


def _is_known_to_engines(pattern: str) -> bool:
    """Return whether RE2 can read ``pattern``, as DuckDB and Arrow have it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return True


def _names(check: QualityCheck, names: str | Sequence[str]) -> tuple[str, ...]:
    if not names:
        raise ConfigurationError(f"{type(check).__name__} names no column.")
    return names_of(names)


def _count(condition: Aggregate) -> Aggregate:
    # twice as fast as FILTER in DuckDB, and every engine knows it
    return Aggregate(f"count(CASE WHEN {condition.sql} THEN 1 END)", condition.parameters)


def _where(condition: Aggregate) -> Aggregate:
    return Aggregate(f"WHERE {condition.sql}", condition.parameters)
