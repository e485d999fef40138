"""Load batches into the tables of an SQL warehouse: execute the list of statements, and compare what they report."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from airflow_provider_phlo.exceptions import AccountingError, ConfigurationError, SchemaError
from airflow_provider_phlo.terms import QUARANTINE_SUFFIX, Token
from airflow_provider_phlo.warehouse.set_aside import (
    QUARANTINE_COLUMNS,
    SetAside,
    bad_rows_set_aside,
    quarantine_entity,
)
from airflow_provider_phlo.warehouse.stage import Stage
from airflow_provider_phlo.warehouse.stage_batches import StageBatch, StageFile
from airflow_provider_phlo.warehouse.statements import (
    BEGIN,
    COMMIT,
    Dialect,
    Statement,
    TableStatements,
    count_rows_statement,
    create_statements,
    load_statements,
    rows_statement,
    stage_columns_of,
    table_statements,
)
from airflow_provider_phlo.warehouse.tables import StageTable, TableLoad, require_distinct

log = logging.getLogger(__name__)


class ColumnFound(NamedTuple):
    """
    A column of a table that is there.

    :param type: as the database writes it.
    :param must_be_given: a row without a value for it is refused.
    """

    type: str
    must_be_given: bool


class Database(Dialect, Protocol):
    """A dialect, and how its database is spoken to."""

    def columns(self, cursor: Any, schema: str, name: str) -> dict[str, ColumnFound]:
        """Return the columns of a table, by the names that the database has for them; none for no table."""

    def takes(self, column: pa.Field, found: str) -> bool:
        """Return whether a column of type ``found`` holds every value of a column of the model."""

    def prepare_stage(self, cursor: Any, table: TableStatements) -> None:
        """Drop a stage table that an earlier model left, with columns that differ from what the load needs."""

    def copy_rows(self, cursor: Any, statement: Statement, columns: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """Execute a COPY; ``rows`` are those of its files, for a database that cannot read them itself."""

    def unfit(self, column: pa.Field, values: pa.Array) -> Sequence[int]:
        """Return the positions of values that the type of a column cannot hold."""

    def errors(self, what: str) -> AbstractContextManager[None]:
        """Raise the database's errors as those of this package, without a value of the data."""


