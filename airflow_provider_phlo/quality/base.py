"""What a check is: the base class of every check, and of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.failures import failed_by_exception, failure
from airflow_provider_phlo.quality.results import QualityCheckResult, Severity
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck
    from airflow_provider_phlo.sql import Query


@dataclass
class QualityCheck(ABC):
    """
    A check. One of your own implements ``execute``; ``df`` is then a pandas data frame of the rows under check.

    Example::

        @dataclass
        class MeanCheck(QualityCheck):
            column: str
            high: float

            def execute(self, df, context=None):
                mean = float(df[self.column].mean())
                return QualityCheckResult(passed=mean <= self.high, message=f"the mean is {mean:.1f}")

    :param name: the check's name in results; by default its class and columns.
    :param severity: ``error`` fails the task, ``warn`` is only reported.
    """

    name: str | None = field(default=None, kw_only=True)
    severity: Severity = field(default="error", kw_only=True)

    check_type: ClassVar[str] = "custom"

    def __post_init__(self) -> None:
        if self.severity not in ("error", "warn"):
            raise ConfigurationError(f"{type(self).__name__}: severity is {self.severity!r}, use 'error' or 'warn'.")

    @abstractmethod
    def execute(self, df: Any, context: Mapping[str, Any] | None = None) -> QualityCheckResult:
        """
        Check the rows of ``df``.

        :param context: ``table``, ``branch``, ``partition_column`` and ``partition`` when a table is checked.
        """

    def parts(self) -> Sequence[QualityCheck]:
        """
        Return the checks that it stands for when it runs: itself, unless it is a collection of them.

        :raises ConfigurationError: they cannot be made.
        """
        return (self,)

    def column_names(self) -> tuple[str, ...]:
        """Return the columns that the check is about."""
        names = getattr(self, "columns", None) or getattr(self, "column", None) or ()
        return names_of(names)

    def compared_tables(self) -> tuple[str, ...]:
        """Return the tables that the rows are compared with, as declared."""
        return names_of(getattr(self, "source_table", None))

    def compared_columns(self) -> tuple[str, ...]:
        """Return the columns of those tables, or SQL expressions over them."""
        return ()

    def check_name(self) -> str:
        """Return the name in results."""
        return self.name or f"{type(self).__name__}({', '.join(self.column_names())})"

    def expectation(self) -> str | None:
        """Return what the check declares, as text."""
        return None

    def plan_scan(self, rows: RowsUnderCheck) -> Mapping[str, Query] | QualityCheckResult | None:
        """
        Return the aggregates, by name, that the shared scan of a run computes for this check.

        A result is a failure that is known before the scan; None says that the check takes no part in the scan.
        """
        return None

    def evaluate(
        self, rows: RowsUnderCheck, context: Mapping[str, Any], row_count: int, values: Mapping[str, Any]
    ) -> QualityCheckResult:
        """
        Return the result for the rows under check; if a check of your own raises, it has failed.

        :param context: what ``execute`` gets.
        :param row_count: how many rows there are.
        :param values: what the shared scan has computed, by the names that :meth:`plan_scan` gave.
        """
        frame = rows.frame.copy(deep=False)  # a column that one check adds or replaces stays unseen by the next
        try:
            result = self.execute(frame, context)
            if isinstance(result, QualityCheckResult):
                return _validate(result)
        except Exception as error:  # noqa: BLE001 - somebody's own code
            return failed_by_exception(error)
        return failure(f"execute returned {type(result).__name__}, it must return a QualityCheckResult")


def _validate(result: QualityCheckResult) -> QualityCheckResult:
    """Return the result of your own check with plain values; one that does not say whether it passed has failed."""
    passed = result.passed.item() if hasattr(result.passed, "item") else result.passed  # NumPy has its own booleans
    if not isinstance(passed, bool):
        return failure(f"the check says passed={type(passed).__name__}, it must be True or False")
    if not isinstance(result.metrics, Mapping):
        return failure(f"the check says metrics={type(result.metrics).__name__}, it must be a mapping")
    failed = None if result.failed is None else int(result.failed)
    return replace(result, passed=passed, failed=failed, columns=names_of(result.columns))
