"""Run statements in Trino, learn the id of each before it begins, and make sure that one has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from trino import exceptions as trino_errors

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, TransientError
from airflow_provider_phlo.sql import literal

log = logging.getLogger(__name__)

ENDED = ("FINISHED", "FAILED")
PATIENCE = 60.0  # seconds for a query that was killed to end
_CONFLICTS = ("ICEBERG_COMMIT_ERROR", "TRANSACTION_CONFLICT")
_TRANSIENT_TYPES = ("INTERNAL_ERROR", "EXTERNAL", "INSUFFICIENT_RESOURCES")


class StatementError(ConfigurationError):
    """
    Trino refuses a statement, and would refuse it again.

    :param name: Trino's name of the error, such as ``TYPE_MISMATCH``.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class Answer(NamedTuple):
    """The rows of a query, and the name and Trino type of each of their columns."""

    rows: list[Any]
    columns: list[tuple[str, str]]


class Queries:
    """
    The statements that one process runs, one at a time.

    :param connect: opens a DB-API connection.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._running: str | None = None

    def cancel(self) -> None:
        """Ask Trino to end the query that runs now, if any."""
        if self._running is not None:
            self._kill(self._running, "the task was stopped")

    def settle(self, query: str) -> None:
        """Wait until Trino is done with a query; end it if it still runs, as the attempt that started it has died."""
        deadline = time.monotonic() + PATIENCE
        asked = False
        while time.monotonic() < deadline:
            state = self.execute(f"SELECT state FROM system.runtime.queries WHERE query_id = {literal(query)}")  # noqa: S608
            if not state or state[0][0] in ENDED:
                return
            if not asked:
                self._kill(query, "its task has died")
                asked = True
            time.sleep(0.2)
        raise TransientError(f"Query {query} of an earlier attempt does not end: kill it in Trino, or wait and retry.")

    def _kill(self, query: str, reason: str) -> None:
        try:
            self.execute(f"CALL system.runtime.kill_query(query_id => {literal(query)}, message => {literal(reason)})")
        except (ConfigurationError, TransientError) as error:  # it may just have ended by itself
            log.info("query %s was not killed: %s", query, error)

    def execute(self, sql: str, started: Callable[[str], None] | None = None) -> list[Any]:
        """
        Return the rows of a statement.

        :param started: called with the query's id before Trino begins with it; what it raises keeps the query from
            being run.
        """
        return self._run(sql, started=started).rows

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> Answer:
        """
        Run a query in a session whose time zone is UTC, and return its answer.

        :param parameters: the values of its ``?`` markers.
        :raises StatementError: Trino cannot evaluate it.
        """
        return self._run(sql, parameters, before="SET TIME ZONE 'UTC'")

    def _run(
        self,
        sql: str,
        parameters: Sequence[Any] = (),
        *,
        started: Callable[[str], None] | None = None,
        before: str | None = None,
    ) -> Answer:
        def on_stats(stats: dict[str, Any]) -> None:
            self._running = stats["queryId"]
            if started is not None:
                started(stats["queryId"])

        connection = self._connect()
        try:
            if before:
                connection.cursor().execute(before).fetchall()
            cursor = connection.cursor(stats_callback=on_stats)
            rows = cursor.execute(sql, list(parameters)).fetchall()
            return Answer(rows, [(column[0], column[1]) for column in cursor.description or ()])
        except (trino_errors.Error, trino_errors.TrinoQueryError, trino_errors.HttpError, OSError) as error:
            raise _translate(error) from error
        finally:
            self._running = None
            connection.close()


def _translate(error: Exception) -> Exception:
    """Return the error of this package that says whether a retry can help; Trino's own text may hold values."""
    name, query = getattr(error, "error_name", None), getattr(error, "query_id", None)
    if name is None:
        return TransientError(f"Trino does not answer ({type(error).__name__}): nothing is known of the query; retry.")
    what = f"Trino failed with {name} (query {query}; its web page says more)"
    if name in _CONFLICTS:
        return CommitConflictError(f"{what}: another writer was faster.")
    if getattr(error, "error_type", "") in _TRANSIENT_TYPES:
        return TransientError(f"{what}. A retry may help.")
    return StatementError(f"{what}. Check the connection's user, its rights and its catalog.", name)
