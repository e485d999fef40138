"""What tasks that check a table share: where they look, what runs the checks, how the results are reported and kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import runs, settings, task_alerts
from airflow_provider_phlo.exceptions import QualityCheckError
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.operators.base import NOTHING_TO_DO, PhloOperator, check_engine, check_flags, chosen_engine
from airflow_provider_phlo.operators.links import CheckResultsLink, TableLink
from airflow_provider_phlo.operators.openlineage import dataset_of_table
from airflow_provider_phlo.terms import MAIN_BRANCH, Engine

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.catalogs.openlineage.work import Work
    from airflow_provider_phlo.iceberg.trino.queries import Queries
    from airflow_provider_phlo.quality import QualityCheck, QualityCheckResult
    from airflow_provider_phlo.task_facts import TaskLineage

log = logging.getLogger(__name__)


class CheckingOperator(PhloOperator):
    """
    An operator that checks the table in its attribute ``table``.

    :param branch: the branch to read, of each table that has it; main otherwise (templated).
    :param blocking: whether a failed check fails the task; otherwise it is a warning.
    :param partition_column: check only the rows of one day by this column: the run's own, or ``partition_date``.
    :param partition_date: that day (templated); without a column, ``_phlo_partition_date`` is used. All rows are
        checked if both are None.
    :param engine: ``pyiceberg`` (DuckDB in the task's process) or ``trino``; None means ``[phlo] engine``.
    :param iceberg_conn_id: the catalog's connection.
    :param trino_conn_id: the connection of ``engine="trino"``; its catalog is that of ``iceberg_conn_id``.
    """

    operator_extra_links = (CheckResultsLink(), TableLink())

    def __init__(
        self,
        *,
        branch: str | None = None,
        blocking: bool = True,
        partition_column: str | None = None,
        partition_date: str | None = None,
        engine: str | None = None,
        iceberg_conn_id: str = "iceberg_default",
        trino_conn_id: str = "trino_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_engine(engine)
        check_flags(blocking=blocking)
        self.branch = branch
        self.blocking = blocking
        self.partition_column = partition_column
        self.partition_date = partition_date
        self.engine = engine
        self.iceberg_conn_id = iceberg_conn_id
        self.trino_conn_id = trino_conn_id
        self._trino: Queries | None = None

    def check(self, context: Context, table: str, checks: Sequence[QualityCheck]) -> dict[str, Any]:
        """
        Run ``checks`` and return what they found, as JSON.

        :param table: ``table`` or ``namespace.table``.
        :raises QualityCheckError: a blocking check failed; carries all results.
        """
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
        from airflow_provider_phlo.quality.results import raise_for_failures

        table = self.qualified(table)
        results = audit(
            context,
            PhloIcebergHook(self.iceberg_conn_id).catalog,
            table,
            checks,
            branch=self.branch or None,
            partition_column=self.partition_column,
            partition=self._partition(context),
            trino=self._queries(),
        )
        report = self._report(table, results)
        try:
            raise_for_failures(results)
        except QualityCheckError as error:
            if self.blocking:
                # a task that fails returns nothing, so its results are pushed to XCom here
                context["ti"].xcom_push(key="return_value", value=report)
                raise _with_advice(error, self.branch) from None
            self.log.warning("%s (not blocking)", error)
        return report if checks else {**report, NOTHING_TO_DO: "no checks are declared"}

    def work(self) -> Work:
        """Return the tables that were checked, with the verdicts."""
        from airflow_provider_phlo.catalogs.openlineage.work import Read, Work, assertions_of

        found = [result.to_dict() for result in getattr(self.failure, "results", ())]
        results = found or (self.result or {}).get("results", ())
        asserted = assertions_of(results, branch=self.branch, partition=self.partition_date)
        own = getattr(self, "table", None)
        tables = dict.fromkeys([*([self.qualified(own)] if own else []), *asserted, *self._compared()])
        return Work(tuple(Read(dataset_of_table(name), name, asserted.get(name, ())) for name in tables if name))

    def _compared(self) -> Sequence[str]:
        """Return the tables that checks compare with."""
        return ()

    def declared_checks(self, table: str, checks: Sequence[QualityCheck]) -> TaskLineage:
        """Return what :meth:`lineage` says of ``checks`` of ``table``."""
        from airflow_provider_phlo.task_facts import CheckFacts, TaskLineage

        table = self.qualified(table)
        namespace = table.rpartition(".")[0]
        return TaskLineage(
            checks=tuple(
                CheckFacts(
                    name=check.check_name(),
                    table=table,
                    columns=check.column_names(),
                    severity=check.severity if self.blocking else "warn",
                    expectation=check.expectation(),
                    query=getattr(check, "query", None),
                    # a bare name is in the namespace of the table under check
                    sources=tuple(each if "." in each else f"{namespace}.{each}" for each in check.compared_tables()),
                    source_expressions=check.compared_columns(),
                )
                for check in checks
            )
        )

    def on_kill(self) -> None:
        """End the query that runs in Trino."""
        if self._trino is not None:
            self._trino.cancel()

    def _queries(self) -> Queries | None:
        if chosen_engine(self.engine) != Engine.TRINO:
            return None
        from airflow_provider_phlo.hooks.trino import connect_to
        from airflow_provider_phlo.iceberg.trino.queries import Queries

        self._trino = Queries(connect_to(self.trino_conn_id))
        return self._trino

    def _report(self, table: str, results: Sequence[QualityCheckResult]) -> dict[str, Any]:
        return {
            "table": table,
            "branch": self.branch or MAIN_BRANCH,
            "passed": all(result.passed for result in results),
            "results": [result.to_dict() for result in results],
        }

    def _partition(self, context: Context) -> str | None:
        """Return the day to check: the one given, the run's own where only its column is given, or all."""
        if self.partition_date or not self.partition_column:
            return self.partition_date or None
        return runs.partition_date(context)


def audit(
    context: Mapping[str, Any], catalog: Any, table: str, checks: Sequence[QualityCheck], **where: Any
) -> list[QualityCheckResult]:
    """
    Run ``checks`` on a table, log the results, and record them.

    :param context: Airflow's, of the task that checks.
    :param table: ``namespace.table``.
    :param where: ``branch``, ``partition_column``, ``partition`` and ``trino`` of
        :func:`~airflow_provider_phlo.quality.scan.run_checks`.
    """
    from airflow_provider_phlo.quality.report import as_table
    from airflow_provider_phlo.quality.scan import run_checks

    results = run_checks(catalog, table, checks, run_date=runs.partition_date(context), **where)
    if not results:
        return results
    day = where.get("partition")
    checked = f"{table}, branch {where.get('branch') or 'main'}{f', partition {day}' if day else ''}"
    log.info("Checks of %s:\n%s", checked, as_table(results, failures=False))
    keep_results(context, catalog, results, where)
    return results


def keep_results(
    context: Mapping[str, Any], catalog: Any, results: Sequence[QualityCheckResult], where: Mapping[str, Any]
) -> None:
    """
    Record results, and write down for alerts what has failed.

    :param where: ``branch`` and ``partition``, as of :func:`audit`.
    """
    if settings.check_results():
        _record(context, catalog, results, where)
    _alert(context, catalog, results, where.get("branch"))


def raise_for_audit(results: Sequence[QualityCheckResult], branch: str | None) -> None:
    """
    Raise one error if any blocking check failed, which says what has become of the rows and what to do.

    :param branch: the branch that was checked; None means main.
    :raises QualityCheckError: carries all results.
    """
    from airflow_provider_phlo.quality.results import raise_for_failures

    try:
        raise_for_failures(results)
    except QualityCheckError as error:
        raise _with_advice(error, branch) from None


def _relied_on(results: Sequence[QualityCheckResult]) -> str:
    """Return who relies on the contracts that are broken, for the end of a message; empty if nobody does."""
    broken = {result.metrics.get("contract") for result in results if not result.passed and result.severity == "error"}
    names = [
        consumer
        for result in results
        if result.metrics.get("contract") in broken
        for consumer in result.metrics.get("consumers", ())
    ]
    return f" Relied on by {', '.join(dict.fromkeys(names))}." if names else ""


def _with_advice(error: QualityCheckError, branch: str | None) -> QualityCheckError:
    """Return the error with what has become of the rows, and what to do."""
    table = next((result.table for result in error.results if result.table), "the table")
    if branch and branch != MAIN_BRANCH:
        look = f'phlo query --branch {branch} "SELECT * FROM {table}"'  # noqa: S608 - shown, not run
        advice = (
            f"main of {table} is as it was. Branch {branch} is kept: look at it with {look}, fix the data or the "
            "check, then clear the run."
        )
    else:
        advice = f"main of {table} was checked: fix its rows or the check, then clear this task."
    return QualityCheckError(f"{error}.{_relied_on(error.results)} {advice}", error.results)


def _record(
    context: Mapping[str, Any], catalog: Any, results: Sequence[QualityCheckResult], where: Mapping[str, Any]
) -> None:
    """Record results; if that fails, the task only warns."""
    from airflow_provider_phlo.quality.check_results import TABLE, Occasion, record

    instance, day = context["ti"], where.get("partition")
    try:
        occasion = Occasion(
            instance.dag_id,
            instance.run_id,
            instance.task_id,
            -1 if instance.map_index is None else instance.map_index,
            instance.try_number,
            where.get("branch"),
            None if day is None else str(day),
        )
        record(catalog, occasion, results)
    except Exception as error:  # noqa: BLE001 - observability may degrade, never fail a task
        log.warning(
            "The results are not recorded in %s: %s. [phlo] check_results = False turns this off.",
            TABLE,
            describe(error),
        )


def _alert(context: Mapping[str, Any], catalog: Any, results: Sequence[QualityCheckResult], branch: str | None) -> None:
    """Write down for alerts what has failed, and what passes again; if that fails, the task only warns."""
    from airflow_provider_phlo.alerts import RunRef
    from airflow_provider_phlo.alerts.rules.evaluation import verdicts_of, with_policies
    from airflow_provider_phlo.alerts.rules.verdicts import OF_CHECKS as kinds

    def write() -> None:
        configuration = task_alerts.configuration_for(*kinds)
        if configuration is None:
            return
        instance = context["ti"]
        run = RunRef(instance.dag_id, instance.run_id, instance.task_id)
        verdicts = with_policies(catalog, verdicts_of(results, run, branch, datetime.now(UTC)))
        task_alerts.write_down(lambda: catalog, configuration, verdicts)

    if task_alerts.may_ask_for(*kinds):
        task_alerts.without_harm(write)


def audit_summary(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Return what an asset event reports of audits: how many checks ran and passed, and the names of those that failed.

    :param reports: what tasks of the :class:`~airflow_provider_phlo.operators.quality.QualityCheckOperator` returned.
    """
    results = [result for report in reports for result in report["results"]]
    warned = [result["check_name"] for result in results if not result["passed"]]
    return {"checks": {"run": len(results), "passed": len(results) - len(warned), "failed": warned}}
