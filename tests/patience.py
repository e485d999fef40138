"""How long tests wait for what must come: long, as a limit here is never a measure of speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# seconds: below the time limit of a test, so that it can say what did not come
PATIENCE = 240

T = TypeVar("T")


def until(what: Callable[[], T], every: float = 0.02, said: Callable[[], object] = str) -> T:
    """
    Return the first true answer of ``what``.

    :param every: seconds between two questions.
    :param said: gives what the failure shows.
    :raises AssertionError: it does not come.
    """
    deadline = time.monotonic() + PATIENCE
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not in {PATIENCE} s: {said()}"
        time.sleep(every)
    return answer
