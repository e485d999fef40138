"""PlanPullRequestsOperator: what a run of Airflow reads."""

from __future__ import annotations

import json
import os
from datetime import datetime
from functools import partial

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo.hooks.dlt import DltHook
from airflow_provider_phlo.hooks.warehouse import open_stage
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.pull_requests import PlanPullRequestsOperator
from airflow_provider_phlo.operators.record_repositories import RecordRepositoriesOperator
from airflow_provider_phlo.operators.stage_load import StageLoadOperator
from airflow_provider_phlo.operators.stage_pull_requests import StagePullRequestsOperator
from airflow_provider_phlo.sources.github_pulls.models import PullRequestReading
from airflow_provider_phlo.sources.github_pulls.reading import read_chunk
from airflow_provider_phlo.sources.github_pulls.tables import PREFIX, PULL_REQUEST_TABLES, REPOSITORIES_PREFIX
from tests.lake import open_lake
from tests.unit.sources.conftest import reply, serve, server  # noqa: F401 - fixtures
from tests.unit.sources.github_pulls.organization import Organization, moment


def set_connection(monkeypatch, url, **fields):
    connection = {"conn_type": "http", "host": url, "password": "t", **fields}
    monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps(connection))


@pytest.fixture
def organization(server, reply, monkeypatch):  # noqa: F811
    made = Organization()

    def route(request):
        status, body, headers = made.answer(request.path, request.query, request.headers)
        return reply(body, status, headers)

    server.route = route
    set_connection(monkeypatch, server.url)
    return made


def plan(make_context, configuration, **arguments):
    """Return what a plan gives, and its XCom ``plan``."""
    task = PlanPullRequestsOperator(task_id="plan", configuration=configuration, **arguments)
    context = make_context(task)
    return task.execute(context), context["ti"].pushed["plan"]


def test_a_plan_gives_chunks_and_says_what_it_found(organization, home, make_context):
    organization.repository("hello", 3)
    chunks, found = plan(make_context, {"organizations": ["OCTO-org"]})
    assert [chunk["pull_requests"] for chunk in chunks] == [3]
    assert (found["organizations"], found["repositories"], found["pull_requests"]) == (["octo-org"], 1, 3)
    assert (home / "staging" / chunks[0]["chunk"]).exists()
    assert chunks[0]["chunk"].startswith(found["folder"])
    # titles of private repositories are nobody else's
    assert not [path for path in (home / "staging").rglob("*") if path.stat().st_mode & 0o077]


def test_a_plan_of_nothing_is_empty_and_green(organization, home, make_context, caplog):
    organization.repository("hello")
    chunks, found = plan(make_context, {"organizations": ["octo-org"]})
    assert (chunks, found["repositories"]) == ([], 1)


def test_organizations_may_stand_in_the_connection(organization, home, make_context, server, monkeypatch):  # noqa: F811
    organization.repository("hello", 1)
    with pytest.raises(AirflowFailException, match=r"give a list of logins.*extra of the connection"):
        plan(make_context, {})
    set_connection(monkeypatch, server.url, extra={"organizations": ["octo-org"]})
    assert len(plan(make_context, {})[0]) == 1


def test_what_is_staged_asks_github_nothing(organization, home, make_context):
    chunks, found = plan(make_context, {"organizations": ["octo-org"], "from_stage": True})
    assert (chunks, found["from_stage"], organization.requests) == ([], True, 0)


def test_a_day_that_was_staged_is_loaded_with_all_that_came_later(home, make_context):
    written = []
    for organization, date in [("Octo-Org", "2026-11-26"), ("Octo-Org", "2026-11-27"), ("x", "2026-11-27")] * 2:
        with open_stage("github").writer(organization, date, f"t{len(written)}") as writer:
            pass
        written.append(writer.batch.name)

    def staged(*organizations, **conf):
        found = {"from_stage": True, "organizations": list(organizations)}
        stage = StagePullRequestsOperator(task_id="stage", plan=found, readings=[])
        return stage.execute(make_context(stage, conf=conf))["batches"]

    assert staged("octo-org") == [written[place] for place in (0, 1, 3, 4)]
    assert staged("octo-org", partition_date="2026-11-27") == [written[place] for place in (1, 3, 4)]
    with pytest.raises(AirflowFailException, match="Nothing is staged of nobody in"):
        staged("octo-org", "nobody")


