"""What a PostgreSQL table is like now, what has to change about it, and the locks under which that happens."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg
from psycopg import errors

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.publishing import pgcopy
from airflow_provider_phlo.sql import quote_identifier

# how long a change of columns tries to find its tables unused
LOCK_SECONDS = 30
# how long one attempt lasts, and so the longest time that a new reader waits behind it
_TRY_SECONDS = 0.5
_PAUSE_SECONDS = 0.1

Types = Mapping[str, pgcopy.ColumnType]


class Target(NamedTuple):
    """A table to publish to, and the columns that it is to have."""

    schema: str
    table: str
    types: Types

    @property
    def name(self) -> str:
        """Return ``schema.table``, for people."""
        return f"{self.schema}.{self.table}"

    @property
    def quoted(self) -> str:
        """Return the name as SQL."""
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.table)}"

    @property
    def columns(self) -> str:
        """Return the columns' names as SQL."""
        return ", ".join(quote_identifier(name) for name in self.types)

    @property
    def definitions(self) -> str:
        """Return the columns' names and types as SQL."""
        return ", ".join(f"{quote_identifier(name)} {kind.sql}" for name, kind in self.types.items())


class Existing(NamedTuple):
    """The table that is there: its columns' types, those with a default of their own, whether it has partitions."""

    types: Mapping[str, str]
    own_default: frozenset[str]
    partitioned: bool


def find_existing(connection: psycopg.Connection, target: Target) -> Existing | None:
    """
    Return what is there under the target's name, or None.

    :raises ConfigurationError: it is not a table.
    """
    found = connection.execute(
        "SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s",
        [target.schema, target.table],
    ).fetchone()
    if found is None:
        return None
    oid, kind = found
    if kind not in ("r", "p"):
        raise ConfigurationError(
            f"Cannot publish {target.name}: something with that name exists and is not a table. "
            "Choose another name, or drop it."
        )
    columns = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), atthasdef OR attidentity <> '' FROM pg_attribute "
        "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [oid],
    ).fetchall()
    types = {name: kind for name, kind, _ in columns}
    return Existing(types, frozenset(name for name, _, default in columns if default), kind == "p")


def changes(existing: Existing, types: Types) -> tuple[str, ...]:
    """Return what ALTER TABLE has to do so that the table has ``types``; columns with a default of their own stay."""
    added = [
        f"ADD COLUMN {quote_identifier(name)} {kind.sql}" for name, kind in types.items() if name not in existing.types
    ]
    dropped = [
        f"DROP COLUMN {quote_identifier(name)}"
        for name in existing.types
        if name not in types and name not in existing.own_default
    ]
    retyped = [
        # the rows are gone by then: there is nothing to convert
        f"ALTER COLUMN {quote_identifier(name)} TYPE {kind.sql} USING NULL"
        for name, kind in types.items()
        if name in existing.types and existing.types[name] != kind.sql
    ]
    return (*added, *dropped, *retyped)


def leaf_partitions(connection: psycopg.Connection, target: Target) -> list[tuple[str, str]]:
    """Return the name of each partition that holds rows, as SQL, and the condition for a row to belong there."""
    return connection.execute(
        "SELECT relid::regclass::text, coalesce(pg_get_partition_constraintdef(relid), 'true') "
        "FROM pg_partition_tree(%s::regclass) WHERE isleaf ORDER BY relid",
        [target.quoted],
    ).fetchall()


def lock_readers_out(connection: psycopg.Connection, targets: Sequence[Target]) -> None:
    """
    Lock all tables until the transaction ends, once no other transaction uses any of them.

    All are locked, or none: an attempt that does not succeed within a moment releases what it has locked, so that the
    readers waiting behind it can go on. It gives up before PostgreSQL would look for a deadlock, whose victim might be
    a reader.

    :raises psycopg.errors.LockNotAvailable: no try succeeded within LOCK_SECONDS.
    """
    found = connection.execute("SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout'").fetchone()
    patience = min(_TRY_SECONDS, (found[0] if found else 1000) / 2000)
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with connection.transaction():
                _lock_each(connection, targets, time.monotonic() + patience)
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            if time.monotonic() > give_up:
                raise errors.LockNotAvailable from None
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _lock_each(connection: psycopg.Connection, targets: Sequence[Target], until: float) -> None:
    for target in targets:
        left = max(1, round((until - time.monotonic()) * 1000))
        connection.execute(f"SET LOCAL lock_timeout = {left}")
        connection.execute(f"LOCK TABLE {target.quoted} IN ACCESS EXCLUSIVE MODE")
