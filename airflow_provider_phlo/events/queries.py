"""Ask published events: the SQL files beside this module, over what the last load published."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from airflow_provider_phlo.events.published import COLUMNS, Manifest, read_manifest, suspect
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.sql import literal

TOP_REPOS = "top_repos"
USER_SESSIONS = "user_sessions"
NESTED_BY_REPOSITORY = "events_nested_by_repository"

MOST_DAYS = 36_500
MOST_ROWS = 10_000
# what a query may take before it is ended; segments stay for longer (published.GRACE_SECONDS)
SECONDS = 60
_MEMORY = "1GB"
_DISK = "8GB"
# a publication may be replaced, and its segments removed, between reading the manifest and opening them
_ATTEMPTS = 2


@dataclass(frozen=True)
class Answer:
    """
    Rows, and the publication that they were read from.

    :param events: how many events that publication has.
    :param published_at: when it was published; None when there is none yet.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    events: int
    published_at: datetime | None


class Interruption:
    """Ends a query from another thread: of a reader who went away, or who has waited for too long."""

    def __init__(self) -> None:
        self._requested = False
        self._connection: duckdb.DuckDBPyConnection | None = None

    def request(self) -> None:
        """End the query; call it until the query has ended, as one that has not begun does not notice."""
        self._requested = True
        connection = self._connection
        if connection is not None:
            connection.interrupt()

    @contextmanager
    def watching(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """
        Let it end what this connection does.

        :raises TransientError: it was requested before.
        """
        self._connection = connection
        try:
            if self._requested:
                raise TransientError("The query was interrupted.")
            yield
        finally:
            self._connection = None


class PublishedEvents:
    """
    The published events of a folder. Threads may ask at the same time.

    :param folder: where the loader publishes (``events.paths``).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None

    def ask(
        self,
        query: str,
        *,
        days: int,
        limit: int,
        now: datetime | None = None,
        interruption: Interruption | None = None,
    ) -> Answer:
        """
        Run one of the SQL files.

        :param query: its name, such as ``TOP_REPOS``.
        :param days: look back this many days, 1 to 36,500.
        :param limit: at most this many rows, 1 to 10,000.
        :param now: the end of these days; events after it count too, as clocks differ.
        :param interruption: ends the query when it is requested.
        :raises ConfigurationError: a number is out of bounds, or the publication cannot be read by this release.
        :raises TransientError: interrupted, or DuckDB cannot answer, for want of memory for one.
        """
        _require_within("days", days, MOST_DAYS)
        _require_within("limit", limit, MOST_ROWS)
        now = now or datetime.now(UTC)
        values = {"since": now - timedelta(days=days), "count": limit, "now": now}
        for attempt in range(1, _ATTEMPTS + 1):
            manifest = read_manifest(self.folder)
            try:
                return self._run(query, values, manifest, interruption or Interruption())
            except duckdb.OutOfMemoryException:
                raise TransientError(
                    f"The answer needs more than the {_MEMORY} of memory that queries may use: ask for fewer days."
                ) from None
            except duckdb.InterruptException:
                raise TransientError("The query was interrupted.") from None
            except duckdb.Error as error:
                if attempt == _ATTEMPTS or read_manifest(self.folder) == manifest:
                    suspect(self.folder)
                    raise TransientError(
                        f"The published events cannot be read ({type(error).__name__}): load again, which makes again "
                        "what is missing or damaged."
                    ) from error
        raise AssertionError("the last attempt returns or raises")

    def _run(self, query: str, values: dict[str, Any], manifest: Manifest | None, interruption: Interruption) -> Answer:
        sql = statement(query)
        with self._cursor() as cursor, interruption.watching(cursor):
            cursor.execute(f"CREATE TEMP VIEW events AS {self._rows(manifest, values['since'])}")
            used = {name: value for name, value in values.items() if f"${name}" in sql}
            cursor.execute(sql, used)
            columns = [str(column[0]) for column in cursor.description or ()]
            rows = cursor.fetchall()
        published_at = datetime.fromtimestamp(manifest.published_at, UTC) if manifest else None
        return Answer(columns, rows, manifest.events if manifest else 0, published_at)

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection of its own to the DuckDB in memory that all queries share, with its memory and threads."""
        with self._lock:
            if self._database is None:
                self._database = duckdb.connect()
                self._spilled = tempfile.TemporaryDirectory(prefix="phlo-events-", ignore_cleanup_errors=True)
                self._database.execute(
                    f"SET memory_limit = '{_MEMORY}'; SET temp_directory = {literal(self._spilled.name)}; "
                    f"SET max_temp_directory_size = '{_DISK}'; SET TimeZone = 'UTC'"
                )
            cursor = self._database.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def _rows(self, manifest: Manifest | None, since: datetime) -> str:
        """Return the SELECT that reads the segments with events of that time, and of the half hour before."""
        earliest = (since - timedelta(minutes=30)).timestamp() * 1_000_000
        segments = [
            segment
            for segment in (manifest.segments if manifest else ())
            if segment.last is not None and segment.last >= earliest
        ]
        if not segments:
            return f"SELECT {', '.join(f'NULL::{kind} AS {name}' for name, kind in COLUMNS)} WHERE false"
        files = ", ".join(literal(os.fspath(self.folder / segment.name)) for segment in segments)
        return f"SELECT * FROM read_parquet([{files}])"  # noqa: S608 - quoted paths


def _require_within(name: str, value: int, most: int) -> None:
    if not 0 < value <= most:
        raise ConfigurationError(f"{name} is {value}: give a whole number from 1 to {most:,}.")


@cache
def statement(query: str) -> str:
    """
    Return the SQL of a query, over the table or view ``events``.

    :param query: its name; its parameters are ``$since``, ``$count`` and ``$now``, those that it has.
    """
    return (Path(__file__).parent / "sql" / f"{query}.sql").read_text()
