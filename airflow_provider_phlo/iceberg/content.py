"""What a table is to hold: rows in memory, or what a query of DuckDB returns, read a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import duckdb
import pyarrow as pa
from pyiceberg.io.pyarrow import _pyarrow_to_schema_without_ids, schema_to_pyarrow
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table import Table
from pyiceberg.types import NestedField

from airflow_provider_phlo.iceberg.duckdb.columns import duckdb_type
from airflow_provider_phlo.iceberg.duckdb.sessions import spill_privately
from airflow_provider_phlo.iceberg.duckdb.views import create_table_view, view_name
from airflow_provider_phlo.iceberg.tables.storable import cast_column, storable
from airflow_provider_phlo.sql import quote_identifier

# Arrow types that a cast of DuckDB's might cut, where Arrow's own is exact or an error
_FINER = (pa.types.is_timestamp, pa.types.is_time, pa.types.is_uint64)
_MOST_DIGITS = 38
BATCH_ROWS = 122_880
_NEW = "phlo new content"


class Content(Protocol):
    """The rows that a table is to hold."""

    @property
    def schema(self) -> pa.Schema:
        """Return the columns, in types that Iceberg knows."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def parts(self) -> Generator[pa.Table, None, None]:
        """Yield the rows, in the types of ``schema``; as often as it is asked."""

    def renamed(self, names: Mapping[str, str]) -> Content:
        """Return the rows with other names of columns, those that are named."""

    def relation(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Return what ``connection`` selects the rows from."""

    def connection(self) -> Any:
        """Return a context manager of the connection that :meth:`relation` wants."""


def as_content(identifier: str, data: pa.Table | Content) -> Content:
    """
    Return the content of a table.

    :raises SchemaError: a column has no Iceberg type, or a value does not fit it.
    """
    return RowsInMemory(storable(identifier, data)) if isinstance(data, pa.Table) else data


def schema_of(content: Content) -> Schema:
    """Return the Iceberg schema of the rows, with ids from 1."""
    return assign_fresh_schema_ids(_pyarrow_to_schema_without_ids(content.schema))


def fitted(content: Content, table: Table) -> Generator[pa.Table, None, None]:
    """Yield the rows with all columns of a table, in its order and types."""
    identifier, target = ".".join(table.name()), schema_to_pyarrow(table.schema(), include_field_ids=False)
    optional = pa.schema([field.with_nullable(True) for field in target])
    present = set(content.schema.names)
    with closing(content.parts()) as parts:
        for part in parts:
            columns = [
                cast_column(identifier, part[item.name], item.type, item.name)
                if item.name in present
                else pa.nulls(len(part), item.type)
                for item in target
            ]
            yield pa.table(columns, schema=optional)


def is_held(table: Table, identifier: str, content: Content, volatile_columns: Collection[str]) -> bool:
    """
    Return whether main holds these rows, in whatever order.

    Compares the count and two 64-bit sums of row hashes: no order, no sort, one pass over each side.

    :param content: with the table's columns.
    :param volatile_columns: columns that do not count.
    """
    snapshot = table.current_snapshot()
    if snapshot is None:
        return False
    volatile = {name.lower() for name in volatile_columns}
    fields = table.schema().fields
    row = ", ".join(_hashed(field) for field in fields if field.name.lower() not in volatile) or "0"
    sums = f"SELECT count(*), sum(hash({row})::HUGEINT), sum(hash('phlo', {row})::HUGEINT) FROM"
    columns = ", ".join(quote_identifier(field.name) for field in fields)
    old = f"phlo_compared.{identifier.rpartition('.')[2]}"
    with content.connection() as connection:
        create_table_view(connection, table, old, snapshot_id=snapshot.snapshot_id)
        try:
            before = connection.execute(f"{sums} {view_name(old)}").fetchall()
            new = f"(SELECT {columns} FROM {content.relation(connection)})"  # noqa: S608 - quoted
            return bool(before == connection.execute(f"{sums} {new}").fetchall())
        finally:
            connection.execute(f"DROP VIEW {view_name(old)}")


def _hashed(field: NestedField) -> str:
    """Return what stands for a column's value in the hash of its row."""
    value = f"CAST({quote_identifier(field.name)} AS {duckdb_type(field.field_type)})"
    # DuckDB's hash takes NULL, an empty list and a struct of NULLs for equal, and sees no ends of inner lists
    return value if field.field_type.is_primitive else f"CAST({value} AS VARCHAR)"


def _may_be_cut(kind: pa.DataType, stored: pa.DataType) -> bool:
    if pa.types.is_decimal(kind) and kind.precision == _MOST_DIGITS:  # as DuckDB shows integers of 128 bits
        return True
    return kind != stored and (pa.types.is_nested(kind) or any(is_finer(kind) for is_finer in _FINER))


@dataclass(frozen=True)
class RowsInMemory:
    """Rows as one Arrow table, in types that Iceberg knows."""

    rows: pa.Table

    @property
    def schema(self) -> pa.Schema:
        return self.rows.schema

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self) -> Generator[pa.Table, None, None]:
        yield self.rows

    def renamed(self, names: Mapping[str, str]) -> RowsInMemory:
        return RowsInMemory(self.rows.rename_columns([names.get(name, name) for name in self.rows.column_names]))

    def relation(self, connection: duckdb.DuckDBPyConnection) -> str:
        connection.register(_NEW, self.rows)
        return quote_identifier(_NEW)

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect() as connection:
            spill_privately(connection)
            connection.execute("SET TimeZone = 'UTC'")
            yield connection


