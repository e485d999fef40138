"""The two sides of a reconciliation: the tables of each, filtered and united, in columns that compare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.engines import EvaluationError
from airflow_provider_phlo.quality.reconciliation.canonical import FORMS, Forms, Type, common, parse
from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.engines import Engine
    from airflow_provider_phlo.quality.scan import Rows

_NAME = re.compile(r"\w+")
_DAY = "phlo partition"


class Query(NamedTuple):
    """SQL, with the values of its ``?`` markers."""

    sql: str
    parameters: tuple[Any, ...] = ()


class Value(NamedTuple):
    """SQL of a value, its type, and the type as which it is compared."""

    sql: str
    found: Type
    wanted: Type

    def comparable(self, forms: Forms) -> str:
        """Return the value so that equal ones are equal on the engine."""
        return forms.comparable(*self)


@dataclass(frozen=True)
class Part:
    """
    One table of a side.

    :param rows: what follows ``FROM`` to read its rows, filters included, in parentheses.
    :param table: the same without filters and values, to ask for types.
    :param columns: the type of each column, in DuckDB's words.
    """

    name: str
    rows: Query
    table: str
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Side:
    """
    The tables of one side, whose rows are united.

    :param names: what these tables have for a column of the target: a column's name, or an SQL expression.
    """

    engine: Engine
    parts: tuple[Part, ...]
    names: Mapping[str, str]

    @property
    def title(self) -> str:
        """What messages call it."""
        return " + ".join(part.name for part in self.parts)

    def column(self, part: Part, name: str) -> tuple[str, Type]:
        """
        Return SQL and type of what stands for a column of the target.

        :raises ConfigurationError: there is no such column, or its values cannot be compared.
        """
        sql, kind = self.typed(part, name)
        found = parse(kind)
        if found is None:
            raise ConfigurationError(f"Column {name} of {part.name} is {kind}, which is not compared: leave it out.")
        return sql, found

    def typed(self, part: Part, name: str) -> tuple[str, str]:
        """
        Return SQL of what stands for a column of the target, and what DuckDB calls its type.

        :raises ConfigurationError: there is no such column.
        """
        given = self.names.get(name, name)
        if given in part.columns:
            return quote_identifier(given), part.columns[given]
        if _NAME.fullmatch(given):
            raise ConfigurationError(_no_column(part, given))
        sql = resolved(self.engine, given)
        with _naming_expression(given, part):
            return sql, self.engine.columns(f"(SELECT {sql} AS c FROM {part.table} AS t) AS q")["c"]  # noqa: S608

    def shared_columns(self) -> list[str]:
        """Return the names, as the target has them, of the columns that every table of the side has."""
        found = [
            {name for name, given in self.names.items() if given in part.columns or not _NAME.fullmatch(given)}
            | (part.columns.keys() - set(self.names.values()))
            for part in self.parts
        ]
        return sorted(set.intersection(*found))

    def united(self) -> Query:
        """Return the rows of all tables, in the columns that all have, as what follows ``FROM``."""
        if len(self.parts) == 1:
            return self.parts[0].rows
        columns = self._shared()
        union = united(Query(f"SELECT {columns} FROM {part.rows.sql}", part.rows.parameters) for part in self.parts)  # noqa: S608
        return Query(f"({union.sql}) AS t", union.parameters)

    def unfiltered(self) -> str:
        """Return the same without filters and so without values: what types are asked of."""
        union = " UNION ALL ".join(f"SELECT {self._shared()} FROM {part.table}" for part in self.parts)  # noqa: S608
        return f"({union}) AS t"

    def _shared(self) -> str:
        first, *others = (part.columns for part in self.parts)
        return ", ".join(quote_identifier(name) for name in first if all(name in other for other in others))

    def expression(self, given: str, *, day: bool = False) -> str:
        """
        Return the SQL of a column that all tables have, or of an expression over those.

        :param day: it tells the partition: of a time, its day counts.
        :raises ConfigurationError: a table has no such column.
        """
        lacking = [part for part in self.parts if given not in part.columns]
        if lacking and _NAME.fullmatch(given):
            raise ConfigurationError(_no_column(lacking[0], given))
        sql = resolved(self.engine, given) if lacking else quote_identifier(given)
        if day:
            kind = self.engine.columns(f"(SELECT {sql} AS c FROM {self.unfiltered()}) AS q")["c"]  # noqa: S608
            return f"CAST({sql} AS DATE)" if kind.startswith("TIMESTAMP") else sql
        return sql


@dataclass(frozen=True)
class Reading:
    """One table's rows as they are compared: its columns in the order of both sides' names."""

    part: Part
    values: tuple[Value, ...]

    def select(self, columns: Iterable[str], where: Query | None = None) -> Query:
        """Return the query for these SQL expressions."""
        rows = self.part.rows
        sql = f"SELECT {', '.join(columns)} FROM {rows.sql}"  # noqa: S608 - generated
        return (
            Query(f"{sql} WHERE {where.sql}", rows.parameters + where.parameters)
            if where
            else Query(sql, rows.parameters)
        )


def source_side(rows: Rows, tables: Sequence[str], names: Mapping[str, str], condition: str | None) -> Side:
    """
    Return the tables of the source, of the partition that is checked.

    :param condition: SQL that its rows meet.
    """
    return _filtered(rows, Side(rows.engine, tuple(_part(rows, table) for table in tables), names), condition)


def target_side(rows: Rows, tables: Sequence[str], condition: str | None) -> Side:
    """Return the tables of the target: the rows under check where none is named."""
    if tables:
        return _filtered(rows, Side(rows.engine, tuple(_part(rows, table) for table in tables), {}), condition)
    filters, _ = _partition(rows, rows.columns, rows.filtered[0] if rows.filtered else "")
    table = rows.source.removesuffix(filters)
    part = Part(rows.table or "the rows", Query(rows.source, rows.parameters), table, rows.columns)
    return Side(rows.engine, (replace(part, rows=_where(rows.engine, part, part.rows, condition)),), {})


def _part(rows: Rows, table: str) -> Part:
    source = rows.engine.table(table)
    return Part(table, Query(source), source, rows.engine.columns(source))


def _filtered(rows: Rows, side: Side, condition: str | None) -> Side:
    """Leave the partition that is checked, and what meets the condition."""
    return replace(
        side,
        parts=tuple(
            replace(part, rows=_where(rows.engine, part, _day(rows, side, part), condition)) for part in side.parts
        ),
    )


def _day(rows: Rows, side: Side, part: Part) -> Query:
    if not rows.filtered:
        return part.rows
    sql, kind = side.typed(part, rows.filtered[0])
    filters, parameters = _partition(rows, {_DAY: kind}, _DAY)
    return Query(f"(SELECT *, {sql} AS {quote_identifier(_DAY)} FROM {part.table} AS t) AS d{filters}", parameters)  # noqa: S608


def _partition(rows: Rows, columns: Mapping[str, str], column: str) -> tuple[str, tuple[Any, ...]]:
    """Return the ``WHERE`` that leaves the partition under check."""
    from airflow_provider_phlo.quality.scan import partition_filter

    return partition_filter(rows.table or "", columns, column, rows.filtered[1]) if rows.filtered else ("", ())


def _where(engine: Engine, part: Part, source: Query, condition: str | None) -> Query:
    rows = f"(SELECT * FROM {source.sql}) AS t"  # noqa: S608 - quoted
    if condition:
        meets = resolved(engine, condition)
        with _naming_expression(condition, part):
            engine.columns(f"(SELECT * FROM {part.table} AS t WHERE {meets}) AS q")  # noqa: S608 - quoted
        rows = f"(SELECT * FROM {rows} WHERE {meets}) AS t"  # noqa: S608 - quoted
    return Query(rows, source.parameters)


@contextmanager
def _naming_expression(expression: str, part: Part) -> Iterator[None]:
    """
    Say which of the author's expressions an engine cannot evaluate, and on which table.

    :raises ConfigurationError: it cannot.
    """
    try:
        yield
    except EvaluationError as error:
        columns = ", ".join(f"{name} {kind}" for name, kind in part.columns.items())
        raise ConfigurationError(
            f"{expression!r} cannot be evaluated on {part.name} ({error}); its columns are: {columns}."
        ) from error


def resolved(engine: Engine, expression: str) -> str:
    """
    Return an SQL expression of a check's author so that the tables it names are read as the engine reads them.

    :raises ConfigurationError: it is no expression that only reads.
    """
    # on lines of its own: it may end with a comment
    return "(\n" + engine.resolve(f"SELECT {expression}").removeprefix("SELECT ") + "\n)"


def _no_column(part: Part, name: str) -> str:
    return (
        f"{part.name} has no column {name}; its columns are: {', '.join(part.columns)}. "
        "What the source calls otherwise is told by source_columns."
    )


def united(queries: Iterable[Query]) -> Query:
    """Return the rows of all queries."""
    found = list(queries)
    return Query(
        " UNION ALL ".join(query.sql for query in found),
        tuple(value for query in found for value in query.parameters),
    )


def readings(
    sides: tuple[Side, Side], names: Sequence[str], day: str | None = None
) -> tuple[list[Reading], list[Reading]]:
    """
    Return, for source and target, their tables' columns ``names`` as they compare with each other.

    :param day: the one among them that tells the partition: of a time, its day counts.
    :raises ConfigurationError: a table lacks one of them, or they are of kinds that never equal.
    """
    found: list[list[list[tuple[str, Type]]]] = []
    for side in sides:
        found.append([[_dated(side.column(part, name), name == day) for name in names] for part in side.parts])
    wanted = [
        _common(name, [(part, columns[place][1]) for part, columns in _all_parts(sides, found)])
        for place, name in enumerate(names)
    ]
    source, target = (
        [
            Reading(part, tuple(Value(*value, kind) for value, kind in zip(values, wanted, strict=True)))
            for part, values in zip(side.parts, columns, strict=True)
        ]
        for side, columns in zip(sides, found, strict=True)
    )
    return source, target


def _all_parts(
    sides: Sequence[Side], found: Sequence[Sequence[list[tuple[str, Type]]]]
) -> Iterator[tuple[Part, list[tuple[str, Type]]]]:
    for side, columns in zip(sides, found, strict=True):
        yield from zip(side.parts, columns, strict=True)


def _dated(value: tuple[str, Type], is_day: bool) -> tuple[str, Type]:
    sql, found = value
    return (f"CAST({sql} AS DATE)", Type("date")) if is_day and found.family in ("timestamp", "instant") else value


def _common(name: str, found: Sequence[tuple[Part, Type]]) -> Type:
    wanted = common(kind for _, kind in found)
    if wanted is None:
        kinds = ", ".join(f"{kind.family} in {part.name}" for part, kind in found)
        raise ConfigurationError(
            f"Column {name} is {kinds}: these are never equal. Give an expression that converts it in source_columns."
        )
    return wanted


def forms_of(engine: Engine) -> Forms:
    """Return what makes canonical forms on an engine."""
    return FORMS[engine.dialect.name]
