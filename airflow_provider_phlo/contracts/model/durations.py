"""Service levels: what their names are, and their durations."""

from __future__ import annotations

from typing import Any

from airflow_provider_phlo.contracts.model.contract import ServiceLevel

_HOURS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1 / 3600),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 1 / 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 1.0),
    **dict.fromkeys(("d", "day", "days"), 24.0),
    **dict.fromkeys(("w", "week", "weeks"), 168.0),
    **dict.fromkeys(("y", "yr", "year", "years"), 8760.0),
}

_SYNONYMS = {
    "fr": "freshness",
    "er": "errorrate",
    "ly": "latency",
    "re": "retention",
    "fy": "frequency",
    "es": "endofsupport",
    "el": "endoflife",
    "ga": "generalavailability",
}
# service levels that may be about the times in a column
OF_ELEMENTS = frozenset({"freshness", "latency", "retention", "frequency"})


def kind_of(property_: str) -> str:
    """Return which service level a property is, in one spelling: ``fr`` is freshness."""
    word = property_.strip().lower()
    return _SYNONYMS.get(word, word)


def in_hours(level: ServiceLevel) -> float | None:
    """Return a duration in hours; None if it is not one."""
    factor = _HOURS.get(level.unit.strip().lower())
    if factor is None or isinstance(level.value, bool) or not isinstance(level.value, int | float):
        return None
    return level.value * factor


def comparable(level: ServiceLevel) -> Any:
    """Return what compares with the amount of another level: hours of a duration, anything else with its unit."""
    hours = in_hours(level)
    return (level.value, level.unit) if hours is None else hours
