"""Logs through Airflow's REST API, wherever Airflow keeps them: files, object stores, log services, workers."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from airflow_provider_phlo.airflow_api.client import run_path
from airflow_provider_phlo.exceptions import AirflowRefusedError
from airflow_provider_phlo.run_logs.entries import Attempt, AttemptKey, Entry, entry_of, time_of
from airflow_provider_phlo.run_logs.source import Position, Reading, Wanted

if TYPE_CHECKING:
    from airflow_provider_phlo.airflow_api.client import AirflowApi

# what Airflow answers at most at once; the first answer is to come soon
_PAGE, _FIRST_PAGE = 100, 10
_NOT_FOUND = 404
_GOING_ON = ("running", "deferred", "restarting")
# in these states a try may log more; a task that is tried again is queued with the start of the try before
_UNSETTLED = (*_GOING_ON, "queued", "scheduled", "up_for_reschedule")
# tries beyond this many are found through the last of them only
_MOST_TRIES = 20
# a task that begins may become visible after one that began later
_OVERLAP = timedelta(seconds=30)
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
_HEADER, _HEADER_END = "::group::Log message source details", "::endgroup::"

_Query = Iterable[tuple[str, str]]


class ServerLogs:
    """
    The logs that an Airflow answers.

    :param api: a client of its api-server, logged in.
    """

    def __init__(self, api: AirflowApi) -> None:
        self._api = api
        self._newest = _BEGINNING

    def attempts(self, wanted: Wanted) -> Iterator[Attempt]:
        """Yield the tries, by their start, which Airflow is asked for page by page."""
        ended = [("end_date_gte", wanted.since.isoformat())] if wanted.since else []
        going_on = [("state", state) for state in _GOING_ON]
        lists = [self._latest(wanted, ended), self._earlier(wanted, ended)]
        if ended:  # what is going on has not ended
            tasks = list(self._tasks(wanted, going_on, _BEGINNING))
            lists += [map(self._attempt, tasks), self._before(wanted, tasks)]
        seen: set[AttemptKey] = set()
        for attempt in heapq.merge(*lists, key=lambda each: each.started or _BEGINNING):
            if attempt.key not in seen:
                seen.add(attempt.key)
                yield attempt

    def newer(self, wanted: Wanted, known: Callable[[Attempt], bool]) -> Iterator[Attempt]:
        """Yield the tries that have begun since the last look, and those before them that began and ended meanwhile."""
        since = wanted.since or _BEGINNING
        for task in self._tasks(wanted, [], max(self._newest, since) - _OVERLAP):
            latest = self._attempt(task)
            if latest.ended is None or latest.ended >= since or not latest.is_settled:
                missed = (_of(task, number) for number in range(1, latest.key.number))
                yield from (attempt for attempt in (*missed, latest) if not known(attempt))

    def read(self, attempt: Attempt, position: Position) -> Reading:
        """Read what a log has beyond a position."""
        key = attempt.key
        query = {"map_index": key.map_index, "full_content": "false"} | (
            {"token": position.token} if position.token else {}
        )
        try:
            answer = self._api.call("GET", f"{_path(key)}/logs/{key.number}?{urlencode(query)}")
        except AirflowRefusedError as error:
            if error.status != _NOT_FOUND:
                raise
            return Reading([Entry(key, None, "warning", "Airflow has no log of this try any more.")])
        lines = answer.get("content") or []
        told, messages = ([], lines) if position.token else _without_header(lines)
        entries = [entry_of(key, message) for message in messages[position.count :]]
        token = answer.get("continuation_token")
        following = Position(token) if token else Position(position.token, len(messages))
        # Airflow calls the log of a task complete also while that waits in a queue
        is_over = not token and (attempt.is_settled or self._is_settled(key))
        if is_over and not messages and not position.token:
            entries = [_missing(key, told)]
        return Reading(entries, following, is_over)

    def _is_settled(self, key: AttemptKey) -> bool:
        task = self._api.call("GET", f"{_path(key)}{_index(key)}")
        return _is_settled(task, key.number)

    def _latest(self, wanted: Wanted, query: _Query) -> Iterator[Attempt]:
        return (self._attempt(task) for task in self._tasks(wanted, query, _BEGINNING))

    def _earlier(self, wanted: Wanted, query: _Query) -> list[Attempt]:
        """Return the tries before the latest one, of all tasks that have such, by their start."""
        repeated = [("try_number", str(number)) for number in range(2, _MOST_TRIES + 1)]
        return self._before(wanted, self._tasks(wanted, [*query, *repeated], _BEGINNING))

    def _before(self, wanted: Wanted, tasks: Iterable[Mapping[str, Any]]) -> list[Attempt]:
        found = [
            self._attempt(each)
            for task in tasks
            if task["try_number"] > 1
            for each in self._api.call("GET", f"{_path(_key(task))}{_index(_key(task))}/tries")["task_instances"]
            if each["try_number"] < task["try_number"] and each["start_date"]
        ]
        since = wanted.since or _BEGINNING
        return sorted(
            (each for each in found if each.ended is None or each.ended >= since),
            key=lambda each: each.started or _BEGINNING,
        )

    def _tasks(self, wanted: Wanted, query: _Query, since: datetime) -> Iterator[Mapping[str, Any]]:
        """
        Yield tasks by their start.

        A page begins where the one before ended, since tasks begin and end meanwhile, which moves all others.
        """
        dag_id = _only_dag(wanted)
        path = run_path(dag_id or "~", wanted.run_id if dag_id and wanted.run_id else "~")
        query = [*query, *([("run_id_pattern", wanted.run_id)] if wanted.run_id else [])]
        last: deque[AttemptKey] = deque(maxlen=2 * _PAGE)
        offset, limit = 0, _FIRST_PAGE
        while True:
            page = [*query, ("start_date_gte", since.isoformat()), ("order_by", "start_date")]
            page += [("limit", str(limit)), ("offset", str(offset))]
            tasks = self._api.call("GET", f"{path}/taskInstances?{urlencode(page)}")["task_instances"]
            for task in tasks:
                key = _key(task)
                if key not in last:
                    last.append(key)
                    if key.number > 0 and wanted.has(key):
                        yield task
            if len(tasks) < limit:
                return
            begun = time_of(tasks[-1]["start_date"]) or since
            since, offset, limit = begun, offset + limit if begun == since else 0, _PAGE

    def _attempt(self, task: Mapping[str, Any]) -> Attempt:
        attempt = _of(task, task["try_number"])
        self._newest = max(self._newest, attempt.started or _BEGINNING)
        return attempt


def _key(task: Mapping[str, Any], number: int | None = None) -> AttemptKey:
    return AttemptKey(
        task["dag_id"],
        task["dag_run_id"],
        task["task_id"],
        task["map_index"],
        task["try_number"] if number is None else number,
    )


def _of(task: Mapping[str, Any], number: int) -> Attempt:
    ended = time_of(task["end_date"]) if number == task["try_number"] else None
    return Attempt(_key(task, number), time_of(task["start_date"]), ended, _is_settled(task, number))


def _path(key: AttemptKey) -> str:
    return f"{run_path(key.dag_id, key.run_id)}/taskInstances/{quote(key.task_id, safe='')}"


def _index(key: AttemptKey) -> str:
    return f"/{key.map_index}" if key.map_index >= 0 else ""


def _is_settled(task: Mapping[str, Any], number: int) -> bool:
    return number < task["try_number"] or task["state"] not in _UNSETTLED


def _only_dag(wanted: Wanted) -> str | None:
    """Return the DAG, if only one is asked for."""
    if wanted.dag_id or wanted.tasks is None or len(wanted.tasks) != 1:
        return wanted.dag_id
    return next(iter(wanted.tasks))


def _without_header(lines: list[Any]) -> tuple[list[str], list[Any]]:
    """Return where Airflow looked for the log, which it says first, and the log."""
    said = [line.get("event") if isinstance(line, dict) else line for line in lines[:_PAGE]]
    if not said or said[0] != _HEADER or _HEADER_END not in said:
        return [], lines
    end = said.index(_HEADER_END)
    return [str(each) for each in said[1:end]], lines[end + 1 :]


def _missing(key: AttemptKey, told: list[str]) -> Entry:
    """Return the message that a log is not there."""
    where = "\n".join(told)
    return Entry(
        key, None, "warning", "The log of this try is empty, or was removed." + (f"\n{where}" if where else "")
    )
