"""SQL as text: queries with their values, and the one place that quotes; DuckDB, Trino and PostgreSQL agree on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_URL_CHARACTERS = frozenset("?#%")


@dataclass(frozen=True)
class Query:
    """
    SQL with the values of its ``?`` markers: a statement, or a part of one that other SQL is built around.

    :param sql: the text; identifiers in it are quoted.
    :param parameters: a value for each marker, in their order.
    """

    sql: str
    parameters: tuple[Any, ...] = ()


def open_parser() -> DuckDBPyConnection:
    """
    Return a connection for parsing SQL, and for nothing else: behind it is one DuckDB for the whole process.

    To open a DuckDB takes about 15 ms, a connection to this one a fraction of one.
    """
    return _parsing_database(os.getpid()).cursor()


@cache
def _parsing_database(process: int) -> DuckDBPyConnection:
    """Return the DuckDB of a process; it has no threads, which a fork would be without."""
    import duckdb

    return duckdb.connect(config={"threads": 1, "async_threads": 0})


def quote_identifier(name: str) -> str:
    """
    Quote one identifier: a column, a schema, an alias.

    :param name: the bare name; a dot in it is part of the name.
    """
    return '"' + name.replace('"', '""') + '"'


def bare_identifier(text: str) -> str:
    """Return the name that an identifier of SQL stands for, with quotes around it or without."""
    if len(text) > 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


def quote(name: str) -> str:
    """
    Quote the name of a table: ``ns.table`` becomes ``"ns"."table"``, ``a.b.table`` becomes ``"a.b"."table"``.

    :param name: the namespace, whose levels are one name in SQL, and the table; for a column use
        :func:`quote_identifier`.
    """
    return ".".join(quote_identifier(part) for part in name.rsplit(".", 1))


def literal(text: str) -> str:
    """Quote ``text`` as a string literal. Values are bound where the statement allows it; this is for where not."""
    return "'" + text.replace("'", "''") + "'"


def sqlite_url(path: Path) -> str:
    """
    Return the address of an SQLite database, whatever characters its path has.

    :param path: the file; a process that finds it locked waits for up to a minute.
    """
    if not _URL_CHARACTERS.intersection(str(path)):
        return f"sqlite:///{path}?timeout=60"
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(path), query={"timeout": "60"}).render_as_string(hide_password=False)
