"""Ask published events for a request: in threads of their own, and only for as long as somebody waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

from fastapi import HTTPException, Request, status

from airflow_provider_phlo.events.queries import SECONDS, Answer, Interruption, PublishedEvents

# DuckDB uses all cores for one query: more at a time only share its memory
_AT_ONCE = 4


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Questions:
    """
    The queries of a server. Those that wait for their turn hold no thread of the server.

    :param published: returns where the loader publishes.
    :param seconds: how long an answer may take.
    """

    def __init__(self, published: Callable[[], Path], seconds: float = SECONDS) -> None:
        self._published = published
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="phlo-events")
        self._events: PublishedEvents | None = None

    async def ask(self, request: Request, query: str, *, days: int, limit: int) -> Answer:
        """
        Run a query for a request; end it when the client has gone.

        :raises ClientGoneError: it has gone.
        :raises HTTPException: there is no answer in time.
        :raises PhloError: there is none.
        """
        if self._events is None:
            self._events = PublishedEvents(self._published())
        interruption = Interruption()
        running = self._pool.submit(self._events.ask, query, days=days, limit=limit, interruption=interruption)
        answer, gone = asyncio.wrap_future(running), asyncio.ensure_future(_gone(request))
        try:
            waited: set[asyncio.Future[Any]] = {answer, gone}
            await asyncio.wait(waited, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise ClientGoneError
            raise HTTPException(
                status.HTTP_503_SERVICE_UNAVAILABLE, f"No answer in {self._seconds:g} s: ask for fewer days."
            )
        finally:
            gone.cancel()
            if not running.done():
                # nobody reads what comes of it
                answer.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
                # not a task: a server that stops cancels those
                Thread(target=_end, args=(running, interruption), daemon=True).start()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _end(running: Future[Answer], interruption: Interruption) -> None:
    while not (running.cancel() or running.done()):
        interruption.request()
        time.sleep(0.02)
