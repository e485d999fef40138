"""Where logs come from: what a server or a folder of files has to offer for them to become one stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from airflow_provider_phlo.run_logs.entries import Attempt, AttemptKey, Entry


@dataclass(frozen=True)
class Wanted:
    """
    Which tries are asked for.

    :param since: those that were going on at this moment, or began later; None means all.
    :param dag_id: only of this DAG.
    :param run_id: only of this run.
    :param tasks: by DAG, what the names of tasks are or begin with (``readings.``); None means all.
    """

    since: datetime | None = None
    dag_id: str | None = None
    run_id: str | None = None
    tasks: Mapping[str, tuple[str, ...]] | None = None

    def has(self, key: AttemptKey) -> bool:
        """Return whether this try is asked for."""
        if self.dag_id not in (None, key.dag_id) or self.run_id not in (None, key.run_id):
            return False
        return self.tasks is None or any(is_of(name, key.task_id) for name in self.tasks.get(key.dag_id, ()))


def is_of(name: str, task_id: str) -> bool:
    """Return whether a task has this name, or belongs to the group of this name, which ends with a dot."""
    return task_id == name or (name.endswith(".") and task_id.startswith(name))


@dataclass(frozen=True)
class Position:
    """
    How far a log has been read.

    :param token: what a server gave to go on from.
    :param count: lines that were read since then; bytes of a file.
    """

    token: str = ""
    count: int = 0


@dataclass(frozen=True)
class Reading:
    """
    What was read of a log.

    :param position: where to go on.
    :param is_over: whether there is nothing more to come.
    """

    entries: list[Entry] = field(default_factory=list)
    position: Position = Position()
    is_over: bool = True


class Source(Protocol):
    """Logs of tasks."""

    def attempts(self, wanted: Wanted) -> Iterator[Attempt]:
        """Yield the tries, by the time at which they began; asks for more only when the next one is needed."""

    def newer(self, wanted: Wanted, known: Callable[[Attempt], bool]) -> Iterator[Attempt]:
        """Yield the tries that have begun and are not known yet."""

    def read(self, attempt: Attempt, position: Position) -> Reading:
        """
        Read what a log has beyond a position.

        :raises TransientError: the server does not answer.
        """
