"""
How old a table may be on the days that count, and whether it is.

The hours of a policy are hours of age: since the newest publication. A cron says when new data is due, and nobody is
woken before: a table is late only if a tick has passed without a publication. Time in which nothing is due (the weekend
of a cron of weekdays) is time off: its hours do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_phlo.cron import Schedule, schedule
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.freshness.working_time import DAYS, advance, elapsed, weekday_numbers

# publications further ahead of the clock than this are not believed
CLOCK_SKEW = timedelta(hours=1)
# a run that is due now has not published yet: it gets this share of the interval between two ticks, at most an hour
_SHARE_FOR_A_RUN = 4
_LONGEST_RUN = timedelta(hours=1)
# ticks that are looked at before it is given up to say when a table will be late
_MOST_TICKS = 10_000


def in_words(hours: float) -> str:
    """Return a length of time for people: ``26.1 h``, ``3 min``, ``5 s``."""
    if hours >= 1:
        return f"{round(hours, 2):g} h"
    minutes = hours * 60
    return f"{round(minutes, 1):g} min" if minutes >= 1 else f"{minutes * 60:.2g} s"


class State(StrEnum):
    """How fresh a table is: ``late`` is past the hours of a warning, ``stale`` past those of an error."""

    FRESH = "fresh"
    LATE = "late"
    STALE = "stale"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Freshness:
    """
    How fresh a table is at one moment.

    :param state: ``unknown`` if its newest publication is ahead of the clock.
    :param age_hours: hours of the clock since the newest publication; None without one.
    :param due: from when on it is late, or was; None if there is no publication, or that is years away.
    :param message: one sentence for people.
    """

    state: State
    age_hours: float | None
    due: datetime | None
    message: str

    @property
    def passed(self) -> bool | None:
        """Return whether the table is fresh; None if that cannot be said."""
        return None if self.state is State.UNKNOWN else self.state is State.FRESH


@dataclass(frozen=True)
class FreshnessPolicy:
    """
    How old a table may be.

    :param warn_hours: the age from which on it is ``late``.
    :param error_hours: the age from which on it is ``stale``; the same as ``warn_hours`` if there are no two levels.
    :param cron: when new data is due; hours that are shorter than every interval between ticks count from the tick on.
    :param zone: whose clock and whose days count, such as ``Europe/Berlin``.
    :param weekdays: the days that count (``("mon", "tue")``), None means all: on others nothing is due, and no hour
        counts.
    :raises ConfigurationError: if a value is not one.
    """

    warn_hours: float
    error_hours: float
    cron: str | None = None
    zone: str = "UTC"
    weekdays: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        hours = (self.warn_hours, self.error_hours)
        if any(isinstance(each, bool) or not isinstance(each, int | float) for each in hours) or not (
            0 < self.warn_hours <= self.error_hours < float("inf")
        ):
            raise ConfigurationError(
                f"Freshness of {self.warn_hours!r} and {self.error_hours!r} hours: give two numbers above 0, the first "
                "not above the second."
            )
        if self.weekdays is not None:
            numbers = weekday_numbers(self.weekdays)
            object.__setattr__(self, "weekdays", tuple(DAYS[number] for number in sorted(numbers)))
        self._calendar  # noqa: B018 - a wrong zone or cron is refused here

    def judge(self, newest: datetime | None, now: datetime) -> Freshness:
        """
        Return how fresh a table is.

        :param newest: when it was published last (``TableLoads.current_as_of``); None if never.
        :param now: the watcher's clock.
        """
        if newest is None:
            return Freshness(State.STALE, None, None, "nothing has ever been published into it")
        age = now - newest
        hours = round(age / timedelta(hours=1), 2)
        if age < -CLOCK_SKEW:
            return Freshness(
                State.UNKNOWN,
                hours,
                None,
                f"its newest publication is {-hours:g} h ahead of this machine's clock: one of the two clocks is wrong",
            )
        words = in_words(max(age / timedelta(hours=1), 0.0))
        due = _when(self, newest, self.warn_hours)
        error = _when(self, newest, self.error_hours)
        late, stale = (moment is not None and now > moment for moment in (due, error))
        state = State.STALE if stale else State.LATE if late else State.FRESH
        return Freshness(state, max(hours, 0.0), due, self._sentence(state, newest, words))

    def _sentence(self, state: State, newest: datetime, age: str) -> str:
        said = f"published {age} ago"
        if state is State.FRESH:
            return said
        limit = in_words(self.error_hours if state is State.STALE else self.warn_hours)
        calendar = self._calendar
        if calendar.schedule is None:
            return f"{said}, at most {limit} are expected{self._days_off()}"
        tick = calendar.first_tick(newest).astimezone(calendar.zone)
        return f"{said}; what was due at {tick:%Y-%m-%d %H:%M} ({self.zone}) is missing, and {limit} are over"

    def _days_off(self) -> str:
        return f" (of {', '.join(self.weekdays)})" if self.weekdays else ""

    @cached_property
    def _calendar(self) -> Calendar:
        try:
            zone = ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ConfigurationError(
                f"zone={self.zone!r} is not a time zone: write one such as Europe/Berlin."
            ) from None
        weekdays = None if self.weekdays is None else weekday_numbers(self.weekdays)
        ticks = None if self.cron is None else schedule(self.cron, zone)
        intervals = () if ticks is None else tuple(timedelta(minutes=each) for each in ticks.intervals(weekdays))
        return Calendar(zone, weekdays, ticks, intervals)


@dataclass(frozen=True)
class Calendar:
    """
    When data is due.

    :param weekdays: the days that count, None means all.
    :param intervals: what lies between two ticks, shortest first.
    """

    zone: tzinfo
    weekdays: frozenset[int] | None
    schedule: Schedule | None
    intervals: tuple[timedelta, ...]

    def first_tick(self, moment: datetime) -> datetime:
        """Return the first tick after a moment, on a day that counts."""
        assert self.schedule is not None, "without a cron nothing ticks"
        tick = self.schedule.after(moment)
        while self.weekdays is not None and tick.astimezone(self.zone).weekday() not in self.weekdays:
            tick = self.schedule.after(tick)
        return tick

    def elapsed(self, start: datetime, end: datetime) -> timedelta:
        """Return how much time passes, without days off."""
        return elapsed(start, end, self.zone, self.weekdays)

    def advance(self, start: datetime, duration: timedelta) -> datetime:
        """Return when so much time has passed, without days off."""
        return advance(start, duration, self.zone, self.weekdays)


@lru_cache(4096)
def _when(policy: FreshnessPolicy, newest: datetime, hours: float) -> datetime | None:
    """Return from when on a table is older than a number of hours that count; None if no tick is near."""
    calendar, age = policy._calendar, timedelta(hours=hours)
    if calendar.schedule is None:
        return calendar.advance(newest, age)
    first = calendar.first_tick(newest)
    # an interval that the policy's hours do not span is time off: of each, so much counts
    counted = max((each for each in calendar.intervals if each <= timedelta(hours=policy.error_hours)), default=None)
    if counted is None:
        return calendar.advance(first, age)
    for_a_run = min(_LONGEST_RUN, calendar.intervals[0] / _SHARE_FOR_A_RUN)
    earliest = calendar.advance(first, for_a_run)
    if calendar.intervals[-1] <= counted:
        return max(calendar.advance(newest, age), earliest)
    passed = _counted_until(calendar, newest, first, age, counted)
    return passed and max(passed, earliest)


def _counted_until(
    calendar: Calendar, start: datetime, tick: datetime, age: timedelta, counted: timedelta
) -> datetime | None:
    """Return when ``age`` has passed since ``start``, of which at most ``counted`` count from each tick to the next."""
    for _ in range(_MOST_TICKS):
        part = min(calendar.elapsed(start, tick), counted)
        if age < part:
            return calendar.advance(start, age)
        age -= part
        start, tick = tick, calendar.first_tick(tick)
    return None
