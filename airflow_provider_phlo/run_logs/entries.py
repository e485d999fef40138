"""What a line of a task's log says, whether Airflow's API answers it or it stands in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

#: From least to most; a message without a level counts as information.
LEVELS = ("debug", "info", "warning", "error", "critical")
_OTHER_NAMES = {"warn": "warning", "fatal": "critical", "exception": "error", "notset": "debug"}
# what a message has beside fields of its own
_KNOWN = frozenset(
    {
        *("timestamp", "event", "level", "logger", "filename", "lineno", "loc", "error_detail", "chan", "pid"),
        *("ti_id", "dag_id", "run_id", "task_id", "try_number", "map_index"),
    }
)
_FOLDS = ("::group::", "::endgroup::")
_MOST_FRAMES = 50


@dataclass(frozen=True, order=True)
class AttemptKey:
    """Which try of which task; a task that is not mapped has the index -1."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    number: int = 1

    @property
    def name(self) -> str:
        """Return how people call it: ``dag/task``, the index of a mapped task, the number of a later try."""
        index = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}/{self.task_id}{index}{f' #{self.number}' if self.number > 1 else ''}"


@dataclass(frozen=True)
class Attempt:
    """
    One try of a task, and its log.

    :param started: when it began; None if that is not known.
    :param ended: when it ended; None if it is still going on, or if that is not known.
    :param is_settled: whether it was over when it was listed.
    :param place: where the log is, if that is a file.
    """

    key: AttemptKey
    started: datetime | None = None
    ended: datetime | None = None
    is_settled: bool = True
    place: str = ""

    @property
    def identity(self) -> tuple[AttemptKey, str]:
        """Return what sets it apart: a try that waited for an event has two files."""
        return self.key, self.place


@dataclass(frozen=True)
class Entry:
    """
    One message of a log.

    :param at: its time by the clock of the machine that wrote it; None for a line that says none.
    :param level: one of :data:`LEVELS`.
    :param text: what it says; a traceback makes it several lines.
    :param logger: which logger said it; may be empty.
    """

    key: AttemptKey
    at: datetime | None
    level: str
    text: str
    logger: str = field(default="")


def is_fold(entry: Entry) -> bool:
    """Return whether this only says to Airflow's pages where lines may be folded."""
    return entry.text.startswith(_FOLDS)


def level_of(name: Any) -> str:
    """Return one of :data:`LEVELS`."""
    said = str(name).lower() if name else "info"
    said = _OTHER_NAMES.get(said, said)
    return said if said in LEVELS else "info"


def entry_of(key: AttemptKey, message: Mapping[str, Any] | str) -> Entry:
    """
    Return what a message says.

    :param message: as Airflow writes it: an object with an ``event``; plain text where it is not one.
    """
    if isinstance(message, str):
        return Entry(key, None, "info", message)
    text = str(message.get("event", ""))
    fields = " ".join(f"{name}={_value(value)}" for name, value in message.items() if _is_said(name, value))
    lines = [f"{text} {fields}".strip() if fields else text, *_traceback(message.get("error_detail"))]
    return Entry(
        key, time_of(message.get("timestamp")), level_of(message.get("level")), "\n".join(lines), _logger(message)
    )


def parse_line(key: AttemptKey, line: bytes) -> Entry:
    """Return what a line of a log file says; bytes that are not UTF-8 are replaced."""
    text = line.decode(errors="replace").rstrip("\r\n")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return entry_of(key, text)
    return entry_of(key, message if isinstance(message, dict) and "event" in message else text)


def time_of(text: Any) -> datetime | None:
    """Return a time in ISO 8601, in UTC; None for anything else."""
    try:
        found = datetime.fromisoformat(str(text))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _is_said(name: str, value: Any) -> bool:
    return name not in _KNOWN and value not in (None, "")


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return json.dumps(text, ensure_ascii=False) if " " in text and isinstance(value, str) else text


def _logger(message: Mapping[str, Any]) -> str:
    return str(message.get("logger") or message.get("chan") or "")


def _traceback(errors: Any) -> Iterator[str]:
    """Yield the lines of tracebacks, as Python prints them; what is not one is left out."""
    for error in errors if isinstance(errors, list) else ():
        if not isinstance(error, dict):
            continue
        frames = [frame for frame in error.get("frames") or () if isinstance(frame, dict)]
        if frames:
            yield "Traceback (most recent call last):"
        for frame in frames[-_MOST_FRAMES:]:
            yield f'  File "{frame.get("filename")}", line {frame.get("lineno")}, in {frame.get("name")}'
        yield f"{error.get('exc_type')}: {error.get('exc_value')}"
        yield from _traceback(error.get("exceptions"))