def read(chunk, github):
    return read_chunk(chunk, github, DltHook().staging_root)


def run_dag(make_context, run_id, configuration):
    """Run the tasks of the DAG up to the tables; return how many were read, and the results of stage and record."""

    def execute(task, **more):
        context = make_context(task, run_id=run_id, **more)
        return task.execute(context), context["ti"].pushed

    planned = PlanPullRequestsOperator(task_id="plan", configuration={"organizations": ["octo-org"], **configuration})
    chunks, pushed = execute(planned)
    results = [execute(reading_task(chunk), map_index=index)[0] for index, chunk in enumerate(chunks)]
    stage = StagePullRequestsOperator(task_id="stage", plan=pushed["plan"], readings=results)
    staged, batches = execute(stage)
    load = StageLoadOperator(task_id="load", batches=batches["batches"], tables=PULL_REQUEST_TABLES)
    loaded, _ = execute(load)
    recorded, _ = execute(RecordRepositoriesOperator(task_id="record", plan=pushed["plan"], loaded=loaded))
    return pushed["plan"]["pull_requests"], staged, recorded


def reading_task(chunk):
    return IngestOperator(
        task_id="read",
        source=partial(read, chunk),
        table="pull_request_readings",
        unique_key=["repository_id", "number"],
        validation_schema=PullRequestReading,
        source_resources={"github": "github_default"},
    )


def numbers(home, table="pull_requests"):
    rows = open_lake(home).load_table(f"raw.{table}").scan().to_arrow().to_pylist()
    return sorted((row["repository"], row["number"]) for row in rows)


HELLO = [("hello", number) for number in range(1, 6)]


@pytest.mark.long
def test_each_run_reads_what_is_new(organization, home, make_context):
    hello = organization.repository("hello", 4)
    assert run_dag(make_context, "one", {})[0] == 4
    hello.add(1)
    hello.pulls[5].updated = 2_000_000
    organization.now = 3_000_000
    read_now, _, recorded = run_dag(make_context, "two", {})
    assert (read_now, recorded) == (1, {"rows": 1, "complete": 1})
    assert numbers(home) == HELLO
    assert run_dag(make_context, "three", {})[0] == 0


@pytest.mark.long
def test_a_clock_that_was_fast_once_hides_nothing_later(organization, home, make_context):
    hello = organization.repository("hello", 4)
    organization.now = 10_000_000  # the server is years ahead
    assert run_dag(make_context, "one", {})[0] == 4
    hello.add(1)
    hello.pulls[5].updated, organization.now = 900, 1_000
    assert run_dag(make_context, "two", {})[0] == 1
    (row,) = open_lake(home).load_table("raw.pull_request_repositories").scan().to_arrow().to_pylist()
    assert (row["read_at"], row["last_update"]) == (
        datetime.fromisoformat(moment(1_000)),
        datetime.fromisoformat(moment(900)),
    )
    assert run_dag(make_context, "three", {})[0] == 0


@pytest.mark.long
@pytest.mark.parametrize("table", ["pull_requests", "pull_request_reviews", "pull_request_files"])
def test_rows_that_are_lost_are_read_again(organization, home, make_context, table):
    organization.repository("hello", 5)
    run_dag(make_context, "one", {})
    before = numbers(home, table)
    open_lake(home).drop_table(f"raw.{table}")
    assert run_dag(make_context, "two", {})[0] == 5
    assert numbers(home, table) == before != []


@pytest.mark.long
def test_a_run_with_since_hides_nothing_of_a_repository_that_is_new_or_has_lost_its_rows(
    organization, home, make_context
):
    organization.repository("old", 1)
    run_dag(make_context, "one", {})
    organization.repository("hello", 5)
    open_lake(home).drop_table("raw.pull_requests")
    assert run_dag(make_context, "two", {"since": moment(5)})[0] == 1
    assert numbers(home) == [("hello", 5)]
    assert run_dag(make_context, "three", {})[0] == 6
    assert numbers(home) == [*HELLO, ("old", 1)]


