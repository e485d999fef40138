"""
Publish marts to one DuckDB file, for analysts: readers see all tables of one publication, or all of the one before.

The new file is written beside the old one, flushed to the disk and renamed over it. Whoever has the old one open keeps
it, whole, until it is closed; whoever opens the path gets the new one. A crash leaves the old file, and a folder that
the next publication removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import duckdb

from airflow_provider_phlo.durable_files import put_in_place
from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError, TransientError
from airflow_provider_phlo.iceberg.tables.names import require_distinct_tables
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.sql import literal, quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.publishing.lakehouse import Source

log = logging.getLogger(__name__)

_MEMORY = "512MB"
# DuckDB names a database after its file, and refuses a schema of the same name as ambiguous
_DATABASE = "phlo publishes"


# what somebody may have made in a file
_OBJECTS = """
SELECT 'schema', '', schema_name FROM duckdb_schemas() WHERE database_name = 'before' AND NOT internal
UNION ALL SELECT 'table', schema_name, table_name FROM duckdb_tables() WHERE database_name = 'before'
UNION ALL SELECT 'view', schema_name, view_name FROM duckdb_views() WHERE database_name = 'before' AND NOT internal
UNION ALL SELECT 'macro', schema_name, function_name FROM duckdb_functions()
    WHERE database_name = 'before' AND NOT internal
