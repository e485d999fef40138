"""The judge against an oracle that walks the clock minute by minute, over days on which clocks are changed too."""

from __future__ import annotations

import datetime as dt
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from airflow.timetables._cron import CronMixin
from hypothesis import given, settings
from hypothesis import strategies as st
from pendulum import instance

from airflow_provider_phlo.cron import schedule
from airflow_provider_phlo.quality.freshness import FreshnessPolicy, State
from tests.sizes import size

MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
# expression: what a minute of the wall clock has to be
CRONS = {
    "0 6 * * *": lambda t: (t.hour, t.minute) == (6, 0),
    "30 2 * * *": lambda t: (t.hour, t.minute) == (2, 30),
    "0 6 * * 1-5": lambda t: (t.hour, t.minute) == (6, 0) and t.weekday() < 5,
    "15 9-17 * * 1-5": lambda t: 9 <= t.hour <= 17 and t.minute == 15 and t.weekday() < 5,
    "0 0,12 * * *": lambda t: t.hour in (0, 12) and t.minute == 0,
    "0 2 * * 0": lambda t: (t.hour, t.minute, t.weekday()) == (2, 0, 6),
    "20 * * * *": lambda t: t.minute == 20,
    "*/30 * * * *": lambda t: t.minute in (0, 30),
}
EVERY_HOUR = ("20 * * * *", "*/30 * * * *")
# what lies between two ticks, by hand: minutes of the wall clock, without weekdays off
INTERVALS = {
    "0 6 * * *": {1440},
    "30 2 * * *": {1440},
    "0 6 * * 1-5": {1440, 3 * 1440},
    "15 9-17 * * 1-5": {60, 16 * 60, 64 * 60},
    "0 0,12 * * *": {720},
    "0 2 * * 0": {7 * 1440},
    "20 * * * *": {60},
    "*/30 * * * *": {30},
}
STARTS = (dt.datetime(2026, 3, 1), dt.datetime(2026, 10, 18), dt.datetime(2026, 3, 23))
DAYS = 17


@cache
def ticks(cron: str, zone_name: str, start: dt.datetime) -> tuple[list[dt.datetime], frozenset[dt.datetime]]:
    """Return the ticks of some days: of those that fall into an hour that is left out, or comes twice, as Airflow's."""
    zone, matches, every_hour = ZoneInfo(zone_name), CRONS[cron], cron in EVERY_HOUR
    found = set()
    for number in range(DAYS * 288):  # all of them tick at a multiple of five minutes
        wall = start + number * 5 * MINUTE
        if not matches(wall):
            continue
        first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1))
        exists = first.astimezone(zone).replace(tzinfo=None) == wall
        if every_hour:
            found |= {first, second} if exists else set()
        else:
            found.add(second if exists else first)
    return sorted(found), frozenset(found)


def oracle(policy: FreshnessPolicy, start: dt.datetime, newest: dt.datetime, now: dt.datetime) -> State:
    in_order, due = ticks(policy.cron or "", policy.zone, start)
    first = next((tick for tick in in_order if tick > newest), None)
    intervals = INTERVALS[policy.cron or ""]
    spanned = [each for each in intervals if each <= policy.error_hours * 60]
    for_a_run = min(60, min(intervals) / 4) if spanned else 0
    if first is None or now <= first + for_a_run * MINUTE:
        return State.FRESH
    # of each interval, as much as the hours span, if they do not span every one
    most = max(spanned) if spanned and max(spanned) < max(intervals) else None
    minutes, since_tick = 0, 0
    moment = newest if spanned else first
    while moment < now:
        since_tick = 0 if moment in due else since_tick
        minutes += most is None or since_tick < most
        since_tick += 1
        moment += MINUTE
    if minutes > policy.error_hours * 60:
        return State.STALE
    return State.LATE if minutes > policy.warn_hours * 60 else State.FRESH


@settings(max_examples=size(100, 5_000), deadline=None)
@given(data=st.data())
def test_as_the_clock_says(data: st.DataObject) -> None:
    cron = data.draw(st.sampled_from(sorted(CRONS)))
    zone = data.draw(st.sampled_from(ZONES))
    start = data.draw(st.sampled_from(STARTS))
    warn, error = sorted(data.draw(st.tuples(*[st.sampled_from((0.5, 1, 2, 4, 12, 24, 30, 48, 80, 168))] * 2)))
    begin = start.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC)
    newest = begin + data.draw(st.integers(24 * 60, 6 * 24 * 60)) * MINUTE
    now = newest + data.draw(st.integers(0, 9 * 24 * 60)) * MINUTE
    policy = FreshnessPolicy(warn, error, cron, zone)
    assert policy.judge(newest, now).state == oracle(policy, start, newest, now)


@settings(max_examples=size(60, 2_000), deadline=None)
@given(data=st.data())
def test_a_table_turns_late_when_it_is_due(data: st.DataObject) -> None:
    """The moment that is named is the one: a second later it is late, and time and publications only go one way."""
    cron = data.draw(st.sampled_from([None, *sorted(CRONS)]))
    days = None
    if cron is None or cron.endswith("*"):  # the others say themselves on which days they tick
        days = data.draw(st.sampled_from([None, ("mon", "tue", "wed", "thu", "fri"), ("sun",)]))
    policy = FreshnessPolicy(4, 30, cron, data.draw(st.sampled_from(ZONES)), days)
    newest = dt.datetime(2026, 3, 27, 20, tzinfo=dt.UTC) + data.draw(st.integers(0, 72)) * HOUR
    due = policy.judge(newest, newest).due
    assert due is not None
    assert policy.judge(newest, due).state == State.FRESH
    assert policy.judge(newest, due + dt.timedelta(seconds=1)).state != State.FRESH
    assert policy.judge(newest + HOUR, due).state == State.FRESH


@pytest.mark.long
@pytest.mark.parametrize("zone", ZONES[1:3])
@pytest.mark.parametrize("cron", [*CRONS, "@weekly", "@quarterly", "0 6 29 2 *", "0 0 1-7 * 1", "5 */3 * * *"])
def test_ticks_are_those_of_airflow(cron: str, zone: str) -> None:
    timetable, own = CronMixin(cron, zone), schedule(cron, ZoneInfo(zone))
    for changed in ("2026-03-07", "2026-03-28", "2026-10-24", "2026-10-31"):  # a day before clocks are changed
        moment = dt.datetime.fromisoformat(changed).replace(tzinfo=dt.UTC)
        for _ in range(6 if cron not in EVERY_HOUR else 60):
            following = timetable._get_next(instance(moment))
            assert own.after(moment) == following, (cron, zone, moment)
            assert own.before(following) <= moment
            assert own.ticks_at(following)
            moment = following
