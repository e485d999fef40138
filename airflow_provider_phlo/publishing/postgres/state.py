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
from airflow_provider_phlo.sql import literal, quote_identifier

PUBLISHED = f"{RESERVED}published"
EDITS = f"{RESERVED}edits"
_FUNCTION = f"{RESERVED}note_edit"

_NOTE = """
BEGIN
    -- one note per transaction; not one per table, since an older snapshot may see a note that is gone
    IF NOT EXISTS (SELECT FROM {edits} WHERE relid = TG_RELID AND xmin = pg_current_xact_id()::xid) THEN
        INSERT INTO {edits} VALUES (TG_RELID, now(), session_user);
    END IF;
    RETURN NULL;
END """
_CREATE = """
CREATE TABLE IF NOT EXISTS {published} (
    relid oid PRIMARY KEY, relation text NOT NULL, source text NOT NULL, version bigint, rows bigint NOT NULL,
    shape text NOT NULL, published_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS {edits} (relid oid NOT NULL, edited_at timestamptz NOT NULL, edited_by name NOT NULL);
CREATE INDEX IF NOT EXISTS {edits_index} ON {edits} (relid);
-- for a publication of all tables, which cannot send what is deleted without it
ALTER TABLE {edits} REPLICA IDENTITY FULL;
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS {note};
"""
_SHAPE = """
SELECT pg_relation_filenode(c.oid),
    (SELECT array_agg(concat_ws(' ', xmin, attnum, attname, atttypid, atttypmod, attcollation) ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT concat_ws(' ', t.oid, t.xmin, t.tgenabled, p.oid, p.xmin)
        FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = c.oid AND t.tgname = %s)
FROM pg_class c WHERE c.oid = %s
"""


_TRIGGER = """
SELECT tgenabled, here, here AND prosrc = %s
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace,
    LATERAL (SELECT n.nspname = %s AND p.proname = %s AS here) function
WHERE t.tgrelid = %s AND t.tgname = %s
"""


class Record(NamedTuple):
    """What a table was last filled with."""

    number: int | None
    rows: int


class _Trigger(NamedTuple):
    """
    The trigger of a table.

    :param enabled: when it fires, as PostgreSQL writes it; ``A`` for always.
    :param here: whether its function is beside the table: a table that was moved has that of its old schema.
    :param notes_here: whether that is so, and its notes are beside the table too: a schema may have been renamed.
    """

    enabled: str
    here: bool
    notes_here: bool


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
        f"SELECT source, version, rows, shape FROM {names['published']} WHERE relid = {existing.oid}"  # noqa: S608 - quoted
    ).fetchone()
    if found is None:
        return "no publication of it is recorded"
    source, number, rows, shape = found
    edit = connection.execute(
        f"SELECT edited_by, edited_at FROM {names['edits']} WHERE relid = {existing.oid} "  # noqa: S608 - quoted
        "ORDER BY edited_at LIMIT 1"
    ).fetchone()
    if edit is not None:
        return f"{edit[0]} has changed its rows at {edit[1]:%Y-%m-%d %H:%M:%S%z}"
    trigger = _trigger(connection, target, existing)
    if shape != _shape(connection, existing.oid) or trigger is None or not trigger.notes_here:
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
        "it belongs to another table, or a subscription writes to it": existing.bypassed,
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
    published = _in(target, PUBLISHED).replace("%", "%%")
    try:
        with connection.transaction():
            _create(connection, target, existing)
            _forget(connection, target, existing)
            connection.execute(
                f"INSERT INTO {published} (relid, relation, source, version, rows, shape) "  # noqa: S608 - quoted
                "VALUES (%s, %s, %s, %s, %s, %s)",
                [existing.oid, target.table, version.source, version.number, rows, _shape(connection, existing.oid)],
            )
    except errors.InsufficientPrivilege:
        return "the role that publishes may not keep a record in the schema"
    return ""


def repair(connection: psycopg.Connection, target: Target) -> None:
    """Make what the table's trigger needs, if somebody has dropped or renamed that: else nobody can write to it."""
    existing = find_existing(connection, target)
    if existing is None or _trigger(connection, target, existing) is None:
        return
    try:
        with connection.transaction():
            _create_tables(connection, target)
    except errors.InsufficientPrivilege:
        return  # they are another role's; if it has dropped them, the first row that is written says so


def _trigger(connection: psycopg.Connection, target: Target, existing: Existing) -> _Trigger | None:
    parameters = [_note(target), target.schema, _FUNCTION, existing.oid, OUR_TRIGGER]
    found = connection.execute(_TRIGGER, parameters).fetchone()
    return None if found is None else _Trigger(*found)


def _note(target: Target) -> str:
    """Return what the function does."""
    return _NOTE.format(edits=_in(target, EDITS))


def _has_function(connection: psycopg.Connection, target: Target) -> bool:
    query = (
        "SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE n.nspname = %s AND p.proname = %s AND p.prosrc = %s"
    )
    return bool(connection.execute(query, [target.schema, _FUNCTION, _note(target)]).rowcount)


def _create_tables(connection: psycopg.Connection, target: Target) -> None:
    if not (_are_there(connection, target) and _has_function(connection, target)):
        take_turn(connection, target.schema)
        connection.execute(_CREATE.format(**_names(target), note=literal(_note(target))))


def _create(connection: psycopg.Connection, target: Target, existing: Existing) -> None:
    names = _names(target)
    _create_tables(connection, target)
    found = _trigger(connection, target, existing)
    trigger = quote_identifier(OUR_TRIGGER)
    if found is not None and not found.here:
        connection.execute(f"DROP TRIGGER {trigger} ON {target.quoted}")
        found = None
    if found is None:
        connection.execute(
            f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {target.quoted} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {names['function']}()"
        )
    if found is None or found.enabled != "A":
        connection.execute(f"ALTER TABLE {target.quoted} ENABLE ALWAYS TRIGGER {trigger}")


def _forget(connection: psycopg.Connection, target: Target, existing: Existing) -> None:
    if not _are_there(connection, target):
        return
    try:
        with connection.transaction():
            for table in (PUBLISHED, EDITS):
                connection.execute(f"DELETE FROM {_in(target, table)} WHERE relid = {existing.oid}")  # noqa: S608 - quoted
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
