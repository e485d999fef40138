"""What a PostgreSQL table is like now, what has to change about it, and the locks under which that happens."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg
import pyarrow as pa
from psycopg import errors

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.publishing.postgres import binary_copy
from airflow_provider_phlo.sql import quote_identifier

log = logging.getLogger(__name__)

# how long a change of columns tries to find its tables unused
LOCK_SECONDS = 30
# how long one attempt lasts, and so the longest time that a new reader waits behind it
_TRY_SECONDS = 0.5
_PAUSE_SECONDS = 0.1

Types = Mapping[str, binary_copy.ColumnType]

_NAME_BYTES = 63
_MOST_COLUMNS = 1600
# columns that every table has already
_SYSTEM_COLUMNS = frozenset({"cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"})
# tables of this package, beside those that are published
RESERVED = "_phlo_"
# what ``phlo api`` has made of them
SERVED = f"{RESERVED}api"


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

    def only(self, names: Sequence[str]) -> Target:
        """Return the target with some of its columns."""
        return self._replace(types={name: self.types[name] for name in names})

    @property
    def definitions(self) -> str:
        """Return the columns' names and types as SQL."""
        return ", ".join(f"{quote_identifier(name)} {kind.sql}" for name, kind in self.types.items())


class Existing(NamedTuple):
    """
    The table that is there.

    :param types: the type of each column.
    :param own_default: columns with a default of their own.
    :param partitioned: whether it has partitions.
    :param plain: whether its rows are all in the one file that it has, and survive a crash.
    :param owned: whether this connection may change it.
    :param guarded: whether row security hides rows from this connection.
    :param own_rules: whether somebody's triggers or rules change what is written.
    :param bypassed: whether its rows may be written without its own triggers: by its parent, or a subscription.
    :param generated: columns that PostgreSQL computes.
    """

    oid: int
    types: Mapping[str, str]
    own_default: frozenset[str]
    partitioned: bool
    plain: bool
    owned: bool
    guarded: bool
    own_rules: bool
    bypassed: bool
    generated: frozenset[str]


# our trigger is named by a prefix, so that no other is taken for it
OUR_TRIGGER = "phlo notes edits"
_FIND = """
SELECT c.oid, c.relkind, c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relhassubclass,
    pg_has_role(c.relowner, 'USAGE'), row_security_active(c.oid),
    c.relhasrules OR c.relhassubclass OR EXISTS (
        SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname <> %s
    ),
    EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
        OR EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
"""


def find_existing(connection: psycopg.Connection, target: Target) -> Existing | None:
    """
    Return what is there under the target's name, or None.

    :raises ConfigurationError: it is not a table, or row security hides some of its rows from this connection.
    """
    found = connection.execute(_FIND, [OUR_TRIGGER, target.schema, target.table]).fetchone()
    if found is None:
        return None
    oid, kind, plain, owned, guarded, own_rules, bypassed = found
    if kind not in ("r", "p"):
        raise ConfigurationError(
            f"Cannot publish {target.name}: something with that name exists and is not a table. "
            "Choose another name, or drop it."
        )
    if guarded:
        raise ConfigurationError(
            f"Cannot publish {target.name}: row security hides rows of it from the role that publishes, so that they "
            "could not be replaced. Publish as the table's owner (without FORCE ROW LEVEL SECURITY), or as a role with "
            "BYPASSRLS. Readers stay subject to the policies."
        )
    columns = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), atthasdef OR attidentity <> '', attgenerated <> '' "
        "FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [oid],
    ).fetchall()
    types = {name: kind for name, kind, *_ in columns}
    own_default = frozenset(name for name, _, default, _ in columns if default)
    generated = frozenset(name for name, *_, computed in columns if computed)
    return Existing(oid, types, own_default, kind == "p", plain, owned, guarded, own_rules, bypassed, generated)


def target_of(schema: str, table: str, columns: pa.Schema) -> Target:
    """
    Return the target for rows with ``columns``.

    :raises ConfigurationError: PostgreSQL cannot have a table or column of that name.
    :raises SchemaError: it cannot have these columns.
    """
    _require_possible_names(f"{schema}.{table}", [schema, table, *columns.names])
    if schema.startswith("pg_") or schema == "information_schema":
        raise ConfigurationError(f"Cannot publish {schema}.{table}: schema {schema} is PostgreSQL's own. Name another.")
    if table.startswith(RESERVED):
        raise ConfigurationError(
            f"Cannot publish {schema}.{table}: names that begin with {RESERVED} are those of this package's own tables."
        )
    _require_possible_columns(f"{schema}.{table}", columns.names)
    try:
        return Target(schema, table, {field.name: binary_copy.column_type(field) for field in columns})
    except SchemaError as error:
        raise SchemaError(f"Cannot publish {schema}.{table}. {error}") from None


