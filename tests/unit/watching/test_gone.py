"""What nobody can see any more is over, and says why; what could not be looked at is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.alerts.incidents.store import read_state
from airflow_provider_phlo.quality.check_results import Occasion, record
from airflow_provider_phlo.quality.freshness import TablePolicy
from airflow_provider_phlo.quality.freshness.table_policy import POLICY_PROPERTY
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.watching.round import RoundResult
from tests.receivers import Receiver, receiver

RULES = """
destinations: {team: {arguments: {url: "URL"}}}
rules:
  - {name: old, kind: freshness, to: [team]}
  - {name: checks, kind: quality_check_failed, to: [team]}
  - {name: contracts, kind: contract_breach, to: [team]}
"""
CONTRACT = (
    "name: readings\nversion: 1.0.0\nowner: team-b\ntable: raw.readings\n"
    "schema: {required_columns: [{name: k, type: int}]}\nsla: {freshness_hours: 2}\n"
)


@dataclass
class Watched:
    """
    A table that is late by its own policy and by a contract, with a check that has failed: three incidents.

    :param over: returns subject → why it is over, of what was looked at once more.
    """

    over: Callable[[], dict[str, str]]
    contract: Path
    team: Receiver


@pytest.fixture
def watched(
    publish: Callable[..., None], look: Callable[..., RoundResult], home: Path, catalog: Catalog
) -> Iterator[Watched]:
    for name in ("alerting", "contracts"):
        (home / "include" / name).mkdir(parents=True)
    contract = home / "include" / "contracts" / "readings.yaml"
    contract.write_text(CONTRACT)
    publish("one", {1: 1.0})
    failed = QualityCheckResult(passed=False, check_name="null_check(v)", table="raw.readings", failed=1, row_count=2)
    broken = QualityCheckResult(
        passed=False, check_name="readings: v", table="raw.readings", metrics={"contract": "readings", "rule": "v"}
    )
    record(catalog, Occasion("readings", "one", "check", -1, 1), [failed, broken])
    with receiver() as team:
        (home / "include" / "alerting" / "config.yaml").write_text(RULES.replace("URL", team.url))
        look(0.1)
        look(50)
        hours = iter(range(51, 99))

        def over() -> dict[str, str]:
            look(next(hours))
            incidents = read_state(catalog).incidents.values()
            return {each.subject: each.resolved_because for each in incidents if each.resolved_because}

        assert len(read_state(catalog).incidents) == 4
        assert over() == {}
        yield Watched(over, contract, team)


def test_a_dropped_table(watched: Watched, catalog: Catalog) -> None:
    watched.contract.unlink()
    catalog.drop_table("raw.readings")
    why = "there is no such table any more"
    assert watched.over() == dict.fromkeys(["policy", "null_check(v)", "readings freshness", "readings v"], why)
    assert [why in str(each) for each in watched.team.bodies].count(True) >= 1


def test_a_dropped_table_that_a_contract_promises_is_an_incident_of_its_own(watched: Watched, catalog: Catalog) -> None:
    catalog.drop_table("raw.readings")
    over = watched.over()
    assert "readings table" not in over
    assert any(each.subject == "readings table" for each in read_state(catalog).incidents.values())


def test_a_promise_that_is_withdrawn(watched: Watched) -> None:
    watched.contract.write_text(CONTRACT.replace("sla: {freshness_hours: 2}\n", ""))
    assert watched.over() == {"readings freshness": "no contract promises it any more"}


@pytest.mark.long
@pytest.mark.parametrize("text", ["name: [\n", CONTRACT + "slaa: 1\n"])
def test_a_contract_that_cannot_be_read_is_not_gone(watched: Watched, text: str) -> None:
    watched.contract.write_text(text)
    assert watched.over() == {}


def test_what_a_task_has_found_of_a_contract_is_the_tasks(watched: Watched) -> None:
    watched.contract.unlink()
    assert "readings v" not in watched.over()


def test_a_policy_that_is_withdrawn(watched: Watched, catalog: Catalog) -> None:
    def set_policy(text: str) -> None:
        with catalog.load_table("raw.readings").transaction() as change:
            change.set_properties({POLICY_PROPERTY: text})

    set_policy("[]")
    assert watched.over() == {}, "a policy that cannot be read may promise anything"
    set_policy(TablePolicy(group="site").to_json())
    assert watched.over() == {"policy": "no freshness is promised of the table any more"}


def test_a_table_that_cannot_be_read_is_not_gone(watched: Watched, catalog: Catalog) -> None:
    location = catalog.load_table("raw.readings").metadata_location
    Path(location.removeprefix("file://")).write_text("{")
    assert watched.over() == {}


def test_a_task_that_failed_before_it_succeeded_is_not_wrong_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler may hear of a failure long after the same task has succeeded in a later run."""
    import datetime as dt
    from types import SimpleNamespace

    from airflow_provider_phlo.plugins.alerts import task_verdict

    ended = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    parts: dict[str, Any] = {"dag_id": "d", "task_id": "t", "map_index": -1, "try_number": 1, "run_id": "r"}
    assert task_verdict(SimpleNamespace(**parts, end_date=ended), passed=False).observed_at == ended
    assert task_verdict(SimpleNamespace(**parts, end_date=None), passed=False).observed_at > ended
