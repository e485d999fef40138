"""The check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_phlo.quality import QualityCheck, QualityCheckResult


@dataclass
class PluginClass(QualityCheck):
    """
    No value of a column is below ``least``; NULL is not counted.

    :param column: the column.
    :param least: the smallest value that may be.
    """

    column: str
    least: float

    #: What `phlo plugin check` tries: arguments, rows, and whether they pass.
    examples: ClassVar = (
        {"arguments": {"column": "value", "least": 0}, "rows": [{"value": 0}, {"value": None}], "passed": True},
        {"arguments": {"column": "value", "least": 0}, "rows": [{"value": 0}, {"value": -1}], "passed": False},
    )

    def execute(self, df: Any, context: Mapping[str, Any] | None = None) -> QualityCheckResult:
        """Count the values, and those below the limit; ``df`` is a pandas data frame."""
        values = df[self.column].dropna()
        below = int((values < self.least).sum())
        return QualityCheckResult(
            passed=below == 0,
            failed=below,
            # no value of a row: messages go into logs
            message=f"{below} of {len(values)} values are below {self.least}",
            metrics={"below": below},
        )
