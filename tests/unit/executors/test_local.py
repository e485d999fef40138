"""The scheduler hears at once that a task has ended, and sleeps no longer than it would."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.utils.state import TaskInstanceState

from airflow_provider_phlo import settings
from airflow_provider_phlo.executors.local import PromptLocalExecutor
from airflow_provider_phlo.services.environment import embedded

FOR_EVER = 60.0
KEY = TaskInstanceKey("dag", "task", "run", 1)


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Iterator[PromptLocalExecutor]:
    """Return one that is started and has no workers: the test says what they do."""
    monkeypatch.setattr(PromptLocalExecutor, "_spawn_workers_with_gc_freeze", lambda *_: None)
    executor = PromptLocalExecutor(parallelism=2)
    executor.start()
    executor.running.add(KEY)
    yield executor
    executor.end()


def test_a_task_that_ends_ends_the_wait(executor: PromptLocalExecutor) -> None:
    executor.patience = FOR_EVER
    ends = threading.Timer(0.05, executor.result_queue.put, [(KEY, TaskInstanceState.SUCCESS, None)])
    ends.start()
    executor.heartbeat()
    ends.join()
    assert executor.event_buffer == {KEY: (TaskInstanceState.SUCCESS, None)}
    assert KEY not in executor.running


def test_what_has_ended_before_is_not_waited_for(executor: PromptLocalExecutor) -> None:
    executor.patience = FOR_EVER
    executor.result_queue.put((KEY, TaskInstanceState.FAILED, None))
    executor.heartbeat()
    assert executor.event_buffer == {KEY: (TaskInstanceState.FAILED, None)}


def test_a_scheduler_with_something_to_start_does_not_wait(
    executor: PromptLocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.patience = FOR_EVER
    started = []
    executor.queued_tasks[KEY] = "a workload"  # type: ignore[assignment]
    monkeypatch.setattr(executor, "trigger_tasks", lambda _: started.append(executor.queued_tasks.pop(KEY)))
    executor.heartbeat()
    assert started == ["a workload"]


def test_a_scheduler_whose_slots_are_taken_does_not_turn_in_a_circle(executor: PromptLocalExecutor) -> None:
    executor.patience = 0.05
    executor.queued_tasks[KEY] = "a workload"  # type: ignore[assignment]
    executor.running.add(TaskInstanceKey("dag", "other", "run", 1))
    assert executor.slots_available <= 0
    began = time.monotonic()
    executor.heartbeat()
    assert time.monotonic() - began >= 0.05
    assert executor.queued_tasks.pop(KEY)


def test_the_wait_ends(executor: PromptLocalExecutor) -> None:
    executor.patience = 0.05
    began = time.monotonic()
    executor.heartbeat()
    assert time.monotonic() - began >= 0.05
    assert not executor.event_buffer


def test_the_embedded_airflow_runs_on_it_and_its_tasks_are_warm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    embedded.prepare(tmp_path)
    name = embedded.airflow_environment(tmp_path, tmp_path)["AIRFLOW__CORE__EXECUTOR"]
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", name)
    assert resolve_name(name) is PromptLocalExecutor
    assert settings.forks_tasks()
