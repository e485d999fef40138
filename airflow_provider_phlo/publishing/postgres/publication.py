"""
Publish tables together, in one transaction: a crash at any point is a rollback, there is nothing to clean up.

A table follows its source: new columns are added, missing ones dropped, types changed. Columns that somebody added with
a default, or as generated columns, stay, and so do grants, indexes, views, policies and constraints.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.publishing.postgres.declarations import declare, missing, require_columns
from airflow_provider_phlo.publishing.postgres.delta import apply_changes
from airflow_provider_phlo.publishing.postgres.dependents import referring, require_harmless, require_independent
from airflow_provider_phlo.publishing.postgres.errors import translate_errors
from airflow_provider_phlo.publishing.postgres.loading import replace_rows, replace_tables
from airflow_provider_phlo.publishing.postgres.results import Mart, Mode, PublishResult, Rows
from airflow_provider_phlo.publishing.postgres.session import plain_cursors, transaction
from airflow_provider_phlo.publishing.postgres.state import Record, find_record, record, repair
from airflow_provider_phlo.publishing.postgres.tables import (
    Target,
    changes,
    find_existing,
    lock_writers_out,
    take_turn,
    target_of,
)
from airflow_provider_phlo.publishing.postgres.versions import VersionUnknownError

log = logging.getLogger(__name__)

_OTHERS_WRITE = "others write to it meanwhile"


class _Publication(NamedTuple):
    mart: Mart
    target: Target


def publish(rows: Rows, connection: psycopg.Connection, table: str, *, schema: str = "marts") -> PublishResult:
    """Publish one table, as :func:`publish_together` does."""
    return publish_together([Mart(table, rows.schema, lambda: rows)], connection, schema=schema)[table]


def publish_together(
    marts: Sequence[Mart], connection: psycopg.Connection, *, schema: str = "marts"
) -> dict[str, PublishResult]:
    """
    Fill all tables with the rows of their sources in one transaction; create schema and tables if they do not exist.

    Where it is certain which version of its source a table holds, only what differs is written; the result says how
    each table got its rows, and why. Any number of rows will do: only one batch is in memory at a time. Publishers of
    the same table take turns.

    :param connection: a connection without an open transaction; this function opens its own.
    :returns: table → its result.
    :raises ConfigurationError: the connection is busy or may not write, a name is too long, or is not that of a table.
    :raises SchemaError: PostgreSQL cannot hold a column or value, an object depends on a column to be dropped, a key is
        not unique, or a trigger drops rows.
    :raises CommitConflictError: other sessions hold a table, and one of the tables is new or its columns change.
    :raises TransientError: the server ended, or has no room.
    """
    publications = [_Publication(mart, target_of(schema, mart.table, mart.columns)) for mart in marts]
    for mart, target in publications:
        require_columns(target, mart.declared)
    what = ", ".join(target.name for _, target in publications)
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise ConfigurationError(f"Cannot publish {what}: the connection has an open transaction.")
    with plain_cursors(connection), translate_errors(what):
        with transaction(connection):
            for name in sorted(target.name for _, target in publications):  # in one order: publishers never deadlock
                take_turn(connection, name)
            results = _publish_pending(connection, publications)
        for _, target in publications:
            if results[target.table].mode == Mode.FULL:
                _tidy(connection, target)
    return {mart.table: results[mart.table] for mart in marts}


def _publish_pending(connection: psycopg.Connection, publications: Sequence[_Publication]) -> dict[str, PublishResult]:
    results: dict[str, PublishResult] = {}
    pending = []
    for mart, target in publications:
        unchanged = _is_current(connection, mart, target)
        if unchanged is not None:
            results[mart.table] = unchanged
        else:
            repair(connection, target)
            pending.append(_Publication(mart, target))
    if pending:
        if _keeps_columns(connection, pending):
            found = _publish_rows(connection, pending)
        else:
            pending = _with_referring(connection, pending, publications)
            found = _publish_tables(connection, pending)
        results |= {mart.table: result for (mart, _), result in zip(pending, found, strict=True)}
    return results


def _is_current(connection: psycopg.Connection, mart: Mart, target: Target) -> PublishResult | None:
    """Return a result if there is nothing to do, which needs no lock: who writes meanwhile comes after."""
    existing = find_existing(connection, target)
    if existing is None or changes(existing, target.types):
        return None
    found = find_record(connection, target, existing, mart.version)
    if not isinstance(found, Record) or mart.version is None or found.number != mart.version.number:
        return None
    if missing(connection, target, mart.declared):
        return None
    reason = f"it holds snapshot {found.number} already"
    return PublishResult(target.name, found.rows, len(target.types), 0.0, mode=Mode.UNCHANGED, reason=reason)


def _keeps_columns(connection: psycopg.Connection, publications: Sequence[_Publication]) -> bool:
    """
    Return whether all tables have the columns that they are to have.

    :raises SchemaError: something depends on a column that has to change, or on rows that are deleted.
    """
    kept = True
    for _, target in publications:
        existing = find_existing(connection, target)
        if existing is not None:
            require_independent(connection, target, existing)
            require_harmless(connection, target, existing)
        kept = kept and existing is not None and not changes(existing, target.types)
    return kept


def _with_referring(
    connection: psycopg.Connection, pending: Sequence[_Publication], publications: Sequence[_Publication]
) -> list[_Publication]:
    """
    Return what is emptied when columns change, with what refers to that: PostgreSQL empties such tables together only.

    :raises SchemaError: a table that is not published here does.
    """
    chosen = {target.name: _Publication(mart, target) for mart, target in pending}
    known = {target.name: _Publication(mart, target) for mart, target in publications}
    while True:
        there = [existing for _, target in chosen.values() if (existing := find_existing(connection, target))]
        found = referring(connection, there)
        others = [f"{key} of {schema}.{table}" for schema, table, key in found if f"{schema}.{table}" not in known]
        if others:
            raise SchemaError(
                f"Cannot publish {', '.join(chosen)}: columns change, for which the tables are emptied, and PostgreSQL "
                f"does not empty what another table refers to: {', '.join(others)}. Nothing was written. Drop the "
                "foreign key, publish again, then create it anew; tables of one task may refer to each other."
            )
        if not found:
            return list(chosen.values())
        chosen |= {name: known[name] for schema, table, _ in found for name in [f"{schema}.{table}"]}


def _publish_tables(connection: psycopg.Connection, publications: Sequence[_Publication]) -> list[PublishResult]:
    marts, targets = [mart for mart, _ in publications], [target for _, target in publications]
    results = replace_tables(connection, targets, marts)
    return [
        _finish(connection, publication, result, locked=True)
        for publication, result in zip(publications, results, strict=True)
    ]


def _publish_rows(connection: psycopg.Connection, publications: Sequence[_Publication]) -> list[PublishResult]:
    locked = lock_writers_out(connection, [target for _, target in publications])
    return [
        _finish(connection, publication, _fill(connection, *publication, locked=locked), locked=locked)
        for publication in publications
    ]


def _fill(connection: psycopg.Connection, mart: Mart, target: Target, *, locked: bool) -> PublishResult:
    existing = find_existing(connection, target)
    assert existing is not None
    found = find_record(connection, target, existing, mart.version) if locked else _OTHERS_WRITE
    if isinstance(found, str):
        return replace(replace_rows(connection, target, mart), reason=found)
    try:
        return _update(connection, mart, target, found)
    except VersionUnknownError as error:
        return replace(replace_rows(connection, target, mart), reason=str(error))


def _update(connection: psycopg.Connection, mart: Mart, target: Target, found: Record) -> PublishResult:
    assert mart.version is not None
    started = time.perf_counter()
    # undone as a whole if the table turns out to be something else
    with translate_errors(target.name), connection.transaction(), mart.version.changes(found.number) as differing:
        deleted, inserted = apply_changes(connection, target, differing, mart.declared.told_apart_by)
    return PublishResult(
        target.name,
        found.rows - deleted + inserted,
        len(target.types),
        round(time.perf_counter() - started, 3),
        mode=Mode.INCREMENTAL,
        inserted=inserted,
        deleted=deleted,
    )


def _finish(
    connection: psycopg.Connection, publication: _Publication, result: PublishResult, *, locked: bool
) -> PublishResult:
    mart, target = publication
    existing = find_existing(connection, target)
    # without the lock, the statements would wait for whoever writes
    may = locked and existing is not None and existing.owned
    declared = declare(connection, target, mart.declared) if may else ()
    if existing is not None and not existing.owned and (wanted := missing(connection, target, mart.declared)):
        result = replace(
            result, reason=f"{result.reason}; for the same reason, this is not declared: {'; '.join(wanted)}"
        )
    reason = record(connection, target, mart.version if locked else None, result.rows)
    if reason and locked:
        log.info("The next publication of %s writes all rows, since %s", target.name, reason)
    return replace(result, altered=(*result.altered, *declared))


def _tidy(connection: psycopg.Connection, target: Target) -> None:
    """Make the old rows' space reusable and the planner's statistics right, unless the server does that itself."""
    autocommit = connection.autocommit
    connection.autocommit = True
    try:
        if connection.execute(_SERVER_VACUUMS, [target.quoted]).fetchone() != (True,):
            connection.execute(f"VACUUM (ANALYZE, TRUNCATE false, SKIP_LOCKED) {target.quoted}")
    except psycopg.Error as error:
        # the content is published; autovacuum does the same later
        log.warning("VACUUM %s did not run: %s", target.name, describe(error))
    finally:
        connection.autocommit = autocommit


_SERVER_VACUUMS = """
SELECT current_setting('autovacuum')::bool AND current_setting('track_counts')::bool
    AND NOT coalesce('autovacuum_enabled=false' = ANY(reloptions), false)
FROM pg_class WHERE oid = %s::regclass
"""
