"""
The whole error tree. A class says whether a retry can help.

::

    PhloError
    ├── TransientError             a later attempt may succeed: Airflow retries the task
    │   ├── SourceUnavailableError   no connection, 5xx, rate limit, truncated or non-JSON answer
    │   └── CommitConflictError      another writer won every round
    └── TerminalError              the same input fails again: the task fails at once
        ├── ConfigurationError       a setting, connection, argument or partition date is wrong
        ├── SourceRejectedError      401, 404 and other answers that need a person
        ├── SchemaError              the batch does not fit the table, or the schema cannot be used
        ├── ValidationError          rows break the validation schema (carries the failures)
        ├── AccountingError          what was read is not what was merged, set aside or dropped
        └── QualityCheckError        blocking checks failed (carries all results)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class PhloError(Exception):
    """Root of every error this package raises on purpose."""


class TransientError(PhloError):
    """A later attempt may succeed."""


class SourceUnavailableError(TransientError):
    """The source did not answer, or not with what it promised."""


class CommitConflictError(TransientError):
    """Other writers moved the table in every round; nothing was written."""


class TerminalError(PhloError):
    """The same input fails again; somebody has to change something."""


class ConfigurationError(TerminalError):
    """A setting, connection, argument or partition date is wrong."""


class SourceRejectedError(TerminalError):
    """The source refused the request: credentials, permissions or an unknown object."""


class SchemaError(TerminalError):
    """The batch does not fit the table, or a schema cannot be used."""


class ValidationError(TerminalError):
    """
    Rows of a batch break its validation schema.

    :param message: says column, check, count and row positions, never a value.
    :param failures: the same as data (``schemas.validation.FailureCount``).
    """

    def __init__(self, message: str, failures: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)


class AccountingError(TerminalError):
    """The counts of a run do not add up; nothing was published."""


class QualityCheckError(TerminalError):
    """
    At least one blocking check failed.

    :param results: the results of all checks that ran, passed ones included (``QualityCheckResult``).
    """

    def __init__(self, message: str, results: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.results = tuple(results)
