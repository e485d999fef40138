"""What runs have made: rows, checks and durations of each asset, and why something failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from airflow_provider_phlo.airflow_api.client import AirflowApi, run_path
from airflow_provider_phlo.exceptions import PhloError
from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.following import DONE, RunProgress, TaskProgress
from airflow_provider_phlo.materializing.planning import PlannedRun

_BAD = ("failed", "upstream_failed")
_MOST_REASON = 400
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Outcome:
    """
    What became of an asset, or of a task that makes none.

    :param name: the asset; the task, in brackets, if it makes none.
    :param state: ``success``, ``failed``, ``skipped``, ``not run`` (something before it failed), ``not done``
        (its run has not ended).
    :param seconds: from the start of its first task to the end of its last.
    :param facts: what its event carries: rows, checks, the snapshot.
    :param reason: why it failed.
    """

    name: str
    dag_id: str
    run_id: str
    day: str | None
    state: str
    seconds: float | None
    facts: Mapping[str, Any]
    reason: str

    @property
    def is_good(self) -> bool:
        """Return whether nothing is left to do for it."""
        return self.state in ("success", "skipped")


def outcomes(assets: AssetMap, progress: RunProgress) -> list[Outcome]:
    """Return what became of every asset that a run was started for, and of other tasks that failed, as they began."""
    plan = progress.run.plan
    events = _events(assets.api, plan.dag_id, progress.run.run_id)
    dag_tasks = assets.dag_tasks(plan.dag_id)
    told: set[str] = set()
    found: list[tuple[datetime, Outcome]] = []
    for name in plan.assets:
        makers = {task.task_id for task in assets.assets[name].makers if task.dag_id == plan.dag_id}
        own = dag_tasks.needed_for(makers & dag_tasks.task_ids) & plan.tasks
        tasks = [task for task in progress.tasks if task.task_id in own]
        state, culprits = _state(tasks, {task.task_id for task in tasks if task.task_id in makers})
        if state == "skipped" and progress.state == "failed":  # somebody has ended the run
            state = "not run"
        told |= {task.task_id for task in culprits}
        outcome = _outcome(assets.api, progress, name, state, tasks, culprits, events.get(assets.assets[name].uri))
        found.append((min((task.began for task in tasks if task.began), default=_LAST), outcome))
    for task in progress.tasks:
        if task.state == "failed" and task.task_id not in told:
            told.add(task.task_id)
            outcome = _outcome(assets.api, progress, f"({task.task_id})", "failed", [task], [task], None)
            found.append((task.began or _LAST, outcome))
    made = [outcome for _, outcome in sorted(found, key=lambda each: each[0])]
    if progress.state == "failed" and all(outcome.is_good for outcome in made):
        reason = "Airflow says that the run failed, and of none of its tasks that were selected"
        made.append(
            Outcome(f"({plan.dag_id})", plan.dag_id, progress.run.run_id, progress.run.day, "failed", None, {}, reason)
        )
    return made


def not_begun(plan: PlannedRun, day: str | None) -> list[Outcome]:
    """Return what became of assets whose run was not started, since one before it failed."""
    return [Outcome(name, plan.dag_id, "", day, "not run", None, {}, "") for name in plan.assets]


def _outcome(
    api: AirflowApi,
    progress: RunProgress,
    name: str,
    state: str,
    tasks: list[TaskProgress],
    culprits: list[TaskProgress],
    facts: Mapping[str, Any] | None,
) -> Outcome:
    run = progress.run
    reason = "; ".join(
        f"{task.task_id}: {failure_reason(api, run.plan.dag_id, run.run_id, task)}" for task in culprits[:3]
    )
    return Outcome(name, run.plan.dag_id, run.run_id, run.day, state, _span(tasks), facts or {}, reason)


def failure_reason(api: AirflowApi, dag_id: str, run_id: str, task: TaskProgress) -> str:
    """Return the last error of a task's log, on a line."""
    path = f"{run_path(dag_id, run_id)}/taskInstances/{task.task_id}/logs/{max(task.tries, 1)}"
    try:
        answer = api.call("GET", f"{path}?map_index={task.map_index}&full_content=true")
    except PhloError:
        return "its log cannot be read"
    lines = answer["content"] if isinstance(answer, dict) and isinstance(answer.get("content"), list) else []
    errors = [line for line in lines if isinstance(line, dict) and line.get("level") in ("error", "critical")]
    if not errors:
        return "its log has no error"
    said = _said(errors[-1])
    return said if len(said) <= _MOST_REASON else said[: _MOST_REASON - 1] + "…"


def _said(line: Mapping[str, Any]) -> str:
    detail = line.get("error_detail") or []
    if detail and isinstance(detail[0], dict):
        text = f"{detail[0].get('exc_type', '')}: {detail[0].get('exc_value', '')}"
    else:
        text = str(line.get("event", ""))
    return " ".join(text.split())


def _state(tasks: Iterable[TaskProgress], makers: set[str]) -> tuple[str, list[TaskProgress]]:
    """Return the state of an asset by its tasks, and the tasks that failed."""
    tasks = list(tasks)
    failed = [task for task in tasks if task.state == "failed"]
    if failed:
        return "failed", failed
    if any(task.state in _BAD for task in tasks):
        return "not run", []
    if any(task.state not in DONE for task in tasks):
        return "not done", []
    made = [task.state for task in tasks if task.task_id in makers]
    if not made:  # the DAG has changed meanwhile
        return "not run", []
    return ("skipped" if all(state == "skipped" for state in made) else "success"), []


def _span(tasks: Iterable[TaskProgress]) -> float | None:
    began = [task.began for task in tasks if task.began]
    ended = [task.ended for task in tasks if task.ended]
    return (max(ended) - min(began)).total_seconds() if began and ended else None


def _events(api: AirflowApi, dag_id: str, run_id: str) -> dict[str, Mapping[str, Any]]:
    """Return URI → what the event of a run carries."""
    query = urlencode({"source_dag_id": dag_id, "source_run_id": run_id})
    found = api.pages(f"/assets/events?{query}", "asset_events")
    return {event["uri"]: event["extra"] or {} for event in found}
