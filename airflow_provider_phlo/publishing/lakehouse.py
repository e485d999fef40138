"""Read the tables to publish as Arrow batches: from their files through DuckDB, or through Trino."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.duckdb.views import connect, create_table_view, view_name
from airflow_provider_phlo.iceberg.tables.lookup import existing_table
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.publishing.changed_rows import changed_rows
from airflow_provider_phlo.publishing.postgres.loading import BATCH_ROWS
from airflow_provider_phlo.publishing.postgres.versions import Version
from airflow_provider_phlo.sql import quote

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table


class Source(NamedTuple):
    """
    A table to publish.

    :param columns: its columns.
    :param read: reads its rows; one source is read at a time.
    :param version: its snapshot, if that is known.
    :param comment: what its table says it is; None if that is not known.
    :param comments: what its columns are documented to be.
    """

    columns: pa.Schema
    read: Callable[[], pa.RecordBatchReader]
    version: Version | None = None
    comment: str | None = None
    comments: Mapping[str, str] = {}


_TRINO_TYPES: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "varchar": pa.string(),
    "char": pa.string(),
    "json": pa.string(),
    "varbinary": pa.binary(),
    "uuid": pa.string(),
    "time": pa.time64("us"),
}


@contextmanager
def open_catalog_tables(catalog: Catalog, sources: Iterable[str]) -> Iterator[Mapping[str, Source]]:
    """
    Yield ``sources``, each at its current snapshot.

    :param sources: tables as ``namespace.table``.
    :raises ConfigurationError: one does not exist.
    """
    with connect(catalog, tables=()) as connection:
        yield {source: _open_table(connection, existing_table(catalog, source), source) for source in set(sources)}


def _open_table(connection: duckdb.DuckDBPyConnection, table: Table, source: str) -> Source:
    create_table_view(connection, table, source)
    query = f"SELECT * FROM {view_name(source)}"  # noqa: S608 - quoted

    def read() -> pa.RecordBatchReader:
        return connection.sql(query).to_arrow_reader(BATCH_ROWS)

    columns = connection.sql(f"{query} LIMIT 0").to_arrow_table().schema
    snapshot = table.current_snapshot()
    number = snapshot.snapshot_id if snapshot else None
    fields = table.schema().fields
    # the columns belong to it: files of an older snapshot are read as the columns are now
    columns_now = blake2b(repr([(f.field_id, f.name, str(f.field_type)) for f in fields]).encode(), digest_size=16)
    identity = f"{table.metadata.table_uuid} {columns_now.hexdigest()}"
    version = Version(identity, number, lambda since: changed_rows(table, since, number))
    comments = {field.name: field.doc for field in fields if field.doc}
    return Source(columns, read, version, table.properties.get("comment"), comments)


@contextmanager
def open_trino_tables(trino: Any, sources: Iterable[str]) -> Iterator[Mapping[str, Source]]:
    """
    Yield ``sources``, read through Trino.

    :param trino: a connection of the ``trino`` package, or a hook that makes one.
    :param sources: tables as ``namespace.table`` in the connection's catalog.
    :raises ConfigurationError: one does not exist.
    """
    from trino.exceptions import TrinoUserError

    connection = trino.get_conn() if hasattr(trino, "get_conn") else trino
    schemas: dict[str, pa.Schema] = {}
    with closing(connection.cursor()) as cursor:
        for source in sorted(set(sources)):
            statement = f"SELECT * FROM {quote(source)} LIMIT 0"  # noqa: S608 - quoted
            try:
                cursor.execute(statement).fetchall()
                schemas[source] = _trino_schema(cursor)
            except TrinoUserError as error:
                raise ConfigurationError(
                    f"Trino cannot read {source} ({describe(error, statement)}). Run what writes it first, or correct "
                    "the name."
                ) from None
        yield {source: Source(schema, partial(_read_trino, cursor, source)) for source, schema in schemas.items()}


def _read_trino(cursor: Any, source: str) -> pa.RecordBatchReader:
    cursor.execute(f"SELECT * FROM {quote(source)}")  # noqa: S608 - quoted
    schema = _trino_schema(cursor)
    return pa.RecordBatchReader.from_batches(schema, _trino_batches(cursor, schema))


def _trino_schema(cursor: Any) -> pa.Schema:
    return pa.schema([(name, trino_type(kind)) for name, kind, *_ in cursor.description])


def _trino_batches(cursor: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while rows := cursor.fetchmany(BATCH_ROWS):
        columns = zip(*rows, strict=True)
        yield pa.record_batch([_array(*pair) for pair in zip(columns, schema, strict=True)], schema)


def _array(values: Sequence[Any], field: pa.Field) -> pa.Array:
    if pa.types.is_string(field.type):
        values = [None if value is None else str(value) for value in values]
    return pa.array(values, field.type)


def trino_type(name: str) -> pa.DataType:
    """
    Return the Arrow type of a Trino type. Times have six digits, as in Iceberg; Trino's client rounds more.

    :raises SchemaError: there is none.
    """
    base, _, rest = name.partition("(")
    if base.startswith("timestamp"):
        return pa.timestamp("us", tz="UTC" if name.endswith("with time zone") else None)
    if base == "decimal":
        precision, scale = map(int, re.findall(r"\d+", rest))
        return pa.decimal128(precision, scale)
    try:
        return _TRINO_TYPES[base]
    except KeyError:
        raise SchemaError(f"Cannot publish Trino's type {name}: cast the column to a simple type.") from None
