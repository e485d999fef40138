"""The column lineage of one SQL statement."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_phlo.lineage.sql.queries import Queries, Tables
from airflow_provider_phlo.lineage.sql.relations import Relation, unknown_relation

if TYPE_CHECKING:
    from sqlglot import exp

_ALIASES_VISIBLE = frozenset({"duckdb"})


def analyse_sql(sql: str, dialect: str, tables: Tables, elsewhere: Collection[str] = ()) -> Relation:
    """
    Return the columns that a query yields, and the columns of tables that each comes from.

    What cannot be said with certainty is unknown, with the reason; nothing is guessed.

    ::

        people = table_relation("raw.people", ["name", "age"], complete=True)
        analyse_sql("SELECT name, age + 1 AS next FROM raw.people", "duckdb", lambda parts: people)

    :param sql: one query.
    :param dialect: ``duckdb`` or ``trino``; others are read as sqlglot reads them.
    :param tables: return what a table is, by the parts of its name as written.
    :param elsewhere: names of WITH queries, in lower case, that ``tables`` knows: what is written there is skipped.
    """
    try:
        parsed = _parse(sql, dialect)
        if isinstance(parsed, str):
            return unknown_relation(parsed)
        return Queries(tables, elsewhere, aliases_visible=dialect in _ALIASES_VISIBLE).analyse(parsed)
    except RecursionError:
        return unknown_relation("the SQL is nested too deeply")


def _parse(sql: str, dialect: str) -> exp.Expr | str:
    """Return the parsed query, or why there is none."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, SqlglotError

    try:
        with _quiet():
            statements = [each for each in sqlglot.parse(sql, read=dialect) if each is not None]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        where = f" in line {first['line']}" if first.get("line") else ""
        return f"sqlglot cannot parse the SQL{where}: {first.get('description') or 'no reason given'}"
    except SqlglotError as error:
        return f"sqlglot cannot parse the SQL: {str(error).splitlines()[0]}"
    except ValueError:
        return f"sqlglot does not know the dialect {dialect}"
    if len(statements) != 1:
        return f"{len(statements)} statements, not one query"
    if not isinstance(statements[0], exp.Query):
        return f"a statement of the kind {type(statements[0]).__name__}, not a query"
    return statements[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep sqlglot from logging what it does not know: the result says so."""
    logger = logging.getLogger("sqlglot")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
