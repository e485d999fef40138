"""Results of checks that could not be evaluated: they have failed, and say why without showing data."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from airflow_provider_phlo.quality.results import QualityCheckResult

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.engines import EvaluationError
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck


def failure(message: str) -> QualityCheckResult:
    """Return the result of a check that failed without counting rows."""
    return QualityCheckResult(False, None, message)


def failed_by_exception(error: Exception) -> QualityCheckResult:
    """Return the result of a check whose own code raised; the text of the error is left out, as it may quote data."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return failure(f"the check raised {type(error).__name__} in {frame.name}, line {frame.lineno}")


def failed_by_engine(rows: RowsUnderCheck, error: EvaluationError) -> QualityCheckResult:
    """Return the result of a check whose SQL the engine cannot evaluate."""
    types = ", ".join(f"{name} {kind}" for name, kind in rows.columns.items())
    return failure(f"it cannot be evaluated ({error}); compare it with the column types: {types}")
