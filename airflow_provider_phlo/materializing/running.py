"""Start a run of a DAG in which exactly the planned tasks run."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from airflow_provider_phlo.airflow_api.client import AirflowApi, dag_path, run_path
from airflow_provider_phlo.exceptions import AirflowRefusedError, ConfigurationError, TransientError
from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.days import (
    bounds,
    check_begun,
    check_dates,
    is_due,
    logical_date,
    takes_due_tick,
)
from airflow_provider_phlo.materializing.planning import PlannedRun

_CONFLICT = 409
# The run waits this long for its tasks to be chosen: the server's clock is known to two seconds, and choosing takes
# it a fraction of one. A server that is slower gets the next.
_HEAD_STARTS = (4, 12, 40)


@dataclass(frozen=True)
class StartedRun:
    """
    A run that was started.

    :param plan: what it was started for.
    :param day: its partition date, if one was asked for.
    :param may_begin: when Airflow may begin with it, by ``time.monotonic()`` of this process.
    """

    plan: PlannedRun
    run_id: str
    day: str | None
    may_begin: float


@dataclass(frozen=True)
class Asked:
    """
    What is asked of runs.

    :param day: the partition date, ``YYYY-MM-DD``; None leaves it to the DAG.
    :param conf: the run's conf beside that.
    :param unpause: whether a DAG that somebody has paused may be unpaused.
    """

    day: str | None = None
    conf: Mapping[str, Any] | None = None
    unpause: bool = False


def check_days(assets: AssetMap, plans: Iterable[PlannedRun], days: Sequence[str | None]) -> None:
    """
    Do nothing if all planned tasks can run for all days.

    :param days: None is today.
    :raises ConfigurationError: a day has not begun, or Airflow would leave tasks out for it.
    """
    now = assets.api.server_time()
    for plan in plans:
        zone, tasks = assets.day_zone(plan.dag_id), assets.dag_tasks(plan.dag_id)
        for day in days:
            if day is not None:
                check_begun(day, zone, now)
            if plan.tasks and not assets.dags[plan.dag_id].get("timetable_partitioned"):
                check_dates(plan.dag_id, tasks.dates(plan.tasks), day, zone, now)


def unpausing(
    assets: AssetMap, dag_id: str, days: Sequence[str | None] = (None,), *, allowed: bool, by_conf: bool = False
) -> str:
    """
    Return what unpausing a DAG means, in words; nothing if it is not paused.

    A DAG that is new is paused because Airflow creates it so: it may be unpaused. One that has run before was paused by
    somebody.

    :param days: those that it will run for; None is today.
    :param allowed: whether it may be unpaused in any case.
    :param by_conf: whether all tasks that will run take their day from the run's conf.
    :raises ConfigurationError: it may not.
    """
    if not assets.dags[dag_id]["is_paused"]:
        return ""
    details = assets.details(dag_id)
    schedule = details["timetable_summary"]
    scheduled = bool(details["timetable_periodic"] or details["next_dagrun_run_after"])
    if not allowed:
        catches_up = scheduled and bool(details["catchup"])
        if catches_up or _has_run(assets.api, dag_id):
            because = "it would catch up on all runs since its start date" if catches_up else "somebody has paused it"
            raise ConfigurationError(
                f"{dag_id} is paused, so that its runs wait, and {because}. --unpause unpauses it."
            )
    then = f"; from now on it also runs by its schedule ({schedule})" if scheduled else ""
    now, zone = assets.api.server_time(), assets.day_zone(dag_id)
    if is_due(details, now):
        tick = details["next_dagrun_logical_date"] or details["next_dagrun_run_after"]
        if not any(takes_due_tick(details, day, zone, now, by_conf=by_conf) for day in days):
            then += f", and at once for {tick}, which is due, with all its tasks"
        elif not any(takes_due_tick(details, day, zone, now) for day in days):
            then += f", but not for {tick}, which is due: for that stands the run that you asked for"
    return f"{dag_id} was paused, and is unpaused now{then}"


def _has_run(api: AirflowApi, dag_id: str) -> bool:
    """Return whether the scheduler has run a DAG; ``airflow dags test`` runs it without."""
    newest = api.call("GET", f"{dag_path(dag_id)}/dagRuns?order_by=-run_after&limit=100")["dag_runs"]
    return any(run["start_date"] and run["triggered_by"] != "test" for run in newest)


def start_run(assets: AssetMap, plan: PlannedRun, asked: Asked, *, name: str = "") -> StartedRun:
    """
    Start a run; its DAG is unpaused.

    :param name: how its id begins; by default with the moment.
    :raises AirflowRefusedError: Airflow refuses, e.g. a value in the conf.
    :raises TransientError: tasks that are not planned began before they could be left out; the run is ended.
    """
    api = assets.api
    paused = bool(assets.dags[plan.dag_id]["is_paused"])
    for delay in (0,) if paused or not plan.others else _HEAD_STARTS:
        run = _create(assets, plan, asked, delay=delay, name=name)
        try:
            is_as_planned = not plan.others or _leave_out(api, plan, run)
        except BaseException:
            _discard(api, plan.dag_id, run.run_id)
            raise
        if is_as_planned:
            if paused:
                api.call("PATCH", f"{dag_path(plan.dag_id)}?update_mask=is_paused", {"is_paused": False})
                assets.dags[plan.dag_id]["is_paused"] = False
            return run
        _discard(api, plan.dag_id, run.run_id)
    if paused:
        raise TransientError(f"{plan.dag_id}: tasks began that were not selected.")
    raise TransientError(
        f"{plan.dag_id}: Airflow is too slow to leave out the tasks that were not selected. {run.run_id} was ended."
    )


def _create(assets: AssetMap, plan: PlannedRun, asked: Asked, *, delay: float, name: str) -> StartedRun:
    """Create a run, which is queued; the server may begin with it after ``delay`` seconds."""
    api, dag = assets.api, assets.dags[plan.dag_id]
    now = api.server_time()
    conf = dict(asked.conf or {})
    if asked.day is not None:
        conf["partition_date"] = asked.day
    run_after = now + timedelta(seconds=delay)
    body: dict[str, Any] = {
        "dag_run_id": f"{name or f'phlo__{now:%Y-%m-%dT%H:%M:%S}+00:00'}__{secrets.token_hex(4)}",
        "conf": conf,
        "run_after": run_after.isoformat(),
        "note": "phlo: " + (", ".join(plan.assets)[:900] or "all tasks"),
    }
    if dag.get("timetable_partitioned"):
        body["partition_key"] = asked.day or now.astimezone(assets.day_zone(plan.dag_id)).date().isoformat()
    path = f"{dag_path(plan.dag_id)}/dagRuns"
    for moment in (*_logical_dates(assets, plan, asked, now), None):
        try:
            # with an id of its own, a run is made once, however often it is asked for
            interval = _interval(asked.day, assets.day_zone(plan.dag_id)) if moment else {}
            api.call("POST", path, {**body, "logical_date": moment, **interval}, repeatable=True)
        except AirflowRefusedError as refused:
            if refused.status != _CONFLICT:
                raise
            if not _exists(api, plan.dag_id, body["dag_run_id"]):
                continue  # another run has this logical date
        return StartedRun(plan, body["dag_run_id"], asked.day, time.monotonic() + delay)
    raise TransientError(f"{plan.dag_id}: Airflow refuses every logical date.")


def _logical_dates(assets: AssetMap, plan: PlannedRun, asked: Asked, now: datetime) -> list[str]:
    """Return the logical dates that a run may have, best first; templates of plain DAGs (``{{ ds }}``) read it."""
    dag = assets.dags[plan.dag_id]
    if dag.get("timetable_partitioned"):
        return []
    zone = assets.day_zone(plan.dag_id)
    moment = now.replace(microsecond=secrets.randbelow(1_000_000))
    tasks = assets.dag_tasks(plan.dag_id)
    between = tasks.dates(plan.tasks)
    dates = [logical_date(asked.day, zone, moment, between).isoformat() if asked.day else moment.isoformat()]
    by_conf = tasks.take_day_from_conf(plan.tasks)
    if dag["is_paused"] and takes_due_tick(dag, asked.day, zone, now, by_conf=by_conf):
        dates.insert(0, dag["next_dagrun_logical_date"])
    return dates


def _interval(day: str | None, zone: tzinfo) -> dict[str, str]:
    """Return a day as the data interval of a run: Airflow's own guess would be the day before."""
    if day is None:
        return {}
    start, end = bounds(day, zone)
    return {"data_interval_start": start.isoformat(), "data_interval_end": end.isoformat()}


