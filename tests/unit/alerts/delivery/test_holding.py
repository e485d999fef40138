"""What silences and quiet hours hold back, by the clock on the wall."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_phlo.alerts.incidents.handling import acknowledge, end_silence, silence
from airflow_provider_phlo.alerts.incidents.state import Silence
from airflow_provider_phlo.alerts.incidents.store import read_state
from airflow_provider_phlo.alerts.rules.quiet_hours import QuietHours
from airflow_provider_phlo.alerts.rules.verdicts import Severity
from tests.unit.alerts.conftest import NOW, minutes
from tests.unit.alerts.incidents.test_transitions import Watching, configuration, failed, passed

# the clocks of Berlin go forward on 29 March 2026 at 02:00 (01:00 UTC), and back on 25 October at 03:00 (01:00 UTC)
NIGHT = {"from": "22:00", "to": "07:00", "zone": "Europe/Berlin"}
EARLY = {"from": "02:15", "to": "02:45", "zone": "Europe/Berlin"}


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "moment", "quiet"),
    [
        (NIGHT, "2026-01-10T20:59", False),
        (NIGHT, "2026-01-10T21:00", True),
        (NIGHT, "2026-01-11T05:59", True),
        (NIGHT, "2026-01-11T06:00", False),
        # the night in which the clocks go forward ends an hour earlier in UTC
        (NIGHT, "2026-03-29T04:59", True),
        (NIGHT, "2026-03-29T05:00", False),
        (NIGHT, "2026-10-25T05:59", True),
        (NIGHT, "2026-10-25T06:00", False),
        # this half hour is left out once a year, and is there twice on another day
        (EARLY, "2026-03-29T00:59", False),
        (EARLY, "2026-03-29T01:00", False),
        (EARLY, "2026-10-25T00:30", True),
        (EARLY, "2026-10-25T00:50", False),
        (EARLY, "2026-10-25T01:30", True),
        # the night of Friday, also after midnight
        ({**NIGHT, "weekdays": ["fri"]}, "2026-01-09T22:00", True),
        ({**NIGHT, "weekdays": ["fri"]}, "2026-01-10T02:00", True),
        ({**NIGHT, "weekdays": ["fri"]}, "2026-01-10T22:00", False),
        ({"from": "00:00", "to": "24:00", "weekdays": ["sat", "sun"]}, "2026-01-10T12:00", True),
        ({"from": "00:00", "to": "24:00", "weekdays": ["sat", "sun"]}, "2026-01-12T00:00", False),
    ],
)
def test_the_clock_on_the_wall_decides(hours, moment, quiet):
    assert QuietHours.model_validate(hours).is_quiet(at(moment)) is quiet


def quiet_at_night(**more):
    hours = QuietHours.model_validate({"from": "12:00", "to": "18:00", "severities": ["warn"]})
    return configuration(**more).model_copy(update={"quiet_hours": [hours]})


def test_what_is_still_wrong_after_quiet_hours_is_said_then_at_once():
    watching = Watching(quiet_at_night(remind_after="4h"))
    found = watching.round(minutes(0), failed(minutes(0), severity=Severity.WARN))
    assert (found.opened, found.silenced) == (1, 1)
    watching.round(minutes(1), failed(minutes(1), severity=Severity.WARN, check="passes soon"))
    watching.round(minutes(2), passed(minutes(2), check="passes soon"))
    for hours in (3, 5):
        watching.round(timedelta(hours=hours))
    assert watching.sent == []
    watching.round(timedelta(hours=6))
    assert watching.sent == ["opened to team"]
    assert watching.messages[0].content["count"] == 1


def test_what_is_bad_enough_is_said_in_quiet_hours():
    watching = Watching(quiet_at_night())
    watching.round(minutes(0), failed(minutes(0), severity=Severity.WARN))
    watching.round(minutes(1), failed(minutes(1)))
    assert watching.sent == ["opened to team"]


def silenced(watching, rule, table, until):
    made = Silence("one", rule, table, NOW, NOW + until)
    watching.state = replace(watching.state, silences=(*watching.state.silences, made))


@pytest.mark.parametrize(
    ("rule", "table", "held"), [("checks", None, True), ("che*", "raw.*", True), ("checks", "gold.*", False)]
)
def test_silences_are_of_a_rule_and_perhaps_a_table(rule, table, held):
    watching = Watching(configuration())
    silenced(watching, rule, table, minutes(30))
    watching.round(minutes(0), failed(minutes(0)))
    assert (watching.sent == []) is held
    watching.round(minutes(31))
    assert watching.sent == ["opened to team"]


def test_a_resolution_waits_as_well_and_is_dropped_if_it_is_wrong_again():
    watching = Watching(configuration(resolve_after="0s"))
    watching.round(minutes(0), failed(minutes(0)))
    silenced(watching, "checks", None, minutes(30))
    watching.round(minutes(5), passed(minutes(5)))
    watching.round(minutes(10), failed(minutes(10)))
    watching.round(minutes(70))
    # they know that it is wrong
    assert watching.sent == ["opened to team"]
    silenced(watching, "checks", None, minutes(90))
    watching.round(minutes(80), passed(minutes(80)))
    assert watching.sent == ["opened to team"]
    watching.round(minutes(91))
    assert watching.sent == ["opened to team", "resolved to team"]


def test_people_silence_and_acknowledge_in_the_table(catalog):
    silence(catalog, "checks", None, NOW + minutes(30), NOW, by="ann", reason="a backfill")
    assert [(each.by, each.reason) for each in read_state(catalog).silences] == [("ann", "a backfill")]
    assert end_silence(catalog, "checks", "raw.a", NOW) == 0
    assert end_silence(catalog, "checks", None, NOW + minutes(1)) == 1
    assert read_state(catalog).silences[0].until == NOW + minutes(1)
    assert acknowledge(catalog, "checks", None, NOW) == []
