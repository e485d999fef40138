"""
How an SQL warehouse loads a table, as one list of statements, whose number does not depend on the number of files.

COPY INTO the stage table → MERGE INTO the target on its key → TRUNCATE the stage table, in one transaction with the
row of ``phlo_loads`` that says that the run has loaded. What databases spell differently is in their dialects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.warehouse.stage import FILE, ROW
from airflow_provider_phlo.warehouse.stage_batches import StageFile
from airflow_provider_phlo.warehouse.tables import StageTable

# the table of each schema that says which runs have loaded which of its tables
LOADS = "phlo_loads"
PLACES = pa.schema([pa.field(FILE, pa.string(), nullable=False), pa.field(ROW, pa.int64(), nullable=False)])
# where a value is bound; no name has it
_MARKER = "\0"
_LOADS_COLUMNS = pa.schema(
    [
        pa.field("token", pa.string(), nullable=False),
        pa.field("table_name", pa.string(), nullable=False),
        pa.field("batches", pa.string()),
        pa.field("result", pa.string()),
        pa.field("loaded_at", pa.timestamp("us", tz="UTC")),
    ]
)


class Dialect(Protocol):
    """
    What a database spells in its own way.

    :param transactional_ddl: whether tables can be created in a transaction; where not, creating one ends it.
    """

    name: str
    transactional_ddl: bool

    def stored_name(self, name: str) -> str:
        """Return what the database calls an identifier of ours."""

    def stage(self, schema: str, name: str) -> str:
        """Return the stage table of a target, as SQL."""

    def quote(self, name: str) -> str:
        """Return an identifier of ours as SQL: a schema, a table or a column."""

    def type_of(self, column: pa.Field) -> str:
        """
        Return the type that holds every value of a column.

        :raises SchemaError: there is none.
        """

    def declared_key(self, key: Sequence[str]) -> str:
        """Return what a new target says of its key after its columns, if that makes loads faster."""

    def create_stage(self, name: str, columns: str) -> str:
        """Return the statement that makes a stage table."""

    def copy(self, into: str, columns: pa.Schema, entity: str, files: Sequence[StageFile]) -> str:
        """Return the statement that copies files into a stage table, all of them at once."""

    def comparable(self, column: pa.Field, value: str) -> str:
        """Return SQL for a value that is equal where the column's values are."""

    def take_turn(self, targets: Sequence[str]) -> list[Statement]:
        """Return what keeps other loads of the targets, given as SQL, waiting until the transaction ends."""


@dataclass(frozen=True)
class Statement:
    """
    One statement.

    :param purpose: why it is executed, in a few words.
    :param parameters: values for its ``%s`` markers.
    """

    purpose: str
    sql: str
    parameters: tuple[Any, ...] = ()

    def __str__(self) -> str:
        """Return the statement under its purpose, as a log shows it."""
        return f"-- {self.purpose}\n{self.sql};"


BEGIN = Statement("from here on all or nothing", "BEGIN")
COMMIT = Statement("readers see all tables change, or none", "COMMIT")


