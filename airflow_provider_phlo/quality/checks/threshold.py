"""How many values are above a limit: a small SQL check, to copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.checks.bounds import bound_problem, within_bound
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.sql_check import RowCheck
from airflow_provider_phlo.quality.tolerances import within
from airflow_provider_phlo.sql import Query, quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck


@dataclass
class ThresholdCheck(RowCheck):
    """
    At most a share of the values is above ``max_value``. NULL is ignored; NaN counts as above.

    Example::

        ThresholdCheck(column="value", max_value=500, tolerance=0.01)

    :param max_value: a number.
    :param tolerance: the share of the values that may be above, from 0 (none) to 1.
    """

    column: str
    max_value: float
    tolerance: float = 0.0

    check_type: ClassVar[str] = "threshold"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tolerance <= 1:
            raise ConfigurationError(f"ThresholdCheck({self.column}): tolerance must be a share from 0 to 1.")
        if self.max_value != self.max_value:
            raise ConfigurationError(f"ThresholdCheck({self.column}): NaN is not a limit.")

    def expectation(self) -> str:
        """Return the limit."""
        return f"{self.column} <= {self.max_value} in {1 - self.tolerance:.6g} of the values"

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return also why the limit does not compare with the column."""
        missing = super().problem(types)
        found = missing or bound_problem(self.max_value, types[self.column])
        return found if missing or not found else f"column {self.column} is {found}"

    def aggregates(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Count the values, and those above the limit."""
        above = self._above(rows)
        return {
            "violations": Query(f"count(CASE WHEN {above.sql} THEN 1 END)", above.parameters),
            "total": Query(f"count({quote_identifier(self.column)})"),
        }

    def failing(self, rows: RowsUnderCheck) -> Query:
        """Leave the rows whose value is above the limit."""
        above = self._above(rows)
        return Query(f"WHERE {above.sql}", above.parameters)

    def _above(self, rows: RowsUnderCheck) -> Query:
        below = within_bound(self.column, rows.columns[self.column], "<=", self.max_value)
        return Query(f"NOT ({below.sql})", below.parameters)

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Compare the share above the limit with the tolerance."""
        violations, total = values["violations"], values["total"]
        return QualityCheckResult(
            passed=within(violations, total, relative=self.tolerance),
            failed=violations,
            message=f"{violations} of {total} values are above {self.max_value} (the share that may be is "
            f"{self.tolerance:.6g})",
            metrics={"violations": violations, "total": total},
        )
