"""The two sides of a reconciliation: the tables of each, filtered and united, in columns that can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.engines import EvaluationError
from airflow_provider_phlo.quality.reconciliation.canonical import FORMS, Forms
from airflow_provider_phlo.quality.reconciliation.value_types import ValueType, common_type, parse_type
from airflow_provider_phlo.quality.rows_under_check import partition_filter, require_days
from airflow_provider_phlo.sql import Query, quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.engines import SQLEngine
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck

_COLUMN_NAME = re.compile(r"\w+")
# the column that is added to the source where one partition is checked
_DAY = "phlo partition"


class TypedSQL(NamedTuple):
    """SQL of a value, and its type."""

    sql: str
    type: ValueType


class ComparedValue(NamedTuple):
    """
    SQL of a value that is compared with those of other tables.

    :param own: its type.
    :param common: the type as which all of them are compared.
    """

    sql: str
    own: ValueType
    common: ValueType

    def comparable(self, forms: Forms) -> str:
        """Return the comparable form of the value."""
        return forms.comparable(*self)


@dataclass(frozen=True)
class SideTable:
    """
    One table of a side.

    :param name: its name in messages.
    :param rows: what follows ``FROM`` to read the rows that are compared, filters included.
    :param all_rows: what follows ``FROM`` to read all rows, without ``?`` markers: enough to ask for types.
    :param columns: the type of each column, in DuckDB's words.
    """

    name: str
    rows: Query
    all_rows: str
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Side:
    """
    The tables of one side, whose rows are united.

    :param expressions: for columns of the target that these tables name differently: their column, or an SQL
        expression.
    """

    engine: SQLEngine
    tables: tuple[SideTable, ...]
    expressions: Mapping[str, str]

    @property
    def title(self) -> str:
        """The name of the side in messages."""
        return " + ".join(table.name for table in self.tables)

    def column(self, table: SideTable, name: str) -> TypedSQL:
        """
        Return what stands for a column of the target in one of the tables.

        :raises ConfigurationError: there is no such column, or its values cannot be compared.
        """
        sql, type_name = self.column_sql(table, name)
        found = parse_type(type_name)
        if found is None:
            raise ConfigurationError(
                f"Column {name} of {table.name} is {type_name}, which cannot be compared: leave it out."
            )
        return TypedSQL(sql, found)

    def column_sql(self, table: SideTable, name: str) -> tuple[str, str]:
        """
        Return the SQL of what stands for a column of the target, and DuckDB's name of its type.

        :raises ConfigurationError: there is no such column.
        """
        given = self.expressions.get(name, name)
        if given in table.columns:
            return quote_identifier(given), table.columns[given]
        if _COLUMN_NAME.fullmatch(given):
            raise ConfigurationError(_missing_column(table, given))
        sql = resolve_expression(self.engine, given)
        with _errors_name(given, table):
            return sql, self.engine.columns(f"(SELECT {sql} AS c FROM {table.all_rows} AS t) AS q")["c"]  # noqa: S608

    def shared_columns(self) -> list[str]:
        """Return the columns that every table of the side has, by the names that the target gives them."""
        columns = [
            {
                name
                for name, given in self.expressions.items()
                if given in table.columns or not _COLUMN_NAME.fullmatch(given)
            }
            | (table.columns.keys() - set(self.expressions.values()))
            for table in self.tables
        ]
        return sorted(set.intersection(*columns))

    def union(self) -> Query:
        """Return what follows ``FROM`` to read the rows of all tables, in the columns that all of them have."""
        if len(self.tables) == 1:
            return self.tables[0].rows
        columns = self._common_columns()
        union = union_all(
            Query(f"SELECT {columns} FROM {table.rows.sql}", table.rows.parameters)  # noqa: S608 - quoted
            for table in self.tables
        )
        return Query(f"({union.sql}) AS t", union.parameters)

    def union_of_all_rows(self) -> str:
        """Return the same without filters, and so without ``?`` markers: enough to ask for types."""
        columns = self._common_columns()
        union = " UNION ALL ".join(f"SELECT {columns} FROM {table.all_rows}" for table in self.tables)  # noqa: S608
        return f"({union}) AS t"

    def _common_columns(self) -> str:
        first, *others = (table.columns for table in self.tables)
        return ", ".join(quote_identifier(name) for name in first if all(name in other for other in others))

    def expression(self, given: str, *, as_day: bool = False) -> str:
        """
        Return the SQL of a column that all tables have, or of an expression over such columns.

        :param as_day: turn a time into its UTC day.
        :raises ConfigurationError: a table has no such column.
        """
        lacking = [table for table in self.tables if given not in table.columns]
        if lacking and _COLUMN_NAME.fullmatch(given):
            raise ConfigurationError(_missing_column(lacking[0], given))
        sql = resolve_expression(self.engine, given) if lacking else quote_identifier(given)
        if as_day:
            kind = self.engine.columns(f"(SELECT {sql} AS c FROM {self.union_of_all_rows()}) AS q")["c"]  # noqa: S608
            return self.engine.dialect.day(sql, kind) if kind.startswith("TIMESTAMP") else sql
        return sql


@dataclass(frozen=True)
class ComparedTable:
    """
    One table in the columns that are compared.

    :param values: a value per column, in the same order on both sides.
    """

    table: SideTable
    values: tuple[ComparedValue, ...]

    def select(self, columns: Iterable[str], where: Query | None = None) -> Query:
        """
        Return the query that selects SQL expressions from the rows.

        :param where: a condition on the rows.
        """
        rows = self.table.rows
        sql = f"SELECT {', '.join(columns)} FROM {rows.sql}"  # noqa: S608 - generated
        if where is None:
            return Query(sql, rows.parameters)
        return Query(f"{sql} WHERE {where.sql}", rows.parameters + where.parameters)


def source_side(
    rows: RowsUnderCheck, tables: Sequence[str], expressions: Mapping[str, str], condition: str | None
) -> Side:
    """
    Return the tables of the source, narrowed to the partition under check.

    :param expressions: as of :class:`Side`.
    :param condition: an SQL condition: only rows that meet it are compared.
    """
    return _filter(rows, Side(rows.engine, _open_tables(rows, tables), expressions), condition)


def target_side(rows: RowsUnderCheck, tables: Sequence[str], condition: str | None) -> Side:
    """Return the tables of the target; the rows under check if none is named."""
    if tables:
        return _filter(rows, Side(rows.engine, _open_tables(rows, tables), {}), condition)
    table = SideTable(rows.table or "the rows", rows.source, rows.all_rows, rows.columns)
    return Side(rows.engine, (replace(table, rows=_meeting(rows.engine, table, table.rows, condition)),), {})


def _open_tables(rows: RowsUnderCheck, names: Sequence[str]) -> tuple[SideTable, ...]:
    sources = {name: rows.engine.table(name) for name in names}
    return tuple(
        SideTable(name, Query(source), source, rows.engine.columns(source)) for name, source in sources.items()
    )


def _filter(rows: RowsUnderCheck, side: Side, condition: str | None) -> Side:
    """Leave the partition under check, and the rows that meet the condition."""
    tables = []
    for table in side.tables:
        partition = _partition_under_check(rows, side, table)
        tables.append(replace(table, rows=_meeting(rows.engine, table, partition, condition)))
    return replace(side, tables=tuple(tables))


def _partition_under_check(rows: RowsUnderCheck, side: Side, table: SideTable) -> Query:
    if rows.filtered_by is None:
        return table.rows
    sql, type_name = side.column_sql(table, rows.filtered_by.column)
    where = partition_filter(rows.table or "", {_DAY: type_name}, _DAY, rows.filtered_by.value)
    dated_all = f"(SELECT {sql} AS {quote_identifier(_DAY)} FROM {table.all_rows} AS t) AS d"  # noqa: S608 - quoted
    require_days(rows.engine, dated_all, where, {_DAY: type_name}, _DAY, rows.filtered_by.value)
    dated = f"(SELECT *, {sql} AS {quote_identifier(_DAY)} FROM {table.all_rows} AS t) AS d"  # noqa: S608 - quoted
    return Query(dated + where.sql, where.parameters)


def _meeting(engine: SQLEngine, table: SideTable, source: Query, condition: str | None) -> Query:
    """Return what follows ``FROM`` to read the rows of ``source`` that meet the condition."""
    rows = f"(SELECT * FROM {source.sql}) AS t"  # noqa: S608 - quoted
    if condition:
        resolved = resolve_expression(engine, condition)
        with _errors_name(condition, table):
            engine.columns(f"(SELECT * FROM {table.all_rows} AS t WHERE {resolved}) AS q")  # noqa: S608 - quoted
        rows = f"(SELECT * FROM {rows} WHERE {resolved}) AS t"  # noqa: S608 - quoted
    return Query(rows, source.parameters)


@contextmanager
def _errors_name(expression: str, table: SideTable) -> Iterator[None]:
    """
    Let errors name the expression of the check's author, and the table.

    :raises ConfigurationError: the engine cannot evaluate the expression.
    """
    try:
        yield
    except EvaluationError as error:
        columns = ", ".join(f"{name} {kind}" for name, kind in table.columns.items())
        raise ConfigurationError(
            f"{expression!r} cannot be evaluated on {table.name} ({error}); its columns are: {columns}."
        ) from error


def resolve_expression(engine: SQLEngine, expression: str) -> str:
    """
    Return an SQL expression of the check's author so that the tables it names are read as the engine reads them.

    :raises ConfigurationError: it is not an expression, or does more than read.
    """
    # on lines of its own: it may end with a comment
    return "(\n" + engine.resolve(f"SELECT {expression}").removeprefix("SELECT ") + "\n)"


def _missing_column(table: SideTable, name: str) -> str:
    return (
        f"{table.name} has no column {name}; its columns are: {', '.join(table.columns)}. "
        "If the source names a column differently, give its name in source_columns."
    )


def union_all(queries: Iterable[Query]) -> Query:
    """Return the query for the rows of all queries."""
    united = list(queries)
    return Query(
        " UNION ALL ".join(query.sql for query in united),
        tuple(value for query in united for value in query.parameters),
    )


def align_columns(
    sides: tuple[Side, Side], names: Sequence[str], day: str | None = None
) -> tuple[list[ComparedTable], list[ComparedTable]]:
    """
    Return the tables of source and target in the columns ``names``, each column in one common type.

    :param day: the column among them that holds the partition: a time counts as its UTC day.
    :raises ConfigurationError: a table lacks one of the columns, or its types are never equal.
    """
    aligned: list[list[tuple[SideTable, list[TypedSQL]]]] = [
        [
            (table, [_as_day(side.engine, side.column(table, name), name == day) for name in names])
            for table in side.tables
        ]
        for side in sides
    ]
    tables = [*aligned[0], *aligned[1]]
    common = [
        _require_common_type(name, [(table, values[index].type) for table, values in tables])
        for index, name in enumerate(names)
    ]
    source, target = (
        [
            ComparedTable(table, tuple(ComparedValue(*value, kind) for value, kind in zip(values, common, strict=True)))
            for table, values in side
        ]
        for side in aligned
    )
    return source, target


def _as_day(engine: SQLEngine, value: TypedSQL, is_day: bool) -> TypedSQL:
    if is_day and value.type.family in ("timestamp", "instant"):
        whole = forms_of(engine).without_nanoseconds(value.sql, value.type)
        return TypedSQL(f"CAST({whole} AS DATE)", ValueType("date"))
    return value


def _require_common_type(name: str, types: Sequence[tuple[SideTable, ValueType]]) -> ValueType:
    common = common_type(each for _, each in types)
    if common is None:
        kinds = ", ".join(f"{each.family} in {table.name}" for table, each in types)
        raise ConfigurationError(
            f"Column {name} is {kinds}: these are never equal. Give an expression that converts it in source_columns."
        )
    return common


def forms_of(engine: SQLEngine) -> Forms:
    """Return what makes the canonical forms on an engine."""
    return FORMS[engine.dialect.name]
