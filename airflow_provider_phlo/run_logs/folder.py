"""Logs as Airflow writes them into files: for when no server answers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from airflow_provider_phlo.run_logs.entries import Attempt, AttemptKey, Entry, parse_line
from airflow_provider_phlo.run_logs.source import Position, Reading, Wanted

_PLACE = re.compile(
    r"dag_id=(?P<dag>[^/]+)/run_id=(?P<run>[^/]+)/task_id=(?P<task>[^/]+)/(?:map_index=(?P<index>\d+)/)?"
    r"attempt=(?P<number>\d+)\.log(?:\.trigger\.\d+\.log)?"
)
_FIRST_LINES = 20
_BEGINNING = datetime.min.replace(tzinfo=UTC)


class FolderLogs:
    """
    The log files below a folder, by Airflow's default names.

    :param folder: ``[logging] base_log_folder``.
    :param follows: whether they are read again: then a line that is not written to its end comes whole, later.
    """

    def __init__(self, folder: Path, *, follows: bool = False) -> None:
        self._folder = folder
        self._follows = follows

    def attempts(self, wanted: Wanted) -> Iterator[Attempt]:
        """Yield the tries that have a file, by the time of its first line."""
        yield from sorted(self._files(wanted), key=lambda each: (each.started or _BEGINNING, each.key))

    def newer(self, wanted: Wanted, known: Callable[[Attempt], bool]) -> Iterator[Attempt]:
        """Yield the tries that have a file and are not known yet."""
        yield from (attempt for attempt in self._files(wanted) if not known(attempt))

    def read(self, attempt: Attempt, position: Position) -> Reading:
        """Read the lines of a file beyond a position."""
        try:
            with open(attempt.place, "rb") as file:
                file.seek(position.count)
                written = file.read()
        except FileNotFoundError:
            return Reading([_gone(attempt.key)], position)
        lines = written[: written.rfind(b"\n") + 1] if self._follows else written
        entries = [parse_line(attempt.key, line) for line in lines.split(b"\n") if line.strip()]
        # nobody says whether more will come
        return Reading(entries, Position(count=position.count + len(lines)), is_over=False)

    def _files(self, wanted: Wanted) -> Iterator[Attempt]:
        for path in self._folder.glob("dag_id=*/run_id=*/task_id=*/**/attempt=*.log"):
            place = _PLACE.fullmatch(path.relative_to(self._folder).as_posix())
            if place is None:
                continue
            index = int(place["index"]) if place["index"] else -1
            key = AttemptKey(place["dag"], place["run"], place["task"], index, int(place["number"]))
            # Airflow may remove it meanwhile
            with contextlib.suppress(FileNotFoundError):
                if wanted.has(key) and (wanted.since is None or _changed(path) >= wanted.since):
                    yield Attempt(key, _begun(key, path), place=str(path))


def _begun(key: AttemptKey, path: Path) -> datetime:
    """Return the first time that a log says, else when it was last written."""
    with path.open("rb") as file:
        entries = (parse_line(key, line) for line in islice(file, _FIRST_LINES))
        return next((entry.at for entry in entries if entry.at), None) or _changed(path)


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _gone(key: AttemptKey) -> Entry:
    return Entry(key, None, "warning", "The log of this try was removed while it was read.")