def _require_possible_names(target: str, names: Sequence[str]) -> None:
    long = [name for name in names if len(name.encode()) > _NAME_BYTES]
    if long:
        raise ConfigurationError(
            f"Cannot publish {target}: PostgreSQL truncates names after {_NAME_BYTES} bytes: {', '.join(long)}."
        )
    if any(not name or "\0" in name for name in names):
        raise ConfigurationError(f"Cannot publish {target}: PostgreSQL has no names that are empty or have U+0000.")


def _require_possible_columns(target: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise SchemaError(f"Cannot publish {target}: its source has two columns with the same name.")
    if not names:
        raise SchemaError(f"Cannot publish {target}: its source has no columns.")
    if len(names) > _MOST_COLUMNS:
        raise SchemaError(
            f"Cannot publish {target}: its source has {len(names)} columns, a PostgreSQL table has at most "
            f"{_MOST_COLUMNS}. Publish a model that selects those that are read."
        )
    taken = sorted(_SYSTEM_COLUMNS.intersection(names))
    if taken:
        raise SchemaError(
            f"Cannot publish {target}: every PostgreSQL table has columns of its own named {', '.join(taken)}. "
            "Give the column another name in the model."
        )


def changes(existing: Existing, types: Types) -> tuple[str, ...]:
    """Return what ALTER TABLE has to do so that the table has ``types``; columns with a default of their own stay."""
    added = [
        f"ADD COLUMN {quote_identifier(name)} {kind.sql}" for name, kind in types.items() if name not in existing.types
    ]
    dropped = [f"DROP COLUMN {quote_identifier(name)}" for name in dropped_columns(existing, types)]
    retyped = [
        # the rows are gone by then: there is nothing to convert
        f"ALTER COLUMN {quote_identifier(name)} TYPE {types[name].sql} USING NULL"
        for name in retyped_columns(existing, types)
    ]
    return (*added, *dropped, *retyped)


def dropped_columns(existing: Existing, types: Types) -> list[str]:
    """Return the columns that have to go so that the table has ``types``."""
    return [name for name in existing.types if name not in types and name not in existing.own_default]


def retyped_columns(existing: Existing, types: Types) -> list[str]:
    """Return the columns that have to get another type."""
    return [name for name, kind in types.items() if existing.types.get(name, kind.sql) != kind.sql]


def take_turn(connection: psycopg.Connection, what: str) -> None:
    """Wait for the publisher before this one; the lock ends with the transaction."""
    key = [f"phlo publish {what}"]
    taken = connection.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", key).fetchone()
    if taken != (True,):
        log.info("Waiting for another publisher of %s", what)
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", key)


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
    _lock(connection, targets, "ACCESS EXCLUSIVE")


def _lock(connection: psycopg.Connection, targets: Sequence[Target], mode: str) -> None:
    found = connection.execute("SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout'").fetchone()
    patience = min(_TRY_SECONDS, (found[0] if found else 1000) / 2000)
    give_up = time.monotonic() + LOCK_SECONDS
    with connection.transaction():
        # autovacuum gives way to who waits for longer than the tries below; readers and writers are not in the way here
        _lock_each(connection, targets, "SHARE UPDATE EXCLUSIVE", give_up)
    while True:
        try:
            with connection.transaction():
                _lock_each(connection, targets, mode, time.monotonic() + patience)
                connection.execute("SET LOCAL lock_timeout = 0")
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            if time.monotonic() > give_up:
                raise errors.LockNotAvailable from None
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _lock_each(connection: psycopg.Connection, targets: Sequence[Target], mode: str, until: float) -> None:
    for target in sorted(targets, key=lambda each: each.name):
        left = max(1, round((until - time.monotonic()) * 1000))
        connection.execute(f"SET LOCAL lock_timeout = {left}")
        connection.execute(f"LOCK TABLE {target.quoted} IN {mode} MODE")


def lock_writers_out(connection: psycopg.Connection, targets: Sequence[Target]) -> bool:
    """
    Lock all tables against writing by others until the transaction ends; readers go on.

    :returns: whether that was possible: False if others have written and not committed for LOCK_SECONDS, or this
        connection may not lock.
    """
    try:
        _lock(connection, targets, "SHARE ROW EXCLUSIVE")
    except (errors.LockNotAvailable, errors.InsufficientPrivilege):
        return False
    return True
