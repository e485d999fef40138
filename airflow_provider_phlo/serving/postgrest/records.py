"""
What was applied: recorded beside the marts, by the transaction that applied it.

This distinguishes a view of ours from somebody else's, and shows what somebody has changed about it since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from airflow_provider_phlo.publishing.postgres.tables import SERVED
from airflow_provider_phlo.serving.postgrest.statements import Target
from airflow_provider_phlo.sql import quote_identifier

VIEW, FUNCTION = "view", "function"


@dataclass(frozen=True)
class Record:
    """
    What was applied of one view or function.

    :param kind: ``view`` or ``function``.
    :param name: the view's name; of a function, with its argument.
    :param model: dbt's id of the model; empty for a function.
    :param relation: the mart's table; empty for a function.
    :param statements: the SQL that made it.
    :param roles: who was granted something.
    :param state: what the database said of it afterwards.
    :param guarded: whether row security of the table was enabled for it.
    :param version: of the server: another one may write the same definition in another way.
    """

    kind: str
    name: str
    model: str
    relation: str
    statements: str
    roles: tuple[str, ...]
    state: Mapping[str, Any]
    guarded: bool
    version: int


class Records:
    """The records of one schema of views."""

    def __init__(self, connection: psycopg.Connection, target: Target) -> None:
        self._connection = connection
        self._schema = target.schema
        self._table = f"{quote_identifier(target.marts)}.{quote_identifier(SERVED)}"

    def read(self) -> dict[tuple[str, str], Record]:
        """Return all records, by kind and name."""
        if self._connection.execute("SELECT to_regclass(%s)", [self._table]).fetchone() == (None,):
            return {}
        rows = self._connection.execute(
            "SELECT kind, name, model, relation, statements, roles, state, guarded, version "
            f"FROM {self._table} WHERE schema = %s",
            [self._schema],
        )
        records = [
            Record(kind, name, model, relation, statements, tuple(roles), state, guarded, version)
            for kind, name, model, relation, statements, roles, state, guarded, version in rows
        ]
        return {(each.kind, each.name): each for each in records}

    def over(self, relations: Sequence[str]) -> list[tuple[str, str, str, str]]:
        """Return schema, name, model and mart of the views that are there over marts, in whichever schema."""
        if self._connection.execute("SELECT to_regclass(%s)", [self._table]).fetchone() == (None,):
            return []
        return self._connection.execute(
            f"SELECT schema, name, model, relation FROM {self._table} WHERE kind = %s AND relation = ANY(%s) "
            "AND to_regclass(quote_ident(schema) || '.' || quote_ident(name)) IS NOT NULL ORDER BY 1, 2",
            [VIEW, list(relations)],
        ).fetchall()

    def create(self) -> None:
        """Make the table if it is not there."""
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table} (schema text, kind text, name text, model text NOT NULL, "
            "relation text NOT NULL, statements text NOT NULL, roles text[] NOT NULL, state jsonb NOT NULL, "
            "guarded bool NOT NULL, version int NOT NULL, PRIMARY KEY (schema, kind, name))"
        )

    def write(self, records: Sequence[Record]) -> None:
        """Record what was applied."""
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {self._table} VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (schema, kind, name) DO UPDATE SET model = EXCLUDED.model, relation = EXCLUDED.relation, "
                "statements = EXCLUDED.statements, roles = EXCLUDED.roles, state = EXCLUDED.state, "
                "guarded = EXCLUDED.guarded, version = EXCLUDED.version",
                [
                    (
                        self._schema, each.kind, each.name, each.model, each.relation, each.statements,
                        list(each.roles), json.dumps(each.state), each.guarded, each.version,
                    )
                    for each in records
                ],
            )  # fmt: skip

    def forget(self, records: Sequence[Record]) -> None:
        """Forget what is not there any more."""
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f"DELETE FROM {self._table} WHERE schema = %s AND kind = %s AND name = %s",
                [(self._schema, each.kind, each.name) for each in records],
            )
