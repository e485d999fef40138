"""Write only the rows that differ."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from airflow_provider_phlo.publishing.postgres.loading import copy_rows
from airflow_provider_phlo.publishing.postgres.tables import Target
from airflow_provider_phlo.publishing.postgres.versions import Changes, Rows, VersionUnknownError
from airflow_provider_phlo.sql import quote_identifier

_GONE = '"phlo publish gone"'


def apply_changes(
    connection: psycopg.Connection, target: Target, changes: Changes, key: Sequence[str]
) -> tuple[int, int]:
    """
    Delete the rows that are gone, and insert those that have come.

    :param key: columns in which no two rows of the table are equal; where there are none, whole rows are compared.
    :returns: how many rows were deleted and inserted.
    :raises VersionUnknownError: the table does not have the rows that are gone, so it is not what it was taken for.
    """
    deleted = _delete(connection, target, changes.gone, key)
    connection.execute(f"DROP TABLE IF EXISTS {_GONE}")
    if deleted != changes.gone.total:
        raise VersionUnknownError(
            f"{changes.gone.total} of its rows were to be deleted, but {deleted} of these are there"
        )
    inserted = 0
    if changes.come.total:
        inserted = copy_rows(connection, target, target.quoted, changes.come.read(list(target.types)))
    return deleted, inserted


def _delete(connection: psycopg.Connection, target: Target, gone: Rows, key: Sequence[str]) -> int:
    if not gone.total:
        return 0
    if connection.execute("SELECT has_database_privilege(current_database(), 'TEMP')").fetchone() != (True,):
        raise VersionUnknownError("the role that publishes may not create temporary tables, which rows to delete need")
    if key:
        _load(connection, target.only(key), gone)
        missing = " OR ".join(f"{quote_identifier(name)} IS NULL" for name in key)
        # NULL tells no rows apart
        if connection.execute(f"SELECT FROM {_GONE} WHERE {missing} LIMIT 1").rowcount == 0:
            return connection.execute(_delete_by_key(target, key)).rowcount
        connection.execute(f"DROP TABLE {_GONE}")
    _load(connection, target, gone)
    return connection.execute(_delete_whole_rows(target)).rowcount


def _load(connection: psycopg.Connection, columns: Target, rows: Rows) -> None:
    # made from the table, so that its columns have the same collations
    statement = f"CREATE TEMPORARY TABLE {_GONE} AS SELECT {columns.columns} FROM {columns.quoted} WITH NO DATA"  # noqa: S608 - quoted
    connection.execute(statement)
    copy_rows(connection, columns, _GONE, rows.read(list(columns.types)))
    connection.execute(f"ANALYZE {_GONE}")  # nobody else does it for a temporary table


def _delete_by_key(target: Target, key: Sequence[str]) -> str:
    same = " AND ".join(f"t.{quote_identifier(name)} = g.{quote_identifier(name)}" for name in key)
    return f"DELETE FROM {target.quoted} t USING {_GONE} g WHERE {same}"  # noqa: S608 - quoted


def _delete_whole_rows(target: Target) -> str:
    """
    Delete as many copies of each row as are gone.

    Equality of rows, which can be hashed, finds the few that may be meant; by text, -0.0 differs from 0.0 as well.
    """
    number = "row_number() OVER (PARTITION BY found::text) AS copy"
    return f"""
        WITH gone AS (SELECT found, found::text AS content, {number}
                FROM (SELECT ROW({target.columns}) AS found FROM {_GONE}) rows),
            there AS (SELECT place, found::text AS content, {number}
                FROM (SELECT ctid AS place, ROW({target.columns}) AS found FROM {target.quoted}) rows
                WHERE EXISTS (SELECT FROM gone WHERE gone.found = rows.found))
        DELETE FROM {target.quoted} WHERE ctid = ANY(ARRAY(SELECT place FROM there JOIN gone USING (content, copy)))
    """  # noqa: S608 - quoted
