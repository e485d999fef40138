"""
Which version of its source a table holds: recorded beside it, by the transaction that writes the rows.

The record is believed only if nobody else has changed the table since. A trigger notes every statement that writes to
it, also where triggers are off for replication; the publisher removes the notes of its own. What a trigger does not
see (the trigger itself switched off, ALTER TABLE, a table that was dropped and restored) shows in the identity of the
catalog's rows, which is part of the record.

The publisher holds a lock against writers: no transaction that has written and not committed can be under way.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import NamedTuple

import psycopg
from psycopg import errors

from airflow_provider_phlo.publishing.postgres.tables import (
    OUR_TRIGGER,
    RESERVED,
    Existing,
    Target,
    find_existing,
    take_turn,
)
from airflow_provider_phlo.publishing.postgres.versions import Version
from airflow_provider_phlo.sql import quote_identifier

PUBLISHED = f"{RESERVED}published"
EDITS = f"{RESERVED}edits"
_FUNCTION = f"{RESERVED}note_edit"

_CREATE = """
CREATE TABLE IF NOT EXISTS {published} (
    relid oid PRIMARY KEY, relation text NOT NULL, source text NOT NULL, version bigint, rows bigint NOT NULL,
    shape text NOT NULL, published_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS {edits} (relid oid NOT NULL, edited_at timestamptz NOT NULL, edited_by name NOT NULL);
CREATE INDEX IF NOT EXISTS {edits_index} ON {edits} (relid);
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $note$
BEGIN
    -- one note per transaction; not one per table, since an older snapshot may see a note that is gone
    IF NOT EXISTS (SELECT FROM {edits} WHERE relid = TG_RELID AND xmin = pg_current_xact_id()::xid) THEN
        INSERT INTO {edits} VALUES (TG_RELID, now(), session_user);
    END IF;
    RETURN NULL;
END $note$;
"""
_SHAPE = """
SELECT pg_relation_filenode(c.oid),
    (SELECT array_agg(concat_ws(' ', attnum, attname, atttypid, atttypmod, attcollation) ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT concat_ws(' ', t.oid, t.xmin, t.tgenabled, p.oid, p.xmin)
        FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = c.oid AND t.tgname = %s)
FROM pg_class c WHERE c.oid = %s
"""


class Record(NamedTuple):
    """What a table was last filled with."""

    number: int | None
    rows: int


def find_record(
    connection: psycopg.Connection, target: Target, existing: Existing, version: Version | None
) -> Record | str:
    """Return what the table holds, or why that is not certain."""
    reason = why_no_record(existing, version)
    if reason:
        return reason
    assert version is not None
    if not _are_there(connection, target):
        return "no publication of it is recorded"
    names = _names(target)
    found = connection.execute(
        f"SELECT source, version, rows, shape FROM {names['published']} WHERE relid = %s",  # noqa: S608 - quoted
        [existing.oid],
    ).fetchone()
    if found is None:
        return "no publication of it is recorded"
    source, number, rows, shape = found
    edit = connection.execute(
        f"SELECT edited_by, edited_at FROM {names['edits']} WHERE relid = %s ORDER BY edited_at LIMIT 1",  # noqa: S608 - quoted
        [existing.oid],
    ).fetchone()
    if edit is not None:
        return f"{edit[0]} has changed its rows at {edit[1]:%Y-%m-%d %H:%M:%S%z}"
    if shape != _shape(connection, existing.oid):
        return "the table was altered or rewritten"
    if source != version.source:
        return "it was filled from another table, or other columns"
    return Record(number, rows)


def why_no_record(existing: Existing, version: Version | None) -> str:
    """Return why nothing can be recorded of a table, or nothing."""
    reasons = {
        "the versions of its source are not known": version is None,
        "the role that publishes does not own it": not existing.owned,
        "it has partitions": existing.partitioned,
        "triggers, rules or child tables change what is written to it": existing.own_rules,
        "its rows are not all in one file that survives a crash": not existing.plain,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def record(connection: psycopg.Connection, target: Target, version: Version | None, rows: int) -> str:
    """
    Record what the table holds now, and forget what is noted about it.

    :returns: why nothing is recorded, or nothing.
    """
    existing = find_existing(connection, target)
    assert existing is not None
    reason = why_no_record(existing, version)
    if reason or version is None:
        _forget(connection, target, existing)
        return reason
    try:
        with connection.transaction():
            _create(connection, target, existing)
            _forget(connection, target, existing)
            connection.execute(
                f"INSERT INTO {_names(target)['published']} (relid, relation, source, version, rows, shape) "  # noqa: S608 - quoted
                "VALUES (%s, %s, %s, %s, %s, %s)",
                [existing.oid, target.table, version.source, version.number, rows, _shape(connection, existing.oid)],
            )
    except errors.InsufficientPrivilege:
        return "the role that publishes may not keep a record in the schema"
    return ""


def repair(connection: psycopg.Connection, target: Target) -> None:
    """Make what the table's trigger writes to, if somebody has dropped that: else nobody can write to the table."""
    existing = find_existing(connection, target)
    if existing is not None and _trigger(connection, existing) is not None:
        _create_tables(connection, target)


def _trigger(connection: psycopg.Connection, existing: Existing) -> tuple[str] | None:
    return connection.execute(
        "SELECT tgenabled FROM pg_trigger WHERE tgrelid = %s AND tgname = %s", [existing.oid, OUR_TRIGGER]
    ).fetchone()


def _create_tables(connection: psycopg.Connection, target: Target) -> None:
    if not _are_there(connection, target):
        take_turn(connection, target.schema)
        connection.execute(_CREATE.format(**_names(target)))


def _create(connection: psycopg.Connection, target: Target, existing: Existing) -> None:
    names = _names(target)
    _create_tables(connection, target)
    found = _trigger(connection, existing)
    trigger = quote_identifier(OUR_TRIGGER)
    if found is None:
        connection.execute(
            f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {target.quoted} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {names['function']}()"
        )
    if found != ("A",):
        connection.execute(f"ALTER TABLE {target.quoted} ENABLE ALWAYS TRIGGER {trigger}")


def _forget(connection: psycopg.Connection, target: Target, existing: Existing) -> None:
    if not _are_there(connection, target):
        return
    try:
        with connection.transaction():
            for table in (PUBLISHED, EDITS):
                connection.execute(f"DELETE FROM {_in(target, table)} WHERE relid = %s", [existing.oid])  # noqa: S608 - quoted
    except errors.InsufficientPrivilege:
        return  # what another role has recorded, the note of this edit has made worthless


def _are_there(connection: psycopg.Connection, target: Target) -> bool:
    found = connection.execute(
        "SELECT count(*), bool_and(has_table_privilege(c.oid, 'SELECT, INSERT, DELETE')) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = ANY(%s) AND c.relkind = 'r'",
        [target.schema, [PUBLISHED, EDITS]],
    ).fetchone()
    return found == (2, True)


def _shape(connection: psycopg.Connection, oid: int) -> str:
    """Return what changes when the table is rewritten, its columns are altered, or its trigger is."""
    found = connection.execute(_SHAPE, [OUR_TRIGGER, oid]).fetchone()
    return blake2b(json.dumps(found).encode(), digest_size=16).hexdigest()


def _in(target: Target, name: str) -> str:
    return f"{quote_identifier(target.schema)}.{quote_identifier(name)}"


def _names(target: Target) -> dict[str, str]:
    return {
        "published": _in(target, PUBLISHED),
        "edits": _in(target, EDITS),
        "edits_index": quote_identifier(f"{EDITS}_relid"),
        "function": _in(target, _FUNCTION),
    }
