"""What a message says, and what it does not."""

from __future__ import annotations

import json

import pytest

from airflow_provider_phlo.alerts import processing
from airflow_provider_phlo.alerts.incidents import store
from airflow_provider_phlo.alerts.rules.verdicts import RunRef, Severity
from tests.canary import CANARY, files_with_canary, has_canary
from tests.receivers import receiver
from tests.unit.alerts.conftest import NOW, minutes, verdict
from tests.unit.alerts.incidents.test_transitions import Watching, configuration, failed


def content(verdicts, **rule):
    watching = Watching(configuration(**rule).model_copy(update={"base_url": "https://airflow.example.com/"}))
    watching.round(minutes(0), *verdicts)
    return watching.messages[0].content


def test_what_has_no_name_of_its_own_is_called_as_its_rule_once():
    assert content([verdict(check="checks")])["title"] == "[error] checks: raw.readings"
    assert content([verdict(check="checks", table=None)])["title"] == "[error] checks: checks"


def test_a_message_says_where_since_when_and_what_to_do():
    run = RunRef("readings", "scheduled__2026-03-04T00:00:00+00:00", "group.check")
    found = content([failed(minutes(0), run=run, owner="ann", consumers=("dashboard", "api"))])
    assert found["text"].splitlines() == [
        "[error] checks: null_check(id) of raw.readings",
        "- null_check(id) failed: 3 of 40 rows. Since 2026-03-04T12:00:00+00:00.",
        "Owner: ann",
        "What to do: Look at the rows that fail, then fix the data or the check and run it again.",
        "Run: https://airflow.example.com/dags/readings/runs/scheduled__2026-03-04T00%3A00%3A00%2B00%3A00/tasks/group.check",
        "Table: https://airflow.example.com/assets?name_pattern=raw.readings",
        "Relied on by: api, dashboard",
    ]
    assert content([failed(minutes(0))], advice="Call Ann.")["text"].endswith(
        "What to do: Call Ann.\nTable: https://airflow.example.com/assets?name_pattern=raw.readings"
    )
    assert json.loads(json.dumps(found)) == found


def test_facts_are_said_only_if_they_count_or_are_declared(catalog, configure, home):
    facts = {"failed": 3, "worst": CANARY, "rows": CANARY, "mean": 41.5}
    undeclared = content([failed(minutes(0), facts=facts)])
    assert undeclared["incidents"][0]["facts"] == {"failed": 3}
    assert content([failed(minutes(0), facts=facts)], facts=["mean"])["incidents"][0]["facts"] == {
        "failed": 3,
        "mean": 41.5,
    }
    with receiver() as team:
        rules = """
            destinations: {team: {arguments: {url: "${HOOK}"}}}
            rules: [{name: checks, kind: quality_check_failed, to: [team]}]
        """
        processing.process(catalog, configure(rules, HOOK=team.url), [verdict(facts=facts)], NOW)
    assert not has_canary(json.dumps(team.bodies))
    assert not has_canary(str(store.read_state(catalog)))
    assert files_with_canary(home) == []


@pytest.mark.parametrize("name", ["a\nb", "<b>bold</b>", "x" * 10_000])
def test_names_stay_on_their_line(name):
    found = content([failed(minutes(0), check=name, severity=Severity.WARN)])
    assert len(found["text"].splitlines()) == 4
    assert "<b>" not in found["html"]
    assert len(found["text"]) < 2_000
