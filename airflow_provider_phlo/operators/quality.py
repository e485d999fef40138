"""Check a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.operators.checking import CheckingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.quality import QualityCheck
    from airflow_provider_phlo.task_facts import TaskLineage


class QualityCheckOperator(CheckingOperator):
    """
    Run all checks on a table, then fail if one of severity ``error`` failed.

    ::

        QualityCheckOperator(task_id="checks", table="readings", checks=[NullCheck("sgv"), CountCheck(min_count=1)])

    :param table: ``table`` or ``namespace.table`` (templated).
    :param checks: checks of :mod:`airflow_provider_phlo.quality`, or your own.

    The other parameters (``branch``, ``blocking``, ``partition_column``, ``partition_date``, ``engine``, connections)
    are those of the :class:`~airflow_provider_phlo.operators.checking.CheckingOperator`.
    """

    template_fields: Sequence[str] = ("table", "branch", "partition_date")

    def __init__(self, *, table: str, checks: Sequence[QualityCheck], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.checks = checks

    def lineage(self) -> TaskLineage:
        """Return the checks."""
        return self.declared_checks(self.table, self.checks)

    def run(self, context: Context) -> dict[str, Any]:
        """
        Run the checks.

        :raises QualityCheckError: a blocking check failed; carries all results.
        """
        return self.check(context, self.table, self.checks)
