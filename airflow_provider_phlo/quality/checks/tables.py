"""Checks of a table as a whole: its number of rows, its newest time, its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.sql_check import SQLCheck
from airflow_provider_phlo.sql import Query, quote_identifier

if TYPE_CHECKING:
    from pandera.pandas import DataFrameModel

    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck

# A clock that runs ahead does not make data fresh: times further in the future do not count.
CLOCK_SKEW = timedelta(hours=1)


@dataclass
class CountCheck(SQLCheck):
    """
    The number of rows lies between the bounds, both included.

    Example::

        CountCheck(min_count=1, max_count=100_000)
    """

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
                f"CountCheck({self.min_count}, {self.max_count}): the bounds must be whole numbers from 0."
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
        message = f"{row_count} rows ({self.expectation()} are expected)"
        return QualityCheckResult(low and high, message=message, actual=f"{row_count} rows")


@dataclass
class FreshnessCheck(SQLCheck):
    """
    The newest value of a time column is at most ``max_age_hours`` old.

    A date counts as its midnight, a time without a zone as UTC, ISO text as the time that it spells. Times more than
    an hour ahead of the clock, and text that is not a time, do not count, and the message says how many there are.
    Without any time the check fails.

    Example::

        FreshnessCheck(column="taken_at", max_age_hours=24)
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
        """Return, in addition, why the column holds no times."""
        missing = super().problem(types)
        if missing or types[self.column].startswith(("TIMESTAMP", "DATE", "VARCHAR")):
            return missing
        return f"column {self.column} is {types[self.column]}: freshness needs a timestamp, a date or ISO text"

    def aggregates(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Compute the age of the newest value in seconds, and count the values that are not usable."""
        column, kind = quote_identifier(self.column), rows.columns[self.column]
        time = rows.dialect.instant(column, kind)
        now = datetime.now(UTC)
        newest = f"max(CASE WHEN {time} <= ? THEN {time} END)"
        return {
            "age": Query(
                f"date_diff('second', {newest}, CAST(? AS TIMESTAMP WITH TIME ZONE))", (now + CLOCK_SKEW, now)
            ),
            "ahead": Query(f"count(CASE WHEN {time} > ? THEN 1 END)", (now + CLOCK_SKEW,)),
            **({"other": Query(f"count({column}) - count({time})")} if kind.startswith("VARCHAR") else {}),
        }

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when the newest value is young enough."""
        age, ahead, other = values["age"], values["ahead"], values.get("other", 0)
        hours = None if age is None else round(age / 3600, 2)
        note = f"; {ahead} times ahead of the clock are not counted" if ahead else ""
        note += f"; {other} texts that are not times are not counted" if other else ""
        newest = "no usable time" if hours is None else f"newest time is {hours} h old"
        return QualityCheckResult(
            passed=age is not None and age <= self.max_age_hours * 3600,
            message=f"{newest} in {self.column} ({self.expectation()} is expected){note}",
            metrics={"age_hours": hours, "future_count": ahead, **({"unreadable_count": other} if other else {})},
            actual=None if hours is None else f"{hours} h old",
        )


@dataclass
class SchemaCheck(SQLCheck):
    """
    The table has the columns of a Pandera model, each of the declared kind of type.

    Kinds are compared, not widths: ``int`` is any integer. Whole numbers may stand where fractions are declared.
    More columns than declared are fine unless the model is strict.

    Example::

        SchemaCheck(schema="schemas.readings:Reading")

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

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Compare the columns that are declared with those that are there."""
        from airflow_provider_phlo.quality.checks.columns import compare_columns

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
