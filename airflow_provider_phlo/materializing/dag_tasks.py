"""The tasks of a DAG: what comes before what, and what it takes to make an asset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError

_OURS = "airflow_provider_phlo."
_TEARDOWN = "all_done_setup_success"  # no other task can have this trigger rule
# they judge tables, and hand nothing on
_CHECKS = frozenset({"QualityCheckOperator", "ReconcileOperator", "DbtTestOperator"})


@dataclass(frozen=True, order=True)
class Task:
    """A task of a DAG."""

    dag_id: str
    task_id: str


class DagTasks:
    """
    The tasks of a DAG.

    :param tasks: as Airflow's API has them.
    :param makers: those that make assets.
    """

    def __init__(self, dag_id: str, tasks: Sequence[Mapping[str, Any]], makers: Set[str]) -> None:
        self.dag_id = dag_id
        self.task_ids = frozenset(task["task_id"] for task in tasks)
        self.makers = frozenset(makers & self.task_ids)
        self._ours = {task["task_id"] for task in tasks if _class(task)[0].startswith(_OURS)}
        self._without_data = self._ours | {task["task_id"] for task in tasks if _class(task)[1] == "EmptyOperator"}
        self._checks = {
            task["task_id"] for task in tasks if task["task_id"] in self._ours and _class(task)[1] in _CHECKS
        }
        self._dates = {
            task["task_id"]: (_moment(task.get("start_date")), _moment(task.get("end_date"))) for task in tasks
        }
        self._before: dict[str, set[str]] = {task_id: set() for task_id in self.task_ids}
        for task in tasks:
            for below in task["downstream_task_ids"] or ():
                self._before.setdefault(below, set()).add(task["task_id"])
        teardowns = [task["task_id"] for task in tasks if task.get("trigger_rule") == _TEARDOWN]
        self._setups = {each: self._setups_of(each) for each in teardowns}

    def needed_for(self, wanted: Iterable[str]) -> frozenset[str]:
        """
        Return the tasks that make assets, with those that work for them.

        A maker works with what other tasks before it hand on, back to tasks that make assets themselves. A check
        of an asset that is not made here is left out: it has nothing new to judge.

        :param wanted: tasks that make assets.
        """
        wanted = frozenset(wanted)
        needed = set(wanted)
        for maker in wanted:
            for helper in self._helpers(maker):
                if helper in self._checks and not _same_group(helper, maker):
                    judged = self.makers_before(helper)
                    if judged and judged.isdisjoint(wanted):
                        continue
                needed.add(helper)
        return frozenset(needed)

    def with_setups(self, tasks: Iterable[str]) -> frozenset[str]:
        """
        Return tasks with the setups that they work in, and the teardowns of those.

        :raises ConfigurationError: a teardown would not wait for one of them, as what is between them does not run.
        """
        found = set(tasks)
        changed = True
        while changed:
            before = len(found)
            for teardown, setups in self._setups.items():
                if not found.isdisjoint(self._scope(teardown, found)):
                    found |= {teardown, *setups}.union(*map(self._helpers, setups))
            changed = len(found) != before
        for teardown in sorted(self._setups.keys() & found):
            self._check_order(teardown, found)
        return frozenset(found)

    def are_ordered(self, first: Iterable[str], then: Iterable[str], running: Set[str]) -> bool:
        """Return whether of the tasks that run, one is before another by tasks that run."""
        return not self._above(then, running).isdisjoint(first)

    def take_day_from_conf(self, tasks: Set[str]) -> bool:
        """Return whether tasks are all of this package, and so take their day from the run's conf."""
        return tasks <= self._ours

    def dates(self, tasks: Iterable[str]) -> tuple[datetime | None, datetime | None]:
        """Return from when until when all of the tasks run, by their ``start_date`` and ``end_date``; None: always."""
        starts, ends = zip(*(self._dates[each] for each in tasks), strict=True)
        return max(filter(None, starts), default=None), min(filter(None, ends), default=None)

    def data_from(self, running: Set[str]) -> list[tuple[str, str]]:
        """
        Return which tasks may be handed something by one that does not run, and by which.

        Airflow does not say which tasks take what others return. Those of this package take tables, so it is those of
        others that come right after a task of others.
        """
        return [
            (task, left_out)
            for task in sorted(running - self._without_data)
            for left_out in sorted(self._before.get(task, set()) - running - self._without_data)
        ]

    def makers_before(self, task_id: str) -> frozenset[str]:
        """Return the nearest tasks before a task that make assets."""
        return self._walk(task_id)[1]

    def all_makers_before(self, task_id: str) -> frozenset[str]:
        """Return all tasks before a task that make assets."""
        found: set[str] = set()
        waiting = [task_id]
        while waiting:
            new = self.makers_before(waiting.pop()) - found
            found |= new
            waiting += new
        return frozenset(found)

    def _setups_of(self, teardown: str) -> frozenset[str]:
        """Return the setups of a teardown: before it both by itself, and by what works in between."""
        direct = self._before.get(teardown, set())
        return frozenset(each for each in direct if any(each in self._above([other]) for other in direct - {each}))

    def _scope(self, teardown: str, running: Set[str]) -> frozenset[str]:
        """Return the setups of a teardown, and the tasks between; if it has none, what runs straight before it."""
        setups = self._setups[teardown]
        if not setups:
            return self._above([teardown], running)
        return frozenset(
            each for each in self._above([teardown]) if each in setups or not setups.isdisjoint(self._above([each]))
        )

    def _check_order(self, teardown: str, running: Set[str]) -> None:
        unordered = (self._scope(teardown, running) & running) - self._above([teardown], running)
        if unordered:
            task = min(unordered)
            between = {each for each in self._above([teardown]) - running if task in self._above([each])}
            raise ConfigurationError(
                f"{self.dag_id}: {teardown} would not wait for {task}, since {', '.join(sorted(between))} between them "
                f"would not run. Select what that makes too, or dag:{self.dag_id}."
            )

    def _above(self, task_ids: Iterable[str], among: Set[str] | None = None) -> frozenset[str]:
        """Return the tasks before tasks, at any distance; with ``among``, by way of those only."""
        found: set[str] = set()
        waiting = list(task_ids)
        while waiting:
            new = self._before.get(waiting.pop(), set()) - found
            new = new if among is None else new & among
            found |= new
            waiting += new
        return frozenset(found)

    def _helpers(self, task_id: str) -> frozenset[str]:
        return self._walk(task_id)[0]

    def _walk(self, task_id: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return the tasks before a task that make no assets, and the nearest that do."""
        helpers: set[str] = set()
        makers: set[str] = set()
        waiting = list(self._before.get(task_id, ()))
        while waiting:
            each = waiting.pop()
            if each in self.makers:
                makers.add(each)
            elif each not in helpers:
                helpers.add(each)
                waiting += self._before.get(each, ())
        return frozenset(helpers), frozenset(makers)


def _class(task: Mapping[str, Any]) -> tuple[str, str]:
    found = task["class_ref"] or {}
    return str(found.get("module_path") or ""), str(found.get("class_name") or "")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _same_group(one: str, other: str) -> bool:
    group = one.rpartition(".")[0]
    return bool(group) and group == other.rpartition(".")[0]