def _exists(api: AirflowApi, dag_id: str, run_id: str) -> bool:
    try:
        api.call("GET", run_path(dag_id, run_id))
    except AirflowRefusedError:
        return False
    return True


def _leave_out(api: AirflowApi, plan: PlannedRun, run: StartedRun) -> bool:
    """Mark the other tasks of a run as done, and return whether none of them had begun."""
    path = f"{run_path(plan.dag_id, run.run_id)}/taskInstances"
    # Each instance of a mapped task by itself: asked for all of a task, Airflow finds the second done already, and
    # gives up on the rest.
    entities = [
        {"task_id": task["task_id"], "map_index": task["map_index"], "new_state": "success"}
        for task in _others(api, plan, path)
        if task["state"] != "success"
    ]
    api.call("PATCH", path, {"actions": [{"action": "update", "entities": entities}]})
    others = _others(api, plan, path)
    return bool(others) and all(task["state"] == "success" and not _has_begun(task) for task in others)


def _others(api: AirflowApi, plan: PlannedRun, path: str) -> list[dict[str, Any]]:
    return [task for task in api.pages(path, "task_instances") if task["task_id"] in plan.others]


def _discard(api: AirflowApi, dag_id: str, run_id: str) -> None:
    """End a run that is not what was asked for, and forget it if nothing of it has run."""
    api.call("PATCH", f"{run_path(dag_id, run_id)}?update_mask=state", {"state": "failed"})
    tasks = list(api.pages(f"{run_path(dag_id, run_id)}/taskInstances", "task_instances"))
    if not any(map(_has_begun, tasks)):
        api.call("DELETE", run_path(dag_id, run_id))


def _has_begun(task: Mapping[str, Any]) -> bool:
    """Return whether a task was given to a worker; being marked as done gives it a start, too."""
    return bool(task["try_number"] or task["pid"])