UNION ALL SELECT 'sequence', schema_name, sequence_name FROM duckdb_sequences() WHERE database_name = 'before'
UNION ALL SELECT 'type', schema_name, type_name FROM duckdb_types() WHERE database_name = 'before' AND NOT internal
"""
# what somebody may have declared on a table
_INDEXES = """
SELECT index_name, sql FROM duckdb_indexes()
WHERE database_name = 'before' AND schema_name = ? AND table_name = ? ORDER BY index_name
"""
_COMMENTS = """
SELECT NULL, comment FROM duckdb_tables()
WHERE database_name = 'before' AND schema_name = $1 AND table_name = $2 AND comment IS NOT NULL
UNION ALL SELECT column_name, comment FROM duckdb_columns()
WHERE database_name = 'before' AND schema_name = $1 AND table_name = $2 AND comment IS NOT NULL
"""
_CONSTRAINTS = """
SELECT constraint_text FROM duckdb_constraints()
WHERE database_name = 'before' AND schema_name = $1 AND table_name = $2
UNION ALL SELECT column_name || ' DEFAULT ' || column_default FROM duckdb_columns()
WHERE database_name = 'before' AND schema_name = $1 AND table_name = $2 AND column_default IS NOT NULL ORDER BY 1
"""


class _Declared(NamedTuple):
    """
    What somebody has declared on a table of the old file.

    :param indexes: the name of each index → its SQL.
    :param comments: column → its comment; that of the table itself under None.
    """

    indexes: dict[str, str]
    comments: dict[str | None, str]


@dataclass(frozen=True)
class FileResult:
    """
    A table of a published file.

    :param table: ``schema.table``.
    """

    table: str
    rows: int
    seconds: float


class DuckDBPublisher:
    """
    Publishes marts to a DuckDB file, which only its owner may read.

    Other tables and views that are in the file stay, and indexes and comments on those that are published. Publishers
    of one file take turns.

    ::

        with open_catalog_tables(catalog, ["marts.mrt_daily"]) as sources:
            DuckDBPublisher(Path("marts.duckdb")).publish({"daily": sources["marts.mrt_daily"]})

    :param path: the file, or a link to it; its folder is created when missing.
    :param schema: the schema of the tables in it; not one that is called as the file is.
    """

    def __init__(self, path: Path, *, schema: str = "main") -> None:
        # through links: putting a file in the place of a link would leave those who open its target the old one
        self.path = path.resolve()
        self.schema = schema

    def publish(self, marts: Mapping[str, Source]) -> dict[str, FileResult]:
        """
        Replace the file by one in which these tables have the rows of their sources.

        :param marts: the source of each table.
        :raises ConfigurationError: the path is not that of a DuckDB file, or another process writes to it.
        :raises SchemaError: DuckDB cannot hold a column, takes two tables or columns for one, or the rows are not
            unique in a unique index that somebody has made.
        :raises TransientError: the disk is full, or another library's error.
        """
        if self.schema.lower() == self.path.name.partition(".")[0].lower():
            raise ConfigurationError(
                f"Cannot publish to {self.path}: DuckDB would take {self.schema} for the schema or for the file. Give "
                "one of them another name."
            )
        if "?" in str(self.path.parent):
            raise ConfigurationError(
                f"Cannot publish to {self.path}: DuckDB opens no file in a folder with ? in its name. Name another."
            )
        require_distinct_tables([f"{self.schema}.{name}" for name in marts])
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._turn(), self._beside() as fresh:
                results = self._write(fresh, marts)
                put_in_place(fresh, self.path)
        except OSError as error:
            raise TransientError(f"{self.path}: {error.strerror}. The old file stays, if there was one.") from None
        return results

    def replace_without(self, delete: Callable[[duckdb.DuckDBPyConnection], object]) -> None:
        """
        Replace the file by a copy of what is left of it: what is deleted in a file of DuckDB stays on its pages.

        :param delete: gets a connection to a copy, and deletes rows of it.
        :raises ConfigurationError: the path is not that of a DuckDB file, or another process writes to it.
        :raises TransientError: the disk is full, or another library's error.
        """
        try:
            with self._turn(), self._beside() as fresh:
                trimmed = fresh.with_name("trimmed.duckdb")
                with duckdb.connect(trimmed) as connection:
                    if not self._attach(connection):
                        return
                    connection.execute("COPY FROM DATABASE before TO trimmed; DETACH before")
                    delete(connection)
                with duckdb.connect(fresh) as connection:
                    connection.execute(f"ATTACH {literal(str(trimmed))} AS trimmed (READ_ONLY)")
                    connection.execute(f"COPY FROM DATABASE trimmed TO {quote_identifier(_DATABASE)}; DETACH trimmed")
                put_in_place(fresh, self.path)
        except duckdb.Error as error:
            raise TransientError(f"Cannot replace {self.path}: {describe(error)}. The old file stays.") from None
        except OSError as error:
            raise TransientError(f"{self.path}: {error.strerror}. The old file stays.") from None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the publisher before this one."""
        descriptor = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _beside(self) -> Iterator[Path]:
        """Yield a path in a private folder on the same disk; remove what a crash has left of such folders."""
        prefix = f".{quote(self.path.name)}.new-"
        for left in self.path.parent.iterdir():
            if left.name.startswith(prefix):
                shutil.rmtree(left)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.path.parent))
        try:
            yield folder / f"{_DATABASE}.duckdb"
        finally:
            shutil.rmtree(folder)

    def _write(self, fresh: Path, marts: Mapping[str, Source]) -> dict[str, FileResult]:
        try:
            with duckdb.connect(fresh) as connection:
                connection.execute(f"SET memory_limit = '{_MEMORY}'; SET TimeZone = 'UTC'")
                declared = self._keep_others(connection, set(marts))
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(self.schema)}")
                return {
                    name: self._fill(connection, name, source, declared.get(name)) for name, source in marts.items()
                }
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.NotImplementedException) as error:
            raise SchemaError(f"Cannot publish to {self.path}: {describe(error)}. The old file stays.") from None
        except duckdb.Error as error:
            raise TransientError(f"Cannot publish to {self.path}: {describe(error)}. The old file stays.") from None

    def _keep_others(self, connection: duckdb.DuckDBPyConnection, own: set[str]) -> dict[str, _Declared]:
        """
        Copy the old file if there is more in it than what is published; return what is declared on that.

        :raises ConfigurationError: it cannot be read as it is.
        """
        if not self._attach(connection):
            return {}
        found = set(connection.execute(_OBJECTS).fetchall())
        if found - {("table", self.schema, name) for name in own} - {("schema", "", self.schema)}:
            connection.execute(f"COPY FROM DATABASE before TO {quote_identifier(_DATABASE)}")
        declared = {name: self._declared(connection, name) for name in own}
        connection.execute("DETACH before")
        return declared

    def _attach(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """
        Attach the old file as ``before``; return whether there is one.

        :raises ConfigurationError: it cannot be read as it is.
        """
        wal = self.path.with_name(f"{self.path.name}.wal")
        if wal.exists():
            raise ConfigurationError(
                f"Cannot publish to {self.path}: another process writes to it, or ended while it did ({wal.name} is "
                "there). Close it, or open the file once with DuckDB, so that it takes over what was written."
            )
        if not self.path.exists() or not self.path.stat().st_size:
            return False
        try:
            connection.execute(f"ATTACH {literal(str(self.path))} AS before (READ_ONLY)")
        except (duckdb.IOException, duckdb.SerializationException) as error:
            raise ConfigurationError(
                f"Cannot publish to {self.path}: it is not a DuckDB file, or another process writes to it "
                f"({describe(error)}). Name another file, or close it; readers open it with read_only=True."
            ) from None
        return True

    def _declared(self, connection: duckdb.DuckDBPyConnection, name: str) -> _Declared:
        lost = [text for (text,) in connection.execute(_CONSTRAINTS, [self.schema, name]).fetchall()]
        if lost:
            log.warning("Constraints and defaults of %s.%s are not kept: %s", self.schema, name, ", ".join(lost))
        return _Declared(
            dict(connection.execute(_INDEXES, [self.schema, name]).fetchall()),
            dict(connection.execute(_COMMENTS, [self.schema, name]).fetchall()),
        )

    def _fill(
        self, connection: duckdb.DuckDBPyConnection, name: str, source: Source, declared: _Declared | None
    ) -> FileResult:
        started = time.perf_counter()
        table = f"{quote_identifier(self.schema)}.{quote_identifier(name)}"
        connection.register("phlo rows", source.read())
        statement = f'CREATE OR REPLACE TABLE {table} AS SELECT * FROM "phlo rows"'  # noqa: S608 - quoted
        ((rows,),) = connection.execute(statement).fetchall()
        connection.unregister("phlo rows")
        before = declared or _Declared({}, {})
        comments = dict(before.comments)
        comments.update(source.comments.items())
        if source.comment:
            comments[None] = source.comment
        for column, comment in comments.items():
            if column is None:
                connection.execute(f"COMMENT ON TABLE {table} IS {literal(comment)}")
            elif column in source.columns.names:
                connection.execute(f"COMMENT ON COLUMN {table}.{quote_identifier(column)} IS {literal(comment)}")
        for index, statement in before.indexes.items():
            self._index(connection, name, index, statement)
        return FileResult(f"{self.schema}.{name}", rows, round(time.perf_counter() - started, 3))

    def _index(self, connection: duckdb.DuckDBPyConnection, name: str, index: str, statement: str) -> None:
        """
        Create an index that the table had.

        :raises SchemaError: it is unique, and the rows are not.
        """
        try:
            connection.execute(statement)
        except (duckdb.BinderException, duckdb.CatalogException):
            log.warning("Index %s of %s.%s goes with its column", index, self.schema, name)
        except duckdb.ConstraintException:
            raise SchemaError(
                f"Cannot publish to {self.path}: the index {index} of {self.schema}.{name} is unique, and the new rows "
                "are not. The old file stays. Drop the index, or correct the source."
            ) from None
