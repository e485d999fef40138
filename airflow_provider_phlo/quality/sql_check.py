"""The base classes of checks that are SQL."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError, TerminalError
from airflow_provider_phlo.quality.base import QualityCheck
from airflow_provider_phlo.quality.engines import EvaluationError
from airflow_provider_phlo.quality.failures import failed_by_engine, failed_by_exception, failure
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.samples import add_samples
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck
    from airflow_provider_phlo.sql import Query


@dataclass
class SQLCheck(QualityCheck):
    """
    A check that an SQL engine answers: :meth:`aggregates` and :meth:`measure` give values, :meth:`judge` the result.

    If columns of the check do not exist, it fails before any of these is called.

    Example::

        @dataclass
        class SumCheck(SQLCheck):
            column: str
            total: float

            def aggregates(self, rows):
                return {"sum": Query(f"sum({quote_identifier(self.column)})")}

            def judge(self, row_count, values):
                return QualityCheckResult(values["sum"] == self.total, message=f"the sum is {values['sum']}")
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if hasattr(self, "column"):
            _assert_names(self, "column", [self.column])
        _assert_names(self, "columns", getattr(self, "columns", None))

    def execute(self, df: Any, context: Mapping[str, Any] | None = None) -> QualityCheckResult:
        """
        Check a pandas or polars data frame, an Arrow table, or a list of records.

        :param context: ``table`` names the rows in the result.
        """
        from airflow_provider_phlo.quality.scan import run_checks_on_frame

        return run_checks_on_frame(df, [self], context)[0]

    def problem(self, types: Mapping[str, str]) -> str | None:
        """
        Return why rows with columns of these types cannot be checked, or None.

        :param types: the type of each column, in DuckDB's words.
        """
        missing = [name for name in self.column_names() if name not in types]
        if not missing:
            return None
        return f"there is no column {', '.join(missing)}; the columns are: {', '.join(types) or 'none'}"

    def aggregates(self, rows: RowsUnderCheck) -> Mapping[str, Query]:
        """Return SQL aggregates by name; one scan computes them together with those of other checks."""
        return {}

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Return values by name that need a query of their own."""
        return {}

    @abstractmethod
    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """
        Return the result: ``passed``, ``failed``, ``message``, ``metrics``.

        :param values: what :meth:`aggregates` and :meth:`measure` gave, by name.
        """

    def plan_scan(self, rows: RowsUnderCheck) -> Mapping[str, Query] | QualityCheckResult:
        """Return the aggregates of the shared scan, or the failure if the columns do not fit."""
        problem = self.problem(rows.columns)
        return failure(problem) if problem else self.aggregates(rows)

    def evaluate(
        self, rows: RowsUnderCheck, context: Mapping[str, Any], row_count: int, values: Mapping[str, Any]
    ) -> QualityCheckResult:
        """Measure what the scan has not computed, and judge."""
        try:
            values = {**values, **self.measure(rows)}
        except EvaluationError as error:
            return failed_by_engine(rows, error)
        except TerminalError as error:  # a transient one says nothing about the data: the task tries again
            return failure(str(error))
        try:
            result = self.judge(row_count, values)
        except Exception as error:  # noqa: BLE001 - one check's mistake must not hide what the others find
            return failed_by_exception(error)
        if isinstance(result, QualityCheckResult):
            return result
        return failure(f"judge returned {type(result).__name__}, it must return a QualityCheckResult")


@dataclass
class RowCheck(SQLCheck):
    """
    A check that some rows fail and others pass; some of those that fail are named by their keys.

    :class:`.ThresholdCheck` is a complete example.

    :param key_columns: the columns that identify a row; by default the key of the table.
    :param samples: how many failing rows are named at most; 0 for none. A key with a ``pii`` column is never shown.
    """

    key_columns: Sequence[str] = field(default=(), kw_only=True)
    samples: int = field(default=5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _assert_names(self, "key_columns", self.key_columns)

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return why rows with columns of these types cannot be checked, or None."""
        missing = [name for name in names_of(self.key_columns) if name not in types]
        return super().problem(types) or (f"key_columns: there is no column {', '.join(missing)}" if missing else None)

    @abstractmethod
    def failing(self, rows: RowsUnderCheck) -> Query:
        """Return the SQL that, behind ``FROM`` and the rows, leaves those that fail: ``WHERE …``."""

    def sample_columns(self, rows: RowsUnderCheck) -> tuple[str, ...]:
        """Return the columns that identify a failing row; none if it has no known key."""
        return names_of(self.key_columns) or rows.key

    def evaluate(
        self, rows: RowsUnderCheck, context: Mapping[str, Any], row_count: int, values: Mapping[str, Any]
    ) -> QualityCheckResult:
        """Judge, and name some of the rows that fail."""
        result = super().evaluate(rows, context, row_count, values)
        if result.passed or not result.failed or self.samples < 1:
            return result
        return add_samples(result, rows, self.failing(rows), self.sample_columns(rows), int(self.samples))


def _assert_names(check: QualityCheck, argument: str, names: Any) -> None:
    """
    Assert that an argument names columns.

    :raises ConfigurationError: it holds something else.
    """
    listed = names if isinstance(names, list | tuple | set | frozenset) else () if names is None else [names]
    if not all(isinstance(name, str) and name for name in listed):
        raise ConfigurationError(f"{type(check).__name__}: {argument} is {names!r}, use the names of columns.")
