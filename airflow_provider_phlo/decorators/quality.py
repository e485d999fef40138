"""``@phlo_quality``: the checks of a table, declared on a function."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.naming import qualified_table
from airflow_provider_phlo.operators.base import check_engine, check_flags
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.quality import QualityCheck


def phlo_quality(
    table: str,
    checks: Sequence[QualityCheck],
    group: str | None = None,
    blocking: bool = True,
    partition_column: str | None = None,
    engine: str | None = None,
    trino_conn_id: str = "trino_default",
) -> Callable[[Callable[..., Any]], Quality]:
    """
    Declare the checks of a table. Called inside a DAG, the function becomes a task that reads main.

    ::

        @phlo_quality("readings", [NullCheck("sgv"), CountCheck(min_count=1)])
        def readings_quality(): ...

        readings() >> readings_quality()

    :param table: ``table`` or ``namespace.table``.
    :param checks: checks of :mod:`airflow_provider_phlo.quality`, or your own.
    :param group: the subject of the checks, for people who look for them.
    :param blocking: True fails the task, and stops what is downstream; False warns.
    :param partition_column: check only rows whose value there is the run's partition date.
    :param engine: ``pyiceberg`` or ``trino``; ``[phlo] engine`` when None. As an audit, always ``pyiceberg``.
    :param trino_conn_id: the connection of ``engine="trino"``.
    """

    def decorate(function: Callable[..., Any]) -> Quality:
        return Quality(function, table, checks, group, blocking, partition_column, engine, trino_conn_id)

    return decorate


class Quality:
    """A function decorated by :func:`phlo_quality`."""

    def __init__(
        self,
        function: Callable[..., Any],
        table: str,
        checks: Sequence[QualityCheck],
        group: str | None = None,
        blocking: bool = True,
        partition_column: str | None = None,
        engine: str | None = None,
        trino_conn_id: str = "trino_default",
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name: str = function.__name__
        self.table = qualified_table(table)
        self.checks = (checks,) if isinstance(checks, QualityCheck) else tuple(checks)
        self.group = group
        self.blocking = blocking
        self.partition_column = partition_column
        self.engine = engine
        self.trino_conn_id = trino_conn_id
        check_engine(engine)
        check_flags(blocking=blocking)
        problem = check_problem(self.checks)
        if problem:
            raise ConfigurationError(f"@phlo_quality on {self.name}: {problem}")

    def audit_checks(self) -> list[QualityCheck]:
        """Return the checks for an audit; without ``blocking`` they only warn."""
        return list(self.checks) if self.blocking else [_warning(check) for check in self.checks]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the task inside a DAG; anywhere else just call the function."""
        if not inside_dag():
            return self.function(*args, **kwargs)
        if args or kwargs:
            raise ConfigurationError(f"{self.name}() takes no arguments inside a DAG.")
        return QualityCheckOperator(
            task_id=self.name,
            table=self.table,
            checks=self.checks,
            blocking=self.blocking,
            partition_column=self.partition_column,
            engine=self.engine,
            trino_conn_id=self.trino_conn_id,
            doc_md=inspect.getdoc(self.function),
        )


def inside_dag() -> bool:
    """Return whether a DAG file is defining a DAG right now."""
    from airflow.sdk.definitions._internal.contextmanager import DagContext

    return DagContext.get_current() is not None


def _warning(check: QualityCheck) -> QualityCheck:
    check = copy.copy(check)
    check.severity = "warn"
    return check


def check_problem(checks: Sequence[Any]) -> str:
    """Return what is wrong with a list of checks; empty if nothing is."""
    others = [check for check in checks if not isinstance(check, QualityCheck)]
    if others and isinstance(others[0], str):
        return f"{others[0]!r} is a name, not a check: registry.check({others[0]!r})(…) makes one of a plugin's class."
    return f"{others[0]!r} is not a QualityCheck." if others else ""
