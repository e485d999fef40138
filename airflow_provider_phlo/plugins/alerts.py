"""
A listener that writes down tasks that have failed, and that succeed again.

Tasks do it themselves. A task that was killed does nothing any more: when the scheduler hears of it, at the latest when
its run has failed, it lets another process write it down.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl
from airflow.sdk.exceptions import AirflowException

from airflow_provider_phlo import task_alerts
from airflow_provider_phlo.alerts import RuleKind, RunRef, Severity, Verdict

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.alerts import Configuration

_KIND = RuleKind.TASK_FAILED
# who has nobody set as its owner
_NOBODY = "airflow"


@hookimpl
def on_task_instance_failed(task_instance: Any, error: Any) -> None:
    """Write down a task that has failed for good, not one that is retried."""
    if getattr(task_instance, "state", None) != "failed" or not task_alerts.may_ask_for(_KIND):
        return
    if _is_of_task(task_instance):
        task_alerts.without_harm(lambda: _write(task_verdict(task_instance, passed=False, error=error), error))
    elif _is_scheduler():
        _start_writer([task_verdict(task_instance, passed=False, error=error)])


@hookimpl
def on_task_instance_success(task_instance: Any) -> None:
    """Write down that a task succeeds which has failed before."""
    if _is_of_task(task_instance) and task_alerts.may_ask_for(_KIND):
        task_alerts.without_harm(lambda: _write(task_verdict(task_instance, passed=True)))


@hookimpl
def on_dag_run_failed(dag_run: Any) -> None:
    """Write down the failed tasks of a run that have not done so themselves."""
    if not _is_scheduler() or not task_alerts.may_ask_for(_KIND):
        return
    from sqlalchemy.orm import object_session

    # the scheduler's own session: another one would end its transaction, and with it the lock on the run
    session = object_session(dag_run)
    if session is None:
        return
    with session.no_autoflush:
        failed = [each for each in dag_run.get_task_instances(session=session) if each.state == "failed"]
    if failed:
        _start_writer([task_verdict(each, passed=False, task=_task_of(dag_run, each)) for each in failed])


def _task_of(dag_run: Any, task_instance: Any) -> Any:
    """Return the task of an instance that was read without it, so that rules about owners and tags select it."""
    try:
        return dag_run.dag.get_task(task_instance.task_id)
    except (AirflowException, AttributeError):  # it is in no version of the DAG that is known here
        return None


def _is_scheduler() -> bool:
    return "scheduler" in sys.argv[1:2]


def _is_of_task(task_instance: Any) -> bool:
    """Return whether this is the process of the task."""
    return any(kind.__name__ == "RuntimeTaskInstance" for kind in type(task_instance).__mro__)


def task_verdict(task_instance: Any, *, passed: bool, error: Any = None, task: Any = None) -> Verdict:
    """
    Return what a task's end says.

    :param error: what it has raised; its text may hold values and is left out.
    :param task: where the instance does not have it.
    """
    dag_id, task_id, task = task_instance.dag_id, task_instance.task_id, getattr(task_instance, "task", None) or task
    index = task_instance.map_index
    raised = f" ({type(error).__name__})" if isinstance(error, BaseException) else ""
    tries = task_instance.try_number or 1
    attempts = f" after {tries} attempts" if tries > 1 else ""
    owner = getattr(task, "owner", None)
    return Verdict(
        rule=_KIND,
        table=None,
        subject=f"{dag_id}.{task_id}",
        passed=passed,
        severity=Severity.ERROR,
        message=f"Task {task_id} of {dag_id} {'succeeded' if passed else f'failed{attempts}{raised}'}.",
        observed_at=_ended_at(task_instance),
        facts={"try_number": tries, "map_index": -1 if index is None else index},
        owner=None if owner == _NOBODY else owner,
        tags=tuple(sorted(getattr(getattr(task, "dag", None), "tags", ()))),
        run=RunRef(dag_id, task_instance.run_id, task_id),
    )


def _ended_at(task_instance: Any) -> datetime:
    """Return when a task ended: who hears of it later must not say that it failed after it has succeeded again."""
    at = getattr(task_instance, "end_date", None)
    return at.astimezone(UTC) if isinstance(at, datetime) and at.tzinfo else datetime.now(UTC)


def _write(verdict: Verdict, error: Any = None) -> None:
    catalog = _catalog()
    if verdict.passed and not _is_resolution(catalog, verdict):
        return  # nearly every task: the rules are not even read
    configuration = task_alerts.configuration_for(_KIND)
    if configuration is None or _is_about_checks(configuration, verdict, error):
        return
    task_alerts.write_down(lambda: catalog, configuration, [verdict])


def _is_about_checks(configuration: Configuration, verdict: Verdict, error: Any) -> bool:
    """Return whether checks have failed the task, and a rule about checks says so already."""
    from airflow_provider_phlo.exceptions import QualityCheckError

    if not isinstance(error, QualityCheckError) or verdict.run is None:
        return False
    from airflow_provider_phlo.alerts.incidents.transitions import rule_for
    from airflow_provider_phlo.alerts.rules.evaluation import verdicts_of

    checks = verdicts_of(error.results, verdict.run, None, verdict.observed_at)
    return any(rule_for(configuration, check) is not None for check in checks if check.passed is False)


def _is_resolution(catalog: Catalog, verdict: Verdict) -> bool:
    """Return whether a task succeeds that has failed; in the same run, the same one of the mapped tasks."""
    from airflow_provider_phlo.alerts.incidents import store

    if store.is_quiet(catalog):
        return False
    incidents = store.read_state(catalog).incidents.values()
    return any(
        incident.kind == _KIND
        and incident.subject == verdict.subject
        and (incident.run != verdict.run or incident.facts.get("map_index") == verdict.facts["map_index"])
        for incident in incidents
    )


def _catalog() -> Catalog:
    from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

    return PhloIcebergHook("iceberg_default").catalog


def _start_writer(verdicts: Sequence[Verdict]) -> None:
    """Start a process that writes verdicts down; a thread would be in the way of the processes that are forked here."""
    content = [
        {
            "subject": each.subject,
            "message": each.message,
            "at": each.observed_at.isoformat(),
            "facts": dict(each.facts),
            "owner": each.owner,
            "tags": each.tags,
            "run": [each.run.dag_id, each.run.run_id, each.run.task_id] if each.run else None,
        }
        for each in verdicts
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(json.dumps(content).encode())


def _write_for_others(content: Sequence[Mapping[str, Any]]) -> None:
    """Write down what the scheduler has heard, without tasks that have an incident of that run already."""
    from airflow_provider_phlo.alerts.incidents import store

    configuration = task_alerts.configuration_for(_KIND)
    if configuration is None:
        return
    catalog = _catalog()
    known = {incident.run for incident in store.read_state(catalog).incidents.values()}
    verdicts = []
    for each in content:
        run, at = RunRef(*each["run"]), datetime.fromisoformat(each["at"])
        if run not in known:
            verdicts.append(
                Verdict(
                    rule=_KIND,
                    table=None,
                    subject=each["subject"],
                    passed=False,
                    severity=Severity.ERROR,
                    message=each["message"],
                    observed_at=at,
                    facts=each["facts"],
                    owner=each["owner"],
                    tags=tuple(each["tags"]),
                    run=run,
                )
            )
    task_alerts.write_down(lambda: catalog, configuration, verdicts)


if __name__ == "__main__":
    _write_for_others(json.load(sys.stdin))
