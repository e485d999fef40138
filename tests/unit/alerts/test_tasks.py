"""What tasks write down about themselves: failed tasks, failed checks."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.api.datamodels._generated import TaskInstanceState

from airflow_provider_phlo import settings
from airflow_provider_phlo.alerts import preview, read_configuration
from airflow_provider_phlo.alerts.incidents import store
from airflow_provider_phlo.alerts.incidents.state import IncidentState
from airflow_provider_phlo.exceptions import QualityCheckError
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.plugins import alerts as listener
from airflow_provider_phlo.quality import CountCheck
from airflow_provider_phlo.quality.results import QualityCheckResult
from tests.canary import CANARY, files_with_canary
from tests.lake import create_table


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes the rules of the project whose DAG files these are."""
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path / "project" / "dags"))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com")

    def write(rules):
        path = tmp_path / "project" / "include" / "alerting" / "config.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(
            'destinations: {team: {arguments: {url: "https://example.com/x"}}}\nrules:\n' + textwrap.dedent(rules)
        )

    return write


FAILED = "- {name: tasks, kind: task_failed, to: [team], resolve_after: 0s, dags: [a_*]}\n"
CHECKS = "- {name: checks, kind: quality_check_failed, to: [team]}\n"


def ended(make_context, state, **run):
    instance = make_context(BaseOperator(task_id="load", dag=DAG("a_dag", tags={"b", "a"}), owner="ann"), **run)["ti"]
    instance.state = TaskInstanceState(state)
    return instance


def incidents(catalog):
    return list(store.read_state(catalog).incidents.values())


def test_a_task_that_fails_for_good_is_an_incident_until_it_succeeds(catalog, project, make_context):
    project(FAILED)
    listener.on_task_instance_failed(ended(make_context, "up_for_retry"), ValueError(CANARY))
    assert incidents(catalog) == []
    listener.on_task_instance_failed(ended(make_context, "failed", try_number=3), ValueError(CANARY))
    (incident,) = incidents(catalog)
    assert incident.message == "Task load of a_dag failed after 3 attempts (ValueError)."
    assert (incident.subject, incident.owner, incident.tags) == ("a_dag.load", "ann", ("a", "b"))
    rules = read_configuration(settings.project_folder(), base_url=settings.airflow_url())
    (message,) = preview(catalog, rules, [], datetime.now(UTC))
    assert message.content["run_url"].startswith("https://airflow.example.com/dags/a_dag/runs/manual__one/tasks/load")
    listener.on_task_instance_success(ended(make_context, "success"))
    assert [each.state for each in incidents(catalog)] == [IncidentState.RESOLVED]
    assert files_with_canary(catalog_home(catalog)) == []


def catalog_home(catalog):
    from pathlib import Path

    return Path(catalog.properties["warehouse"].removeprefix("file://")).parent


def test_of_mapped_tasks_the_one_that_failed_has_to_succeed(catalog, project, make_context):
    project(FAILED)
    listener.on_task_instance_failed(ended(make_context, "failed", map_index=3), ValueError())
    listener.on_task_instance_success(ended(make_context, "success", map_index=4))
    assert [each.state for each in incidents(catalog)] == [IncidentState.OPEN]
    listener.on_task_instance_success(ended(make_context, "success", map_index=4, run_id="scheduled__next"))
    assert [each.state for each in incidents(catalog)] == [IncidentState.RESOLVED]


def test_nothing_is_done_when_no_rule_asks(catalog, project, make_context):
    project(CHECKS)
    listener.on_task_instance_failed(ended(make_context, "failed"), ValueError())
    listener.on_task_instance_success(ended(make_context, "success"))
    assert not catalog.namespace_exists("phlo")


def test_a_wrong_file_fails_no_task(catalog, project, make_context, caplog):
    project(FAILED.replace("to:", "too:"))
    listener.on_task_instance_failed(ended(make_context, "failed"), ValueError())
    assert "rules.0.too is not known. Did you mean to?" in caplog.text


def test_a_check_that_fails_its_task_is_one_incident(catalog, project, make_context):
    project(FAILED + CHECKS)
    failed = QualityCheckResult(passed=False, failed=1, row_count=2, check_name="a check", table="raw.readings")
    listener.on_task_instance_failed(ended(make_context, "failed"), QualityCheckError("failed", [failed]))
    assert incidents(catalog) == []
    listener.on_task_instance_failed(ended(make_context, "failed"), ValueError())
    assert [each.rule for each in incidents(catalog)] == ["tasks"]


def test_checks_are_written_down_as_they_run(catalog, project, make_context):
    project(CHECKS)
    create_table(catalog, "raw.readings", pa.table({"id": [1, 2]}))
    checks = QualityCheckOperator(task_id="check", table="readings", checks=[CountCheck(3)], blocking=False, retries=0)
    checks.execute(make_context(checks))
    (incident,) = incidents(catalog)
    assert (incident.rule, incident.table, incident.run.task_id) == ("checks", "raw.readings", "check")
    again = QualityCheckOperator(task_id="check", table="readings", checks=[CountCheck(1)], blocking=False)
    again.execute(make_context(again))
    (incident,) = incidents(catalog)
    assert incident.recovering_since is not None


def test_what_the_scheduler_has_heard_is_written_down_unless_the_task_did(catalog, project, make_context):
    project(FAILED)
    listener.on_task_instance_failed(ended(make_context, "failed"), ValueError())
    facts = {"try_number": 1, "map_index": -1}
    heard = [
        {"subject": f"a_dag.{name}", "message": f"Task {name} of a_dag failed.", "at": "2026-03-04T12:00:00+00:00",
         "facts": facts, "owner": "ann", "tags": ["a"], "run": ["a_dag", "manual__one", name]}
        for name in ("load", "killed")
    ]  # fmt: skip
    listener._write_for_others(heard)
    assert {each.subject: each.message for each in incidents(catalog)} == {
        "a_dag.load": "Task load of a_dag failed (ValueError).",
        "a_dag.killed": "Task killed of a_dag failed.",
    }
