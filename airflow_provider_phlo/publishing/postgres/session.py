"""The session of a publication, the same whatever the role, the database or who made the connection has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import tuple_row

# COPY's rows are UTF-8; the names, types and texts that are read or written here are to be spelled in one way; a
# publication reads its source in the middle of its transaction, and limits itself how long it waits for others
_SETTINGS = """
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL quote_all_identifiers = off;
SET LOCAL DateStyle = 'ISO';
SET LOCAL extra_float_digits = 1;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL lock_timeout = 0;
"""
_WITH_TRANSACTION_TIMEOUT = 170000


@contextmanager
def plain_cursors(connection: psycopg.Connection) -> Iterator[None]:
    """
    Let a connection return tuples, and prepare nothing.

    Behind a pooler, such as PgBouncer in transaction mode, the next transaction has another server, or a server that
    somebody else has prepared statements of the same names on.
    """
    before = connection.row_factory, connection.cursor_factory, connection.prepare_threshold
    connection.row_factory, connection.cursor_factory = tuple_row, psycopg.Cursor
    connection.prepare_threshold = None
    try:
        yield
    finally:
        connection.row_factory, connection.cursor_factory, connection.prepare_threshold = before


@contextmanager
def transaction(connection: psycopg.Connection) -> Iterator[None]:
    """
    Begin the transaction of a publication.

    A publisher that waited for another has to see what that one wrote, and COPY FREEZE allows no older snapshot: each
    statement has a snapshot of its own.
    """
    with connection.transaction():
        connection.execute(_SETTINGS)
        if connection.info.server_version >= _WITH_TRANSACTION_TIMEOUT:
            connection.execute("SET LOCAL transaction_timeout = 0")
        yield
