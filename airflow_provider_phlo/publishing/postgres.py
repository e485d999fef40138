"""
Publish rows to a PostgreSQL table; readers see either the old content or the new, never a gap or a mixture.

One transaction deletes the old rows and loads the new ones. Replacing the table by renaming another would lose views,
grants and indexes, and both renaming and TRUNCATE show an *empty* table to a reader whose snapshot is older
(REPEATABLE READ, pg_dump). DELETE takes about half a second more per million rows, and nobody waits. A crash
at any point is a rollback: there is nothing to clean up.

The table follows its source: new columns are added, missing ones dropped, types changed. Only then do readers wait, as
long as one INSERT … SELECT takes. Columns that somebody added with a default, or as generated columns, stay.
Constraints are up to the table's owner: none is set here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import psycopg
import pyarrow as pa

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, SchemaError
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.publishing import pgcopy
from airflow_provider_phlo.sql import quote_identifier

log = logging.getLogger(__name__)

BATCH_ROWS = 20_000
# how long a change of columns waits for readers; new readers queue behind it
LOCK_SECONDS = 30
_NAME_BYTES = 63


@dataclass(frozen=True)
class PublishResult:
    """
    The result of one publication.

    :param table: ``schema.table``.
    :param created: whether the table is new.
    :param altered: the changes to columns, as SQL.
    """

    table: str
    rows: int
    columns: int
    seconds: float
    created: bool = False
    altered: tuple[str, ...] = ()


class _Existing(NamedTuple):
    """The columns that the table has."""

    types: Mapping[str, str]
    own_default: frozenset[str]


def publish(
    rows: pa.RecordBatchReader | pa.Table, connection: psycopg.Connection, table: str, *, schema: str = "marts"
) -> PublishResult:
    """
    Replace the content of ``schema.table`` by ``rows``; create schema and table if they do not exist.

    There may be any number of rows: one batch is in memory at a time. Publishers of the same table take turns.

    :param connection: a connection without an open transaction; this function opens its own.
    :raises ConfigurationError: the connection is busy, a name is too long, or the name is not that of a table.
    :raises SchemaError: PostgreSQL cannot hold a column or value, or an object depends on a column to be dropped.
    :raises CommitConflictError: other sessions hold a table whose columns have to change.
    """
    target = f"{schema}.{table}"
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise ConfigurationError(f"Cannot publish {target}: the connection has an open transaction.")
    started = time.perf_counter()
    types = _column_types(target, rows.schema)
    with _translate_errors(target), connection.transaction():
        # a publisher that waited has to see what the one before it wrote
        connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        _take_turn(connection, target)
        existing = _existing(connection, schema, table)
        if existing is None:
            _create(connection, schema, table, types)
        changes = _changes(existing, types) if existing else ()
        into = _quoted(schema, table)
        if changes:
            count = _load_changed(connection, into, rows, types, changes)
        else:
            if existing:
                connection.execute(f"DELETE FROM {into}")  # noqa: S608 - quoted
            count = _copy(connection, into, rows, types)
    _tidy(connection, into)
    seconds = round(time.perf_counter() - started, 3)
    return PublishResult(target, count, len(types), seconds, existing is None, changes)


Types = Mapping[str, pgcopy.ColumnType]


def _column_types(target: str, schema: pa.Schema) -> Types:
    names = [*target.split(".", 1), *schema.names]
    long = [name for name in names if len(name.encode()) > _NAME_BYTES]
    if long:
        raise ConfigurationError(
            f"Cannot publish {target}: PostgreSQL truncates names after {_NAME_BYTES} bytes: {', '.join(long)}."
        )
    if len(set(schema.names)) < len(schema.names):
        raise SchemaError(f"Cannot publish {target}: its source has two columns with the same name.")
    try:
        return {field.name: pgcopy.column_type(field) for field in schema}
    except SchemaError as error:
        raise SchemaError(f"Cannot publish {target}. {error}") from None


def _take_turn(connection: psycopg.Connection, what: str) -> None:
    """Wait for the publisher before this one; the lock ends with the transaction."""
    key = [f"phlo publish {what}"]
    taken = connection.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", key).fetchone()
    if taken != (True,):
        log.info("Waiting for another publisher of %s", what)
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", key)


def _existing(connection: psycopg.Connection, schema: str, table: str) -> _Existing | None:
    found = connection.execute(
        "SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s",
        [schema, table],
    ).fetchone()
    if found is None:
        return None
    oid, kind = found
    if kind not in ("r", "p"):
        raise ConfigurationError(
            f"Cannot publish {schema}.{table}: something with that name exists and is not a table. "
            "Choose another name, or drop it."
        )
    columns = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), atthasdef OR attidentity <> '' FROM pg_attribute "
        "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [oid],
    ).fetchall()
    return _Existing(
        {name: kind for name, kind, _ in columns}, frozenset(name for name, _, default in columns if default)
    )


def _create(connection: psycopg.Connection, schema: str, table: str, types: Types) -> None:
    query = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
    if connection.execute(query, [schema]).fetchone() is None:
        _take_turn(connection, schema)  # if two create a schema at the same time, one fails
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(schema)}")
    connection.execute(f"CREATE TABLE {_quoted(schema, table)} ({_definitions(types)})")


def _changes(existing: _Existing, types: Types) -> tuple[str, ...]:
    """Return what ALTER TABLE has to do."""
    added = [
        f"ADD COLUMN {quote_identifier(name)} {kind.sql}" for name, kind in types.items() if name not in existing.types
    ]
    dropped = [
        f"DROP COLUMN {quote_identifier(name)}"
        for name in existing.types
        if name not in types and name not in existing.own_default
    ]
    retyped = [
        # the rows are deleted by then: there is nothing to convert
        f"ALTER COLUMN {quote_identifier(name)} TYPE {kind.sql} USING NULL"
        for name, kind in types.items()
        if name in existing.types and existing.types[name] != kind.sql
    ]
    return (*added, *dropped, *retyped)


def _load_changed(
    connection: psycopg.Connection,
    into: str,
    rows: pa.RecordBatchReader | pa.Table,
    types: Types,
    changes: Iterable[str],
) -> int:
    """Load into a temporary table first: changing columns locks readers out, and the source may be slow."""
    staging = quote_identifier("phlo publish staging")
    connection.execute(f"CREATE TEMPORARY TABLE {staging} ({_definitions(types)}) ON COMMIT DROP")
    count = _copy(connection, staging, rows, types)
    connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    connection.execute(f"LOCK TABLE {into} IN ACCESS EXCLUSIVE MODE")
    connection.execute(f"DELETE FROM {into}")  # noqa: S608 - quoted
    connection.execute(f"ALTER TABLE {into} {', '.join(changes)}")
    names = _names(types)
    connection.execute(f"INSERT INTO {into} ({names}) SELECT {names} FROM {staging}")  # noqa: S608 - quoted
    return count


def _copy(connection: psycopg.Connection, into: str, rows: pa.RecordBatchReader | pa.Table, types: Types) -> int:
    """Load ``rows`` by binary COPY; return their number."""
    count = 0
    encoders = list(types.values())
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {into} ({_names(types)}) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.write(pgcopy.HEADER)
        for batch in _batches(rows):
            copy.write(pgcopy.encode(batch, encoders))
            count += batch.num_rows
        copy.write(pgcopy.TRAILER)
    return count


def _batches(rows: pa.RecordBatchReader | pa.Table) -> Iterator[pa.RecordBatch]:
    batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


def _tidy(connection: psycopg.Connection, table: str) -> None:
    """Make the old rows' space reusable and the planner's statistics right; the file keeps its size."""
    autocommit = connection.autocommit
    connection.autocommit = True
    try:
        connection.execute(f"VACUUM (ANALYZE, TRUNCATE false, SKIP_LOCKED) {table}")
    except psycopg.Error as error:
        # the content is published; autovacuum does the same later
        log.warning("VACUUM %s did not run: %s", table, describe(error))
    finally:
        connection.autocommit = autocommit


@contextmanager
def _translate_errors(target: str) -> Iterator[None]:
    """Turn PostgreSQL's errors into those of this package, without the row values that it quotes."""
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise CommitConflictError(
            f"{target}: its columns have to change, but other sessions held the table for {LOCK_SECONDS} s. "
            "Nothing was written. End the sessions that are idle in a transaction, or try again later."
        ) from None
    except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.FeatureNotSupported) as error:
        raise SchemaError(
            f"{target}: its columns have to change, but {error.diag.message_primary} "
            f"({error.diag.message_detail}). The old content stays. Drop what depends on the column, "
            "publish again, then create it anew."
        ) from error
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        about = error.diag.constraint_name or error.diag.column_name or "no constraint is named"
        raise SchemaError(
            f"{target}: PostgreSQL rejects the new content ({type(error).__name__}: {about}). "
            "The old content stays. Correct the source, or the constraint."
        ) from None


def _definitions(types: Types) -> str:
    return ", ".join(f"{quote_identifier(name)} {kind.sql}" for name, kind in types.items())


def _names(types: Types) -> str:
    return ", ".join(quote_identifier(name) for name in types)


def _quoted(schema: str, table: str) -> str:
    return f"{quote_identifier(schema)}.{quote_identifier(table)}"