@pytest.mark.long
def test_rows_that_are_lost_while_a_run_reads_are_read_again(organization, home, make_context, monkeypatch):
    hello = organization.repository("hello", 4)
    run_dag(make_context, "one", {})
    hello.add(1)
    hello.pulls[5].updated = 2_000_000
    organization.now = 3_000_000

    work = StagePullRequestsOperator.run

    def lose(self, context):
        monkeypatch.setattr(StagePullRequestsOperator, "run", work)
        open_lake(home).drop_table("raw.pull_requests")
        return work(self, context)

    monkeypatch.setattr(StagePullRequestsOperator, "run", lose)
    run_dag(make_context, "two", {})
    assert numbers(home) == [("hello", 5)]
    assert run_dag(make_context, "three", {})[0] == 5
    assert numbers(home) == HELLO


@pytest.mark.long
def test_what_is_staged_is_not_taken_for_all_there_is(organization, home, make_context):
    hello = organization.repository("hello", 4)
    _, staged, _ = run_dag(make_context, "one", {})
    hello.add(1)
    hello.pulls[5].updated = 2_000_000
    organization.now = 3_000_000
    run_dag(make_context, "two", {})
    # retention has removed the first batch, and the tables are lost
    stage = open_stage("github")
    (stage.folder / "_batches" / f"{staged['batches'][0]}.json").unlink()
    lake = open_lake(home)
    for name in lake.list_tables("raw"):
        lake.drop_table(name)

    _, again, recorded = run_dag(make_context, "three", {"from_stage": True})
    assert len(again["batches"]) == 1
    assert recorded["nothing_to_do"]
    assert numbers(home) == [("hello", 5)]
    assert run_dag(make_context, "four", {})[0] == 5
    assert numbers(home) == HELLO


@pytest.mark.long
def test_retention_removes_what_both_stages_have(organization, home, make_context, monkeypatch):
    organization.repository("hello", 2)
    run_dag(make_context, "one", {})
    prefixes = (PREFIX, REPOSITORIES_PREFIX)
    assert [len(open_stage(prefix).batches()) for prefix in prefixes] == [1, 1]
    monkeypatch.setenv("AIRFLOW__PHLO__STAGE_RETENTION_DAYS", "0")
    run_dag(make_context, "two", {})
    assert [len(open_stage(prefix).batches()) for prefix in prefixes] == [0, 0]


@pytest.mark.long
def test_a_repository_that_is_no_longer_listed_is_named(organization, home, make_context):
    organization.repository("gone", 1)
    organization.repository("hello", 1)
    run_dag(make_context, "one", {})
    organization.repositories.pop(0)
    _, staged, recorded = run_dag(make_context, "two", {})
    assert [each["repository"] for each in staged["left_out"]] == ["octo-org/gone"]
    assert (staged["left_out_count"], recorded["rows"]) == (1, 2)
    rows = open_lake(home).load_table("raw.pull_request_repositories").scan().to_arrow().to_pylist()
    assert {row["repository"]: row["left_out"] is None for row in rows} == {"gone": False, "hello": True}


def test_plan_read_and_stage_account_for_everything(organization, home, make_context, monkeypatch):
    organization.repository("gone", 2)
    organization.repository("hello", 3, reviews=2)
    chunks, found = plan(make_context, {"organizations": ["octo-org"]})
    organization.repositories.pop(0)
    results = [
        task.execute(make_context(task, map_index=index)) for index, task in enumerate(map(reading_task, chunks))
    ]
    old = home / "staging" / "raw.pull_request_readings" / "2020-01-01" / "token"
    old.mkdir(parents=True)
    os.utime(old, (1, 1))
    stage = StagePullRequestsOperator(task_id="stage", plan=found, readings=results)

    staged = stage.execute(make_context(stage))

    assert staged["rows"] == {"pull_requests": 3, "reviews": 6, "files": 3}
    assert {each["repository"] for each in staged["left_out"]} == {"octo-org/gone#1", "octo-org/gone#2"}
    assert not old.exists()
