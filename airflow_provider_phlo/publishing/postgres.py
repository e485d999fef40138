"""
Publish rows to PostgreSQL tables; readers see either the old content of all of them or the new, never a gap or a
mixture, whatever their isolation level.

One transaction publishes all tables. As long as their columns stay the same, it deletes the old rows and loads the new
ones: every reader sees what its snapshot says, and nobody waits. Replacing a table by renaming another would lose
views, grants and indexes, and both renaming and TRUNCATE show an *empty* table to a reader whose snapshot is older
(REPEATABLE READ, pg_dump). DELETE takes about half a second more per million rows.

A table follows its source: new columns are added, missing ones dropped, types changed. PostgreSQL keeps no older
version of a table's columns, and a change of type rewrites the rows for all snapshots, so a reader whose snapshot is
older cannot be shown the old rows any more. It is shown the new ones, all of them: the transaction waits until nobody
uses any of the tables (whoever has read one of them goes on seeing the old content of all until it ends), empties
them, changes them and loads the new rows *frozen*, visible to every snapshot, as REFRESH MATERIALIZED VIEW does. The
rows wait in a file meanwhile, so that readers wait only for the COPY, not for the source. A table that is new is loaded
in this way, too: it would be empty for older snapshots.

A crash at any point is a rollback: there is nothing to clean up. Columns that somebody added with a default, or as
generated columns, stay. Constraints are up to the table's owner: none is set here.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, NamedTuple, TypeAlias

import psycopg
import pyarrow as pa

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, SchemaError
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.publishing import pgcopy, postgres_tables
from airflow_provider_phlo.publishing.postgres_tables import (
    Target,
    Types,
    changes,
    find_existing,
    leaf_partitions,
    lock_readers_out,
)
from airflow_provider_phlo.sql import quote_identifier

log = logging.getLogger(__name__)

BATCH_ROWS = 20_000
_NAME_BYTES = 63
_SPOOL_BYTES = 1 << 20
_STAGING = '"phlo publish staging"'

Rows: TypeAlias = pa.RecordBatchReader | pa.Table
Content: TypeAlias = Iterable[bytes | memoryview]


@dataclass(frozen=True)
class PublishResult:
    """
    The result of one publication.

    :param table: ``schema.table``.
    :param seconds: how long its rows took to read and load, without waiting for readers and without the commit.
    :param created: whether the table is new.
    :param altered: the changes to columns, as SQL.
    """

    table: str
    rows: int
    columns: int
    seconds: float
    created: bool = False
    altered: tuple[str, ...] = ()


class Mart(NamedTuple):
    """A table to publish: its name, the columns of its rows, and what reads them (once)."""

    table: str
    columns: pa.Schema
    read: Callable[[], Rows]


class _Spool(NamedTuple):
    """Rows in PostgreSQL's binary format, for one table or partition."""

    target: Target
    into: str
    content: IO[bytes]
    rows: int


def publish(rows: Rows, connection: psycopg.Connection, table: str, *, schema: str = "marts") -> PublishResult:
    """Publish one table, as :func:`publish_together` does."""
    return publish_together([Mart(table, rows.schema, lambda: rows)], connection, schema=schema)[table]


