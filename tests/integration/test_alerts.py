"""Failed tasks under a real scheduler: written down by the task, or for it when it was killed; sent by a round."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_phlo import alerts
from airflow_provider_phlo.alerts.incidents import store
from tests.receivers import receiver

pytestmark = pytest.mark.xdist_group("airflow")


def incidents(airflow):
    found = store.read_state(airflow.catalog).incidents.values()
    return {each.subject: each for each in found if each.rule == "failed-tasks"}


def test_tasks_that_fail_are_announced_and_resolved(airflow):
    run_id = airflow.trigger("failing_tasks", conf={"fail": True})
    assert set(airflow.finished("failing_tasks", run_id).values()) == {"failed"}
    airflow.wait(lambda: len(incidents(airflow)) == 2)
    found = incidents(airflow)
    assert found["failing_tasks.fails"].message == "Task fails of failing_tasks failed after 2 attempts (ValueError)."
    assert found["failing_tasks.dies"].message == "Task dies of failing_tasks failed."
    assert {each.run.run_id for each in found.values()} == {run_id}
    with receiver() as team:
        folder, now = Path(__file__).parent, datetime.now(UTC)
        configuration = alerts.read_configuration(folder, {"PHLO_TEST_HOOK": team.url}, base_url="https://airflow.test")
        assert alerts.process(airflow.catalog, configuration, [], now).sent == 1
        assert team.bodies[0]["count"] == 2
        assert run_id.replace(":", "%3A").replace("+", "%2B") in team.bodies[0]["run_url"]
        assert "4711" not in str(team.bodies)
        passed = airflow.trigger("failing_tasks")
        assert set(airflow.finished("failing_tasks", passed).values()) == {"success"}

        def is_resolved():
            # on a busy machine the scheduler may still be writing down the end of the task that died
            alerts.process(airflow.catalog, configuration, [], datetime.now(UTC))
            return team.bodies[-1]["action"] == "resolve"

        airflow.wait(is_resolved)
