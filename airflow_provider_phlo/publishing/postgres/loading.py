"""
Write all rows of tables.

As long as the columns of all tables stay the same, the old rows are deleted and the new ones loaded: every reader sees
what its snapshot says, and nobody waits. Replacing a table by renaming another would lose views, grants and indexes,
and both renaming and TRUNCATE show an *empty* table to a reader whose snapshot is older (REPEATABLE READ, pg_dump).

PostgreSQL keeps no older version of a table's columns, and a change of type rewrites the rows for all snapshots, so a
reader whose snapshot is older cannot be shown the old rows any more. It is shown the new ones, all of them: the
transaction waits until nobody uses any of the tables (whoever has read one of them goes on seeing the old content of
all until it ends), empties them, changes them and loads the new rows *frozen*, visible to every snapshot, as REFRESH
MATERIALIZED VIEW does. The rows wait in a file meanwhile, so that readers wait only for the COPY, not for the source.
The rows of a table that is new are frozen, too: it would be empty for older snapshots. They need no file, as nobody
waits for them.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import IO, NamedTuple, TypeAlias

import psycopg
import pyarrow as pa
from psycopg import errors

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.publishing.postgres import binary_copy
from airflow_provider_phlo.publishing.postgres.dependents import declared_on
from airflow_provider_phlo.publishing.postgres.errors import translate_errors
from airflow_provider_phlo.publishing.postgres.results import Mart, PublishResult, Rows
from airflow_provider_phlo.publishing.postgres.tables import (
    Target,
    Types,
    changes,
    dropped_columns,
    find_existing,
    leaf_partitions,
    lock_readers_out,
    retyped_columns,
    take_turn,
)
from airflow_provider_phlo.sql import quote_identifier

log = logging.getLogger(__name__)

BATCH_ROWS = 20_000
_SPOOL_BYTES = 1 << 20
_STAGING = '"phlo publish staging"'

Content: TypeAlias = Iterable[bytes]


class _Spool(NamedTuple):
    """Rows in PostgreSQL's binary format, for one table or partition."""

    target: Target
    into: str
    content: IO[bytes]
    rows: int


class _RowsRead(NamedTuple):
    """The rows of a table that is there, in files; ``seconds`` is how long that took."""

    target: Target
    parts: list[_Spool]
    seconds: float


def replace_rows(connection: psycopg.Connection, target: Target, mart: Mart) -> PublishResult:
    """Replace the rows of a table whose columns stay: each reader goes on seeing its own snapshot."""
    started = time.perf_counter()
    with translate_errors(target.name):
        deleted = _delete_all(connection, target)
        rows = copy_rows(connection, target, target.quoted, mart.read())
        _require_all_rows(connection, target, rows)
    return PublishResult(target.name, rows, len(target.types), _since(started), inserted=rows, deleted=deleted)


def replace_tables(
    connection: psycopg.Connection, targets: Sequence[Target], marts: Sequence[Mart]
) -> list[PublishResult]:
    """
    Change or create tables: lock readers out, then show the new rows to every snapshot.

    :raises psycopg.errors.LockNotAvailable: others use the tables for too long.
    """
    new = {target.name for target in targets if find_existing(connection, target) is None}
    # nobody waits for a table that is new: its rows go there at once, before anybody has to wait for another
    results = {
        target.name: _load_new(connection, target, mart)
        for target, mart in zip(targets, marts, strict=True)
        if target.name in new
    }
    with ExitStack() as stack:
        found = [
            _read_for(connection, target, mart, stack)
            for target, mart in zip(targets, marts, strict=True)
            if target.name not in new
        ]
        there = [each.target for each in found]
        if there:
            lock_readers_out(connection, there)
            # together, since they may refer to each other
            connection.execute(f"TRUNCATE {', '.join(target.quoted for target in there)}")
        altered = [_alter(connection, target) for target in there]
        for each, done in zip(found, altered, strict=True):
            results[each.target.name] = _load_read(connection, each, done)
    return [results[target.name] for target in targets]


def _load_new(connection: psycopg.Connection, target: Target, mart: Mart) -> PublishResult:
    """Create a table, and load its rows so that every snapshot sees them, also one from before the table was made."""
    started = time.perf_counter()
    with translate_errors(target.name):
        _create(connection, target)
        rows = copy_rows(connection, target, target.quoted, mart.read(), frozen=True)
        _require_all_rows(connection, target, rows)
    return PublishResult(target.name, rows, len(target.types), _since(started), created=True, inserted=rows)


