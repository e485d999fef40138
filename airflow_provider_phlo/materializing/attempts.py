"""What became of tasks in the runs that there have been: Airflow's word on a run is about its last tasks only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from airflow_provider_phlo.airflow_api.client import AirflowApi, dag_path, run_path
from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.following import DONE
from airflow_provider_phlo.materializing.planning import PlannedRun
from airflow_provider_phlo.materializing.run_days import RunDays

#: How the ids of the runs begin that this package starts for some of the tasks of a DAG.
OWN_RUNS = "phlo_"
_BAD = ("failed", "upstream_failed")
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_NOW = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, order=True)
class _Attempt:
    """What became of a task in a run, ordered by when that was."""

    at: datetime
    failed: bool


def failed_tasks(api: AirflowApi, dag_id: str, prefix: str = "", since: str = "") -> dict[str, set[str]]:
    """
    Return run → its tasks that failed, or could not run since one before them had failed.

    :param dag_id: ``~`` means all.
    :param prefix: only of runs whose id begins so.
    :param since: only of runs that were due at this moment (ISO 8601) or later.
    """
    query = [("state", state) for state in _BAD]
    if since:
        query.append(("run_after_gte", since))
    if prefix:
        query.append(("run_id_prefix_pattern", prefix))
    found: dict[str, set[str]] = defaultdict(set)
    for task in api.pages(f"{run_path(dag_id, '~')}/taskInstances?{urlencode(query)}", "task_instances"):
        if task["dag_run_id"].startswith(prefix):
            found[task["dag_run_id"]].add(task["task_id"])
    return found


def left_out_of(api: AirflowApi, dag_id: str, tasks: Collection[str], since: str = "") -> set[str]:
    """
    Return the runs in which tasks were left out, since they were started for others.

    :param tasks: all of which were left out.
    :param since: only runs that were due at this moment (ISO 8601) or later.
    """
    found: list[set[str]] = []
    for task_id in tasks:
        query = {"task_id": task_id, "state": "success", "try_number": 0, "run_id_prefix_pattern": OWN_RUNS}
        query |= {"run_after_gte": since} if since else {}
        listed = api.pages(f"{run_path(dag_id, '~')}/taskInstances?{urlencode(query)}", "task_instances")
        found.append({task["dag_run_id"] for task in listed if task["task_id"] == task_id and not task["try_number"]})
    return set.intersection(*found) if found else set()


def failed_days(assets: AssetMap, plans: Iterable[PlannedRun], days: Sequence[str]) -> list[str]:
    """
    Return the days for which a planned task failed when it was last tried, in whatever run that was.

    A run in which a task was left out says nothing of it.
    """
    planned: dict[str, set[str]] = defaultdict(set)
    for plan in plans:
        planned[plan.dag_id] |= plan.tasks
    failed: set[str] = set()
    for dag_id, tasks in planned.items():
        for day, runs in _suspected(assets, dag_id, tasks, days).items():
            if any(attempt.failed for attempt in _newest(assets.api, runs, tasks).values()):
                failed.add(day)
    return [day for day in days if day in failed]


def _suspected(
    assets: AssetMap, dag_id: str, tasks: set[str], days: Sequence[str]
) -> dict[str, list[Mapping[str, Any]]]:
    """Return day → its runs, of the days in one of whose runs something may have failed."""
    if not days:
        return {}
    # east of Greenwich a day begins before it does so in UTC
    first = date.fromisoformat(min(days)) - timedelta(days=1)
    since = f"{first}T00:00:00+00:00"
    query = urlencode({"run_after_gte": since, "order_by": "run_after"})
    found = list(assets.api.pages(f"{dag_path(dag_id)}/dagRuns?{query}", "dag_runs"))
    failed = {run_id for run_id, each in failed_tasks(assets.api, dag_id, since=since).items() if each & tasks}
    failed |= {run["dag_run_id"] for run in found if run["state"] == "failed"}
    if failed.isdisjoint(run["dag_run_id"] for run in found):
        return {}
    run_days = RunDays(assets, dag_id)
    by_day: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for run in found:
        day = run_days.of(run)
        if day in days:
            by_day[str(day)].append(run)
    return {day: runs for day, runs in by_day.items() if any(run["dag_run_id"] in failed for run in runs)}


def _newest(api: AirflowApi, runs: Iterable[Mapping[str, Any]], tasks: set[str]) -> dict[str, _Attempt]:
    newest: dict[str, _Attempt] = {}
    for run in runs:
        for task_id, attempt in _attempts(api, run, tasks):
            newest[task_id] = max(attempt, newest.get(task_id, attempt))
    return newest


def _attempts(api: AirflowApi, run: Mapping[str, Any], tasks: set[str]) -> Iterator[tuple[str, _Attempt]]:
    """Yield what became of the tasks that a run was for; of a mapped one, all that fail do so last."""
    path = f"{run_path(run['dag_id'], run['dag_run_id'])}/taskInstances"
    by_task: dict[str, list[_Attempt]] = defaultdict(list)
    for task in api.pages(path, "task_instances"):
        if task["task_id"] in tasks and not _is_left_out(task, run):
            by_task[task["task_id"]].append(_Attempt(_ended(task), _has_failed(task, run)))
    for task_id, attempts in by_task.items():
        yield task_id, _Attempt(max(each.at for each in attempts), any(each.failed for each in attempts))


def _is_left_out(task: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Return whether a task never began because others were asked for; who ends a run skips what has not begun."""
    if task["try_number"]:
        return False
    return task["state"] in ("success", "removed") or (task["state"] == "skipped" and run["state"] != "failed")


def _has_failed(task: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    skipped = task["state"] == "skipped" and run["state"] == "failed"
    return task["state"] in _BAD or skipped


def _ended(task: Mapping[str, Any]) -> datetime:
    if task["state"] not in DONE:
        return _NOW
    text = task["end_date"] or task["start_date"]
    return datetime.fromisoformat(text) if text else _BEGINNING
