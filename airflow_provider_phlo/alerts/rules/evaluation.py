"""What rules find out themselves: metrics, and checks that have failed, by their recorded results."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow_provider_phlo.alerts.rules.conditions import Streak, judge_days
from airflow_provider_phlo.alerts.rules.configuration import Configuration, Rule
from airflow_provider_phlo.alerts.rules.verdicts import LONGEST_UNKNOWN, OF_CHECKS, RuleKind, RunRef, Severity, Verdict
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.check_results import TABLE as CHECK_RESULTS
from airflow_provider_phlo.quality.check_results import WATCHER
from airflow_provider_phlo.quality.freshness.table_policy import TablePolicy, table_policy
from airflow_provider_phlo.terms import MAIN_BRANCH

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.alerts.rules.metric_sql import Values
    from airflow_provider_phlo.iceberg.trino.queries import Queries
    from airflow_provider_phlo.quality import QualityCheckResult

log = logging.getLogger(__name__)

#: How far back results of checks are looked at: tasks write down what they find at once, this is for what they could
#: not.
RECENT = timedelta(hours=1)
_COLUMNS = (
    "checked_at",
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    "branch",
    "table_name",
    "check_name",
    "severity",
    "passed",
    "failed",
    "row_count",
    "metrics",
)


def evaluate(
    catalog: Catalog,
    configuration: Configuration,
    now: datetime,
    *,
    trino: Queries | None = None,
    since: datetime | None = None,
    policies: Mapping[str, TablePolicy] | None = None,
) -> list[Verdict]:
    """
    Return what is to be seen now of metrics, and of checks and contracts by the recorded results of tasks.

    A rule that cannot be evaluated has a verdict that says so, and keeps no other from being evaluated. Where no retry
    can help, that is wrong.

    :param trino: runs the metrics whose engine is Trino.
    :param since: results of checks are looked at from then on; those of the last hour when None.
    :param policies: what is known to stand with tables, by name.
    """
    metrics = (rule for rule in configuration.rules if rule.kind == RuleKind.METRIC)
    found = [verdict for rule in metrics for verdict in judge_metric(rule, catalog, now, trino)]
    if configuration.asks_for(*OF_CHECKS):
        found += recent_checks(catalog, since or now - RECENT)
    return with_policies(catalog, found, policies or {})


def with_policies(
    catalog: Catalog, verdicts: Iterable[Verdict], known: Mapping[str, TablePolicy] | None = None
) -> list[Verdict]:
    """
    Return verdicts with the group, owner and tags of their tables: also what passes has to meet its rule.

    :param known: what stands with tables, by name, as far as it is known.
    """
    policies = dict(known or {})
    found = []
    for verdict in verdicts:
        if verdict.table is None:
            found.append(verdict)
            continue
        if verdict.table not in policies:
            policies[verdict.table] = _policy(catalog, verdict.table)
        policy = policies[verdict.table]
        owner = verdict.owner or policy.owner
        found.append(replace(verdict, group=policy.group, owner=owner, tags=policy.tags))
    return found


def _policy(catalog: Catalog, name: str) -> TablePolicy:
    """Return the policy that stands with a table; an empty one where there is none, or it cannot be read."""
    from airflow_provider_phlo.iceberg.tables.lookup import find_table

    try:
        table = find_table(catalog, name)
        return (table_policy(name, table.properties) if table is not None else None) or TablePolicy()
    except ConfigurationError as error:
        log.warning("alerts: %s", error)
        return TablePolicy()


def judge_metric(rule: Rule, catalog: Catalog, now: datetime, trino: Queries | None = None) -> list[Verdict]:
    """Return what a metric says now, and whether it can be evaluated: if it cannot for good, only that."""
    from airflow_provider_phlo.alerts.rules.metric_sql import (
        CannotEvaluate,
        CannotLook,
        CannotSay,
        read_values,
        tables_of,
    )

    tables: list[str] = []
    try:
        tables, missing = tables_of(rule, catalog)
        if missing:
            raise CannotEvaluate(f"there is no table {', '.join(missing)}")
        streak = _judge(rule, read_values(rule, catalog, tables, trino), now)
    except CannotEvaluate as reason:
        return [_evaluation(rule, tables, now, str(reason), passed=False)]
    except CannotLook as reason:
        return [_evaluation(rule, tables, now, str(reason), passed=None)]
    except CannotSay as reason:
        return [_metric_verdict(rule, tables, now, Streak(None, str(reason)))]
    return [_metric_verdict(rule, tables, now, streak), _evaluation(rule, tables, now)]


def _judge(rule: Rule, values: Values, now: datetime) -> Streak:
    assert rule.when is not None
    if not values.single:
        return judge_days(rule.when, values.by_day, now.astimezone(ZoneInfo(rule.zone)).date())
    if values.value is None:
        return Streak(None, "its value is NULL or NaN")
    return Streak(rule.when.holds(values.value), value=values.value)


def _metric_verdict(rule: Rule, tables: Sequence[str], now: datetime, streak: Streak) -> Verdict:
    assert rule.when is not None
    days = f" ({streak.first} to {streak.last})" if streak.first else ""
    if streak.wrong is None:
        message = f"{rule.when.text}: nothing can be said, {streak.why}."
    else:
        message = f"{rule.when.text}{days}{'' if streak.wrong else ' is not so'}."
    facts: dict[str, Any] = {"days": rule.when.days}
    if streak.last:
        facts |= {"first_day": str(streak.first), "last_day": str(streak.last)}
    if rule.show_value and streak.value is not None:
        # JSON knows no infinity
        facts["value"] = float(streak.value) if math.isfinite(streak.value) else str(streak.value)
        message = f"{message.removesuffix('.')}: {streak.value:g}."
    return Verdict(
        rule=RuleKind.METRIC,
        table=tables[0] if tables else rule.table,
        subject=rule.name,
        passed=None if streak.wrong is None else not streak.wrong,
        severity=rule.severity or Severity.ERROR,
        message=f"{_name(rule, tables)}: {message}",
        observed_at=now,
        facts=facts,
        rule_name=rule.name,
    )


def _name(rule: Rule, tables: Sequence[str]) -> str:
    return ": ".join(filter(None, (", ".join(tables), f"metric {rule.name}")))


def _evaluation(
    rule: Rule, tables: Sequence[str], now: datetime, problem: str = "", *, passed: bool | None = True
) -> Verdict:
    """
    Return whether a metric can be evaluated: an incident of its own, or nobody hears that a metric is silent.

    :param passed: None when what keeps it from being evaluated may pass by itself.
    """
    said = f"cannot be evaluated{' now' if passed is None else ''}: {problem}" if problem else "can be evaluated"
    return Verdict(
        rule=RuleKind.METRIC,
        table=tables[0] if tables else rule.table,
        subject=f"evaluation of {rule.name}",
        passed=passed,
        severity=rule.severity or Severity.WARN,
        message=f"{_name(rule, tables)} {said}.",
        observed_at=now,
        rule_name=rule.name,
        wrong_after=LONGEST_UNKNOWN if passed is None else None,
    )


def recent_checks(catalog: Catalog, since: datetime) -> list[Verdict]:
    """Return what the newest results say of each check that has run since then."""
    from pyiceberg.expressions import GreaterThanOrEqual

    from airflow_provider_phlo.iceberg.files.manifests import live_tasks
    from airflow_provider_phlo.iceberg.files.reading import read_file
    from airflow_provider_phlo.iceberg.tables.lookup import find_table
    from airflow_provider_phlo.iceberg.tables.refs import branch_head

    table = find_table(catalog, CHECK_RESULTS)
    snapshot = table.current_snapshot() if table is not None else None
    if table is None or snapshot is None or snapshot.timestamp_ms < since.timestamp() * 1000:
        return []  # nothing was written since
    wanted = GreaterThanOrEqual(term="checked_at", value=since.astimezone(UTC).isoformat())
    tasks = live_tasks(table, branch_head(table), wanted)
    rows = (row for task in tasks for part in read_file(table, task, _COLUMNS) for row in part.to_pylist())
    return check_verdicts(row for row in rows if row["checked_at"] >= since and row["task_id"] != WATCHER)


def check_verdicts(rows: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    """
    Return what the newest run of each check says; of the mapped tasks of a run, one that failed is enough.

    :param rows: columns of ``phlo.check_results``.
    """
    newest: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda each: each["checked_at"]):
        key = (row["table_name"] or "", row["check_name"])
        group = newest.setdefault(key, {})
        if any(_occasion(each) != _occasion(row) for each in group.values()):
            group.clear()
        earlier = group.get(row["map_index"])
        # the same name twice in one record: the one that failed counts
        if earlier is None or earlier["passed"] or earlier["checked_at"] != row["checked_at"]:
            group[row["map_index"]] = row
    return list(_judged(newest.values()))


def _occasion(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["dag_id"], row["run_id"], row["task_id"]


def verdicts_of(results: Iterable[QualityCheckResult], run: RunRef, branch: str | None, now: datetime) -> list[Verdict]:
    """Return what the results of checks say that a task has just run."""
    rows = (
        {
            **{
                name: getattr(result, name, None)
                for name in ("check_name", "severity", "passed", "failed", "row_count")
            },
            "checked_at": now,
            "dag_id": run.dag_id,
            "run_id": run.run_id,
            "task_id": run.task_id,
            "map_index": -1,
            "branch": branch,
            "table_name": result.table,
            "metrics": result.metrics,
        }
        for result in results
    )
    return check_verdicts(rows)


def _judged(groups: Iterable[Mapping[int, Mapping[str, Any]]]) -> Iterator[Verdict]:
    groups = list(groups)
    people = _people(row for group in groups for row in group.values())
    for group in groups:
        failing = [row for row in group.values() if not row["passed"]]
        row = max(failing or group.values(), key=lambda each: each["checked_at"])
        metrics = _metrics(row)
        contract = metrics.get("contract")
        owner, consumers = people.get(contract, (None, ())) if contract else (None, ())
        yield Verdict(
            rule=RuleKind.CONTRACT_BREACH if contract else RuleKind.QUALITY_CHECK_FAILED,
            table=row["table_name"] or None,
            # as the watcher calls what it finds out about the same promise
            subject=f"{contract} {metrics.get('rule')}" if contract else row["check_name"],
            passed=not failing,
            severity=Severity.WARN if row["severity"] == "warn" else Severity.ERROR,
            message=_check_message(row, failed=bool(failing), contract=bool(contract)),
            observed_at=row["checked_at"],
            facts={"failed": row["failed"], "row_count": row["row_count"]},
            owner=owner,
            consumers=consumers,
            run=RunRef(row["dag_id"], row["run_id"], row["task_id"]),
        )


def _metrics(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metrics of a result; as it was recorded, they are JSON."""
    metrics = row.get("metrics") or {}
    return json.loads(metrics) if isinstance(metrics, str) else metrics


def _people(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    """Return who owns each contract and who relies on it: one of its results says so."""
    said = map(_metrics, rows)
    return {
        each["contract"]: (each.get("owner") or None, tuple(each["consumers"]))
        for each in said
        if "contract" in each and "consumers" in each
    }


def _check_message(row: Mapping[str, Any], *, failed: bool, contract: bool) -> str:
    """Return one sentence made of the name and counts: what the check itself says may hold a value."""
    branch = row["branch"]
    where = f" on branch {branch}, main is as it was" if branch and branch != MAIN_BRANCH else ""
    name = f"Contract {row['check_name']}" if contract else row["check_name"]
    if not failed:
        return f"{name} {'is kept' if contract else 'passed'}{where}."
    counts = f": {row['failed']:,} of {row['row_count']:,} rows" if row["failed"] and row["row_count"] else ""
    return f"{name} {'is broken' if contract else 'failed'}{counts}{where}."
