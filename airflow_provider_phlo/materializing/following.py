"""Follow runs until they have ended, as data; whoever shows it decides how."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from airflow_provider_phlo.airflow_api.client import AirflowApi, dag_path, run_path
from airflow_provider_phlo.materializing.running import StartedRun

DONE = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
# what waits for something else than the scheduler
_AT_WORK = frozenset({"running", "deferred", "up_for_retry", "up_for_reschedule", "restarting"})
_PAUSE = 0.7
#: Seconds after which it is said that nothing happens.
SILENCE = 10.0


@dataclass(frozen=True)
class TaskProgress:
    """
    A task of a run.

    :param state: Airflow's word; ``waiting`` before it is scheduled.
    :param tries: how often it has begun.
    :param seconds: how long its last try has taken, if it has ended.
    """

    task_id: str
    map_index: int
    state: str
    tries: int
    began: datetime | None
    ended: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class RunProgress:
    """A run: its state, and the planned tasks in it."""

    run: StartedRun
    state: str
    tasks: tuple[TaskProgress, ...]

    @property
    def has_ended(self) -> bool:
        """Return whether nothing of it runs any more."""
        return self.state in ("success", "failed")


def follow(api: AirflowApi, runs: Sequence[StartedRun], warn: Callable[[str], None]) -> Iterator[list[RunProgress]]:
    """
    Yield how runs are, whenever that has changed, until all have ended.

    :param warn: gets a line when a run has not got on for some seconds, and why that may be.
    """
    seen: list[RunProgress | None] = [None] * len(runs)
    silences = Silences(api)
    while True:
        found = [run_progress(api, run, before) for run, before in zip(runs, seen, strict=True)]
        if found != seen:
            seen = [*found]
            yield found
        if all(each.has_ended for each in found):
            return
        for each in found:
            if why := silences.why(each):
                warn(why)
        time.sleep(_PAUSE)


def run_progress(api: AirflowApi, run: StartedRun, before: RunProgress | None, *, tasks: bool = True) -> RunProgress:
    """
    Return how a run is.

    :param before: how it was; one that had ended is not asked for again.
    :param tasks: whether to ask for its tasks, too.
    """
    if before is not None and before.has_ended:
        return before
    path = run_path(run.plan.dag_id, run.run_id)
    state = str(api.call("GET", path)["state"])
    if not tasks:
        return RunProgress(run, state, ())
    if state == "queued" and before is not None and before.state == state:
        return before
    found = api.pages(f"{path}/taskInstances?order_by=start_date", "task_instances")
    return RunProgress(run, state, tuple(_task(each) for each in found if each["task_id"] in run.plan.tasks))


def _task(found: dict[str, Any]) -> TaskProgress:
    return TaskProgress(
        found["task_id"],
        found["map_index"],
        found["state"] or "waiting",
        found["try_number"],
        _moment(found["start_date"]),
        _moment(found["end_date"]),
        found["duration"] if found["state"] in DONE else None,
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


class Silences:
    """Says of runs that do not get on why that may be, once until they do; they may have begun."""

    def __init__(self, api: AirflowApi) -> None:
        self._api = api
        self._seen: dict[str, tuple[RunProgress, float]] = {}
        self._said: set[str] = set()

    @property
    def pause(self) -> float:
        """Return after how many seconds it is worth to ask again."""
        return SILENCE / 4

    def why(self, progress: RunProgress) -> str:
        """
        Return why a run does not get on; nothing if it does, or if that was said.

        :param progress: the run with its tasks.
        """
        run_id = progress.run.run_id
        before, since = self._seen.get(run_id, (None, 0.0))
        if before != progress:
            since = time.monotonic()
            self._seen[run_id] = (progress, since)
            self._said.discard(run_id)
        waits = not progress.has_ended and not any(task.state in _AT_WORK for task in progress.tasks)
        if not waits or run_id in self._said or time.monotonic() - max(since, progress.run.may_begin) <= SILENCE:
            return ""
        why = _why_nothing_begins(self._api, progress)
        if why:
            self._said.add(run_id)
        return why


def _why_nothing_begins(api: AirflowApi, progress: RunProgress) -> str:
    dag_id, run_id = progress.run.plan.dag_id, progress.run.run_id
    nothing = "Nothing starts" if progress.state == "queued" else "Nothing goes on in"
    status, beat = api.components().get("scheduler", ("", None))
    age = (api.server_time() - beat).total_seconds() if beat else None
    if status != "healthy" or age is None or age > SILENCE:
        since = f"gave its last sign of life {age:.0f} s ago" if age is not None else "does not run"
        return f"{nothing} {run_id}: the scheduler {since} (phlo services status; phlo services start)."
    dag = api.call("GET", f"{dag_path(dag_id)}/details")
    if dag["is_paused"]:
        return f"{nothing} {run_id}: {dag_id} was paused meanwhile. Airflow goes on with it once it is unpaused."
    if progress.state != "queued":
        return _why_no_task_begins(api, progress)
    active = api.call("GET", f"{dag_path(dag_id)}/dagRuns?state=running&limit=1")["total_entries"]
    if active >= dag["max_active_runs"]:
        most = dag["max_active_runs"]
        return f"{run_id} waits: {dag_id} runs at most {most} at a time, and {active} run (max_active_runs)."
    return f"Nothing has started {run_id} for {SILENCE:.0f} s, though the scheduler is healthy: its log may say why."


def _why_no_task_begins(api: AirflowApi, progress: RunProgress) -> str:
    """Return why none of the tasks of a run that has begun does."""
    run_id = progress.run.run_id
    waiting = [task for task in progress.tasks if task.state in ("waiting", "scheduled", "queued")]
    if not waiting:
        return ""
    first = next((task for task in waiting if task.state != "waiting"), waiting[0])
    if first.state == "queued" and any(task.began for task in progress.tasks):
        return ""  # a worker may take its time
    path = f"{run_path(progress.run.plan.dag_id, run_id)}/taskInstances/{quote(first.task_id, safe='')}"
    if first.map_index >= 0:
        path += f"/{first.map_index}"
    reasons = [each["reason"] for each in api.call("GET", f"{path}/dependencies")["dependencies"]]
    because = f": {' '.join(reasons[:3])}" if reasons else ""
    return f"No task of {run_id} has begun in {SILENCE:.0f} s; {first.task_id} is {first.state}{because}"
