"""
Many logs as one stream, ordered by time.

Logs are opened in the order in which their tasks began, and only when the stream has come to that time: the first line
of a thousand logs needs the first few of them. A few are read ahead, at once.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.run_logs.entries import Attempt, AttemptKey, Entry
from airflow_provider_phlo.run_logs.source import Position, Reading, Source, Wanted

# requests at once: Airflow answers them with a few processes, which its tasks need too
_AT_ONCE = 4
# a log's first lines may be older than the start that Airflow notes
_SLACK = timedelta(seconds=1)
_PAUSE, _LONGEST_PAUSE = 1.0, 10.0
_BEGINNING = datetime.min.replace(tzinfo=UTC)

# the time that orders a message, a number that decides between equal ones, the message, and the rest of its log
_Head = tuple[datetime, int, Entry, "Iterator[tuple[datetime, Entry]]"]


def merged(
    source: Source,
    attempts: Iterable[Attempt],
    read: Callable[[Attempt, Reading], None] = lambda attempt, reading: None,
) -> Iterator[Entry]:
    """
    Yield the messages of logs by their time; those of one log stay in its order.

    A log whose machine's clock is behind comes out of order, but whole.

    :param attempts: by the time at which they began.
    :param read: gets what was read of each log.
    """
    numbers = itertools.count()
    heads: list[_Head] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ahead = _Ahead(pool, source, attempts)
        while heads or ahead.waiting:
            while ahead.waiting and (not heads or ahead.starts - _SLACK <= heads[0][0]):
                attempt, reading = ahead.take()
                read(attempt, reading)
                _push(heads, numbers, _timed(attempt, reading.entries))
            if heads:
                _, _, entry, rest = heapq.heappop(heads)
                yield entry
                _push(heads, numbers, rest)


def _push(heads: list[_Head], numbers: Iterator[int], messages: Iterator[tuple[datetime, Entry]]) -> None:
    first = next(messages, None)
    if first is not None:
        heapq.heappush(heads, (first[0], next(numbers), first[1], messages))


def _timed(attempt: Attempt, entries: Iterable[Entry]) -> Iterator[tuple[datetime, Entry]]:
    """Yield messages with the time that orders them: it never goes back, and a line without one has the last."""
    now = _BEGINNING if attempt.started is None else attempt.started - _SLACK
    for number, entry in enumerate(entries):
        if entry.at is not None:
            # the first decides where the log is placed, whatever Airflow has noted
            now = max(now, entry.at) if number else entry.at
        yield now, entry


class _Ahead:
    """Logs that are being read before they are needed."""

    def __init__(self, pool: ThreadPoolExecutor, source: Source, attempts: Iterable[Attempt]) -> None:
        self._pool, self._source, self._attempts = pool, source, iter(attempts)
        self._reading: deque[tuple[Attempt, Future[Reading]]] = deque()
        # the first log does not share the server with others
        self._at_once = 1
        self._fill()

    @property
    def waiting(self) -> bool:
        """Return whether there is a log that was not taken."""
        return bool(self._reading)

    @property
    def starts(self) -> datetime:
        """Return when the next one began."""
        return self._reading[0][0].started or _BEGINNING + _SLACK

    def take(self) -> tuple[Attempt, Reading]:
        """Return the next one, and what was read of it."""
        attempt, found = self._reading.popleft()
        reading = found.result()
        self._at_once = min(self._at_once * 2, _AT_ONCE)
        self._fill()
        return attempt, reading

    def _fill(self) -> None:
        for attempt in itertools.islice(self._attempts, self._at_once - len(self._reading)):
            self._reading.append((attempt, self._pool.submit(self._source.read, attempt, Position())))


def followed(
    source: Source, wanted: Wanted, say: Callable[[str], None], pause: Callable[[float], None] = time.sleep
) -> Iterator[Entry | None]:
    """
    Yield the messages of logs, and then without end what is added to them and to new ones.

    :param say: gets what a person should know: that the server does not answer, and that it does again.
    :param pause: waits this many seconds between two looks.
    :returns: messages; None when there is nothing new at the moment.
    """
    tail = _Tail(source, wanted)
    yield from merged(source, source.attempts(wanted), tail.note)
    seconds = _PAUSE
    while True:
        yield None
        pause(seconds)
        try:
            entries = tail.look()
        except TransientError as error:
            if seconds == _PAUSE:
                say(f"{error} Trying again until it answers.")
            seconds = min(seconds * 2, _LONGEST_PAUSE)
            continue
        if seconds != _PAUSE:
            say("Airflow answers again.")
            seconds = _PAUSE
        yield from entries


class _Tail:
    """What is known of the logs that are being followed."""

    def __init__(self, source: Source, wanted: Wanted) -> None:
        self._source, self._wanted = source, wanted
        self._known: set[tuple[AttemptKey, str]] = set()
        self._open: dict[tuple[AttemptKey, str], tuple[Attempt, Position]] = {}
        # logs that are complete, as far as Airflow knows: a last line may come after that
        self._closing: set[tuple[AttemptKey, str]] = set()

    def note(self, attempt: Attempt, reading: Reading) -> None:
        """Note how far a log has been read."""
        key = attempt.identity
        self._known.add(key)
        if not reading.is_over or (key in self._open and key not in self._closing):
            self._open[key] = (attempt, reading.position)
            if reading.is_over:
                self._closing.add(key)
        else:
            self._open.pop(key, None)
            self._closing.discard(key)

    def look(self) -> list[Entry]:
        """Return what is new, by time."""
        found: list[tuple[datetime, int, Entry]] = []
        numbers = itertools.count()
        new = [
            (attempt, Position())
            for attempt in self._source.newer(self._wanted, lambda each: each.identity in self._known)
        ]
        asked = [*self._open.values(), *new]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            readings = pool.map(lambda each: self._source.read(*each), asked)
            for (attempt, _), reading in zip(asked, readings, strict=True):
                if attempt.identity not in self._known:
                    self._open[attempt.identity] = (attempt, Position())  # it is looked at once more, when it is over
                self.note(attempt, reading)
                found += [(at, next(numbers), entry) for at, entry in _timed(attempt, reading.entries)]
        return [entry for _, _, entry in sorted(found, key=lambda each: each[:2])]