def _read_for(connection: psycopg.Connection, target: Target, mart: Mart, stack: ExitStack) -> _RowsRead:
    started = time.perf_counter()
    with translate_errors(target.name):
        parts = _spool(connection, target, mart.read(), stack)
    return _RowsRead(target, parts, _since(started))


def _load_read(connection: psycopg.Connection, read: _RowsRead, altered: tuple[str, ...]) -> PublishResult:
    """Load rows that wait in files, so that every snapshot sees them."""
    started, target = time.perf_counter(), read.target
    rows = sum(part.rows for part in read.parts)
    with translate_errors(target.name):
        for part in read.parts:
            _copy(connection, target, part.into, _read(part.content), frozen=True)
        _require_all_rows(connection, target, rows)
    took = round(read.seconds + _since(started), 3)
    reason = "its columns, or those of a table published with it, change"
    return PublishResult(target.name, rows, len(target.types), took, altered=altered, reason=reason, inserted=rows)


def copy_rows(connection: psycopg.Connection, target: Target, into: str, rows: Rows, *, frozen: bool = False) -> int:
    """
    Load rows by binary COPY.

    :param into: the table, as SQL.
    :param frozen: make them visible to every snapshot; only into a table that this transaction has created or emptied.
    :returns: how many rows there were.
    """
    content = _Encoded(rows, target.types)
    _copy(connection, target, into, content, frozen=frozen)
    return content.rows


def _alter(connection: psycopg.Connection, target: Target) -> tuple[str, ...]:
    """Give a table that is there its columns; return what ALTER TABLE did."""
    with translate_errors(target.name):
        existing = find_existing(connection, target)
        if existing is None or not (altered := changes(existing, target.types)):
            return ()
        dropped = dropped_columns(existing, target.types)
        gone = [f"-- {name} goes with its column" for name in declared_on(connection, existing, dropped)]
        retyped = retyped_columns(existing, target.types)
        declared = declared_on(connection, existing, retyped)
        try:
            connection.execute(f"ALTER TABLE {target.quoted} {', '.join(altered)}")
        except (errors.UndefinedFunction, errors.DatatypeMismatch, errors.UndefinedObject, psycopg.DataError) as error:
            raise SchemaError(
                f"{target.name}: its columns get other types ({', '.join(sorted(retyped))}), which does not go with "
                f"what is declared on them ({type(error).__name__}): {', '.join(declared)}. The old content stays. "
                "Drop that, publish again, then create it anew; or keep the types in the model as they were."
            ) from None
        for each in gone:
            log.warning("%s: %s", target.name, each.removeprefix("-- "))
        return (*altered, *gone)


def _create(connection: psycopg.Connection, target: Target) -> None:
    query = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
    if connection.execute(query, [target.schema]).fetchone() is None:
        take_turn(connection, target.schema)  # if two create a schema at the same time, one fails
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
        self._source, self._types, self.rows = source, types, 0

    def __iter__(self) -> Iterator[bytes]:
        return binary_copy.encode(self._batches(), self._types)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for batch in self._source.to_batches() if isinstance(self._source, pa.Table) else self._source:
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS)
            self.rows += batch.num_rows


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
    """Count the table, if there is something on it that may drop rows or move them to a child of the table."""
    existing = find_existing(connection, target)
    if existing is None or not existing.own_rules:
        return
    ((found,),) = connection.execute(f"SELECT count(*) FROM {target.quoted}").fetchall()  # noqa: S608 - quoted
    if found < sent:  # more, if others insert rows meanwhile
        raise SchemaError(
            f"{target.name}: {sent} rows were sent, but the table has {found} afterwards: a trigger or rule on it "
            "drops rows. The old content stays. Drop the trigger or rule, or publish to another table."
        )


def _delete_all(connection: psycopg.Connection, target: Target) -> int:
    """
    Delete all rows.

    :raises SchemaError: a trigger or rule on the table keeps some.
    """
    statement = f"DELETE FROM {target.quoted}"  # noqa: S608 - quoted
    deleted = connection.execute(statement).rowcount
    existing = find_existing(connection, target)
    if existing is None or not existing.own_rules:
        return deleted
    connection.execute(statement)  # what others have inserted meanwhile
    left = f"SELECT FROM {target.quoted} LIMIT 1"
    if not connection.execute(left).rowcount:
        return deleted
    raise SchemaError(
        f"{target.name}: a trigger or rule on it keeps rows that are deleted, so that they could not be replaced. The "
        "old content stays. Drop the trigger or rule, or publish to another table."
    )


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
