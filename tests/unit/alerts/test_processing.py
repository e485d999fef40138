"""From verdicts to messages that arrive, over a real table and real receivers."""

from __future__ import annotations

from airflow_provider_phlo.alerts import processing
from airflow_provider_phlo.alerts.incidents import store
from airflow_provider_phlo.alerts.incidents.state import IncidentState, MessageState
from tests.receivers import receiver
from tests.unit.alerts.conftest import NOW, minutes, verdict

ONE_RULE = """
    destinations:
      team: {arguments: {url: "${HOOK}"}}
    rules:
      - name: checks
        kind: quality_check_failed
        tables: [raw.*]
        to: [team]
"""


def test_a_check_that_fails_is_one_message_and_one_when_it_passes_again(catalog, configure):
    with receiver() as team:
        configuration = configure(ONE_RULE, HOOK=team.url)
        first = processing.process(catalog, configuration, [verdict()], NOW)
        again = processing.process(catalog, configuration, [verdict(at=NOW + minutes(5))], NOW + minutes(5))
        passed = processing.process(catalog, configuration, [verdict(True, NOW + minutes(10))], NOW + minutes(10))
        later = processing.process(catalog, configuration, [], NOW + minutes(20))
        assert processing.process(catalog, configuration, [], NOW + minutes(25)) == processing.AlertRound()
    assert (first.opened, first.sent) == (1, 1)
    assert again == passed == processing.AlertRound()
    assert (later.resolved, later.sent) == (1, 1)
    assert team.texts == [
        "opened: [error] checks: null_check(id) of raw.readings",
        "resolved: [error] resolved: checks: null_check(id) of raw.readings",
    ]
    assert [body["action"] for body in team.bodies] == ["trigger", "resolve"]
    assert team.bodies[0]["key"] == team.bodies[1]["key"]
    assert team.bodies[0]["incidents"][0]["facts"] == {"failed": 3, "row_count": 40}
    state = store.read_state(catalog)
    assert [each.state for each in state.incidents.values()] == [IncidentState.RESOLVED]
    assert {each.state for each in state.messages.values()} == {MessageState.SENT}
    assert store.is_quiet(catalog)
