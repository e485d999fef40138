"""
Rows of a person in a mart of PostgreSQL: deleted, and the table written again, as deleted rows stay on its pages.

A publication afterwards sees that the table is not what it has recorded, and fills it from its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import errors

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.forgetting.keys import Key
from airflow_provider_phlo.forgetting.places import Found, Kind
from airflow_provider_phlo.publishing.postgres.errors import translate_errors
from airflow_provider_phlo.publishing.postgres.session import plain_cursors, transaction
from airflow_provider_phlo.publishing.postgres.tables import Existing, Target, find_existing
from airflow_provider_phlo.sql import quote_identifier

Connect = Callable[[], AbstractContextManager[psycopg.Connection]]

# materialized views keep the rows that they were filled with
_VIEWS = """
WITH RECURSIVE made AS (
    SELECT %s::oid AS oid
    UNION
    SELECT r.ev_class FROM made m
    JOIN pg_depend d ON d.refobjid = m.oid AND d.refclassid = 'pg_class'::regclass
        AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid
)
SELECT c.oid::regclass::text FROM made m JOIN pg_class c USING (oid) WHERE c.relkind = 'm' ORDER BY 1
"""


@dataclass(frozen=True)
class PostgresPlace:
    """
    A mart.

    :param connect: opens a connection in autocommit mode.
    :param server: what people call it: an Airflow connection.
    :param key: under the mart's names of the columns.
    """

    connect: Connect
    server: str
    schema: str
    table: str
    key: Key
    kind: Kind = Kind.MART

    @property
    def name(self) -> str:
        """Return what people call it."""
        return f"{self.server}:{self.schema}.{self.table}"

    def find(self) -> Found:
        """
        Count the rows; nothing is changed.

        :raises ConfigurationError: row security hides rows from the role that publishes, or it does not own the table.
        """
        with self._session() as connection:
            existing = find_existing(connection, self._target)
            count = self._execute(connection, existing, "SELECT count(*) FROM") if existing else 0
            if not existing or not count:
                return Found()
            if not existing.owned:
                raise ConfigurationError(
                    f"{self.name} has such rows, and the role that publishes does not own it: what is deleted would "
                    "stay on the table's pages. Let the owner's connection publish it, or make the role its owner."
                )
            views = [name for (name,) in connection.execute(_VIEWS, [existing.oid]).fetchall()]
        notes = [f"materialized views on it are filled again: {', '.join(views)}"] if views else []
        return Found({"rows": count}, tuple(notes))

    def erase(self) -> None:
        """
        Delete the rows, and write the table and its statistics again: both keep values of rows that are gone.

        :raises CommitConflictError: another transaction changes the table; call it again.
        """
        with self._session() as connection:
            existing = find_existing(connection, self._target)
            if existing is None:
                return
            with transaction(connection):
                count = self._execute(connection, existing, "DELETE FROM")
            if not count:
                return
            for (view,) in connection.execute(_VIEWS, [existing.oid]).fetchall():
                connection.execute(f"REFRESH MATERIALIZED VIEW {view}")
            connection.execute(f"VACUUM (FULL, ANALYZE) {self._target.quoted}")

    @property
    def _target(self) -> Target:
        return Target(self.schema, self.table, {})

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection]:
        with translate_errors(self.name), self.connect() as connection, plain_cursors(connection):
            yield connection

    def _execute(self, connection: psycopg.Connection, existing: Existing, what: str) -> int:
        """Run a statement on the rows, and return how many there are."""
        values = {name: text for name, text in self.key.values.items() if name in existing.types}
        if len(values) < len(self.key.values):  # published before it had the column
            return 0
        matching = " AND ".join(f"{quote_identifier(name)} = %s::{existing.types[name]}" for name in values)
        statement = f"{what} {self._target.quoted} WHERE {matching}"
        try:
            done = connection.execute(statement, list(values.values()))
        except errors.DataError:  # no value of the column's type; what PostgreSQL says quotes it
            return 0
        row = done.fetchone() if done.description else None
        return int(row[0]) if row else done.rowcount