def publish_together(
    marts: Sequence[Mart], connection: psycopg.Connection, *, schema: str = "marts"
) -> dict[str, PublishResult]:
    """
    Replace the content of all tables in one transaction; create schema and tables if they do not exist.

    Any number of rows will do: only one batch is in memory at a time. Publishers of the same table take turns.

    :param connection: a connection without an open transaction; this function opens its own.
    :returns: table → its result.
    :raises ConfigurationError: the connection is busy, a name is too long, or the name is not that of a table.
    :raises SchemaError: PostgreSQL cannot hold a column or value, an object depends on a column to be dropped, or a
        trigger drops rows.
    :raises CommitConflictError: other sessions hold a table, and one of the tables is new or its columns change.
    """
    targets = [Target(schema, mart.table, _column_types(f"{schema}.{mart.table}", mart.columns)) for mart in marts]
    what = ", ".join(target.name for target in targets)
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise ConfigurationError(f"Cannot publish {what}: the connection has an open transaction.")
    with _translate_errors(what), connection.transaction():
        # a publisher that waited has to see what the one before it wrote; COPY FREEZE allows no older snapshot
        connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        for target in sorted(targets, key=lambda each: each.name):  # in one order, so that publishers never deadlock
            _take_turn(connection, target.name)
        unchanged = all(_is_unchanged(connection, target) for target in targets)
        replace = _replace_rows if unchanged else _replace_tables
        results = replace(connection, targets, [mart.read for mart in marts])
        for target, result in zip(targets, results, strict=True):
            _require_all_rows(connection, target, result.rows)
    for target in targets:
        _tidy(connection, target.quoted)
    return {target.table: result for target, result in zip(targets, results, strict=True)}


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


def _is_unchanged(connection: psycopg.Connection, target: Target) -> bool:
    existing = find_existing(connection, target)
    return existing is not None and not changes(existing, target.types)


def _replace_rows(
    connection: psycopg.Connection, targets: Sequence[Target], reads: Sequence[Callable[[], Rows]]
) -> list[PublishResult]:
    """Replace rows of tables whose columns stay: each reader goes on seeing its own snapshot."""
    results = []
    for target, read in zip(targets, reads, strict=True):
        started = time.perf_counter()
        with _translate_errors(target.name):
            connection.execute(f"DELETE FROM {target.quoted}")  # noqa: S608 - quoted
            content = _Encoded(read(), target.types)
            _copy(connection, target, target.quoted, content)
        results.append(PublishResult(target.name, content.rows, len(target.types), _since(started)))
    return results


def _replace_tables(
    connection: psycopg.Connection, targets: Sequence[Target], reads: Sequence[Callable[[], Rows]]
) -> list[PublishResult]:
    """Change or create tables: lock readers out, then show the new rows to every snapshot."""
    with ExitStack() as stack:
        spools: list[list[_Spool]] = []
        seconds = []
        for target, read in zip(targets, reads, strict=True):
            started = time.perf_counter()
            with _translate_errors(target.name):
                spools.append(_spool(connection, target, read(), stack))
            seconds.append(_since(started))
        there = [target for target in targets if find_existing(connection, target)]
        if there:
            lock_readers_out(connection, there)
            # together, since they may refer to each other
            connection.execute(f"TRUNCATE {', '.join(target.quoted for target in there)}")
        altered = [_alter_or_create(connection, target) for target in targets]
        results = []
        for target, parts, reading, done in zip(targets, spools, seconds, altered, strict=True):
            started = time.perf_counter()
            with _translate_errors(target.name):
                for part in parts:
                    _copy(connection, target, part.into, _read(part.content), frozen=True)
            count = sum(part.rows for part in parts)
            took = round(reading + _since(started), 3)
            created = target not in there
            results.append(PublishResult(target.name, count, len(target.types), took, created, done))
    return results


def _alter_or_create(connection: psycopg.Connection, target: Target) -> tuple[str, ...]:
    """Give the table its columns; return what ALTER TABLE did."""
    with _translate_errors(target.name):
        existing = find_existing(connection, target)
        if existing is None:
            _create(connection, target)
            return ()
        altered = changes(existing, target.types)
        if altered:
            connection.execute(f"ALTER TABLE {target.quoted} {', '.join(altered)}")
        return altered


def _create(connection: psycopg.Connection, target: Target) -> None:
    query = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
    if connection.execute(query, [target.schema]).fetchone() is None:
        _take_turn(connection, target.schema)  # if two create a schema at the same time, one fails
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(target.schema)}")
    connection.execute(f"CREATE TABLE {target.quoted} ({target.definitions})")


