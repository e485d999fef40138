"""Verdicts on rows, quarantine and service levels, and by rules with bounds of their own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from airflow_provider_phlo.alerts import read_configuration
from airflow_provider_phlo.metrics.loads import Load, TableLoads
from airflow_provider_phlo.quality.freshness import FreshnessPolicy, TablePolicy
from airflow_provider_phlo.watching.facts import DayRead, TableFacts
from airflow_provider_phlo.watching.judging import verdicts_of
from airflow_provider_phlo.watching.reading import FactsCache, Unreadable, _read, read_facts
from tests.receivers import receiver
from tests.unit.watching.conftest import POLICY, states

NOW = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)  # a Monday
MONDAYS = [NOW.date() - dt.timedelta(days=number) for number in range(1, 60)]


def facts(**changed: Any) -> TableFacts:
    values = {
        "table": "raw.readings",
        "policy": POLICY,
        "problem": "",
        "current_as_of": NOW - dt.timedelta(hours=1),
        "known_since": None,
        "days": {},
        "read": 0,
        "quarantined": 0,
        "snapshot_id": 1,
        "is_final": True,
    }
    return TableFacts(**{**values, **changed})


def days(newest: DayRead, others: int = 1000) -> dict[str, DayRead]:
    """Return sixty days of about as many records, and a newest one."""
    usual = {str(day): DayRead(others + number % 7, 1) for number, day in enumerate(MONDAYS[1:])}
    return {**usual, str(MONDAYS[0]): newest}


def of_kind(kind: str, found: TableFacts, rules: Any = None, now: dt.datetime = NOW) -> list[Any]:
    return [(each.subject, each.passed) for each in verdicts_of(found, now, rules) if each.rule == kind]


@pytest.mark.parametrize(
    ("newest", "passed"),
    [
        (DayRead(1001, 1), True),
        (DayRead(400, 1), False),
        (DayRead(0, 1), False),
        (DayRead(3000, 1), False),
        # loaded twice by hand: each publication has read what is usual
        (DayRead(2004, 2), True),
        # half of the day is missing in both of two loads
        (DayRead(400, 2), False),
    ],
)
def test_the_rows_of_a_day(newest: DayRead, passed: bool) -> None:
    found = facts(days=days(newest))
    assert of_kind("row_count_anomaly", found) == [("policy", passed)]
    [verdict] = [each for each in verdicts_of(found, NOW) if each.rule == "row_count_anomaly"]
    assert verdict.facts["rows"] == newest.read
    assert str(MONDAYS[0]) in verdict.message


def test_a_day_that_goes_on_is_not_judged() -> None:
    zone = TablePolicy(FreshnessPolicy(24, 48, "0 6 * * *", "America/Los_Angeles"))
    found = days(DayRead(1, 1))
    for policy, now, judged in (
        (POLICY, "2026-03-02T00:59:00+00:00", False),
        (POLICY, "2026-03-02T01:00:00+00:00", True),
        (zone, "2026-03-02T08:59:00+00:00", False),
        (zone, "2026-03-02T09:00:00+00:00", True),
    ):
        said = of_kind("row_count_anomaly", facts(days=found, policy=policy), now=dt.datetime.fromisoformat(now))
        assert said == [("policy", not judged)]


def test_without_history_nothing_is_said_of_rows() -> None:
    assert of_kind("row_count_anomaly", facts(days={str(MONDAYS[0]): DayRead(1, 1)})) == []
    assert of_kind("row_count_anomaly", facts(days={})) == []
    assert of_kind("row_count_anomaly", facts(days=days(DayRead(1, 1)), policy=None)) == []


def test_the_share_in_quarantine() -> None:
    assert of_kind("quarantine_rate", facts(read=100, quarantined=5)) == [("policy", True)]
    assert of_kind("quarantine_rate", facts(read=100, quarantined=6)) == [("policy", False)]
    assert of_kind("quarantine_rate", facts(read=0, quarantined=0)) == []


def test_rules_with_bounds_of_their_own(tmp_path: Path) -> None:
    rules = tmp_path / "include" / "alerting" / "config.yaml"
    rules.parent.mkdir(parents=True)
    rules.write_text(
        """
        destinations: {here: {arguments: {url: "http://127.0.0.1:9/"}}}
        rules:
          - {name: old, kind: freshness, older_than: 30m, to: [here], groups: [site]}
          - {name: elsewhere, kind: freshness, older_than: 30m, to: [here], groups: [other]}
          - {name: few, kind: row_count_anomaly, deviation: 0.1, to: [here]}
          - {name: any, kind: quarantine_rate, more_than: 0.0, to: [here]}
        """
    )
    configuration = read_configuration(tmp_path, {})
    found = facts(days=days(DayRead(850, 1)), read=100, quarantined=1)
    assert of_kind("freshness", found, configuration) == [("policy", True), ("old", False)]
    assert of_kind("row_count_anomaly", found, configuration)[1] == ("few", False)
    assert of_kind("quarantine_rate", found, configuration) == [("policy", True), ("any", False)]
    undeclared = facts(policy=None)
    assert of_kind("freshness", undeclared, configuration) == []


def test_a_table_that_a_rule_names_and_that_is_not_there_is_said_and_wrong_in_time(
    publish: Callable[..., None], look: Any, home: Path
) -> None:
    rules = home / "include" / "alerting" / "config.yaml"
    rules.parent.mkdir(parents=True)
    publish("one", {1: 1.0})
    with receiver() as team:
        rules.write_text(
            f"""
            destinations: {{here: {{arguments: {{url: "{team.url}"}}}}}}
            rules:
              - {{name: old, kind: freshness, older_than: 2h, to: [here], tables: [raw.reading, "gold.*"]}}
              - {{name: few, kind: row_count_anomaly, to: [here], tables: [raw.readings, raw.readings__quarantine]}}
              - {{name: checks, kind: quality_check_failed, to: [here], tables: [raw.readings__quarantine]}}
            """
        )
        said = [each for each in look(-3).unknown if each.rule_name]
        assert [(each.table, each.subject, each.message.partition(": ")[2]) for each in said] == [
            ("raw.reading", "old", "there is no such table, and the rule old is about it. Did you mean raw.readings?"),
            ("raw.readings__quarantine", "few", "quarantines are not watched, and the rule few is about it. "
             "Did you mean raw.readings?"),
        ]  # fmt: skip
        look(-1.1)
        assert team.bodies == []
        look(-0.9)
        assert team.texts == ["opened: [error] old: raw.reading"]
        publish("two", {1: 1.0}, table="raw.reading")
        for hours in (0.1, 0.4):
            look(hours)
        assert team.texts[1:] == ["resolved: [error] resolved: old: raw.reading"]


def test_a_store_that_does_not_answer_for_an_hour_is_heard_of(
    publish: Callable[..., None], look: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = home / "include" / "alerting" / "config.yaml"
    rules.parent.mkdir(parents=True)
    publish("one", {1: 1.0})
    unanswered = Unreadable("raw.readings", "the store does not answer")
    monkeypatch.setattr("airflow_provider_phlo.watching.round.read_facts", lambda *_: [unanswered])
    with receiver() as team:
        rules.write_text(
            f'destinations: {{here: {{arguments: {{url: "{team.url}"}}}}}}\n'
            "rules: [{name: old, kind: freshness, to: [here]}]\n"
        )
        for hours in (0, 0.9):
            assert [each.passed for each in look(hours).verdicts] == [None]
        assert team.bodies == []
        look(1.1)
    [body] = team.bodies
    assert "raw.readings cannot be watched: the store does not answer. Since" in body["text"]


def test_what_has_expired_is_not_called_fresh() -> None:
    def said(hours: float) -> Any:
        since = NOW - dt.timedelta(hours=hours)
        [verdict] = verdicts_of(facts(current_as_of=None, known_since=since), NOW)
        return verdict.passed

    assert (said(3), said(49)) == (None, False)
    assert verdicts_of(facts(current_as_of=None), NOW)[0].facts["state"] == "stale"


def test_a_contract_is_watched(publish: Callable[..., None], look: Any, home: Path) -> None:
    folder = home / "include" / "contracts"
    folder.mkdir(parents=True)
    (folder / "readings.yaml").write_text(
        "name: readings\nversion: 1.0.0\nowner: team-b\ntable: raw.readings\n"
        "schema: {required_columns: [{name: k, type: int}]}\n"
        "sla: {freshness_hours: 2, quality_threshold: 0.9}\n"
        "consumers: [{name: dashboards, usage: charts}]\n"
    )
    (folder / "broken.yaml").write_text("name: [\n")
    publish("one", {1: 1.0})
    fresh, old = look(1), look(3)
    assert [each.subject for each in fresh.verdicts if each.rule == "contract_breach" and each.passed] == [
        "readings table",
        "readings freshness",
        "readings quality",
    ]
    breach, files = (each for each in old.wrong if each.rule == "contract_breach")
    assert (breach.subject, breach.owner, breach.group, breach.consumers) == (
        "readings freshness",
        "team-b",
        "site",
        ("dashboards",),
    )
    assert (files.subject, files.table, "broken.yaml" in files.message) == ("files", None, True)


@pytest.mark.long
@pytest.mark.parametrize(("status", "passed"), [("active", False), ("deprecated", False), ("draft", None)])
def test_a_promised_table_that_does_not_exist(
    publish: Callable[..., None], look: Any, home: Path, catalog: Any, status: str, passed: bool | None
) -> None:
    folder = home / "include" / "contracts"
    folder.mkdir(parents=True)
    text = (
        "name: readings\nversion: 1.0.0\nowner: team-b\ntable: readings\n"
        "schema: {required_columns: [{name: k, type: int}]}\nsla: {freshness_hours: 2}\n"
    )
    (folder / "readings.yaml").write_text(f"{text}status: {status}\n")

    def said() -> list[tuple[Any, ...]]:
        return [(each.table, each.subject, each.passed) for each in look(0).verdicts if each.table]

    assert said() == [("raw.readings", "readings table", passed)]
    assert look(0.1).recorded == 0, "what has not changed is recorded once"
    publish("one", {1: 1.0}, policy=None)
    # the results that the round has recorded are a table, too, which nothing is said about
    assert said() == [("raw.readings", "readings table", True), ("raw.readings", "readings freshness", True)]
    catalog.drop_table("raw.readings")
    assert said() == [("raw.readings", "readings table", passed)]
    publish("one", {1: 1.0}, table="silver.readings", policy=None)
    publish("one", {1: 1.0}, table="gold.readings", policy=None)
    [ambiguous] = [each for each in look(0).wrong if each.subject == "readings table"]
    assert "may be gold.readings or silver.readings" in ambiguous.message


def test_a_catalog_that_hands_out_tables_one_by_one(publish: Callable[..., None], catalog: Any) -> None:
    for name in ("raw.one", "raw.two"):
        publish("one", {1: 1.0}, table=name)
    plain = SqlCatalog("phlo", **catalog.properties)
    now = dt.datetime.now(dt.UTC)
    read = {type(each): read_facts(each, now, FactsCache()) for each in (plain, catalog)}
    assert read[SqlCatalog] == read[type(catalog)]
    assert states(verdict for each in read[SqlCatalog] for verdict in verdicts_of(each, now)) == [
        ("raw.one", "fresh"),
        ("raw.two", "fresh"),
    ]


def test_a_table_that_is_changed_or_dropped_while_the_round_goes_on(publish: Callable[..., None], catalog: Any) -> None:
    publish("one", {1: 1.0})
    listed = catalog.metadata_locations()
    publish("two", {1: 2.0})
    Path(listed["raw.readings"].removeprefix("file://")).unlink()
    now = dt.datetime.now(dt.UTC)

    def read(catalog: Catalog) -> Any:
        return _read(catalog, "raw.readings", lambda name: catalog.table_at(name, listed[name]), now, FactsCache())

    newer = read(catalog)
    assert newer.current_as_of == read_facts(catalog, now, FactsCache())[0].current_as_of  # type: ignore[union-attr]
    catalog.drop_table("raw.readings")
    assert read(catalog) is None


def test_a_catalog_that_does_not_say_which_file_is_current(publish: Callable[..., None], catalog: Catalog) -> None:
    def load(name: str) -> Any:
        table = catalog.load_table(name)
        table.metadata_location = None  # a REST catalog may leave it out
        return table

    known, now = FactsCache(), dt.datetime.now(dt.UTC)
    for name in ("raw.one", "raw.two"):
        publish("one", {1: 1.0}, table=name)
    read = [_read(catalog, name, load, now, known) for name in ("raw.one", "raw.two")]
    assert [each.table for each in read if isinstance(each, TableFacts)] == ["raw.one", "raw.two"]


def test_days_that_are_not_known_whole_are_left_out() -> None:
    from airflow_provider_phlo.watching.facts import _days

    loads = tuple(
        Load(NOW - dt.timedelta(days=number), "t", "", str((NOW - dt.timedelta(days=number)).date()), {"read": 10})
        for number in range(5, 0, -1)
    )
    known = TableLoads("raw.readings", loads, NOW - dt.timedelta(days=3), 0, 1)
    assert list(_days(known)) == ["2026-02-28", "2026-03-01"]