@dataclass(frozen=True)
class SqlWarehouse:
    """
    The tables of a database.

    :param connect: opens a DB-API connection in which every statement commits by itself, unless there was a BEGIN.
    :param strict: True fails on a row that does not fit its columns; False sets such rows aside, and those that break a
        rule of their model, in the table ``…__quarantine``.
    """

    database: Database
    connect: Callable[[], Any]
    strict: bool = True

    @property
    def name(self) -> str:
        """Return what ``[phlo] warehouse`` calls it."""
        return self.database.name

    def statements(self, tables: Sequence[StageTable], batches: Sequence[StageBatch], token: Token) -> list[Statement]:
        """Return what :meth:`load` executes, for people to read."""
        return load_statements(self.database, self._tables(tables, batches), token)

    def _tables(self, tables: Sequence[StageTable], batches: Sequence[StageBatch]) -> list[TableStatements]:
        require_distinct(tables)
        return [
            table_statements(
                self.database, table, [file for batch in batches for file in batch.files.get(table.entity, ())]
            )
            for table in tables
        ]

    def load(
        self,
        stage: Stage,
        tables: Sequence[StageTable],
        batches: Sequence[StageBatch],
        token: Token,
        *,
        run_id: str,
        partition_date: str,
    ) -> list[TableLoad]:
        """
        Load batches into tables, all in one transaction: readers see all of them change, or none.

        :raises SchemaError: a table does not have the columns of its model, or a row does not fit; nothing is written.
        :raises AccountingError: files were not copied whole, or a trigger of the table swallowed rows.
        :raises CommitConflictError: another load held a table for too long.
        :raises TransientError: the database did not answer, or ended; nothing is written, or all: a retry finds out.
        """
        batches = list({batch.name: batch for batch in batches}.values())
        if self.strict:
            return self._load(stage, tables, SetAside(batches), token)
        with bad_rows_set_aside(
            stage,
            tables,
            batches,
            self.database.unfit,
            engine=self.name,
            token=token,
            run_id=run_id,
            partition_date=partition_date,
        ) as found:
            return self._load(stage, tables, found, token)

    def _load(self, stage: Stage, tables: Sequence[StageTable], found: SetAside, token: Token) -> list[TableLoad]:
        parts = self._tables(tables, found.batches)
        parts += [quarantine_statements(self.database, part.table, found.files[part.table.target])
                  for part in parts if part.table.target in found.files]  # fmt: skip
        what = ", ".join(part.table.target for part in parts)
        with self.database.errors(what), closing(self.connect()) as connection:
            loads = _Load(self.database, connection.cursor(), stage, found.batches, token, found.rows).run(parts)
        return loads[: len(tables)]

    def count_rows(self, table: str, *, by: str, where: Mapping[str, Any]) -> dict[Any, int]:
        """
        Return how many rows there are for each value of a column, of those with the given values in more columns.

        :returns: nothing where there are no such rows, or no such table.
        :raises ConfigurationError: the table has no such column.
        """
        found = self._asked(table, (by,), where, count_rows_statement(self.database, table, by, where))
        return {key: int(rows) for key, rows in found}

    def rows(self, table: str, columns: Sequence[str], *, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        """
        Return the rows that have the given values in some columns.

        :returns: nothing where there are no such rows, or no such table.
        :raises ConfigurationError: the table has no such column.
        """
        found = self._asked(table, columns, where, rows_statement(self.database, table, columns, where))
        return [dict(zip(columns, row, strict=True)) for row in found]

    def _asked(
        self, table: str, columns: Sequence[str], where: Mapping[str, Any], statement: Statement
    ) -> Sequence[Sequence[Any]]:
        schema, _, name = table.rpartition(".")
        with self.database.errors(table), closing(self.connect()) as connection:
            cursor = connection.cursor()
            found = self.database.columns(cursor, schema, name)
            if not found:
                return []
            unknown = sorted(each for each in {*columns, *where} if self.database.stored_name(each) not in found)
            if unknown:
                raise ConfigurationError(f"{table} has no column {', '.join(unknown)}.")
            return execute(cursor, statement)


@dataclass
class _Load:
    """One load: what it is done with, and the steps that depend on what statements report."""

    database: Database
    cursor: Any
    stage: Stage
    batches: Sequence[StageBatch]
    token: Token
    set_aside: Mapping[str, int]

    def run(self, tables: Sequence[TableStatements]) -> list[TableLoad]:
        """Execute the statements of :func:`load_statements`."""
        if not self.database.transactional_ddl:
            self._create(tables)
        execute(self.cursor, BEGIN)
        for statement in self.database.take_turn(sorted(table.target for table in tables)):
            execute(self.cursor, statement)
        if self.database.transactional_ddl:
            self._create(tables)
        loads = [self._recorded(table) or self._load(table) for table in tables]
        for table in tables:
            if table.files:
                execute(self.cursor, table.truncate())
        execute(self.cursor, COMMIT)
        return loads

    def _create(self, tables: Sequence[TableStatements]) -> None:
        for table in tables:
            found = self.database.columns(self.cursor, table.schema, table.name)
            if found:
                require_columns(self.database, table, found)
        for table in tables:
            self.database.prepare_stage(self.cursor, table)
        for statement in create_statements(tables):
            execute(self.cursor, statement)

    def _recorded(self, table: TableStatements) -> TableLoad | None:
        found = execute(self.cursor, table.recorded(self.token))
        if not found:
            return None
        log.info("%s: run %s has loaded before, nothing is copied", table.table.target, self.token)
        return TableLoad.from_json(json.loads(found[0][0]))

    def _load(self, table: TableStatements) -> TableLoad:
        result = self._merged(table) if table.files else TableLoad(table.table.target)
        bad = self.set_aside.get(table.table.target, 0)
        result = replace(result, rows=result.rows + bad, quarantined=bad)
        names = json.dumps([batch.name for batch in self.batches])
        execute(self.cursor, table.record(self.token, names, json.dumps(result.to_json())))
        log.info("%s: %s", table.table.target, result.to_json())
        return result

    def _merged(self, table: TableStatements) -> TableLoad:
        execute(self.cursor, table.empty())
        self.database.copy_rows(self.cursor, table.copy(), stage_columns_of(table.columns), self._rows(table))
        _require_copied(table, execute(self.cursor, table.copied()))
        keys, new, changed = map(int, execute(self.cursor, table.measure())[0])
        statement = table.merge()
        log.debug("%s", statement)
        self.cursor.execute(statement.sql)
        _require_merged(table, int(self.cursor.rowcount), new + changed)
        _require_merged(table, int(execute(self.cursor, table.arrived())[0][0]), keys)
        rows = sum(file.rows for file in table.files)
        return TableLoad(
            table.table.target,
            rows=rows,
            inserted=new,
            updated=changed,
            unchanged=keys - new - changed,
            duplicates=rows - keys,
        )

    def _rows(self, table: TableStatements) -> Iterator[pa.Table]:
        for batch in self.batches:
            yield from self.stage.read(batch, table.table.entity, places=True)


def quarantine_statements(dialect: Dialect, table: StageTable, files: Sequence[StageFile]) -> TableStatements:
    """Return what loads the rows that are set aside of a table; one that is set aside again stays one row."""
    entity = quarantine_entity(table.entity)
    quarantine = StageTable(entity, f"{table.target}{QUARANTINE_SUFFIX}", ("quarantine_id",), None)
    return TableStatements(quarantine, QUARANTINE_COLUMNS, dialect, tuple(files))


def execute(cursor: Any, statement: Statement) -> list[Any]:
    """Execute a statement and return its rows."""
    log.debug("%s", statement)
    if statement.parameters:
        cursor.execute(statement.sql, statement.parameters)
    else:
        cursor.execute(statement.sql)
    return list(cursor.fetchall()) if cursor.description else []


def require_columns(database: Database, table: TableStatements, found: Mapping[str, ColumnFound]) -> None:
    """
    Check that a table can take the rows of its model, before anything is written.

    :raises SchemaError: it cannot; every column that is in the way is named, with what to do.
    """
    problems = []
    expected = {database.stored_name(column.name): column for column in table.columns}
    for name, column in expected.items():
        kind = database.type_of(column)
        if name not in found:
            add = f"ALTER TABLE {table.target} ADD COLUMN {database.quote(column.name)} {kind}"
            problems.append(f"it has no column {name}: {add};")
        elif not database.takes(column, found[name].type):
            problems.append(f"its column {name} is {found[name].type}, and the model's is {kind}")
    problems += [
        f"its column {name} must not be NULL, and the model does not have it: give it a default, or allow NULL"
        for name, column in found.items()
        if column.must_be_given and name not in expected
    ]
    if problems:
        raise SchemaError(f"{table.table.target} does not fit its model; nothing was written. " + ". ".join(problems))


def _require_copied(table: TableStatements, found: Sequence[Sequence[Any]]) -> None:
    """
    Check that each file was copied whole and once.

    :raises AccountingError: one was not.
    """
    copied = {str(file): int(rows) for file, rows in found}
    expected = {file.name: file.rows for file in table.files}
    if copied != expected:
        differing = sorted(name for name in copied.keys() | expected.keys() if copied.get(name) != expected.get(name))
        raise AccountingError(
            f"{table.table.target}: {len(differing)} of {len(expected)} file(s) were not copied as they are, such as "
            f"{differing[0]}: {copied.get(differing[0], 0)} of {expected.get(differing[0], 0)} rows. "
            "Nothing was merged."
        )


def _require_merged(table: TableStatements, found: int, expected: int) -> None:
    """
    Check that no row was lost between the stage table and the target.

    :raises AccountingError: one was.
    """
    if found != expected:
        raise AccountingError(
            f"{table.table.target}: {found} of {expected} row(s) are in the table after the merge: a trigger or a rule "
            f"of it changes what is loaded. Nothing was committed."
        )
