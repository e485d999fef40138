"""The days of a DAG in its zone, the moments of them that its runs have, and the tick that a run stands for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.materializing.days import (
    bounds,
    check_begun,
    check_dates,
    logical_date,
    takes_due_tick,
    zone_named,
)

BERLIN, TOKYO, HAWAII = map(ZoneInfo, ("Europe/Berlin", "Asia/Tokyo", "Pacific/Honolulu"))
NOW = datetime(2026, 11, 28, 21, 5, 6, 789, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "zone", "start", "hours"),
    [
        ("2024-01-15", UTC, "2024-01-15T00:00:00+00:00", 24),
        ("2024-01-15", TOKYO, "2024-01-14T15:00:00+00:00", 24),
        ("2024-03-31", BERLIN, "2024-03-30T23:00:00+00:00", 23),
        ("2024-10-27", BERLIN, "2024-10-26T22:00:00+00:00", 25),
    ],
)
def test_a_day_begins_at_midnight_of_its_zone(day: str, zone: tzinfo, start: str, hours: int) -> None:
    first, last = bounds(day, zone)
    assert (first.isoformat(), last - first) == (start, timedelta(hours=hours))


@pytest.mark.parametrize("zone", [UTC, BERLIN, TOKYO, HAWAII])
@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_a_logical_date_is_of_its_day_in_utc_and_in_its_zone(zone: tzinfo, hour: int) -> None:
    moment = logical_date("2024-01-15", zone, NOW.replace(hour=hour))
    assert moment.astimezone(UTC).date().isoformat() == moment.astimezone(zone).date().isoformat() == "2024-01-15"
    # other calls get other moments
    assert logical_date("2024-01-15", zone, NOW.replace(hour=hour, microsecond=790)) != moment


def test_a_logical_date_does_not_lie_in_the_future() -> None:
    assert logical_date("2026-11-28", UTC, NOW) == NOW
    # in Tokyo the 29th has begun, in UTC it has not
    assert bounds("2026-11-29", TOKYO)[0] <= logical_date("2026-11-29", TOKYO, NOW) <= NOW


def test_a_day_that_has_not_begun_is_refused() -> None:
    check_begun("2026-11-29", TOKYO, NOW)
    check_begun("2026-11-28", HAWAII, NOW)
    for day, zone in (("2026-11-29", UTC), ("2026-11-29", HAWAII), ("9999-01-01", BERLIN)):
        with pytest.raises(ConfigurationError, match="lies in the future, today"):
            check_begun(day, zone, NOW)
    for day, zone in (("9999-12-31", UTC), ("0001-01-01", TOKYO)):
        with pytest.raises(ConfigurationError, match="at the end of the calendar"):
            check_begun(day, zone, NOW)


@pytest.mark.parametrize("zone", [UTC, BERLIN, TOKYO, HAWAII])
def test_a_day_before_the_start_date_of_a_task_or_after_its_end_date_is_refused(zone: tzinfo) -> None:
    """Airflow would leave the task out, and call the run a success."""
    since, until = (datetime(2024, 1, day, 12, tzinfo=zone) for day in (10, 20))
    for day in ("2024-01-10", "2024-01-15", "2024-01-20"):
        check_dates("shop", (since, until), day, zone, NOW)
        check_dates("shop", (None, None), day, zone, NOW)
    with pytest.raises(ConfigurationError, match=r"shop begins on 2024-01-10 \(start_date .* for 2024-01-09"):
        check_dates("shop", (since, until), "2024-01-09", zone, NOW)
    with pytest.raises(ConfigurationError, match=r"shop has ended on 2024-01-20 \(end_date .* for 2024-01-21"):
        check_dates("shop", (since, until), "2024-01-21", zone, NOW)
    with pytest.raises(ConfigurationError, match=r"shop has ended on .* for today"):
        check_dates("shop", (since, until), None, zone, NOW)
    with pytest.raises(ConfigurationError, match=r"shop begins on .* for today"):
        check_dates("shop", (NOW + timedelta(seconds=1), None), None, zone, NOW)


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_a_logical_date_on_the_first_and_the_last_day_is_between_the_dates(hour: int) -> None:
    since, until = (datetime(2024, 1, day, 12, tzinfo=UTC) for day in (10, 20))
    now = NOW.replace(hour=hour)
    first, last = (logical_date(f"2024-01-{day}", BERLIN, now, (since, until)) for day in (10, 20))
    assert (first.day, last.day) == (10, 20)
    assert since <= first
    assert last <= until


def test_zones_by_name() -> None:
    assert zone_named("Europe/Berlin") == BERLIN
    assert [zone_named(name) for name in ("UTC", "", None, "+01:00", "../etc")] == [None] * 5


@pytest.mark.parametrize(
    ("day", "tick", "interval", "expected"),
    [
        (None, "2026-11-28T06:00:00Z", None, True),
        (None, "2026-11-27T06:00:00Z", None, False),
        ("2024-01-15", "2026-11-28T06:00:00Z", None, False),
        # a cron tick without an interval is, for the tables, that of the day before
        ("2026-11-28", "2026-11-28T06:00:00Z", None, False),
        ("2026-11-27", "2026-11-27T00:00:00Z", ("2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"), True),
        ("2026-11-26", "2026-11-27T00:00:00Z", ("2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"), False),
        ("2026-11-27", "2026-11-27T06:00:00Z", ("2026-11-27T06:00:00Z", "2026-11-28T06:00:00Z"), False),
    ],
)
def test_a_run_stands_for_the_tick_of_its_own_day(
    day: str | None, tick: str, interval: tuple[str, str] | None, expected: bool
) -> None:
    start, end = interval or (None, None)
    dag: dict[str, Any] = {
        "next_dagrun_run_after": NOW.isoformat(),
        "next_dagrun_logical_date": tick,
        "next_dagrun_data_interval_start": start,
        "next_dagrun_data_interval_end": end,
    }
    assert takes_due_tick(dag, day, UTC, NOW) is expected
    assert not takes_due_tick(dag, day, UTC, NOW - timedelta(seconds=1), by_conf=True)
    # tasks that take their day from the conf do not read the tick's
    assert takes_due_tick(dag, day, UTC, NOW, by_conf=True) is (expected or day is not None)
