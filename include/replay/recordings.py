"""The recordings of one replay server: made from a seed, changed by advances, kept in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from include.replay import activity, glucose

Document = dict[str, Any]
EPOCH = date(1970, 1, 1)


@dataclass
class Recordings:
    """
    What the two sites hold.

    Readings can be asked for of any day: the window is only what is written down and what is there without being asked
    for by date.

    :param home: the folder; a file a collection, and ``manifest.json`` with the advances made so far.
    :param end: the last day of the window.
    :param moving: whether GitHub's events go on after the window, up to now.
    :param advances: the days whose past was corrected, in order; a restarted server makes them again.
    :param misread: whether the sensor has misread once on the last day, which the next advance corrects.
    """

    home: Path
    days: int
    seed: int
    end: date
    login: str
    moving: bool = False
    advances: list[date] = field(default_factory=list)
    misread: bool = False
    entries: list[Document] = field(default_factory=list, init=False)
    events: list[Document] = field(default_factory=list, init=False)
    repositories: list[Document] = field(default_factory=list, init=False)
    profile: Document = field(default_factory=dict, init=False)
    _events_of: dict[date, list[Document]] = field(default_factory=dict, init=False)

    @classmethod
    def open(cls, home: Path, days: int, seed: int, end: date, login: str, *, moving: bool = False) -> Recordings:
        """Make the recordings, advanced as far as the ones of the same seed and login in ``home``."""
        recordings = cls(home, days, seed, end, login, moving)
        path = home / "manifest.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        same = (known.get("seed"), known.get("login")) == (seed, login)
        recordings._generate()
        for day in known.get("advances", []) if same else []:
            recordings._advance(date.fromisoformat(day))
        recordings.misread = bool(same and known.get("misread"))
        recordings.save()
        return recordings

    def advance(self) -> dict[str, int]:
        """Let time pass: correct readings of the last day, add late ones, new events and stars. Say how many."""
        self.misread = False
        counts = self._advance(self.end)
        self.save()
        return counts

    def misread_once(self) -> None:
        """Let one reading of the last day have a value that no glucose has, until the next advance."""
        self.misread = True
        self.save()

    def readings(self, first: date, last: date, now: datetime) -> Iterator[Document]:
        """
        Yield the readings of days, the newest first, whether the window has them or not.

        :param now: what comes after it has not been measured yet.
        """
        newest = min(last, now.date())
        entries = glucose.misread(self.entries, self.end) if self.misread else self.entries
        inside = [entry for entry in entries if first <= _day_of(entry) <= newest]
        yield from _made(max(first, self.end + timedelta(days=1)), newest, self.seed, now)
        yield from inside
        yield from _made(first, min(newest, self.start - timedelta(days=1)), self.seed, now)

    def happened(self, now: datetime) -> list[Document]:
        """Return the events on GitHub, the newest first."""
        since: list[Document] = []
        day = self.end + timedelta(days=1)
        while self.moving and day <= now.date():
            since.extend(takewhile(lambda event: _is_over(event, now), activity.events_of(day, self.seed, self.login)))
            day += timedelta(days=1)
        return [*reversed(since), *self.events]

    def save(self) -> None:
        """Write everything to the folder."""
        self.home.mkdir(parents=True, exist_ok=True)
        manifest = {
            "seed": self.seed,
            "login": self.login,
            "days": self.days,
            "end": str(self.end),
            "advances": [str(day) for day in self.advances],
            "misread": self.misread,
        }
        for name, content in (
            ("nightscout_entries", self.entries),
            ("github_events", self.events),
            ("github_repos", self.repositories),
            ("github_user", self.profile),
            ("manifest", manifest),
        ):
            (self.home / f"{name}.json").write_text(json.dumps(content, indent=1))

    @property
    def start(self) -> date:
        """Return the first day of the window."""
        return self.end - timedelta(days=self.days - 1)

    def _generate(self) -> None:
        span = [self.end - timedelta(days=back) for back in reversed(range(self.days))]
        self.entries = [entry for day in span for entry in glucose.entries_of(day, self.seed)]
        self._events_of = {day: activity.events_of(day, self.seed, self.login) for day in span}
        self._renew()

    def _renew(self) -> None:
        # both sites answer the newest first; a broken event keeps the place of its true time
        self.events = [event for day in reversed(self._events_of) for event in reversed(self._events_of[day])]
        self.entries.sort(key=lambda entry: entry["date"], reverse=True)
        self.repositories = activity.repositories(self.login, self.end, len(self.advances))
        self.profile = activity.profile(self.login, self.end)

    def _advance(self, day: date) -> dict[str, int]:
        step = len(self.advances)
        self.advances.append(day)
        of_day = [entry for entry in self.entries if entry["dateString"].startswith(str(day))]
        corrected, late = glucose.advance(of_day, day, self.seed, step)
        by_id = {entry["_id"]: entry for entry in corrected}
        late = [entry for entry in late if of_day and entry["_id"] not in {known["_id"] for known in of_day}]
        self.entries = [by_id.get(entry["_id"], entry) for entry in self.entries] + late
        happened = activity.advance(day, self.seed, self.login, step)
        # a day that has left the recordings takes its news with it
        self._events_of.get(day, []).extend(happened)
        self._renew()
        return {
            "advances": len(self.advances),
            "corrected_entries": len(corrected),
            "late_entries": len(late),
            "new_events": len(happened),
        }


def _made(first: date, last: date, seed: int, now: datetime) -> Iterator[Document]:
    """Yield what a site would have measured on days outside the window, the newest first."""
    until = int(now.timestamp() * 1000)
    day = last
    while day >= max(first, EPOCH):
        yield from (entry for entry in reversed(_entries_of(day, seed)) if entry["date"] <= until)
        day -= timedelta(days=1)


def _is_over(event: Document, now: datetime) -> bool:
    try:
        return datetime.fromisoformat(event["created_at"]) <= now
    except ValueError:  # a broken one comes with its neighbours
        return True


@lru_cache(maxsize=64)
def _entries_of(day: date, seed: int) -> list[Document]:
    """Return a day's readings, which nobody may change: one day is asked for page by page."""
    return glucose.entries_of(day, seed)


def _day_of(entry: Document) -> date:
    return datetime.fromtimestamp(entry["date"] / 1000, UTC).date()
