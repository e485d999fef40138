"""What PostgreSQL's errors are called here: table, cause and cure, without the row values that it quotes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from airflow_provider_phlo.exceptions import (
    CommitConflictError,
    ConfigurationError,
    PhloError,
    SchemaError,
    TransientError,
)
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.publishing.postgres import tables

_STAYS = "The old content stays."
_DEPENDS = (errors.DependentObjectsStillExist, errors.FeatureNotSupported, errors.InvalidTableDefinition)
_CONFLICTS = (errors.DeadlockDetected, errors.SerializationFailure)
_NOT_ALLOWED = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)


@contextmanager
def translate_errors(target: str) -> Iterator[None]:
    """
    Raise PostgreSQL's errors as those of this package.

    :param target: what was published.
    """
    try:
        yield
    except psycopg.Error as error:
        translated = _translate(target, error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        translated = TransientError(
            f"{target}: the disk for temporary files is full, where the rows wait to be loaded. {_STAYS} Make room, "
            "or let TMPDIR name another folder."
        )
    else:
        return
    raise translated from None  # psycopg's own text quotes rows


def _translate(target: str, error: psycopg.Error) -> PhloError:
    if isinstance(error, errors.LockNotAvailable):
        return CommitConflictError(
            f"{target}: a table is new or its columns have to change, but other sessions held the tables for "
            f"{tables.LOCK_SECONDS} s. Nothing was written. End the sessions that are idle in a transaction, "
            "or try again later."
        )
    if isinstance(error, _CONFLICTS):
        return CommitConflictError(f"{target}: another session changes the same tables. {_STAYS} Try again.")
    if isinstance(error, _DEPENDS):
        # names objects, no rows
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        return SchemaError(
            f"{target}: its columns have to change, but {error.diag.message_primary}{detail}. "
            f"{_STAYS} Drop what depends on the column, publish again, then create it anew."
        )
    if isinstance(error, psycopg.IntegrityError | psycopg.DataError):
        about = error.diag.constraint_name or error.diag.column_name or "no constraint is named"
        return SchemaError(
            f"{target}: PostgreSQL rejects the new content ({type(error).__name__}: {about}). "
            f"{_STAYS} Correct the source, or the constraint."
        )
    if isinstance(error, errors.ProgramLimitExceeded | errors.TooManyColumns):
        return SchemaError(
            f"{target}: {error.diag.message_primary}. {_STAYS} Publish fewer or shorter columns; columns that were "
            "dropped count too, until the table is created anew."
        )
    if isinstance(error, _NOT_ALLOWED):
        return ConfigurationError(f"{target}: PostgreSQL does not let this connection write ({describe(error)}).")
    return TransientError(
        f"{target}: {describe(error)}. {_STAYS} PostgreSQL undoes what is not committed. Publish again when the server "
        "answers and has room."
    )
