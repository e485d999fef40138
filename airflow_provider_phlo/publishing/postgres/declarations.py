"""
What is to be declared on a table: its key, indexes and comments.

Names follow dbt's: ``indexes`` is the config of dbt-postgres, ``primary_key`` a constraint of a model.
What somebody else has declared stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg
from psycopg import errors

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.publishing.postgres.tables import Target
from airflow_provider_phlo.sql import literal, quote_identifier


class Index(NamedTuple):
    """
    An index that a table is to have.

    :param columns: the columns, in their order.
    :param type: the access method: ``btree``, ``hash``, ``gin``, …
    """

    columns: tuple[str, ...]
    unique: bool = False
    type: str = "btree"


class Declaration(NamedTuple):
    """
    What a table is to have besides its rows.

    :param key: columns that tell its rows apart; they get a unique index.
    :param primary_key: columns of the primary key.
    :param comment: the table's comment; None leaves it as it is.
    :param comments: the comments of columns.
    """

    key: tuple[str, ...] = ()
    primary_key: tuple[str, ...] = ()
    indexes: tuple[Index, ...] = ()
    comment: str | None = None
    comments: Mapping[str, str] = {}

    @property
    def told_apart_by(self) -> tuple[str, ...]:
        """Return the columns that tell rows apart."""
        return self.key or self.primary_key


NOTHING_DECLARED = Declaration()
# an unknown access method, a type without one, values that are too long for an index
_NOT_POSSIBLE = (psycopg.ProgrammingError, psycopg.NotSupportedError, errors.ProgramLimitExceeded)

_INDEXES = """
SELECT m.amname, i.indisunique, i.indisprimary, (
    SELECT array_agg(a.attname ORDER BY k.place) FROM unnest(i.indkey::int[]) WITH ORDINALITY k (number, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number WHERE k.place <= i.indnkeyatts
)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
WHERE i.indrelid = %s::regclass AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
"""
_COMMENTS = """
SELECT a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
"""


def require_columns(target: Target, declared: Declaration) -> None:
    """
    Check that what is declared is about columns that there are.

    :raises SchemaError: it is not.
    """
    named = {*declared.key, *declared.primary_key, *(name for index in declared.indexes for name in index.columns)}
    unknown = sorted(named - target.types.keys())
    if unknown:
        raise SchemaError(
            f"Cannot publish {target.name}: its key or indexes name columns that it does not have: "
            f"{', '.join(unknown)}."
        )


def missing(connection: psycopg.Connection, target: Target, declared: Declaration) -> list[str]:
    """Return the statements that declare what is not there yet."""
    return [*_missing_indexes(connection, target, declared), *_missing_comments(connection, target, declared)]


def declare(connection: psycopg.Connection, target: Target, declared: Declaration) -> tuple[str, ...]:
    """
    Declare what is not there yet, and return how.

    :raises SchemaError: rows are not unique in a key, or what is declared cannot be.
    """
    statements = missing(connection, target, declared)
    for statement in statements:
        try:
            connection.execute(statement)
        except (errors.UniqueViolation, errors.NotNullViolation):
            raise SchemaError(
                f"{target.name}: {statement} fails, since rows of the source are not unique in these columns, or lack "
                "a value. The old content stays. Correct the source, or the key."
            ) from None
        except _NOT_POSSIBLE as error:
            if isinstance(error, errors.InsufficientPrivilege):
                raise
            raise SchemaError(
                f"{target.name}: {statement} fails ({type(error).__name__}: {error.diag.message_primary}). "
                "The old content stays. Correct what the model declares."
            ) from None
    return tuple(statements)


def _missing_indexes(connection: psycopg.Connection, target: Target, declared: Declaration) -> list[str]:
    wanted = [*declared.indexes, *([Index(declared.key, unique=True)] if declared.key else [])]
    if not (wanted or declared.primary_key):
        return []
    there = connection.execute(_INDEXES, [target.quoted]).fetchall()
    statements = []
    if declared.primary_key and not any(primary for _, _, primary, _ in there):
        statements.append(f"ALTER TABLE {target.quoted} ADD PRIMARY KEY ({_list(declared.primary_key)})")
        there.append(("btree", True, True, list(declared.primary_key)))
    for index in wanted:
        if not any(_serves(index, *each) for each in there):
            statements.append(
                f"CREATE {'UNIQUE ' if index.unique else ''}INDEX ON {target.quoted} "
                f"USING {quote_identifier(index.type)} ({_list(index.columns)})"
            )
            there.append((index.type, index.unique, False, list(index.columns)))
    return statements


def _serves(index: Index, method: str, unique: bool, primary: bool, columns: Sequence[str] | None) -> bool:
    same = tuple(columns or ()) == index.columns
    if index.unique:  # the order of its columns does not matter for that
        return unique and sorted(columns or ()) == sorted(index.columns)
    return method == index.type and same


def _missing_comments(connection: psycopg.Connection, target: Target, declared: Declaration) -> list[str]:
    statements = []
    if declared.comment is not None:
        found = connection.execute("SELECT obj_description(%s::regclass, 'pg_class')", [target.quoted]).fetchone()
        if found != (declared.comment or None,):
            statements.append(f"COMMENT ON TABLE {target.quoted} IS {literal(declared.comment)}")
    if declared.comments:
        there = dict(connection.execute(_COMMENTS, [target.quoted]).fetchall())
        statements += [
            f"COMMENT ON COLUMN {target.quoted}.{quote_identifier(name)} IS {literal(text)}"
            for name, text in declared.comments.items()
            if name in there and (text or None) != there[name]
        ]
    return statements


def _list(columns: Sequence[str]) -> str:
    return ", ".join(quote_identifier(name) for name in columns)