@dataclass(frozen=True)
class RowsOfQuery:
    """
    Rows that a query of DuckDB returns; never all of them are in memory.

    :param identifier: names the table in messages.
    :param cursor: where the query runs; nothing else runs there meanwhile.
    :param source: what the rows are selected from, in SQL.
    :param exact: turns a relation into batches of Arrow that hold its values as they are.
    :param names: other names of columns.
    """

    identifier: str
    cursor: Any
    source: str
    exact: Callable[[str, Any], Generator[pa.Table, None, None]]
    names: Mapping[str, str] | None = None

    @property
    def schema(self) -> pa.Schema:
        return self._converted(self._select(f"SELECT * FROM {self.source} LIMIT 0")).schema  # noqa: S608 - quoted

    def __len__(self) -> int:
        [(rows,)] = self.cursor.execute(f"SELECT count(*) FROM {self.source}").fetchall()  # noqa: S608 - quoted
        return int(rows)

    def parts(self) -> Generator[pa.Table, None, None]:
        sql = f"SELECT * FROM {self.source}"  # noqa: S608 - quoted
        # a result that is not read to its end is in the way of the next query, also after an error
        with closing(self.exact(self.identifier, self.cursor.sql(sql))) as batches:
            for part in batches:
                yield self._converted([part])

    def renamed(self, names: Mapping[str, str]) -> RowsOfQuery:
        return replace(self, names=names)

    def relation(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Return the query; its values are looked at first where DuckDB's casts might cut what Arrow refuses."""
        raw = self._select(f"SELECT * FROM {self.source} LIMIT 0")[0].schema  # noqa: S608 - quoted
        stored = self.schema
        if any(_may_be_cut(item.type, kept.type) for item, kept in zip(raw, stored, strict=True)):
            for _ in self.parts():
                pass
        columns = ", ".join(
            f"{quote_identifier(name)} AS {quote_identifier((self.names or {}).get(name, name))}" for name in raw.names
        )
        return f"(SELECT {columns} FROM {self.source})"  # noqa: S608 - quoted

    @contextmanager
    def connection(self) -> Iterator[Any]:
        yield self.cursor

    def _select(self, sql: str) -> Sequence[pa.Table]:
        return list(self.exact(self.identifier, self.cursor.sql(sql)))

    def _converted(self, parts: Sequence[pa.Table]) -> pa.Table:
        rows = storable(self.identifier, pa.concat_tables(parts))
        return rows.rename_columns([(self.names or {}).get(name, name) for name in rows.column_names])
