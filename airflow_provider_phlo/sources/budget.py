"""What a client may still ask of a server, shared by all threads that use it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_provider_phlo.sources.headers import reset_moment


@dataclass
class Budget:
    """
    How much a client asks of a server, and until when it asks nothing.

    :param reserve: requests of a rate limit's window that are left for others, at most a tenth of the window's. It has
        to be more than the requests that are under way at any moment, or some of them exceed the limit.
    :param requests_per_minute: sent at even intervals, one after the other; None: as fast as answers come.
    """

    reserve: int = 0
    requests_per_minute: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)
    _closed_until: float = field(default=0.0, init=False)
    _next_turn: float = field(default=0.0, init=False)
    _waited: float = field(default=0.0, init=False)
    _counted_until: float = field(default=0.0, init=False)

    def note(self, headers: Mapping[str, str], now: float) -> None:
        """
        Ask nothing until the reset, if an answer says that no more than the reserve is left.

        :param now: epoch seconds.
        """
        remaining = _count(headers.get("X-RateLimit-Remaining", ""))
        if remaining is None:
            return
        limit = _count(headers.get("X-RateLimit-Limit", ""))
        reserve = 0 if limit is None else min(self.reserve, limit // 10)
        if remaining <= reserve:
            self.close(reset_moment(headers, now) or 0.0)

    def close(self, until: float) -> None:
        """Ask nothing until then (epoch seconds)."""
        with self._lock:
            self._closed_until = max(self._closed_until, until)

    def closed_for(self, now: float) -> float:
        """Return for how many seconds nothing may be asked."""
        return max(self._closed_until - now, 0.0)

    def take_turn(self, now: float) -> float:
        """Take the next turn, and return in how many seconds it is."""
        if not self.requests_per_minute:
            return 0.0
        with self._lock:
            turn = max(self._next_turn, now)
            self._next_turn = turn + 60 / self.requests_per_minute
        return turn - now

    def count_wait(self, seconds: float, now: float, most: float) -> bool:
        """
        Count a wait for a limit, unless all waits together would be longer than ``most`` seconds.

        Threads that wait at the same time wait once.

        :returns: whether it was counted.
        """
        with self._lock:
            more = max(now + seconds - max(now, self._counted_until), 0.0)
            if self._waited + more > most:
                return False
            self._waited += more
            self._counted_until = max(self._counted_until, now + seconds)
            return True


def _count(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
