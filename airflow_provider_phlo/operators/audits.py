"""What tasks that run checks have in common: the results as a table in their log and in ``phlo.check_results``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import runs, settings
from airflow_provider_phlo.exceptions import PhloError

if TYPE_CHECKING:
    from airflow_provider_phlo.quality import QualityCheck, QualityCheckResult

log = logging.getLogger(__name__)


def audit(
    context: Mapping[str, Any], catalog: Any, table: str, checks: Sequence[QualityCheck], **where: Any
) -> list[QualityCheckResult]:
    """
    Run ``checks`` on a table, log what came out, and record it.

    :param context: Airflow's, of the task that asks.
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
    place = f"{table}, branch {where.get('branch') or 'main'}{f', partition {day}' if day else ''}"
    log.info("Checks of %s:\n%s", place, as_table(results))
    if settings.check_results():
        _record(context, catalog, results, where)
    return results


def _record(
    context: Mapping[str, Any], catalog: Any, results: Sequence[QualityCheckResult], where: Mapping[str, Any]
) -> None:
    """Record results; what keeps them from being recorded is no failure of the task."""
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
        # another library's text may hold an address with a password
        reason = str(error) if isinstance(error, PhloError) else type(error).__name__
        log.warning("The results are not in %s: %s. [phlo] check_results = False leaves it alone.", TABLE, reason)


def summary(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Return what an asset event tells of audits: how many checks passed, and the names of those that warned.

    :param reports: what tasks of the :class:`~airflow_provider_phlo.operators.quality.QualityCheckOperator` returned.
    """
    results = [result for report in reports for result in report["results"]]
    warned = [result["check_name"] for result in results if not result["passed"]]
    return {"checks": {"run": len(results), "passed": len(results) - len(warned), "failed": warned}}
