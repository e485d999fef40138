"""A rate limit that outlasts the patience of a source's client: the task waits without a worker, and goes on."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_phlo.exceptions import SourceUnavailableError
from airflow_provider_phlo.operators.fetch_events import FetchEventsOperator
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.pull_requests import PlanPullRequestsOperator
from airflow_provider_phlo.operators.rate_limits import WAITS_IN_VAIN, RateLimitedOperator
from airflow_provider_phlo.sources.github import github
from tests.unit.sources.conftest import reply, serve, server  # noqa: F401 - fixtures

HOUR = timedelta(hours=1)


class Limited(RateLimitedOperator):
    """Meets a limit."""

    def __init__(self, *, wait=HOUR, answers=0, **kwargs):
        super().__init__(task_id="limited", **kwargs)
        self.wait, self.answers = wait, answers

    def run(self, context):
        retry_at = None if self.wait is None else datetime.now(UTC) + self.wait
        raise SourceUnavailableError("limited", retry_at=retry_at, answers=self.answers)


def deferred(task, context, waits_in_vain=None):
    def run():
        if waits_in_vain is None:
            task.execute(context)
        task.resume_execution("execute_after_reset", {"event": None, "waits_in_vain": waits_in_vain}, context)

    with pytest.raises(TaskDeferred) as caught:
        run()
    assert isinstance(caught.value.trigger, DateTimeTrigger)
    assert caught.value.method_name == "execute_after_reset"
    return caught.value


def test_the_task_is_deferred_until_the_reset(make_context):
    found = deferred(Limited(), make_context())
    assert abs(found.trigger.moment - datetime.now(UTC) - HOUR) < timedelta(seconds=30)
    assert found.kwargs == {"waits_in_vain": 1}


def test_tasks_that_wait_for_one_reset_do_not_all_ask_at_once(make_context):
    moments = [deferred(Limited(), make_context(map_index=index)).trigger.moment for index in (0, 20, 1000)]
    assert timedelta(seconds=8) < moments[1] - moments[0] < timedelta(seconds=15)
    assert timedelta(seconds=28) < moments[2] - moments[0] < timedelta(seconds=35)


@pytest.mark.parametrize(
    "task", [{"deferrable": False}, {"wait": None}, {"wait": timedelta(days=30)}], ids=["not deferrable", "no", "far"]
)
def test_other_failures_are_retried_as_ever(make_context, task):
    with pytest.raises(SourceUnavailableError, match="limited"):
        Limited(**task).execute(make_context())


def test_a_limit_that_never_lets_a_request_through_ends_the_task(make_context):
    with pytest.raises(SourceUnavailableError):
        Limited().resume_execution("execute_after_reset", {"waits_in_vain": WAITS_IN_VAIN}, make_context())
    found = deferred(Limited(answers=1), make_context(), WAITS_IN_VAIN)
    assert found.kwargs == {"waits_in_vain": 1}


def test_limits_that_lift_at_once_are_waited_for_longer_each_time(make_context):
    found = deferred(Limited(wait=timedelta(0)), make_context(), 7)
    assert found.trigger.moment - datetime.now(UTC) > timedelta(seconds=100)


def set_connection(monkeypatch, url, **fields):
    connection = {"conn_type": "http", "host": url, "login": "octocat", "password": "t", **fields}
    monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps(connection))


@pytest.fixture
def limited_server(server, reply, monkeypatch):  # noqa: F811
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 3000)}
    server.replies(reply({"message": "API rate limit exceeded"}, 403, headers))
    set_connection(monkeypatch, server.url, extra={"organizations": ["octo-org"]})
    return server


def test_a_limit_is_seen_through_dlt(limited_server, catalog, make_context):
    def source():
        return github(limited_server.url, "octocat").with_resources("user_repos")

    def generator():
        yield from source()

    for each in (source, generator):
        task = IngestOperator(task_id="ingest", source=each, table="t", unique_key="id")
        deferred(task, make_context(task))
    task = IngestOperator(task_id="ingest", source=source, table="t", unique_key="id", deferrable=False)
    with pytest.raises(SourceUnavailableError, match="The limit resets at"):
        task.execute(make_context(task))


def test_who_asks_github_waits(limited_server, home, make_context):
    deferred(FetchEventsOperator(task_id="fetch"), make_context())
    deferred(PlanPullRequestsOperator(task_id="plan"), make_context())


def test_a_task_that_waits_can_be_mapped():
    with DAG("d", schedule=None):
        FetchEventsOperator.partial(task_id="fetch", deferrable=False).expand(folder=["a", "b"])