def _spool(connection: psycopg.Connection, target: Target, rows: Rows, stack: ExitStack) -> list[_Spool]:
    """Write the rows to a file without a name: one for the table, or one per partition."""
    whole = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    content = _Encoded(rows, target.types)
    whole.writelines(content)
    existing = find_existing(connection, target)
    if existing is None or not existing.partitioned:
        return [_Spool(target, target.quoted, whole, content.rows)]
    # COPY FREEZE takes partitions, but not the table that they are of: PostgreSQL says which row belongs where
    connection.execute(f"CREATE TEMPORARY TABLE {_STAGING} ({target.definitions})")
    _copy(connection, target, _STAGING, _read(whole))
    found = [
        _spool_partition(connection, target, *leaf, stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115
        for leaf in leaf_partitions(connection, target)
    ]
    connection.execute(f"DROP TABLE {_STAGING}")
    placed = sum(spool.rows for spool in found)
    if placed != content.rows:
        raise SchemaError(
            f"{target.name}: {content.rows - placed} of {content.rows} rows belong to no partition of the table. "
            "The old content stays. Create the partition, or a default one."
        )
    return found


def _spool_partition(
    connection: psycopg.Connection, target: Target, partition: str, condition: str, content: IO[bytes]
) -> _Spool:
    query = f"SELECT {target.columns} FROM {_STAGING} WHERE {condition}"  # noqa: S608 - quoted, and PostgreSQL's own
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
            for part in copy:
                content.write(part)
        return _Spool(target, partition, content, cursor.rowcount)


class _Encoded:
    """Rows in PostgreSQL's binary format, one batch at a time; ``rows`` counts those that were read."""

    def __init__(self, source: Rows, types: Types) -> None:
        self._source, self._encoders, self.rows = source, list(types.values()), 0

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield pgcopy.HEADER
        for batch in self._source.to_batches() if isinstance(self._source, pa.Table) else self._source:
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield pgcopy.encode(batch.slice(start, BATCH_ROWS), self._encoders)
            self.rows += batch.num_rows
        yield pgcopy.TRAILER


def _read(spooled: IO[bytes]) -> Content:
    spooled.seek(0)
    while part := spooled.read(_SPOOL_BYTES):
        yield part


def _copy(connection: psycopg.Connection, target: Target, into: str, content: Content, *, frozen: bool = False) -> None:
    """Load ``content`` by binary COPY."""
    options = "FORMAT binary, FREEZE" if frozen else "FORMAT binary"
    with connection.cursor() as cursor, cursor.copy(f"COPY {into} ({target.columns}) FROM STDIN ({options})") as copy:
        for part in content:
            copy.write(part)


def _require_all_rows(connection: psycopg.Connection, target: Target, sent: int) -> None:
    """Count the table, as COPY's own count leaves out the rows that a trigger moves to a child of the table."""
    ((found,),) = connection.execute(f"SELECT count(*) FROM {target.quoted}").fetchall()  # noqa: S608 - quoted
    if found < sent:  # more, if others insert rows meanwhile
        raise SchemaError(
            f"{target.name}: {sent} rows were sent, but the table has {found} afterwards: a trigger or rule on it "
            "drops rows. The old content stays. Drop the trigger or rule, or publish to another table."
        )


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


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
            f"{target}: a table is new or its columns have to change, but other sessions held the tables for "
            f"{postgres_tables.LOCK_SECONDS} s. Nothing was written. End the sessions that are idle in a transaction, "
            "or try again later."
        ) from None
    except (
        psycopg.errors.DependentObjectsStillExist,
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.InvalidTableDefinition,
    ) as error:
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        raise SchemaError(
            f"{target}: its columns have to change, but {error.diag.message_primary}{detail}. "
            "The old content stays. Drop what depends on the column, publish again, then create it anew."
        ) from error
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        about = error.diag.constraint_name or error.diag.column_name or "no constraint is named"
        raise SchemaError(
            f"{target}: PostgreSQL rejects the new content ({type(error).__name__}: {about}). "
            "The old content stays. Correct the source, or the constraint."
        ) from None
