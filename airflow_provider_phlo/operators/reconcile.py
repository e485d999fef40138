"""Compare a table with what it is made of."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.checking import CheckingOperator
from airflow_provider_phlo.quality.reconciliation import Reconciliation, ReconciliationCheck

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReconcileOperator(CheckingOperator):
    """
    Reconcile a table with its sources, then fail if a check of severity ``error`` failed.

    :param target: the table under check, ``table`` or ``namespace.table`` (templated).
    :param source: the table, or tables, that checks without a ``source_table`` compare it with (templated).
    :param checks: reconciliations of :mod:`airflow_provider_phlo.quality.reconciliation`; row counts by default.

    The other parameters (``branch``, ``blocking``, ``partition_column``, ``partition_date``, ``engine``, connections)
    are those of the :class:`~airflow_provider_phlo.operators.checking.CheckingOperator`. A partition is that of source
    and target.
    """

    template_fields: Sequence[str] = ("target", "source", "branch", "partition_date")

    def __init__(
        self,
        *,
        target: str,
        source: str | Sequence[str] | None = None,
        checks: Sequence[Reconciliation] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.source = source
        self.checks: list[Reconciliation] = [ReconciliationCheck()] if checks is None else list(checks)

    @property
    def table(self) -> str:
        """The table that the task is about."""
        return self.target

    def run(self, context: Context) -> dict[str, Any]:
        """
        Run the reconciliations.

        :raises QualityCheckError: one failed that blocks; carries all results.
        """
        return self.check(context, self.target, self._sourced())

    def _sourced(self) -> list[Reconciliation]:
        """
        Return the checks, each with a source.

        :raises ConfigurationError: one has none, and neither has the operator.
        """
        given = [self.source] if isinstance(self.source, str) else list(self.source or ())
        sources = tuple(self.qualified(table) for table in given if table)
        found: list[Reconciliation] = []
        for check in self.checks:
            if not check.source_table:
                if not sources:
                    raise ConfigurationError(f"{check.check_name()}: give it a source_table, or the operator a source.")
                check = copy.copy(check)
                check.source_table = sources
            found.append(check)
        return found
