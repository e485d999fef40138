"""Check a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.operators.checking import CheckingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.quality import QualityCheck


class QualityCheckOperator(CheckingOperator):
    """
    Run checks on a table, all of them, then fail if one of severity ``error`` failed.

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

    def run(self, context: Context) -> dict[str, Any]:
        """
        Run the checks.

        :raises QualityCheckError: one failed that blocks; carries all results.
        """
        return self.check(context, self.table, self.checks)
