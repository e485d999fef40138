"""From a table that nobody fills to a message that arrives once, and to the one that it is fresh again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog

from airflow_provider_phlo.alerts.incidents.store import read_state
from airflow_provider_phlo.quality.check_results import Occasion, record
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.watching.reading import FactsCache
from airflow_provider_phlo.watching.round import RoundResult, watch
from tests.lake import open_lake
from tests.receivers import receiver

RULES = """
destinations: {team: {arguments: {url: "URL"}}}
rules:
  - {name: old, kind: freshness, to: [team], groups: [site], resolve_after: 0s, cooldown: 0s}
  - {name: checks, kind: quality_check_failed, to: [team]}
"""


def test_two_watchers_wake_somebody_once(publish: Callable[..., None], home: Path) -> None:
    rules = home / "include" / "alerting" / "config.yaml"
    rules.parent.mkdir(parents=True)
    publish("one", {1: 1.0})
    now = dt.datetime.now(dt.UTC)

    def one_watcher(hours: float) -> RoundResult:
        return watch(open_lake(home), home, now + dt.timedelta(hours=hours), known=FactsCache())

    with receiver() as team:
        rules.write_text(RULES.replace("URL", team.url))
        with ThreadPoolExecutor(3) as pool:
            rounds = list(pool.map(one_watcher, (49, 49, 49)))
        opened: list[Any] = [each.alerts and each.alerts.opened for each in rounds]
        assert sorted(opened) == [0, 0, 1]
        assert len(team.bodies) == 1
        assert "raw.readings" in str(team.bodies[0])
        assert one_watcher(49.1).problems == ()
        assert len(team.bodies) == 1, "what the watcher has recorded is not an incident of its own"
        publish("two", {2: 2.0})
        for hours in (1, 1.1):
            one_watcher(hours)
        assert len(team.bodies) == 2


METRIC = """
destinations: {team: {arguments: {url: "URL"}}}
rules:
  - {name: many, kind: metric, to: [team], sql: SELECT count(*) FROM raw.readings, when: value > 1}
  - {name: gone, kind: metric, to: [team], table: raw.readings, when: nosuch > 1}
  - {name: checks, kind: quality_check_failed, to: [team], groups: [site]}
"""


def test_what_rules_find_is_a_verdict_of_the_round(
    publish: Callable[..., None], look: Callable[..., RoundResult], home: Path, catalog: Catalog
) -> None:
    rules = home / "include" / "alerting" / "config.yaml"
    rules.parent.mkdir(parents=True)
    publish("one", {1: 1.0, 2: 2.0})
    failed = QualityCheckResult(passed=False, check_name="null_check(v)", table="raw.readings", failed=1, row_count=2)
    record(catalog, Occasion("readings", "one", "check", -1, 1), [failed])
    with receiver() as team:
        rules.write_text(METRIC.replace("URL", team.url))
        result = look()
        assert [(each.rule, each.table, each.subject) for each in result.wrong] == [
            ("metric", "raw.readings", "many"),
            ("metric", "raw.readings", "evaluation of gone"),
            ("quality_check_failed", "raw.readings", "null_check(v)"),
        ]
        assert {each.group for each in result.wrong} == {"site"}
        assert result.recorded == 3, "both metrics, and that the watcher has looked; not the check's result again"
        assert look(0.1).recorded == 0
        assert result.alerts is not None
        assert (result.alerts.opened, len(team.bodies)) == (3, 3)
        assert "raw.readings: metric gone cannot be evaluated: " in str(team.bodies)


def test_what_is_fresh_again_ends_the_incident_of_a_rule_about_warnings(
    publish: Callable[..., None], look: Callable[..., RoundResult], home: Path
) -> None:
    rules = home / "include" / "alerting" / "config.yaml"
    rules.parent.mkdir(parents=True)
    publish("one", {1: 1.0})
    with receiver() as team:
        rule = "{name: late, kind: freshness, severities: [warn], to: [team], resolve_after: 0s, cooldown: 0s}"
        rules.write_text(f'destinations: {{team: {{arguments: {{url: "{team.url}"}}}}}}\nrules: [{rule}]\n')
        look(25)
        publish("two", {2: 2.0})
        assert len(team.bodies) == 1
        look(1)
        look(1.1)
        assert "resolved: late" in str(team.bodies[1:])


def test_a_metric_that_reads_another_table_is_over_for_the_one_before(
    publish: Callable[..., None], look: Callable[..., RoundResult], home: Path, catalog: Catalog
) -> None:
    rules = home / "include" / "alerting" / "config.yaml"
    rules.parent.mkdir(parents=True)
    with receiver() as team:
        for number, table in enumerate(("raw.one", "raw.two")):
            publish("one", {1: 1.0}, table=table)
            rule = f"{{name: some, kind: metric, table: {table}, when: count(*) > 0, to: [team]}}"
            rules.write_text(f'destinations: {{team: {{arguments: {{url: "{team.url}"}}}}}}\nrules: [{rule}]\n')
            look(number)
    state = {(each.table, str(each.state)) for each in read_state(catalog).incidents.values()}
    assert state == {("raw.one", "resolved"), ("raw.two", "open")}
