"""End a query that takes too long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow_provider_phlo.quality.engines.protocol import EvaluationError


class TookTooLongError(EvaluationError):
    """A query was ended since it took longer than it may; the text says how long that is."""


@contextmanager
def time_limit(seconds: float, interrupt: Callable[[], None]) -> Iterator[None]:
    """
    End what runs inside when it takes too long.

    :param interrupt: ends the query that runs, which then raises in its own thread.
    :raises TookTooLongError: it was ended.
    """
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        interrupt()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if is_late.is_set():
            raise TookTooLongError(f"it took longer than {seconds:g} s") from None
        raise
    finally:
        timer.cancel()
