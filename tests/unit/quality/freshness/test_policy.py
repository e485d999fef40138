"""Which tables are late, and which only look late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.freshness import FreshnessPolicy, State, in_words

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)


def at(text: str, zone: ZoneInfo | None = None) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC)


def state(policy: FreshnessPolicy, newest: str | None, now: str) -> str:
    zone = ZoneInfo(policy.zone)
    return policy.judge(None if newest is None else at(newest, zone), at(now, zone)).state


TWO_DAYS = FreshnessPolicy(24, 48, "0 6 * * *", weekdays=("mon", "tue"))
OFFICE = FreshnessPolicy(24, 48, weekdays=("mon", "tue", "wed", "thu", "fri"))
# Monday 2026-03-02; the runs take five minutes
DAILY = FreshnessPolicy(24, 48, "0 6 * * *")
WORKDAYS = FreshnessPolicy(24, 48, "0 6 * * 1-5")


@pytest.mark.parametrize(
    ("policy", "newest", "now", "expected"),
    [
        # hours alone: the age, to the second
        (FreshnessPolicy(24, 48), "2026-03-02T06:05", "2026-03-03T06:05", "fresh"),
        (FreshnessPolicy(24, 48), "2026-03-02T06:05", "2026-03-03T06:05:01", "late"),
        (FreshnessPolicy(24, 48), "2026-03-02T06:05", "2026-03-04T06:05:01", "stale"),
        # a run takes a little longer than the day before: nobody is woken while it runs
        (DAILY, "2026-03-02T06:05", "2026-03-03T06:20", "fresh"),
        (DAILY, "2026-03-02T06:05", "2026-03-03T07:00:01", "late"),
        (DAILY, "2026-03-02T06:05", "2026-03-04T06:05:01", "stale"),
        # nothing is due on Saturday and Sunday
        (WORKDAYS, "2026-03-06T06:05", "2026-03-08T23:59", "fresh"),
        (WORKDAYS, "2026-03-06T06:05", "2026-03-09T06:59", "fresh"),
        (WORKDAYS, "2026-03-06T06:05", "2026-03-09T07:01", "late"),
        # Friday was missed: it is late on Friday, and it gets no worse until Monday's run is due
        (WORKDAYS, "2026-03-05T06:05", "2026-03-06T07:01", "late"),
        (WORKDAYS, "2026-03-05T06:05", "2026-03-08T12:00", "late"),
        (WORKDAYS, "2026-03-05T06:00", "2026-03-08T12:00", "late"),
        (WORKDAYS, "2026-03-05T06:05", "2026-03-09T06:06", "stale"),
        # who wants the weekend to count says more hours than it has
        (FreshnessPolicy(24, 80, "0 6 * * 1-5"), "2026-03-06T06:05", "2026-03-09T14:06", "stale"),
        # fewer hours than lie between two ticks count from the tick on
        (FreshnessPolicy(1, 4, "0 6 * * *"), "2026-03-02T06:05", "2026-03-03T06:59", "fresh"),
        (FreshnessPolicy(1, 4, "0 6 * * *"), "2026-03-02T06:05", "2026-03-03T07:01", "late"),
        (FreshnessPolicy(1, 4, "0 6 * * *"), "2026-03-02T06:05", "2026-03-03T10:01", "stale"),
        (FreshnessPolicy(24, 48, "0 6 1 * *"), "2026-03-01T06:05", "2026-03-31T23:00", "fresh"),
        (FreshnessPolicy(24, 48, "0 6 1 * *"), "2026-03-01T06:05", "2026-04-02T06:01", "late"),
        # office hours: the night is time off for two hours, not for a day
        (FreshnessPolicy(2, 4, "0 9-17 * * 1-5"), "2026-03-02T10:05", "2026-03-02T12:06", "late"),
        (FreshnessPolicy(2, 4, "0 9-17 * * 1-5"), "2026-03-02T17:05", "2026-03-03T09:59", "fresh"),
        (FreshnessPolicy(2, 4, "0 9-17 * * 1-5"), "2026-03-02T17:05", "2026-03-03T10:01", "late"),
        # a run by hand, or two in a row, are publications as well
        (DAILY, "2026-03-02T15:00", "2026-03-03T14:59", "fresh"),
        (DAILY, "2026-03-02T15:00", "2026-03-03T15:01", "late"),
        # days off without a cron
        (OFFICE, "2026-03-06T18:00", "2026-03-09T17:59", "fresh"),
        (OFFICE, "2026-03-06T18:00", "2026-03-09T18:01", "late"),
        # and with one that knows none
        (TWO_DAYS, "2026-03-03T06:05", "2026-03-09T06:30", "fresh"),
        (TWO_DAYS, "2026-03-03T06:05", "2026-03-09T07:01", "late"),
        # nothing was ever published
        (DAILY, None, "2026-03-02T06:05", "stale"),
    ],
)  # fmt: skip
def test_which_tables_are_late(policy: FreshnessPolicy, newest: str | None, now: str, expected: str) -> None:
    assert state(policy, newest, now) == expected


@pytest.mark.parametrize(
    ("newest", "expected"), [(HOUR / 2, State.FRESH), (HOUR, State.FRESH), (2 * HOUR, State.UNKNOWN)]
)
def test_a_publication_ahead_of_the_clock(newest: timedelta, expected: State) -> None:
    now = at("2026-03-02T06:00")
    found = FreshnessPolicy(1, 2).judge(now + newest, now)
    assert found.state == expected
    assert found.passed is (True if expected is State.FRESH else None)
    assert found.age_hours == (0.0 if expected is State.FRESH else -2.0)


def test_what_is_said() -> None:
    policy = FreshnessPolicy(24, 48, "0 6 * * *", zone="Europe/Berlin")
    late = policy.judge(at("2026-03-02T06:05", BERLIN), at("2026-03-03T08:00", BERLIN))
    assert (late.state, late.age_hours, late.due) == (State.LATE, 25.92, at("2026-03-03T07:00", BERLIN))
    assert "due at 2026-03-03 06:00 (Europe/Berlin)" in late.message
    assert policy.judge(late.due, late.due).due == at("2026-03-04T07:00", BERLIN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"warn_hours": 0},
        {"warn_hours": 3},
        {"error_hours": float("inf")},
        {"error_hours": float("nan")},
        {"warn_hours": True},
        {"cron": "every day"},
        {"cron": "0 6 30 2 *"},
        {"cron": "@once"},
        {"zone": "Berlin"},
        {"zone": "../etc/passwd"},
        {"weekdays": ()},
        {"weekdays": ("mon", "holiday")},
        {"cron": "0 6 * * 1", "weekdays": ("tue",)},
    ],
)
def test_what_is_not_a_policy(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        FreshnessPolicy(**{"warn_hours": 1, "error_hours": 2, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hours", "words"), [(26.117, "26.12 h"), (24, "24 h"), (0.05, "3 min"), (1.5 / 60, "1.5 min"), (5 / 3600, "5 s")]
)
def test_people_do_not_say_hundredths_of_an_hour(hours: float, words: str) -> None:
    assert in_words(hours) == words
    now = at("2026-03-02T12:00")
    found = FreshnessPolicy(hours / 2, hours / 2).judge(now - timedelta(hours=hours), now)
    assert found.message.startswith(f"published {words} ago, at most ")
