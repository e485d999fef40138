"""Hours in which messages wait: by the clock on the wall of a time zone, also on the days when that is put forward."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, field_validator, model_validator

from airflow_provider_phlo.alerts.rules.selectors import Selectable, Selectors


class Weekday(StrEnum):
    """A day of the week."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _clock(value: Any) -> Any:
    try:
        if not isinstance(value, str) or len(value) != 5:
            raise ValueError
        return time(0) if value == "24:00" else time.fromisoformat(value)
    except ValueError:
        raise ValueError('write hours and minutes in quotes: "22:00"') from None


Clock = Annotated[time, BeforeValidator(_clock)]


class QuietHours(Selectors):
    """When messages wait until the hours are over; nobody hears of what is over by then."""

    begin: Clock = Field(alias="from", description='When they begin: "22:00"')
    to: Clock = Field(description='When they end: "07:00", the next morning if that is earlier')
    zone: str = Field("UTC", description="The time zone whose clock is meant, such as Europe/Berlin")
    weekdays: list[Weekday] = Field([], description="The days on which they begin: mon, tue, … (every day)")

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, name: str) -> str:
        return known_zone(name)

    @model_validator(mode="after")
    def _check_length(self) -> QuietHours:
        if self.begin == self.to and self.begin != time(0):
            raise ValueError('from and to are the same: write from: "00:00" and to: "24:00" for the whole day')
        return self

    def hold(self, thing: Selectable, now: datetime) -> bool:
        """Return whether a message about a thing waits now."""
        return self.select(thing) and self.is_quiet(now)

    def is_quiet(self, now: datetime) -> bool:
        """
        Return whether it is quiet at a moment.

        The clock on the wall decides: an hour that is there twice is quiet twice, and one that is left out is short of
        nothing but itself.
        """
        local = now.astimezone(ZoneInfo(self.zone))
        clock, day = local.time().replace(tzinfo=None, fold=0), local.weekday()
        if self.begin < self.to:
            return self.begin <= clock < self.to and self._begins_on(day)
        if clock >= self.begin:
            return self._begins_on(day)
        return clock < self.to and self._begins_on((local - timedelta(days=1)).weekday())

    def _begins_on(self, day: int) -> bool:
        return not self.weekdays or list(Weekday)[day] in self.weekdays


def known_zone(name: str) -> str:
    """
    Return the name of a time zone.

    :raises ValueError: there is no such zone.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name} is not a time zone: write a name such as Europe/Berlin") from None
    return name
