"""Compare a table with the tables that it is made from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.checking import CheckingOperator
from airflow_provider_phlo.quality.reconciliation import Reconciliation, ReconciliationCheck
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.task_facts import TaskLineage


class ReconcileOperator(CheckingOperator):
    """
    Reconcile a table with its sources, then fail if a check of severity ``error`` failed.

    ::

        ReconcileOperator(task_id="reconcile", target="silver.events", source="raw.events")

    :param target: the table under check, ``table`` or ``namespace.table`` (templated).
    :param source: the table, or tables, that checks without a ``source_table`` compare it with (templated).
    :param checks: reconciliations of :mod:`airflow_provider_phlo.quality.reconciliation`; row counts by default.

    The other parameters (``branch``, ``blocking``, ``partition_column``, ``partition_date``, ``engine``, connections)
    are those of the :class:`~airflow_provider_phlo.operators.checking.CheckingOperator`. Only that partition
    is read, in source and target.
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

    def lineage(self) -> TaskLineage:
        """Return the reconciliations."""
        return self.declared_checks(self.target, self._sourced())

    def run(self, context: Context) -> dict[str, Any]:
        """
        Run the reconciliations.

        :raises QualityCheckError: a blocking check failed; carries all results.
        """
        return self.check(context, self.target, self._sourced())

    def _compared(self) -> Sequence[str]:
        return [source for check in self.lineage().checks for source in check.sources]

    def _sourced(self) -> list[Reconciliation]:
        """
        Return the checks, each with a source.

        :raises ConfigurationError: neither a check nor the operator has one.
        """
        sources = tuple(self.qualified(table) for table in names_of(self.source) if table)
        found: list[Reconciliation] = []
        for check in self.checks:
            if not check.source_table:
                if not sources:
                    raise ConfigurationError(f"{check.check_name()}: give it a source_table, or the operator a source.")
                check = copy.copy(check)
                check.source_table = sources
            found.append(check)
        return found