@dataclass(frozen=True)
class TableStatements:
    """
    What loads one table.

    :param table: what is loaded.
    :param columns: those that the target has to have, by their Arrow types.
    """

    table: StageTable
    columns: pa.Schema
    dialect: Dialect
    files: tuple[StageFile, ...]

    @property
    def schema(self) -> str:
        """Return the target's schema."""
        return self.table.target.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Return the target's name in its schema."""
        return self.table.target.rpartition(".")[2]

    @property
    def target(self) -> str:
        """Return the target as SQL."""
        return qualified(self.dialect, self.schema, self.name)

    @property
    def stage(self) -> str:
        """Return the stage table as SQL."""
        return self.dialect.stage(self.schema, self.name)

    def create(self) -> list[Statement]:
        """Return what makes sure of the tables."""
        columns, key = _columns_sql(self.dialect, self.columns), self.dialect.declared_key(self.table.key)
        stage_columns = _columns_sql(self.dialect, stage_columns_of(self.columns))
        loads = qualified(self.dialect, self.schema, LOADS)
        return [
            Statement("the schema is there", f"CREATE SCHEMA IF NOT EXISTS {self.dialect.quote(self.schema)}"),
            Statement(
                "the history of loads is there",
                f"CREATE TABLE IF NOT EXISTS {loads} ({_columns_sql(self.dialect, _LOADS_COLUMNS)})",
            ),
            Statement("the target is there", f"CREATE TABLE IF NOT EXISTS {self.target} ({columns}{key})"),
            Statement("the stage table is there", self.dialect.create_stage(self.stage, stage_columns)),
        ]

    def empty(self) -> Statement:
        """Return what leaves only rows of this load in the stage table."""
        return Statement("nothing of others is in the stage table", f"DELETE FROM {self.stage}")

    def copy(self) -> Statement:
        """Return what copies all files."""
        into = stage_columns_of(self.columns)
        return Statement(
            f"copy {len(self.files)} file(s) of {self.table.entity}",
            self.dialect.copy(self.stage, into, self.table.entity, self.files),
        )

    def copied(self) -> Statement:
        """Return how many rows of each file are in the stage table."""
        file = self.dialect.quote(FILE)
        return Statement("each file is there once", f"SELECT {file}, COUNT(*) FROM {self.stage} GROUP BY {file}")

    def measure(self) -> Statement:
        """Return how many keys there are in the stage table, how many the target lacks, and how many will change."""
        absent = f"NOT EXISTS (SELECT 1 FROM {self.target} AS t WHERE {self._same_key()})"
        changed = f"{self._newest()} JOIN {self.target} AS t ON {self._same_key()} WHERE {self._changes() or '1 = 0'}"
        return Statement(
            "keys, how many of them are new, and how many have newer values",
            f"SELECT (SELECT COUNT(*) FROM {self._keys()}), (SELECT COUNT(*) FROM {self._keys()} WHERE {absent}), "
            f"(SELECT COUNT(*) FROM {changed})",
        )

    def arrived(self) -> Statement:
        """Return how many keys of the stage table the target has."""
        return Statement(
            "every key is in the target",
            f"SELECT COUNT(*) FROM {self._keys()} WHERE EXISTS (SELECT 1 FROM {self.target} AS t "
            f"WHERE {self._same_key()})",
        )

    def merge(self) -> Statement:
        """Return what merges the newest row of each key, unless the target has a newer one or the same content."""
        quote = self.dialect.quote
        names = [quote(name) for name in self.columns.names]
        matched = ""
        if changes := self._changes():
            values = [quote(name) for name in self.columns.names if name not in self.table.key]
            settings = ", ".join(f"{value} = s.{value}" for value in values)
            matched = f"WHEN MATCHED AND {changes} THEN UPDATE SET {settings}\n"
        return Statement(
            f"merge into {self.target}",
            f"MERGE INTO {self.target} AS t\nUSING {self._newest()}\nON {self._same_key()}\n{matched}"
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({', '.join(f's.{name}' for name in names)})",
        )

    def _keys(self) -> str:
        keys = ", ".join(self.dialect.quote(name) for name in self.table.key)
        return f"(SELECT DISTINCT {keys} FROM {self.stage}) AS s"

    def _newest(self) -> str:
        """Return the newest row of each key in the stage table, as ``s``."""
        quote, table = self.dialect.quote, self.table
        keys = ", ".join(quote(name) for name in table.key)
        newest = [f"{quote(table.order_by)} DESC NULLS LAST"] if table.order_by else []
        newest += [f"{quote(FILE)} DESC", f"{quote(ROW)} DESC"]
        ranked = (
            f"SELECT {', '.join(map(quote, self.columns.names))}, ROW_NUMBER() OVER (PARTITION BY {keys} "
            f"ORDER BY {', '.join(newest)}) AS {quote('_phlo_rank')} FROM {self.stage}"
        )
        return f"(SELECT * FROM ({ranked}) AS r WHERE r.{quote('_phlo_rank')} = 1) AS s"

    def _changes(self) -> str:
        """Return the condition under which ``s`` replaces ``t``; nothing where all columns are the key."""
        values = [column for column in self.columns if column.name not in self.table.key]
        if not values:
            return ""
        order = self.dialect.quote(self.table.order_by) if self.table.order_by else None
        not_older = f"(t.{order} IS NULL OR s.{order} >= t.{order}) AND " if order else ""
        return f"{not_older}({' OR '.join(map(self._differs, values))})"

    def load(self) -> list[Statement]:
        """Return what brings the rows of the files into the target; nothing for no files."""
        if not self.files:
            return []
        return [self.empty(), self.copy(), self.copied(), self.measure(), self.merge(), self.arrived()]

    def record(self, token: str, batches: str = "", result: str = "") -> Statement:
        """Return what says in ``phlo_loads`` that the run has loaded this table."""
        loads = qualified(self.dialect, self.schema, LOADS)
        names = ", ".join(self.dialect.quote(name) for name in _LOADS_COLUMNS.names)
        return Statement(
            "the run has loaded it",
            f"INSERT INTO {loads} ({names}) SELECT %s, %s, %s, %s, CURRENT_TIMESTAMP",
            (token, self.table.target, batches, result),
        )

    def truncate(self) -> Statement:
        """Return what empties the stage table."""
        return Statement("empty the stage table", f"TRUNCATE TABLE {self.stage}")

    def recorded(self, token: str) -> Statement:
        """Return what a run with this token recorded for this table."""
        quote = self.dialect.quote
        loads = qualified(self.dialect, self.schema, LOADS)
        return Statement(
            "has the run loaded it before?",
            f"SELECT {quote('result')} FROM {loads} WHERE {quote('token')} = %s AND {quote('table_name')} = %s",
            (token, self.table.target),
        )

    def _same_key(self) -> str:
        return " AND ".join(f"t.{self.dialect.quote(name)} = s.{self.dialect.quote(name)}" for name in self.table.key)

    def _differs(self, column: pa.Field) -> str:
        ours, theirs = (self.dialect.comparable(column, f"{side}.{self.dialect.quote(column.name)}") for side in "st")
        return f"{theirs} IS DISTINCT FROM {ours}"


