"""What PostgreSQL's errors are called here: table, cause and cure, without the row values that it quotes."""

from __future__ import annotations

import errno
import re
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
# DELETE from a table of a publication that has no replica identity, or one that the publication leaves out
_NOT_REPLICATED = (errors.ObjectNotInPrerequisiteState, errors.InvalidColumnReference)
# classes of SQLSTATE that say nothing of the rows or of what is declared: connection, resources, operator, system
_MAY_PASS = frozenset({"08", "25", "40", "53", "55", "57", "58", "XX"})
# what is called by a trigger, a constraint or a default; the rest of a context may quote rows
_FUNCTION = re.compile(
    r'^(?:PL/\w+|SQL) function "?([^"\n]+?)"?(?: line \d+.*| statement \d+| during \w+)?$', re.MULTILINE
)
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
            f"{target}: other sessions held the tables for {tables.LOCK_SECONDS} s: they have changed rows and not "
            "committed, or they read a table whose columns have to change. Nothing was written. End the sessions that "
            "are idle in a transaction, or try again later."
        )
    if isinstance(error, _CONFLICTS):
        return CommitConflictError(f"{target}: another session changes the same tables. {_STAYS} Try again.")
    called = _FUNCTION.search(error.diag.context or "")
    if called and (error.sqlstate or "")[:2] not in _MAY_PASS:
        return SchemaError(
            f"{target}: {called[1]}, a function that something in the database calls (a trigger, an event trigger, a "
            f"constraint), fails: {type(error).__name__} ({error.sqlstate}). {_STAYS} Correct it, or drop what calls "
            "it."
        )
    if isinstance(error, _DEPENDS):
        # names objects, no rows
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        return SchemaError(
            f"{target}: its columns have to change, but {error.diag.message_primary}{detail}. "
            f"{_STAYS} Drop what depends on the column, publish again, then create it anew."
        )
    if isinstance(error, (*_NOT_REPLICATED, psycopg.IntegrityError, psycopg.DataError)):
        return _rejected(target, error)
    if isinstance(error, errors.ProgramLimitExceeded | errors.TooManyColumns):
        return SchemaError(
            f"{target}: {error.diag.message_primary}. {_STAYS} Publish fewer or shorter columns; columns that were "
            "dropped count too, until the table is created anew."
        )
    if isinstance(error, errors.QueryCanceled):
        return TransientError(
            f"{target}: the publication was cancelled: it took longer than the role's statement_timeout, or somebody "
            f"ended it. {_STAYS} ALTER ROLE … SET statement_timeout = 0 for the role that publishes, or try again."
        )
    if isinstance(error, _NOT_ALLOWED):
        return ConfigurationError(
            f"{target}: PostgreSQL does not let this connection write ({describe(error)}). {_STAYS} GRANT the role "
            "that publishes what it lacks, or use another connection or schema."
        )
    return TransientError(
        f"{target}: {describe(error)}. {_STAYS} PostgreSQL undoes what is not committed. Publish again when the server "
        "answers and has room."
    )


def _rejected(target: str, error: psycopg.Error) -> SchemaError:
    """Return why the rows cannot be put into the table, or be taken from it."""
    if isinstance(error, _NOT_REPLICATED):
        return SchemaError(
            f"{target}: {error.diag.message_primary}: a publication (logical replication) sends the rows of this table "
            f"that are deleted. {_STAYS} Declare a primary key in the model, or ALTER TABLE … REPLICA IDENTITY FULL."
        )
    if isinstance(error, errors.ForeignKeyViolation):
        return SchemaError(
            f"{target}: PostgreSQL rejects the new content, since the foreign key {error.diag.constraint_name} of "
            f"{error.diag.table_name} would refer to rows that are not there. {_STAYS} Rows that change are deleted "
            "and inserted again: make the foreign key DEFERRABLE INITIALLY DEFERRED, so that it is checked at the end. "
            "If it is, correct the source."
        )
    if isinstance(error, errors.UntranslatableCharacter):
        return SchemaError(
            f"{target}: the database has an encoding that lacks characters of the new content. {_STAYS} Publish to a "
            "database with the encoding UTF8."
        )
    about = error.diag.constraint_name or error.diag.column_name or "no constraint is named"
    return SchemaError(
        f"{target}: PostgreSQL rejects the new content ({type(error).__name__}: {about}). "
        f"{_STAYS} Correct the source, or the constraint."
    )
