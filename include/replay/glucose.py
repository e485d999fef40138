"""Generate the readings of a continuous glucose monitor as Nightscout ``entries`` documents."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any

Entry = dict[str, Any]

TYPE = "sgv"
SLOT_SECONDS = 300
SLOTS = 24 * 3600 // SLOT_SECONDS
# mg/dL a reading (5 minutes) from which Nightscout draws an arrow so steep
STEEPNESS = ((15, "Double{}"), (10, "Single{}"), (5, "FortyFive{}"))
MISREAD = 950
BAD_SLOT = 100
# what sensors and uploaders get wrong, one of these a day
FAULTS: tuple[tuple[str, Any], ...] = (
    ("sgv", 5000),
    ("sgv", None),
    ("sgv", "HIGH"),
    ("sgv", -1),
    ("sgv", 0),
    ("utcOffset", "UTC+1"),
)


def entries_of(day: date, seed: int) -> list[Entry]:
    """Return a day's 288 readings and one broken one, the oldest first. The same day is always the same."""
    offset = Random(f"{seed}/offset").randrange(10, 140)
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    seconds = [midnight + offset + slot * SLOT_SECONDS for slot in range(SLOTS)]
    readings = [_entry(seed, second, _level(seed, second)) for second in seconds]
    bad = _entry(seed, seconds[BAD_SLOT] + SLOT_SECONDS // 2, _level(seed, seconds[BAD_SLOT]))
    bad.update([FAULTS[day.toordinal() % len(FAULTS)]])
    readings.insert(BAD_SLOT + 1, bad)
    return readings


def is_broken(entry: Entry) -> bool:
    """Return whether ``entry`` has one of the faults."""
    return any(entry[field] == value for field, value in FAULTS)


def misread(entries: list[Entry], day: date) -> list[Entry]:
    """Return entries of which one good one of ``day`` has a value that no sensor reports of glucose."""
    of_day = [entry for entry in entries if entry["dateString"].startswith(str(day)) and not is_broken(entry)]
    wrong = of_day[len(of_day) // 2]["_id"] if of_day else None
    return [{**entry, "sgv": MISREAD} if entry["_id"] == wrong else entry for entry in entries]


def advance(entries: list[Entry], day: date, seed: int, step: int) -> tuple[list[Entry], list[Entry]]:
    """
    Return what a site learns late about ``day``: corrected documents (same ``_id``) and new ones.

    :param entries: the day's documents as they stand.
    :param step: how often time has moved on before.
    """
    rng = Random(f"{seed}/{day}/advance/{step}")
    good = [entry for entry in entries if not is_broken(entry)]
    corrected = []
    for entry in rng.sample(good, min(5, len(good))):
        change = rng.choice((-25, -15, 15, 25))
        corrected.append({**entry, "sgv": entry["sgv"] + (change if 45 <= entry["sgv"] + change <= 400 else -change)})
    slots = rng.sample(range(BAD_SLOT + 1, SLOTS), 3)
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    seconds = [midnight + slot * SLOT_SECONDS + step % 10 for slot in slots]
    return corrected, [_entry(seed, second, _level(seed, second)) for second in seconds]


def _entry(seed: int, second: int, level: int) -> Entry:
    delta = level - _level(seed, second - SLOT_SECONDS)
    moment = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    # like MongoDB's: the time, then what makes documents of that time differ
    tail = hashlib.sha256(f"{seed}/{second}".encode()).hexdigest()[:16]
    return {
        "_id": f"{second:08x}{tail}",
        "device": "share2",
        "date": second * 1000,
        "dateString": moment,
        "sgv": level,
        "delta": float(delta),
        "direction": _direction(delta),
        "type": TYPE,
        "utcOffset": 0,
        "sysTime": moment,
    }


def _direction(delta: int) -> str:
    for steep, name in STEEPNESS:
        if abs(delta) >= steep:
            return name.format("Up" if delta > 0 else "Down")
    return "Flat"


def _level(seed: int, second: int) -> int:
    """Return the glucose in mg/dL: a continuous function of time, so days join smoothly."""
    today = datetime.fromtimestamp(second, UTC).date()
    hour = second % 86400 / 3600
    level = 118 + 16 * math.exp(-(((hour - 6.5) / 2.2) ** 2)) + _wander(seed, second)
    for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
        for start, size in _meals(day, seed):
            level += size * _meal(second - start)
        for middle, depth in _lows(day, seed):
            level -= depth * math.exp(-(((second - middle) / 2400) ** 2))
    return round(min(max(level, 45), 380))


def _meal(seconds: float) -> float:
    """Rise within an hour, fall within three: the height at that many seconds after a meal."""
    hours = seconds / 3600
    return hours / 0.9 * math.exp(1 - hours / 0.9) if 0 < hours < 12 else 0.0


@lru_cache(maxsize=1024)
def _meals(day: date, seed: int) -> tuple[tuple[int, float], ...]:
    rng = Random(f"{seed}/{day}/meals")
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    meals = [(7.6, 70), (12.7, 65), (19.1, 85)] + ([(16.0, 40)] if rng.random() < 0.4 else [])
    return tuple(
        (midnight + int(3600 * (hour + rng.uniform(-0.7, 0.7))), size * rng.uniform(0.7, 2.25)) for hour, size in meals
    )


@lru_cache(maxsize=1024)
def _lows(day: date, seed: int) -> tuple[tuple[int, float], ...]:
    rng = Random(f"{seed}/{day}/lows")
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    hours = [hour for hour, chance in ((3.0, 0.45), (11.3, 0.3), (16.8, 0.45), (23.2, 0.2)) if rng.random() < chance]
    return tuple((midnight + int(3600 * (hour + rng.uniform(-0.5, 0.5))), rng.uniform(60, 95)) for hour in hours)


def _wander(seed: int, second: int) -> float:
    """Return a slow random walk: hourly points, joined by cosines, and a little noise of the sensor."""
    hour, rest = divmod(second, 3600)
    here, there = _knot(seed, hour), _knot(seed, hour + 1)
    blend = (1 - math.cos(math.pi * rest / 3600)) / 2
    return here + (there - here) * blend + Random(f"{seed}/{second}/noise").gauss(0, 1.2)


@lru_cache(maxsize=4096)
def _knot(seed: int, hour: int) -> float:
    return Random(f"{seed}/{hour}/knot").gauss(0, 12)
