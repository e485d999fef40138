"""The watch DAG: what is serialized starts in the triggerer, and the trigger ends the task with what it has found."""

from __future__ import annotations

import asyncio

import pytest
from airflow.models.trigger import Trigger
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.module_loading import import_string
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.base import TaskFailedEvent, TaskSuccessEvent

from airflow_provider_phlo import phlo_watch_dag
from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.triggers.watch import WatchTrigger


def event_of(trigger):
    async def only():
        return [event async for event in trigger.run()]

    [event] = asyncio.run(only())
    return event


def test_what_is_serialized_starts_a_round_in_the_triggerer(home, catalog):
    dag = DagSerialization.from_dict(DagSerialization.to_dict(phlo_watch_dag(folder=home)))
    assert (dag.max_active_runs, dag.catchup, dag.is_paused_upon_creation) == (1, False, False)
    task = dag.get_task("watch")
    assert task.start_from_trigger
    stored = Trigger(task.start_trigger_args.trigger_cls, task.start_trigger_args.trigger_kwargs)
    trigger = import_string(stored.classpath)(**stored.kwargs)
    assert trigger.serialize() == (stored.classpath, stored.kwargs)
    event = event_of(trigger)
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms["return_value"]["tables"] == 0


@pytest.mark.parametrize("end_from_trigger", [True, False])
def test_a_round_that_fails_fails_the_task(home, end_from_trigger):
    (home / "include" / "alerting").mkdir(parents=True)
    (home / "include" / "alerting" / "config.yaml").write_text("rulez: []\n")
    event = event_of(WatchTrigger(folder=str(home), end_from_trigger=end_from_trigger))
    if end_from_trigger:
        assert isinstance(event, TaskFailedEvent)
        said = event.xcoms["error"]
    else:
        said = event.payload["error"]
    assert "rulez" in said


def test_in_a_worker_it_is_deferred(home, catalog, make_context):
    task = phlo_watch_dag(folder=home).get_task("watch")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(make_context(task))
    event = event_of(deferred.value.trigger)
    assert task.execute_complete(make_context(task), event.payload)["tables"] == 0
    with pytest.raises(TransientError, match="out of order"):
        task.execute_complete(make_context(task), {"error": "out of order"})


def test_metrics_on_trino_have_a_connection(home, catalog, capsys):
    (home / "include" / "alerting").mkdir(parents=True)
    (home / "include" / "alerting" / "config.yaml").write_text(
        "rules: [{name: on-trino, kind: metric, engine: trino, sql: SELECT 1 AS n, when: n > 1}]\n"
        "routes: [{to: [team]}]\ndestinations: {team: {arguments: {url: 'http://127.0.0.1:9/'}}}\n"
    )
    trigger = phlo_watch_dag(folder=home, trino_conn_id="elsewhere").get_task("watch").start_trigger_args
    event = event_of(WatchTrigger(**trigger.trigger_kwargs))
    assert event.xcoms["return_value"]["wrong"] == ["metric evaluation of on-trino"]
    assert "Connection 'elsewhere' is not set" in capsys.readouterr().out
