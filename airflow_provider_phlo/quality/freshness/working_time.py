"""Hours that count: those of the days of the week on which somebody expects data."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta, tzinfo

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.suggestions import did_you_mean

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = timedelta(days=1)


def weekday_numbers(names: Iterable[str]) -> frozenset[int]:
    """
    Return the numbers of days of the week (0 is Monday) by their English names, or the first three letters.

    :raises ConfigurationError: if one is not a day, or there is none.
    """
    if isinstance(names, str):
        names = names.replace(",", " ").split()
    found = set()
    for name in names:
        if not isinstance(name, str) or name.lower()[:3] not in DAYS:
            raise ConfigurationError(f"{name!r} is not a day of the week.{did_you_mean(str(name), DAYS)}")
        found.add(DAYS.index(name.lower()[:3]))
    if not found:
        raise ConfigurationError("weekdays is empty: name at least one, or leave it out for all days.")
    return frozenset(found)


def elapsed(start: datetime, end: datetime, zone: tzinfo, weekdays: frozenset[int] | None) -> timedelta:
    """
    Return how much time passes, without days that do not count.

    :param weekdays: the days that count (0 is Monday); None means all.
    """
    if weekdays is None or end <= start:
        return max(end - start, timedelta())
    total, moment = timedelta(), start
    while moment < end:
        midnight = _next_midnight(moment, zone)
        if moment.astimezone(zone).weekday() in weekdays:
            total += min(midnight, end) - moment
        moment = midnight
    return total


def advance(start: datetime, duration: timedelta, zone: tzinfo, weekdays: frozenset[int] | None) -> datetime:
    """Return the last moment by which no more time has passed than that, without days that do not count."""
    if weekdays is None or duration <= timedelta():
        return start + max(duration, timedelta())
    moment = start
    while True:
        midnight = _next_midnight(moment, zone)
        if moment.astimezone(zone).weekday() in weekdays:
            if moment + duration < midnight:
                return moment + duration
            duration -= midnight - moment
        moment = midnight


def _next_midnight(moment: datetime, zone: tzinfo) -> datetime:
    """Return when the next day begins, in UTC; where no clock shows midnight, with the first hour there is."""
    day = moment.astimezone(zone).date() + _DAY
    return datetime.combine(day, time(), zone).astimezone(UTC)
