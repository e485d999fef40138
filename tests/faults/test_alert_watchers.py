"""Several watchers at once, also ones that are killed: every message arrives, and twice only what was not marked."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from pyiceberg.catalog import Catalog

from airflow_provider_phlo.alerts import processing
from airflow_provider_phlo.alerts.delivery import sending as delivery
from airflow_provider_phlo.alerts.incidents import store
from airflow_provider_phlo.alerts.rules.configuration import Configuration
from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, Severity, Verdict
from tests.faults.killing import PROCESSES, CatalogSettings, dying_after, dying_before, exit_code
from tests.patience import PATIENCE
from tests.receivers import receiver
from tests.sizes import size

START = datetime(2026, 3, 4, 12, tzinfo=UTC)
ROUNDS, SECONDS = size(10, 500), size(120, 3600)
# module, function, whether the watcher dies before or after it, and at which of its calls
PLACES: dict[str, tuple[Any, str, str, int]] = {
    "nothing is written": (store, "_write", "before", 1),
    "written and claimed": (store, "_write", "after", 1),
    "before sending": (delivery, "deliver", "before", 1),
    "sent": (delivery, "settle", "before", 1),
    "before marking": (store, "_write", "before", 2),
    "marked": (store, "_write", "after", 2),
}
TABLES = ("raw.a", "raw.b", "raw.c")


def configuration(url: str) -> Configuration:
    return Configuration.model_validate(
        {
            "destinations": {"team": {"arguments": {"url": url}}},
            "rules": [
                {
                    "name": "checks",
                    "kind": "quality_check_failed",
                    "to": ["team"],
                    "resolve_after": "0s",
                    "cooldown": "0s",
                }
            ],
        }
    )


def look(number: int) -> list[Verdict]:
    """Return what is seen in a round: everything is wrong in the even ones, and right in the others."""
    at = START + timedelta(minutes=10 * number)
    return [
        Verdict(RuleKind.QUALITY_CHECK_FAILED, table, "a check", bool(number % 2), Severity.ERROR, "It failed.", at)
        for table in TABLES
    ]


def watch(settings: CatalogSettings, url: str, rounds: int, together: Any) -> None:
    """Go through rounds, each at the same moment as the other watcher."""
    with settings.open() as catalog:
        for number in range(rounds):
            together.wait(PATIENCE)
            one_round(catalog, url, number)


def one_round(catalog: Catalog, url: str, number: int) -> None:
    now = START + timedelta(minutes=10 * number)
    processing.process(catalog, configuration(url), look(number), now)


def watch_until_killed(settings: CatalogSettings, url: str, number: int, place: str) -> None:
    """Go through one round, and die at a place in it."""
    module, name, when, call = PLACES[place]
    wrap = dying_before if when == "before" else dying_after
    setattr(module, name, wrap(call, getattr(module, name)))
    with settings.open() as catalog:
        one_round(catalog, url, number)


def received(team) -> Counter:
    return Counter((body["key"], body["status"], body["at"]) for body in team.bodies)


def test_two_watchers_send_each_message_once(settings: CatalogSettings) -> None:
    together = PROCESSES.Barrier(2)
    with receiver() as team:
        both = [PROCESSES.Process(target=watch, args=(settings, team.url, ROUNDS, together)) for _ in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join(SECONDS)
            assert each.exitcode == 0
        assert len(team.bodies) == ROUNDS * len(TABLES)
        assert set(received(team).values()) == {1}
    with settings.open() as catalog:
        assert store.is_quiet(catalog)


def test_watchers_that_are_killed_lose_nothing(settings: CatalogSettings) -> None:
    with receiver() as team:
        for number, place in enumerate(PLACES):
            assert exit_code(watch_until_killed, settings, team.url, number, place) == -9
            with settings.open() as catalog:
                # another watcher, at the same moment, and again when the lease of the dead one has expired
                one_round(catalog, team.url, number)
                later = START + timedelta(minutes=10 * number + 6)
                processing.process(catalog, configuration(team.url), [], later)
        with settings.open() as catalog:
            state = store.read_state(catalog)
        times = received(team)
        assert state.waiting == 0
        assert len(times) == len(PLACES) * len(TABLES)
        assert {(each.content["key"], str(each.status), each.content["at"]) for each in state.messages.values()} == {
            *times
        }
        # what had been sent, and could not be marked
        assert sum(times.values()) - len(times) == 2 * len(TABLES)
