"""A check as a plugin: what a package of your own would hold, registered as ``threshold_check`` in ``phlo.checks``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.base import Aggregate, RowCheck
from airflow_provider_phlo.quality.bounds import ROUNDING
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.scan import Rows


@dataclass
class ThresholdCheck(RowCheck):
    """
    At most a share of the values is above ``max_value``. NULL is no value; NaN is above.

    :param max_value: a number.
    :param tolerance: that share, from 0 (no value may be above) to 1.
    """

    column: str
    max_value: float
    tolerance: float = 0.0

    check_type: ClassVar[str] = "threshold"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tolerance <= 1:
            raise ConfigurationError(f"ThresholdCheck({self.column}): tolerance is a share from 0 to 1.")
        if self.max_value != self.max_value:
            raise ConfigurationError(f"ThresholdCheck({self.column}): NaN is no limit.")

    def expectation(self) -> str:
        """Return the limit."""
        return f"{self.column} <= {self.max_value} in {1 - self.tolerance:.6g} of the values"

    def aggregates(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Count the values, and those above the limit."""
        above = f"count(CASE WHEN NOT ({quote_identifier(self.column)} <= ?) THEN 1 END)"
        return {
            "violations": Aggregate(above, (self.max_value,)),
            "total": Aggregate(f"count({quote_identifier(self.column)})"),
        }

    def failing(self, rows: Rows) -> Aggregate:
        """Return rows above the limit."""
        return Aggregate(f"WHERE NOT ({quote_identifier(self.column)} <= ?)", (self.max_value,))

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Compare the share above the limit with the tolerance."""
        violations, total = values["violations"], values["total"]
        return QualityCheckResult(
            passed=violations <= self.tolerance * (1 + ROUNDING) * total,
            failed=violations,
            message=f"{violations} of {total} values are above {self.max_value} (a share of {self.tolerance} may be)",
            metrics={"violations": violations, "total": total},
        )
