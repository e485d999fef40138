"""What a check is: the base class of your own, and of those that are SQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.results import QualityCheckResult, Severity
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.scan import Rows


class Aggregate(NamedTuple):
    """An SQL aggregate over the rows, with the values of its ``?`` markers."""

    sql: str
    parameters: tuple[Any, ...] = ()


@dataclass
class QualityCheck(ABC):
    """
    A check. One of your own gives ``execute``; ``df`` is then a pandas data frame of the rows under check.

    :param name: how results call the check; by default its class and columns.
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

    def column_names(self) -> tuple[str, ...]:
        """Return the columns that the check is about."""
        names = getattr(self, "columns", None) or getattr(self, "column", None) or ()
        return names_of(names)

    def check_name(self) -> str:
        """Return the name in results."""
        return self.name or f"{type(self).__name__}({', '.join(self.column_names())})"

    def expectation(self) -> str | None:
        """Return what the check declares, as text."""
        return None


@dataclass
class SQLCheck(QualityCheck):
    """
    A check that an SQL engine answers: :meth:`aggregates` or :meth:`measure` give numbers, :meth:`judge` the result.

    A check whose columns do not exist fails before it gets there.
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
        """Return why rows with columns of these types cannot be checked, or None."""
        missing = [name for name in self.column_names() if name not in types]
        if not missing:
            return None
        return f"there is no column {', '.join(missing)}; the columns are: {', '.join(types) or 'none'}"

    def aggregates(self, rows: Rows) -> Mapping[str, Aggregate]:
        """Return named aggregates that one scan computes together with those of other checks."""
        return {}

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Return named numbers that need a query of their own."""
        return {}

    @abstractmethod
    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Return the result for these numbers: ``passed``, ``failed``, ``message``, ``metrics``."""


@dataclass
class RowCheck(SQLCheck):
    """
    A check that some rows fail and others pass; those that fail are named by their keys.

    :param key_columns: what names a row; by default the key of the table.
    :param samples: of how many failing rows the keys are told; 0 for none. A key with a ``pii`` column is never told.
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
    def failing(self, rows: Rows) -> Aggregate:
        """Return the SQL behind ``FROM`` that leaves the failing rows, with the values of its ``?`` markers."""

    def sample_columns(self, rows: Rows) -> tuple[str, ...]:
        """Return the columns that name a failing row; none where it has no known key."""
        return names_of(self.key_columns) or rows.key


def _assert_names(check: QualityCheck, argument: str, names: Any) -> None:
    """
    Assert that an argument names columns.

    :raises ConfigurationError: it holds something else.
    """
    listed = names if isinstance(names, list | tuple | set | frozenset) else () if names is None else [names]
    if not all(isinstance(name, str) and name for name in listed):
        raise ConfigurationError(f"{type(check).__name__}: {argument} is {names!r}, use the names of columns.")
