"""The checks that the promises of a contract become; one scan of the table answers all that count values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.contracts.rules.conditions import Criterion
from airflow_provider_phlo.contracts.rules.places import Place
from airflow_provider_phlo.contracts.rules.thresholds import NONE, Threshold
from airflow_provider_phlo.quality.repeated_keys import count_repeated_keys, repeated_keys
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.sql_check import RowCheck, SQLCheck
from airflow_provider_phlo.sql import Query

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck


@dataclass(frozen=True)
class Origin:
    """
    Which rule of which contract a check is.

    :param rule: what identifies the rule in its contract, in the results of all runs.
    :param line: where the contract says it.
    """

    contract: str
    version: str
    rule: str
    line: int | None = None
    description: str = ""

    @property
    def check_name(self) -> str:
        """The name in results: the same in every run, whatever the rule's numbers and words are."""
        return f"{self.contract}: {self.rule}"

    def facts(self) -> dict[str, Any]:
        """Return what results say of it."""
        return {"contract": self.contract, "version": self.version, "rule": self.rule, "line": self.line}


@dataclass
class PromiseCheck(SQLCheck):
    """A check that is a promise of a contract; its results say which."""

    origin: Origin

    def check_name(self) -> str:
        """Return the name in results."""
        return self.origin.check_name

    def plan_scan(self, rows: RowsUnderCheck) -> Mapping[str, Query] | QualityCheckResult:
        """Return the aggregates of the shared scan, or the failure if the table cannot keep the promise."""
        plan = super().plan_scan(rows)
        return self._with_origin(plan) if isinstance(plan, QualityCheckResult) else plan

    def evaluate(
        self, rows: RowsUnderCheck, context: Mapping[str, Any], row_count: int, values: Mapping[str, Any]
    ) -> QualityCheckResult:
        """Judge, and say which promise it was."""
        return self._with_origin(super().evaluate(rows, context, row_count, values))

    def _with_origin(self, result: QualityCheckResult) -> QualityCheckResult:
        about = self.origin.description.strip().rstrip(".")
        message = f"{about}: {result.message}" if about else result.message
        return replace(result, message=message, metrics={**self.origin.facts(), **result.metrics})


@dataclass
class ValuesCheck(PromiseCheck, RowCheck):
    """
    As many values break a criterion as may.

    :param threshold: how many values may break it.
    """

    place: Place
    criterion: Criterion
    threshold: Threshold = NONE

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_type = self.criterion.check_type  # type: ignore[misc]

    def column_names(self) -> tuple[str, ...]:
        """Return the column, members with dots."""
        return (self.place.name,)

    def expectation(self) -> str:
        """Return what is promised."""
        of_others = "" if self.threshold == NONE else f"; {self.threshold.words()} others"
        return f"{self.place.name} must {self.criterion.words()}{of_others}"

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return why the table cannot keep the promise, or None."""
        missing = self.place.problem(types)
        if missing:
            return missing
        found = self.criterion.problem(self.place.kind(types))
        return f"{self.place.name}: {found}" if found else None

    def aggregates(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Count the rows that break the criterion; of a metric about members, the values, and all of them."""
        if self.threshold == NONE or len(self.place.path) == 1:
            broken = self._any_broken(rows)
            return {"failed": Query(f"count(CASE WHEN {broken.sql} THEN 1 END)", broken.parameters)}
        counted = {"failed": self._condition(rows), "total": None}
        return {name: self.place.count(rows.columns, each, rows.dialect) for name, each in counted.items()}

    def failing(self, rows: RowsUnderCheck) -> Query:
        """Leave the rows with a value that breaks the criterion."""
        broken = self._any_broken(rows)
        return Query(f"WHERE {broken.sql}", broken.parameters)

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Compare how many values break the criterion with how many may."""
        failed, total = int(values["failed"]), int(values.get("total", row_count))
        return QualityCheckResult(
            passed=self.threshold.counts(failed, total),
            failed=failed,
            message=f"{self.place.name} must {self.criterion.words()}: "
            + found_of(failed, total, "values" if "total" in values else "rows", self.threshold),
            metrics={"counted": total},
        )

    def _any_broken(self, rows: RowsUnderCheck) -> Query:
        return self.place.any_of(rows.columns, self._condition(rows), rows.dialect)

    def _condition(self, rows: RowsUnderCheck) -> Any:
        return lambda value, kind: self.criterion.broken(value, kind, rows.dialect)


@dataclass
class DuplicatesCheck(PromiseCheck, RowCheck):
    """
    As many rows repeat the values of another one as may; as in SQL, a row with a NULL among them repeats none.

    :param places: the columns.
    """

    places: tuple[Place, ...]
    threshold: Threshold = NONE

    check_type: ClassVar[str] = "unique"

    def column_names(self) -> tuple[str, ...]:
        """Return the columns."""
        return tuple(place.name for place in self.places)

    def expectation(self) -> str:
        """Return what is promised."""
        return f"{self.threshold.words()} duplicates"

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return why the table cannot keep the promise, or None."""
        found = next(filter(None, (place.problem(types) for place in self.places)), None)
        if found:
            return found
        listed = [place.name for place in self.places if place.in_list(types)]
        return f"{', '.join(listed)} is in a list: whether values repeat there cannot be checked" if listed else None

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Count the keys that several rows share, and those rows."""
        found = count_repeated_keys(rows, self._keys())
        return {"keys": found.keys, "sharing": found.rows}

    def failing(self, rows: RowsUnderCheck) -> Query:
        """Leave one row per key that several rows share."""
        return repeated_keys(self._keys())

    def _keys(self) -> list[str]:
        return [place.value() for place in self.places]

    def sample_columns(self, rows: RowsUnderCheck) -> tuple[str, ...]:
        """Return the columns themselves: their values are the keys that several rows share."""
        return self.column_names() if all(len(place.path) == 1 for place in self.places) else ()

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Compare how many rows repeat another one with how many may."""
        repeated, keys = values["sharing"] - values["keys"], values["keys"]
        number = "one value" if keys == 1 else f"{keys} values"
        shared = f"; {values['sharing']} rows share {number}" if keys else ""
        return QualityCheckResult(
            passed=self.threshold.counts(repeated, row_count),
            failed=repeated,
            message=f"{', '.join(self.column_names())} must not repeat: "
            + found_of(repeated, row_count, "rows", self.threshold)
            + shared,
            metrics={"duplicate_count": keys},
        )


@dataclass
class RowCountCheck(PromiseCheck):
    """The table has as many rows as it has to have."""

    threshold: Threshold

    check_type: ClassVar[str] = "row_count"

    def expectation(self) -> str:
        """Return what is promised."""
        return f"{self.threshold.words()} rows"

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Compare the number of rows."""
        message = f"the number of rows must be {self.threshold.words()}: there are {row_count}"
        return QualityCheckResult(self.threshold.value(row_count), message=message, actual=f"{row_count} rows")


def found_of(failed: int, total: int, what: str, threshold: Threshold) -> str:
    """Return ``broken by 3 of 10 rows (30 %; less than 5 % is promised)``."""
    if threshold.percent and not total:
        return f"there are no {what}, which is 0 % ({threshold.words()} is promised)"
    share = f"{100 * failed / total:.4g} %" if threshold.percent else ""
    promised = "" if threshold == NONE else f"{threshold.words()} is promised"
    more = "; ".join(filter(None, (share, promised)))
    found = f"broken by {failed} of {total} {what}" if failed else f"kept by all {total} {what}"
    return f"{found}{f' ({more})' if more else ''}"
