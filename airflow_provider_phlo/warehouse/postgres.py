"""PostgreSQL as a warehouse: rows are copied through the task, since the server cannot read the stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import errors

from airflow_provider_phlo.exceptions import (
    CommitConflictError,
    ConfigurationError,
    PhloError,
    SchemaError,
    TransientError,
)
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.publishing.postgres import binary_copy
from airflow_provider_phlo.sql import literal, quote_identifier
from airflow_provider_phlo.warehouse.set_aside import failing_rows
from airflow_provider_phlo.warehouse.sql_warehouse import ColumnFound
from airflow_provider_phlo.warehouse.stage_batches import StageFile
from airflow_provider_phlo.warehouse.statements import Statement, TableStatements

# the server cuts longer names off, without an error
_NAME_BYTES = 63
# the first with MERGE
_VERSION = 150000
_COPY_ROWS = 20_000
# what holds every value of a type beside the type itself
_WIDER = {
    "smallint": ("integer", "bigint", "numeric"),
    "integer": ("bigint", "numeric"),
    "bigint": ("numeric",),
    "real": ("double precision",),
    "text": ("character varying",),
}
_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef AND attidentity = ''
FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


class PostgresDialect:
    """How PostgreSQL (15 or newer) loads a stage."""

    name = "postgres"
    transactional_ddl = True

    def stored_name(self, name: str) -> str:
        """
        Return the name itself.

        :raises SchemaError: PostgreSQL would cut it off.
        """
        if len(name.encode()) > _NAME_BYTES or "\0" in name:
            raise SchemaError(f"PostgreSQL has no names of more than {_NAME_BYTES} bytes, or with U+0000: {name!r}.")
        return name

    def quote(self, name: str) -> str:
        """Return an identifier as SQL."""
        return quote_identifier(self.stored_name(name))

    def stage(self, schema: str, name: str) -> str:
        """Return the stage table: a temporary one of the transaction."""
        digest = blake2b(f"{schema}.{name}".encode(), digest_size=4).hexdigest()
        return f"pg_temp.{quote_identifier(f'{name[:40]}__stage_{digest}')}"

    def type_of(self, column: pa.Field) -> str:
        """
        Return the type of a column.

        :raises SchemaError: PostgreSQL has none.
        """
        return binary_copy.column_type(column).sql

    def declared_key(self, key: Sequence[str]) -> str:
        """Return the primary key: by its index, a small load need not read all of a large table."""
        return f", PRIMARY KEY ({', '.join(map(self.quote, key))})"

    def create_stage(self, name: str, columns: str) -> str:
        """Return the statement that makes the stage table; it goes with the transaction."""
        return f"CREATE TEMPORARY TABLE {name.partition('.')[2]} ({columns}) ON COMMIT DROP"

    def copy(self, into: str, columns: pa.Schema, entity: str, files: Sequence[StageFile]) -> str:
        """Return one COPY for the rows of all files."""
        names = ", ".join(self.quote(name) for name in columns.names)
        return f"COPY {into} ({names}) FROM STDIN (FORMAT BINARY)"

    def comparable(self, column: pa.Field, value: str) -> str:
        """Return the value: PostgreSQL compares values of all these types."""
        return value

    def take_turn(self, targets: Sequence[str]) -> list[Statement]:
        """Return advisory locks, which end with the transaction; all loads take them in the same order."""
        key = "hashtextextended({}, 0)"
        return [
            Statement(
                "other loads of the table wait",
                f"SELECT pg_advisory_xact_lock({key.format(literal(f'phlo load {target}'))})",
            )
            for target in targets
        ]

    def columns(self, cursor: Any, schema: str, name: str) -> dict[str, ColumnFound]:
        """
        Return the columns of a table.

        :raises ConfigurationError: the server is too old.
        """
        if cursor.connection.info.server_version < _VERSION:
            raise ConfigurationError("Loading into PostgreSQL needs version 15 or newer, the first that has MERGE.")
        cursor.execute(_COLUMNS, [f"{self.quote(schema)}.{self.quote(name)}"])
        return {found: ColumnFound(kind, bool(given)) for found, kind, given in cursor.fetchall()}

    def takes(self, column: pa.Field, found: str) -> bool:
        """Return whether a column of type ``found`` holds every value."""
        wanted = self.type_of(column)
        return found == wanted or found in _WIDER.get(wanted, ())

    def prepare_stage(self, cursor: Any, table: TableStatements) -> None:
        """Do nothing: the stage table of an earlier load went with its transaction."""

    def copy_rows(self, cursor: Any, statement: Statement, columns: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """
        Send rows to the server, a file at a time.

        :raises SchemaError: a value does not fit its column.
        """
        types = {column.name: binary_copy.column_type(column) for column in columns}
        parts = (part for table in rows for part in _as_declared(table, columns).to_batches(_COPY_ROWS))
        with cursor.copy(statement.sql) as copy:
            for block in binary_copy.encode(parts, types):
                copy.write(block)

    def unfit(self, column: pa.Field, values: pa.Array) -> Sequence[int]:
        """Return the positions of values that the type of a column cannot hold: text with U+0000, days before all."""
        prepare = binary_copy.column_type(column).prepare
        return failing_rows(prepare, values, (pa.ArrowInvalid, OverflowError, ValueError))

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Raise PostgreSQL's errors as those of this package."""
        try:
            yield
        except psycopg.Error as error:
            translated = _translate(what, error)
        else:
            return
        raise translated from None  # psycopg's own text quotes rows


def _as_declared(rows: pa.Table, columns: pa.Schema) -> pa.Table:
    """
    Return rows with the declared columns only; one that is missing is NULL.

    :raises SchemaError: a value does not have the declared type.
    """
    present = []
    for column in columns:
        if column.name not in rows.column_names:
            present.append(pa.nulls(len(rows), column.type))
            continue
        try:
            present.append(rows[column.name].cast(column.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise SchemaError(
                f"Column {column.name}: the stage has {rows[column.name].type}, and the model {column.type}, which "
                "does not hold every value. Nothing was written."
            ) from None
    return pa.table(present, schema=pa.schema([column.with_nullable(True) for column in columns])).combine_chunks()


def _translate(what: str, error: psycopg.Error) -> PhloError:
    about = describe(error)
    if isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected | errors.SerializationFailure):
        return CommitConflictError(f"{what}: another session changes the same tables ({about}). Nothing was written.")
    if isinstance(error, errors.UniqueViolation):
        return CommitConflictError(
            f"{what}: another session inserted the same key meanwhile ({about}). Nothing was written."
        )
    if isinstance(error, psycopg.IntegrityError | psycopg.DataError | errors.ProgramLimitExceeded):
        return SchemaError(f"{what}: PostgreSQL rejects the rows ({about}). Nothing was written.")
    if isinstance(error, errors.InsufficientPrivilege | errors.ReadOnlySqlTransaction):
        return ConfigurationError(f"{what}: PostgreSQL does not let this connection write ({about}).")
    return TransientError(f"{what}: {about}. PostgreSQL undoes what is not committed; a retry loads what is missing.")
