"""
From when on a repository is read next time, by GitHub's own times of its pull requests.

No clock decides that: one that is fast would hide what was updated before it. The next reading begins where the last
update lay, some seconds earlier, and passes over what was read there and is unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_phlo.sources.github_pulls.answers import instant

# What was updated just before something else may be listed a moment later.
OVERLAP = timedelta(seconds=10)
# Of more that were updated within that time (a bulk edit), some are read again.
_MOST = 1000


def next_start(complete_until: datetime | None, last_update: datetime | None) -> datetime | None:
    """
    Return from which time of update on a repository is to be read; None for all of it.

    :param complete_until: all that was updated before is there, by the server's clock; None if that is not certain.
    :param last_update: the greatest time of update that was listed; None if nothing was.
    """
    if complete_until is None or last_update is None:
        return None
    return min(complete_until, last_update) - OVERLAP


class LastUpdates:
    """Which pull requests of a repository were updated last."""

    def __init__(self) -> None:
        self.last_update: datetime | None = None
        self._found: dict[int, datetime] = {}

    def add(self, pulls: Iterable[Mapping[str, Any]]) -> None:
        """Take pull requests of a list into account."""
        for pull in pulls:
            updated = instant(pull["updated_at"])
            if not isinstance(updated, datetime):
                continue
            if self.last_update is None or updated > self.last_update:
                self.last_update = updated
                self._found = {number: each for number, each in self._found.items() if self._is_recent(each)}
            if self._is_recent(updated) and len(self._found) < _MOST:
                self._found[pull["number"]] = updated

    def _is_recent(self, updated: datetime) -> bool:
        return self.last_update is not None and updated >= self.last_update - OVERLAP

    def to_json(self, listed_at: datetime) -> str:
        """
        Return those that need not be read again while they are unchanged, with the times of their updates.

        :param listed_at: what was updated just before may have been updated twice in one second, and is not among them.
        """
        settled = {n: each.isoformat() for n, each in sorted(self._found.items()) if each <= listed_at - OVERLAP}
        return json.dumps(settled)


def without(updated_last: str | None, numbers: Collection[int]) -> str | None:
    """
    Return what :meth:`LastUpdates.to_json` returned, without some pull requests: they are to be read again.

    :param numbers: theirs.
    """
    if updated_last is None:
        return None
    left_out = set(map(str, numbers))
    return json.dumps({number: each for number, each in json.loads(updated_last).items() if number not in left_out})


def unchanged(pull: Mapping[str, Any], read: Mapping[str, str]) -> bool:
    """
    Return whether a pull request is as it was when it was read last.

    :param read: what :meth:`LastUpdates.to_json` returned then, as a mapping.
    """
    updated = instant(pull["updated_at"])
    return isinstance(updated, datetime) and read.get(str(pull["number"])) == updated.isoformat()
