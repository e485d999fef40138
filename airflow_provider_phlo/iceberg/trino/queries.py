"""Run statements in Trino, learn the id of each before it begins, and make sure that one has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from trino import exceptions as trino_errors

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, PhloError, TransientError
from airflow_provider_phlo.sql import literal
from airflow_provider_phlo.sql_errors import describe_trino_refusal

log = logging.getLogger(__name__)

ENDED = ("FINISHED", "FAILED")
PATIENCE = 60.0  # seconds for a query that was killed to end
_CONFLICTS = ("ICEBERG_COMMIT_ERROR", "TRANSACTION_CONFLICT")
_TRANSIENT_TYPES = ("INTERNAL_ERROR", "EXTERNAL", "INSUFFICIENT_RESOURCES")
# those of the type USER_ERROR that the statement has no part in: somebody has ended it, or nobody asked for its rows
_ENDED_FROM_OUTSIDE = ("ADMINISTRATIVELY_KILLED", "USER_CANCELED", "ABANDONED_QUERY")
_NO_TRINO = "The server answers 404: no Trino is at this address, check host, port and scheme"


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
        self._in_utc: Any = None

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
        connection = self._connect()
        try:
            return self._run(connection, sql, started=started).rows
        finally:
            connection.close()

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> Answer:
        """
        Run a query in a session whose time zone is UTC, and return its answer.

        The session is kept for the queries that follow, as to begin one costs what a small query costs; not one in
        which a query failed, nor one of transactions, which would end with it.

        :param parameters: the values of its ``?`` markers.
        :raises StatementError: Trino cannot evaluate it.
        """
        connection, self._in_utc = self._in_utc or self._begin_in_utc(), None
        try:
            answer = self._run(connection, sql, parameters)
            if connection.transaction is None:
                self._in_utc = connection
            return answer
        finally:
            if self._in_utc is None:
                connection.close()

    def _begin_in_utc(self) -> Any:
        connection = self._connect()
        self._run(connection, "SET TIME ZONE 'UTC'")
        return connection

    def _run(
        self,
        connection: Any,
        sql: str,
        parameters: Sequence[Any] = (),
        *,
        started: Callable[[str], None] | None = None,
    ) -> Answer:
        def on_stats(stats: dict[str, Any]) -> None:
            self._running = stats["queryId"]
            if started is not None:
                started(stats["queryId"])

        try:
            cursor = connection.cursor(stats_callback=on_stats)
            rows = cursor.execute(sql, list(parameters)).fetchall()
            return Answer(rows, [(column[0], column[1]) for column in cursor.description or ()])
        except PhloError:
            raise
        except (trino_errors.Error, trino_errors.HttpError, OSError) as error:
            raise _translate(error, begun=self._running is not None) from error
        except (ValueError, LookupError, AttributeError, TypeError) as error:  # of what reads the answer
            raise TransientError(
                f"What answers is not Trino, or something between has changed its answer ({type(error).__name__}): "
                "nothing is known of the query. Check host and port; a retry may help."
            ) from error
        finally:
            self._running = None


def _translate(error: Exception, *, begun: bool) -> Exception:
    """
    Return the error of this package that says whether a retry can help; Trino's own text may hold values.

    :param begun: whether Trino has taken the query: what it answers then, such as that it does not know it after a
        restart, says nothing of the connection.
    """
    name, query = getattr(error, "error_name", None), getattr(error, "query_id", None)
    if name is None and not begun:
        refusal = _NO_TRINO if str(error).startswith("error 404") else describe_trino_refusal(str(error))
        if refusal:
            return StatementError(f"{refusal}.", type(error).__name__)
    if name is None:
        return TransientError(f"Trino does not answer ({type(error).__name__}): nothing is known of the query; retry.")
    what = f"Trino failed with {name} (query {query}; its web page says more)"
    if name in _CONFLICTS:
        return CommitConflictError(f"{what}: another writer was faster.")
    if name in _ENDED_FROM_OUTSIDE:
        return TransientError(f"A query was ended in Trino ({name}, query {query}; its web page says more): retry.")
    if getattr(error, "error_type", "") in _TRANSIENT_TYPES:
        return TransientError(f"{what}. A retry may help.")
    return StatementError(f"{what}. Check the connection's user, its rights and its catalog.", name)