def table_statements(dialect: Dialect, table: StageTable, files: Sequence[StageFile]) -> TableStatements:
    """
    Return what loads the rows of an entity into its table.

    :param files: those of all batches, in the order of writing.
    :raises SchemaError: the database cannot have a column of the model, or would take two of them for one.
    """
    columns = pa.schema([pa.field(each.name, each.type, each.nullable) for each in table.declared().columns])
    quoted = [dialect.quote(name) for name in stage_columns_of(columns).names]
    if len(set(quoted)) < len(quoted):
        raise SchemaError(f"{table.target}: {dialect.name} cannot tell its columns apart: {', '.join(sorted(quoted))}.")
    made = TableStatements(table, columns, dialect, tuple(files))
    for column in columns:
        dialect.type_of(column)
    return made


def create_statements(tables: Sequence[TableStatements]) -> list[Statement]:
    """Return what makes sure of all that tables need, each once."""
    return list(dict.fromkeys(statement for table in tables for statement in table.create()))


def load_statements(dialect: Dialect, tables: Sequence[TableStatements], token: str) -> list[Statement]:
    """Return all that a load executes, in its order: ``BEGIN`` to ``COMMIT`` is one transaction."""
    create = create_statements(tables)
    begin = [BEGIN, *dialect.take_turn(sorted(table.target for table in tables))]
    return [
        *([*begin, *create] if dialect.transactional_ddl else [*create, *begin]),
        *(table.recorded(token) for table in tables),
        *(statement for table in tables for statement in [*table.load(), table.record(token)]),
        *(table.truncate() for table in tables if table.files),
        COMMIT,
    ]


def count_rows_statement(dialect: Dialect, table: str, by: str, where: Mapping[str, Any]) -> Statement:
    """Return the query that counts rows for each value of a column."""
    key = dialect.quote(by)
    rows = _rows_sql(dialect, table, f"{key}, COUNT(*)", where)
    return Statement(f"rows by {by}", f"{rows} GROUP BY {key}", _bound(where))


def rows_statement(dialect: Dialect, table: str, columns: Sequence[str], where: Mapping[str, Any]) -> Statement:
    """Return the query for some columns of the rows with the given values."""
    names = ", ".join(dialect.quote(column) for column in columns)
    return Statement("rows", _rows_sql(dialect, table, names, where), _bound(where))


def _rows_sql(dialect: Dialect, table: str, what: str, where: Mapping[str, Any], grouped: str = "") -> str:
    schema, _, name = table.rpartition(".")
    conditions = [
        f"{dialect.quote(each)} IS NULL" if value is None else f"{dialect.quote(each)} = {_MARKER}"
        for each, value in where.items()
    ]
    condition = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT {what} FROM {qualified(dialect, schema, name)}{condition}{grouped}"
    # names may have a per cent sign, which a driver takes for its own where values are bound
    return sql.replace("%", "%%").replace(_MARKER, "%s") if _bound(where) else sql


def _bound(where: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(value for value in where.values() if value is not None)


def qualified(dialect: Dialect, schema: str, name: str) -> str:
    """Return a table as SQL."""
    return f"{dialect.quote(schema)}.{dialect.quote(name)}"


def stage_columns_of(columns: pa.Schema) -> pa.Schema:
    """Return the columns of the stage table for a target with ``columns``."""
    return pa.schema([*columns, *PLACES])


def _columns_sql(dialect: Dialect, columns: pa.Schema) -> str:
    return ", ".join(
        f"{dialect.quote(column.name)} {dialect.type_of(column)}{'' if column.nullable else ' NOT NULL'}"
        for column in columns
    )
