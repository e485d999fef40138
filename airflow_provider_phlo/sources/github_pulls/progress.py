"""
What was read of a chunk so far, kept in files, so that a task that is killed or waits for a limit reads on from there.

Finished readings are kept every few seconds. Pages of unfinished ones are kept when reading stops in an orderly way: a
limit of a few requests per hour would else be used up again and again before one pull request is finished.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_phlo.sources.github_pulls import working_files

_READINGS, _SECONDS = 100, 5.0
# readings in memory: a pull request has up to 3,000 files
_ENTRIES = 10_000
Key = tuple[int, int]


def key_of(kept: Mapping[str, Any]) -> Key:
    """Return what names a pull request, whatever its repository is called."""
    return kept["repository_id"], kept["number"]


class Progress:
    """
    What was read of one chunk.

    :param folder: its own, a path object.
    """

    def __init__(self, folder: Any) -> None:
        self.folder = folder
        self.done: set[Key] = set()
        self._held: list[dict[str, Any]] = []
        self._entries = 0
        self._written_at = time.monotonic()

    def recall(self) -> Iterator[dict[str, Any]]:
        """Yield the finished readings of earlier attempts, each once, file by file."""
        for path in working_files.names(self.folder, "done-"):
            for reading in working_files.read_if_whole(path) or ():
                if key_of(reading) not in self.done:
                    self.done.add(key_of(reading))
                    yield reading

    def recall_pages(self) -> dict[Key, dict[str, Any]]:
        """Return the pages of readings that no attempt has finished; where there are two of one, the longer."""
        found: dict[Key, dict[str, Any]] = {}
        for path in working_files.names(self.folder, "pages-"):
            for state in working_files.read_if_whole(path) or ():
                key = (state["key"][0], state["key"][1])
                if key not in self.done and state["pages"] >= found.get(key, state)["pages"]:
                    found[key] = state
        return found

    def keep(self, reading: dict[str, Any]) -> None:
        """Keep a finished reading."""
        self.done.add(key_of(reading))
        self._held.append(reading)
        self._entries += 1 + len(reading.get("reviews", ())) + len(reading.get("files", ()))
        late = time.monotonic() - self._written_at >= _SECONDS
        if late or len(self._held) >= _READINGS or self._entries >= _ENTRIES:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            working_files.write(self.folder / f"done-{_name()}", self._held)
        self._held, self._entries, self._written_at = [], 0, time.monotonic()

    def forget(self) -> None:
        """Remove all that is kept: another attempt begins anew."""
        working_files.remove(self.folder)

    def keep_pages(self, states: list[dict[str, Any]]) -> None:
        """Write the pages of readings that are not finished."""
        if states:
            working_files.write(self.folder / f"pages-{_name()}", states)


def _name() -> str:
    return f"{uuid.uuid4().hex}.gz"  # two attempts may meet here
