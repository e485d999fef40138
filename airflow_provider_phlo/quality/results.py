"""What checks found: data first, then one error that carries all results."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal

from airflow_provider_phlo.exceptions import QualityCheckError

log = logging.getLogger(__name__)

Severity = Literal["error", "warn"]


@dataclass(frozen=True)
class QualityCheckResult:
    """
    The outcome of one check: counts, column names, declared bounds, and the keys of some rows that fail.

    It holds no other values of rows, and none of a column that is tagged ``pii``. Metrics are attributes too.

    A check of your own gives ``passed``, ``failed`` and ``message``; the rest is filled in when it runs.

    :param passed: whether the data is as the check wants it.
    :param failed: the number of rows that fail; None if the check does not count rows.
    :param message: one sentence for people.
    :param row_count: the number of rows that were checked.
    :param metrics: the check's own numbers; :meth:`to_dict` puts them beside the other fields.
    :param execution_time_seconds: how long the check took, its share of the common scan included.
    :param severity: ``error`` fails the task, ``warn`` is only reported.
    :param check_type: the kind of check, as Airflow's SQL check results name it.
    :param expected: what the check declares, as text.
    :param actual: what was found instead, as text.
    :param samples: the keys of some rows that fail, by column.
    :param snapshot_id: the snapshot of the table that was checked; for a merge that Trino has staged, the one that it
        is planned on.
    """

    passed: bool
    failed: int | None = None
    message: str = ""
    check_name: str = ""
    table: str | None = None
    columns: tuple[str, ...] = ()
    row_count: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    execution_time_seconds: float = 0.0
    severity: Severity = "error"
    check_type: str = ""
    expected: str | None = None
    actual: str | None = None
    samples: tuple[Mapping[str, Any], ...] = ()
    snapshot_id: int | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["metrics"][name]
        except KeyError:
            raise AttributeError(f"a result of {self.__dict__.get('check_name')} has no {name!r}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values; numbers that JSON lacks (NaN, infinities) become None."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "metrics"}
        return {name: plain(value) for name, value in {**self.metrics, **values}.items()}

    def to_sql_check_result(self) -> dict[str, Any]:
        """Return the fields of ``SQLCheckResult``, Airflow's own record of a check (common-sql provider)."""
        return {
            "name": self.check_name,
            "check_type": self.check_type,
            "success": self.passed,
            "severity": self.severity,
            "column": self.columns[0] if len(self.columns) == 1 else None,
            "table": self.table,
            "expected": self.expected,
            "actual": self.actual,
            "description": self.message,
            "params": {**plain(self.metrics), "failed": self.failed, "row_count": self.row_count},
        }


def raise_for_failures(results: Iterable[QualityCheckResult]) -> None:
    """
    Raise one error if any check of severity ``error`` failed; log the failed ``warn`` ones.

    :raises QualityCheckError: names every failed check; carries all results.
    """
    results = tuple(results)
    failures = []
    for result in results:
        if result.passed:
            continue
        if result.severity == "warn":
            log.warning("%s", describe(result))
        else:
            failures.append(result)
    if failures:
        tables = sorted({result.table for result in failures if result.table})
        where = f" on {', '.join(tables)}" if tables else ""
        raise QualityCheckError(
            f"{len(failures)} of {len(results)} checks failed{where}: "
            + "; ".join(f"{result.check_name}: {result.message}" for result in failures),
            results,
        )


def outcome(result: QualityCheckResult) -> str:
    """Return the outcome in one word, for logs."""
    return "passed" if result.passed else "FAILED" if result.severity == "error" else "WARNING"


def describe(result: QualityCheckResult) -> str:
    """Return a result in one line, for logs."""
    return f"{outcome(result)}: {result.check_name} on {result.table}: {result.message}"


# nobody reads metrics that are nested deeper, and one that contains itself has no end
MAX_DEPTH = 20


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """
    Return ``value`` as JSON: numbers that JSON lacks become None, everything else that it lacks becomes text.

    :param depth: how many levels are kept.
    """
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a NumPy scalar from a check of your own
        value = value.item()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping) and depth:
        return {str(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, Iterable) and depth:
        return [plain(item, depth - 1) for item in value]
    return str(value) if depth else "…"
