"""PhloPartitionSensor: what it looks for, how it waits, how it ends."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralTimeout,
    TaskDeferred,
)

from airflow_provider_phlo.sensors.partition import PhloPartitionSensor
from airflow_provider_phlo.triggers.partition import PhloPartitionTrigger
from tests.expect import expect
from tests.lake import create_table

ROWS = pa.table({"_phlo_partition_date": [date(2024, 1, 15)], "taken_at": [datetime(2024, 1, 14, tzinfo=UTC)]})


@pytest.fixture
def published(catalog):
    publish(catalog)


def publish(catalog):
    create_table(catalog, "raw.t", ROWS)


def sensor(**arguments):
    return PhloPartitionSensor(task_id="wait", **{"table": "t", "poke_interval": 0.05, "timeout": 20, **arguments})


def test_the_default_is_the_runs_own_partition(published, make_context):
    for day, there in (("2024-01-15", True), ("2024-01-16", False)):
        task = sensor()
        assert task.poke(make_context(task, conf={"partition_date": day})) is there
    task = sensor()
    scheduled = make_context(task, run_type="scheduled", partition_key="2024-01-15")
    assert task.poke(scheduled)


def test_table_and_day_can_be_given(published, make_context):
    context = make_context(conf={"partition_date": "2024-01-20"})
    assert sensor(table="raw.t", partition_date="2024-01-15").poke(context)
    assert not sensor(partition_date="2024-01-14").poke(context)
    assert sensor(partition_date="2024-01-14", partition_column="taken_at").poke(context)


def test_templates():
    task = sensor(table="{{ ns }}.t", partition_date="{{ day }}")
    task.render_template_fields({"ns": "raw", "day": "2024-01-15"})
    expect(task, table="raw.t", partition_date="2024-01-15")


def test_takes_keywords_only():
    with pytest.raises(TypeError):
        PhloPartitionSensor("t", task_id="wait")


def test_pokes_until_the_table_comes(catalog, make_context):
    task = sensor(partition_date="2024-01-15", deferrable=False)
    timer = threading.Timer(0.3, publish, [catalog])
    timer.start()
    task.execute(make_context(task))
    timer.join()


def test_gives_up_in_the_end(catalog, make_context):
    task = sensor(partition_date="2024-01-15", timeout=0.1)
    with pytest.raises(AirflowSensorTimeout):
        task.execute(make_context(task))
    with pytest.raises(AirflowSkipException):
        sensor(partition_date="2024-01-15", timeout=0.1, soft_fail=True).execute(make_context(task))


def test_frees_the_worker_between_looks(catalog, make_context):
    task = sensor(partition_date="2024-01-15", mode="reschedule")
    with pytest.raises(AirflowRescheduleException):
        task.execute(make_context(task))


def test_defers_with_all_that_the_trigger_needs(catalog, make_context):
    task = sensor(deferrable=True, timeout=timedelta(minutes=5), iceberg_conn_id="iceberg_default")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(make_context(task, conf={"partition_date": "2024-01-15"}))
    assert isinstance(deferred.value.trigger, PhloPartitionTrigger)
    assert deferred.value.trigger.serialize()[1] == {
        "table": "raw.t",
        "partition_date": "2024-01-15",
        "partition_column": "_phlo_partition_date",
        "iceberg_conn_id": "iceberg_default",
        "poke_interval": 0.05,
    }
    expect(deferred.value, method_name="execute_complete", timeout=timedelta(minutes=5))


def test_does_not_defer_for_what_is_there(published, make_context):
    task = sensor(partition_date="2024-01-15", deferrable=True)
    assert task.execute(make_context(task)) is None


def test_takes_the_triggers_event(make_context):
    task, context = sensor(), make_context()
    event = {"status": "success", "table": "raw.t", "partition_date": "2024-01-15"}
    assert task.resume_execution("execute_complete", {"event": event}, context) is None
    event = {"status": "error", "message": "no column"}
    with pytest.raises(AirflowFailException, match="no column"):
        task.resume_execution("execute_complete", {"event": event}, context)
    with pytest.raises(AirflowSkipException):
        sensor(soft_fail=True).resume_execution("execute_complete", {"event": event}, context)
    with pytest.raises((AirflowSensorTimeout, TaskDeferralTimeout)):
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, context)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"partition_column": "day"}, "raw.t has no column day"),
        ({"partition_date": "15.1.2024"}, "is not a date YYYY-MM-DD"),
        ({"partition_date": "2924-01-15"}, "lies in the future"),
        ({"table": "a..c"}, "is not a table name"),
        ({"iceberg_conn_id": "lake"}, "Connection 'lake' is not set"),
    ],
)
@pytest.mark.parametrize("deferrable", [True, False])
def test_fails_at_once_when_waiting_cannot_help(published, make_context, arguments, message, deferrable):
    task = sensor(deferrable=deferrable, **{"partition_date": "2024-01-15", **arguments})
    with pytest.raises(AirflowFailException, match=message):
        task.execute(make_context(task))
    task.soft_fail = True
    with pytest.raises(AirflowSkipException):
        task.execute(make_context(task))
