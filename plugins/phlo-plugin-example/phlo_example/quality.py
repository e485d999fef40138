"""A check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_phlo.quality import QualityCheck, QualityCheckResult


@dataclass
class ThresholdCheck(QualityCheck):
    """
    At most a share of the values of a column is above ``max_value``; NULL is not counted.

    :param column: the column.
    :param max_value: the largest value that may be.
    :param tolerance: the share of the values that may be violations, from 0 (none) to 1.
    """

    column: str
    max_value: float
    tolerance: float = 0.0

    #: What `phlo plugin check` tries: arguments, rows, and whether they pass.
    examples: ClassVar = (
        {"arguments": {"column": "value", "max_value": 10}, "rows": [{"value": 1}, {"value": 10}], "passed": True},
        {"arguments": {"column": "value", "max_value": 10}, "rows": [{"value": 1}, {"value": 11}], "passed": False},
        {
            "arguments": {"column": "value", "max_value": 10, "tolerance": 0.5},
            "rows": [{"value": 1}, {"value": 11}, {"value": None}],
            "passed": True,
        },
    )

    def execute(self, df: Any, context: Mapping[str, Any] | None = None) -> QualityCheckResult:
        """Count the values, and those above the limit."""
        values = df[self.column].dropna()
        total = len(values)
        violations = int((values > self.max_value).sum())
        return QualityCheckResult(
            passed=violations <= self.tolerance * total,
            failed=violations,
            message=f"{violations} of {total} values are above {self.max_value}",
            metrics={"violations": violations, "total": total},
        )
