"""The days of a DAG: when they begin and end in its zone, and which of its ticks stands for one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_phlo.cron import is_cron, schedule
from airflow_provider_phlo.exceptions import ConfigurationError

_ZONE = re.compile(r"""["']([A-Za-z_]+/[A-Za-z_/+-]+\d*)["']""")


def zone_named(name: str | None) -> tzinfo | None:
    """Return a time zone; None if it is UTC, or not named as the tz database does."""
    if not name or name in ("UTC", "Etc/UTC"):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def ticks_in(summary: str, tick: datetime, zone: tzinfo) -> bool:
    """
    Return whether a schedule ticks at a moment in a zone; any that is not a cron expression may.

    :param summary: of the timetable, as Airflow has it.
    """
    crons = summary.split(", ")
    return not all(map(is_cron, crons)) or any(schedule(cron, zone).ticks_at(tick) for cron in crons)


def zone_in_source(source: str, summary: str, tick: datetime) -> tzinfo | None:
    """
    Return the zone that a DAG file names, in which a schedule ticks at a moment; None if there is not one such zone.

    Airflow 3.3's API calls the zone of every DAG the default one.
    """
    zones = {zone.key: zone for name in _ZONE.findall(source) if isinstance(zone := zone_named(name), ZoneInfo)}
    found = [zone for zone in zones.values() if ticks_in(summary, tick, zone)]
    return found[0] if len(found) == 1 else None


def bounds(day: str, zone: tzinfo) -> tuple[datetime, datetime]:
    """
    Return the beginning of a day and of the next, in UTC: 23 or 25 hours where clocks change.

    :param day: ``YYYY-MM-DD``.
    """
    first = date.fromisoformat(day)
    start, end = (
        datetime(each.year, each.month, each.day, tzinfo=zone).astimezone(UTC)
        for each in (first, first + timedelta(days=1))
    )
    return start, end


def check_begun(day: str, zone: tzinfo, now: datetime) -> None:
    """
    Do nothing if a day has begun.

    :raises ConfigurationError: it begins later, and a run for it would wait until then.
    """
    try:
        start, _ = bounds(day, zone)
    except OverflowError:
        raise ConfigurationError(f"--partition {day} is at the end of the calendar: no run can be for it.") from None
    if start > now:
        today = now.astimezone(zone).date()
        raise ConfigurationError(f"--partition {day} lies in the future, today ({zone}) is {today}.")


def check_dates(
    dag_id: str, dates: tuple[datetime | None, datetime | None], day: str | None, zone: tzinfo, now: datetime
) -> None:
    """
    Do nothing if tasks run for a day.

    Airflow leaves a task out of runs whose logical date is before its ``start_date`` or after its ``end_date``, and
    calls a run without tasks a success.

    :param dates: from when until when they all run; None: always.
    :param day: None is today.
    :raises ConfigurationError: one would be left out.
    """
    since, until = dates
    first, last = _moments(day, zone, now) if day else (now, now + timedelta(microseconds=1))
    ends = ""
    if since and since >= last:
        ends = f"begins on {since.astimezone(zone):%Y-%m-%d} (start_date in its file)"
    elif until and until < first:
        ends = f"has ended on {until.astimezone(zone):%Y-%m-%d} (end_date in its file)"
    if ends:
        raise ConfigurationError(f"{dag_id} {ends}: Airflow runs nothing of it for {day or 'today'}.")


def logical_date(
    day: str, zone: tzinfo, now: datetime, dates: tuple[datetime | None, datetime | None] = (None, None)
) -> datetime:
    """
    Return the moment of a day that is named after it, for a day that has begun.

    Airflow names a logical date by its UTC day (``{{ ds }}``), and waits for one that lies in the future. So it is a
    moment that belongs to the day in the zone and in UTC, or, where the day in UTC has not begun, in the zone.

    :param now: whose time of day is taken if it can be; different calls get different moments by it.
    :param dates: from when until when the tasks run; None: always.
    """
    since, until = dates
    first, last = _moments(day, zone, now)
    first, last = max(first, since or first), min(last, until or last)
    utc_start, _ = bounds(day, UTC)
    wanted = utc_start + (now - bounds(now.astimezone(UTC).date().isoformat(), UTC)[0])
    return wanted if first <= wanted < last else first + (wanted - utc_start) % max(last - first, timedelta(seconds=1))


def _moments(day: str, zone: tzinfo, now: datetime) -> tuple[datetime, datetime]:
    """Return the first moment that a logical date for a day may be, and the one after the last."""
    start, end = bounds(day, zone)
    utc_start, utc_end = bounds(day, UTC)
    first, last = max(start, utc_start), min(end, utc_end, now + timedelta(microseconds=1))
    return (first, last) if first < last else (start, now + timedelta(microseconds=1))


def is_due(dag: Mapping[str, Any], now: datetime) -> bool:
    """Return whether a tick of a DAG is due, so that it runs as soon as it is unpaused."""
    due = dag["next_dagrun_run_after"]
    return bool(due) and datetime.fromisoformat(due) <= now


def takes_due_tick(
    dag: Mapping[str, Any], day: str | None, zone: tzinfo, now: datetime, *, by_conf: bool = False
) -> bool:
    """
    Return whether a run for a day stands for the tick that is due: then nothing runs that was not asked for.

    It must be the tick's own day for tasks that read the logical date.

    :param day: None is today.
    :param by_conf: whether all tasks that run take their day from the run's conf.
    """
    due = dag["next_dagrun_logical_date"]
    if due is None or not is_due(dag, now):  # ticks of a DAG that is scheduled by partitions have none
        return False
    if by_conf and day is not None:
        return True
    moment = datetime.fromisoformat(due)
    if day is None:
        return moment.astimezone(zone).date() == now.astimezone(zone).date()
    covered = (dag.get("next_dagrun_data_interval_start"), dag.get("next_dagrun_data_interval_end"))
    if not all(covered) or tuple(map(datetime.fromisoformat, map(str, covered))) != bounds(day, zone):
        return False
    return moment.astimezone(UTC).date().isoformat() == day
