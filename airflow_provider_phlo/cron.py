"""When a cron expression ticks in a zone, on days of clock changes too: as Airflow's timetables have it."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast

from airflow_provider_phlo.exceptions import ConfigurationError

# those that Airflow knows; the library has its own, without @quarterly
PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}
# no clock is set back or forward by more
_LARGEST_CHANGE = datetime.timedelta(hours=3)
_NO_CHANGE = datetime.timedelta()
_EVERY = ["*"]
# the days that are looked at to know how far ticks lie apart: at least that many of them tick
_LEAST_DAYS, _MOST_DAYS = 3, 3000
_MINUTES_A_DAY = 24 * 60


def is_cron(expression: str) -> bool:
    """Return whether a schedule is a cron expression that ticks; ``@once`` and ``@continuous`` are schedules too."""
    try:
        schedule(expression, datetime.UTC)
    except ConfigurationError:
        return False
    return True


@lru_cache(1024)
def schedule(expression: str, zone: datetime.tzinfo) -> Schedule:
    """
    Return the ticks of an expression.

    :raises ConfigurationError: it is not a cron expression, or none of its days exists.
    """
    from croniter import CroniterBadCronError, CroniterBadDateError, croniter  # type: ignore[import-untyped]

    text = PRESETS.get(expression, expression)
    try:
        if text.startswith("@"):
            raise CroniterBadCronError
        croniter(text, datetime.datetime(2000, 1, 1)).get_next()
    except CroniterBadDateError:
        raise ConfigurationError(f"cron={expression!r} has no tick: there is no such day.") from None
    except (CroniterBadCronError, ValueError, AttributeError):
        raise ConfigurationError(
            f"cron={expression!r} is not a cron expression: write minute, hour, day of the month, month, day of the "
            "week, such as '0 6 * * 1-5'."
        ) from None
    return Schedule(text, zone)


@dataclass(frozen=True)
class Schedule:
    """
    The ticks of a cron expression in a zone.

    Where a clock is set forward, a tick in the hour that is left out comes as much later; where it is set back, a tick
    in the hour that comes twice is in the second one. A cron of every hour ticks in both, and not in the one left out.
    """

    expression: str
    zone: datetime.tzinfo

    def after(self, moment: datetime.datetime) -> datetime.datetime:
        """Return the first tick after a moment."""
        found = next(each for each in self._found(moment, 1) if each > moment)
        if not self._changes_around(moment, found):
            return found
        return min(each for each in self._around(moment, found) if each > moment)

    def before(self, moment: datetime.datetime) -> datetime.datetime:
        """Return the last tick before a moment."""
        found = next(each for each in self._found(moment, -1) if each < moment)
        if not self._changes_around(found, moment):
            return found
        return max(each for each in self._around(found, moment) if each < moment)

    def ticks_at(self, moment: datetime.datetime) -> bool:
        """Return whether it ticks in the minute of a moment."""
        minute = moment.replace(second=0, microsecond=0)
        return self.after(minute - datetime.timedelta(seconds=1)) < minute + datetime.timedelta(minutes=1)

    @cached_property
    def times_of_day(self) -> tuple[int, ...]:
        """Return at which minutes it ticks on a day on which it does."""
        minutes, hours = self._fields[0], self._fields[1]
        of_hour = range(60) if minutes == _EVERY else minutes
        return tuple(sorted(60 * hour + minute for hour in _hours(hours) for minute in of_hour))

    def intervals(self, weekdays: frozenset[int] | None = None) -> tuple[int, ...]:
        """
        Return how many minutes of wall time may lie between two ticks, shortest first.

        :param weekdays: the days that count (0 is Monday); ticks and hours of others do not. None means all.
        :raises ConfigurationError: it ticks on none of them.
        """
        return _intervals(self, weekdays)

    def _intervals(self, weekdays: frozenset[int] | None) -> tuple[int, ...]:
        times = self.times_of_day
        found = {later - earlier for earlier, later in itertools.pairwise(times)}
        days = self._days(weekdays)
        if not days:
            raise ConfigurationError(f"cron={self.expression!r} ticks on no day that counts.")
        for first, second in itertools.pairwise(days):
            every = ((first + datetime.timedelta(number)).weekday() for number in range((second - first).days))
            counted = sum(weekdays is None or each in weekdays for each in every)
            found.add(counted * _MINUTES_A_DAY - times[-1] + times[0])
        return tuple(sorted(found))

    @cached_property
    def _fields(self) -> list[Any]:
        return cast("list[Any]", self._iterator(datetime.datetime(2000, 1, 1)).expanded)

    @property
    def _covers_every_hour(self) -> bool:
        return bool(self._fields[1] == _EVERY)

    def _iterator(self, wall_time: datetime.datetime) -> Any:
        from croniter import croniter

        return croniter(self.expression, wall_time)

    def _days(self, weekdays: frozenset[int] | None) -> list[datetime.date]:
        """Return days in a row on which it ticks: of four weeks, or, where months matter, of two years or more."""
        from croniter import croniter

        parts = self.expression.split()[2:5]
        by_month = parts[:2] != ["*", "*"]
        start = datetime.datetime(2026, 1, 1)
        end = start + datetime.timedelta(days=800 if by_month else 28)
        days = croniter(" ".join(["0", "0", *parts]), start)
        found: list[datetime.date] = []
        for _ in range(_MOST_DAYS):
            day = days.get_next(datetime.datetime).date()
            if weekdays is None or day.weekday() in weekdays:
                found.append(day)
            if day >= end.date() and (len(found) >= _LEAST_DAYS or not by_month):
                break
        return found

    def _found(self, moment: datetime.datetime, direction: int) -> Iterator[datetime.datetime]:
        """Yield ticks from a moment on, or back, in the order of the wall clock."""
        local = self._wall_time(moment)
        ticks = self._iterator(local - direction * _LARGEST_CHANGE if self._changes_around(moment, moment) else local)
        while True:
            wall_time = (ticks.get_next if direction > 0 else ticks.get_prev)(datetime.datetime)
            yield from self._moments(wall_time)[::direction]

    def _around(self, start: datetime.datetime, end: datetime.datetime) -> Iterator[datetime.datetime]:
        ticks, last = self._iterator(self._wall_time(start) - _LARGEST_CHANGE), self._wall_time(end) + _LARGEST_CHANGE
        while (wall_time := ticks.get_next(datetime.datetime)) <= last:
            yield from self._moments(wall_time)

    def _wall_time(self, moment: datetime.datetime) -> datetime.datetime:
        """Return what the clock shows; a plain datetime, as those of pendulum count in hours that have passed."""
        shown = moment.astimezone(self.zone)
        return datetime.datetime.combine(
            datetime.date(shown.year, shown.month, shown.day), shown.time().replace(fold=0)
        )

    def _changes_around(self, start: datetime.datetime, end: datetime.datetime) -> bool:
        """Return whether the clock is changed between two moments, or hours before or after."""
        moments = (each + change for each in (start, end) for change in (-_LARGEST_CHANGE, _NO_CHANGE, _LARGEST_CHANGE))
        return len({each.astimezone(self.zone).utcoffset() for each in moments}) > 1

    def _moments(self, wall_time: datetime.datetime) -> list[datetime.datetime]:
        """Return the moments, in UTC, of a tick at a time of the wall clock: one; none or two where it is changed."""
        first, second = (wall_time.replace(tzinfo=self.zone, fold=fold).astimezone(datetime.UTC) for fold in (0, 1))
        if first == second:
            return [first]
        skipped = first.astimezone(self.zone).replace(tzinfo=None, fold=0) != wall_time
        if self._covers_every_hour:
            return [] if skipped else [first, second]
        return [first if skipped else second]


@lru_cache(1024)
def _intervals(of: Schedule, weekdays: frozenset[int] | None) -> tuple[int, ...]:
    return of._intervals(weekdays)


def _hours(hours: Any) -> Any:
    return range(24) if hours == _EVERY else hours
