"""
The whole error tree. A class says whether a retry can help.

::

    PhloError
    ├── TransientError             a later attempt may succeed: Airflow retries the task
    │   ├── SourceUnavailableError   no connection, 5xx, rate limit, truncated or non-JSON answer
    │   ├── CommitConflictError      other writers won in every attempt
    │   └── ServerUnavailableError   another program's server does not answer, or is in error
    │       └── AirflowUnavailableError  Airflow's api-server
    └── TerminalError              the same input fails again: the task fails at once
        ├── ConfigurationError       a setting, connection, argument or partition date is wrong
        ├── SourceRejectedError      401, 404 and other answers that need a person
        ├── AirflowRefusedError      Airflow's api-server refuses what was asked for
        ├── SchemaError              the batch does not fit the table, or the schema cannot be used
        ├── ValidationError          rows break the validation schema (carries the failures)
        ├── FilesFailedError         some files of a folder could not be loaded (carries the result, and them)
        ├── AccountingError          what was read is not what was merged, set aside or dropped
        └── QualityCheckError        blocking checks failed (carries all results)

``docs/errors.md`` is made from the docstrings of these classes (``python -m tests.error_page``): the first sentence
says what happened, ``Cause:`` why, ``Cure:`` what to do.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any


class PhloError(Exception):
    """An error that this package raises on purpose; catch it to catch them all."""


class TransientError(PhloError):
    """
    A later attempt may succeed.

    Cause: a server or process that the task needs did not answer in time, or broke off: Trino, Postgres, the object
    store, dbt's engine.

    Cure: none is needed if a retry succeeds. If all retries fail, the message names the server and where its log is.
    """


class SourceUnavailableError(TransientError):
    """
    The source did not answer, or not with what it promised.

    Cause: no connection, a timeout, an answer 5xx, a rate limit, or an answer that is truncated or not JSON.

    Cure: none is needed if a retry succeeds. Otherwise check the host in the connection; a rate limit is waited
    for without a worker (``deferrable``), and a token raises it.

    :param retry_at: when the source may be asked again, where it said so: a rate limit resets then.
    :param answers: how many requests the source had answered before.
    :param status: of its last answer, if there was one.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_at: datetime.datetime | None = None,
        answers: int = 0,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_at = retry_at
        self.answers = answers
        self.status = status


class CommitConflictError(TransientError):
    """
    Other writers changed the table during every attempt; nothing was written.

    Cause: many runs publish to one table at the same time, in a catalog where they cannot take turns (REST, Nessie) or
    with writers that take none (other engines); or sessions hold a Postgres table whose columns have to change.

    Cure: clear the task when less is going on, or give the writers of the table a pool with one slot. In Postgres, end
    the sessions that are idle in a transaction.
    """


class ServerUnavailableError(TransientError):
    """
    The server of another program (Hasura, OpenMetadata) does not answer, or is in error.

    Cause: it does not run, is not reached, or is busy.

    Cure: what the message names: the setting with its address; then its log.

    :param not_sent: whether it is certain that the server did not get the request.
    """

    def __init__(self, message: str, *, not_sent: bool = False) -> None:
        super().__init__(message)
        self.not_sent = not_sent


class AirflowUnavailableError(ServerUnavailableError):
    """
    Airflow's api-server does not answer, or is in error.

    Cause: it does not run, is not reached, or its database is busy or down.

    Cure: ``phlo services status`` says how the services of a project are; of another Airflow, look at the log of its
    api-server.
    """


class TerminalError(PhloError):
    """The same input fails again: somebody has to change something."""


class ConfigurationError(TerminalError):
    """
    A setting, connection, argument or partition date is wrong.

    Cause: what the message names: an option that does not exist, a connection without a needed field, a table that does
    not exist, a date that is not ``YYYY-MM-DD``, SQL that does not compile.

    Cure: correct it where the message says, then clear the task. Errors in a DAG file show when Airflow parses it.
    """


class SourceRejectedError(TerminalError):
    """
    The source refused the request.

    Cause: credentials that are missing, wrong or expired (401, 403), or an object that does not exist (404).

    Cure: correct the login, password or token of the connection that the message names, or the name of the object; then
    clear the task.

    :param status: of the answer (401, 404), None where it was refused for something else.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class AirflowRefusedError(TerminalError):
    """
    Airflow's api-server refuses what was asked for.

    Cause: a DAG, run or task that it does not have (404), something that the user may not do (403), or that is not
    possible as things are (409).

    Cure: the message says what the server answered.

    :param status: of the answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class SchemaError(TerminalError):
    """
    The batch does not fit the table, or a schema cannot be used.

    Cause: a type that Iceberg (or Postgres) does not have, a change of type that a table cannot follow, a model with
    mistakes in its declarations.

    Cure: correct the model; ``phlo schema diff`` shows beforehand what a changed model breaks. To change a type that
    cannot be widened, add a column with another name, or write to a new table.
    """


class ValidationError(TerminalError):
    """
    Rows of a batch break its validation schema; nothing was merged.

    Cause: the source delivered values that the model forbids. The message names column, check, count and the positions
    of some rows, never a value.

    Cure: correct the source or the model, then clear the run; or set ``strict_validation=False``, so that such rows go
    to the quarantine and the others are merged.

    :param failures: the same as data (``schemas.failures.FailureCount``).
    """

    def __init__(self, message: str, failures: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)


class FilesFailedError(TerminalError):
    """
    Some files of a folder could not be loaded; all others were.

    Cause: a file that is damaged, cut off where it is compressed, or not what its name says. The message names each.

    Cure: replace or remove the files that the message names, then clear the task: what is loaded is not loaded again.

    :param result: what was loaded (``files.LoadResult``).
    :param failures: the files that were not (``files.results.FileFailure``).
    """

    def __init__(self, message: str, result: Any = None, failures: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.result = result
        self.failures = tuple(failures)


class AccountingError(TerminalError):
    """
    The counts of a run do not add up; nothing was published.

    Cause: a transform that gives another result each time, or an error of this package: some record was lost or counted
    twice.

    Cure: clear the run to read again. If it happens again, report it with the counts of the message; the staged batch
    and the run's branch are kept.
    """


class QualityCheckError(TerminalError):
    """
    At least one blocking check failed; main is as it was.

    Cause: the data of this run breaks a rule of the table: what each check found is in the task's log and in
    ``phlo.check_results``.

    Cure: the run's branch is kept: find it with ``phlo catalog branches`` and look at its rows with ``phlo query
    --branch``. Correct the data or the check, then clear the run. A
    check with ``severity="warn"`` reports and does not block.

    :param results: the results of all checks that ran, passed ones included (``QualityCheckResult``).
    :param outcomes: those of all dbt tests (``TestOutcome``).
    """

    def __init__(self, message: str, results: Sequence[Any] = (), outcomes: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.results = tuple(results)
        self.outcomes = tuple(outcomes)
