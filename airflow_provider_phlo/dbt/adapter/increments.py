"""
How an incremental model's new rows go into its table: dbt's strategies, as replacements of rows.

The new rows are in a temporary table of DuckDB. Each strategy says which rows of the model they replace; what comes in
is the new rows themselves, or what SQL makes of both sides. The work follows what the new rows touch.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThan
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table
from pyiceberg.types import DateType, TimestampType, TimestamptzType

from airflow_provider_phlo.dbt.adapter.rows import storable_rows
from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.merge.replacement import ConditionMatcher, KeyMatcher, PartitionMatcher, RowMatcher
from airflow_provider_phlo.iceberg.tables.evolution import fit
from airflow_provider_phlo.iceberg.tables.lookup import column_names
from airflow_provider_phlo.sql import quote_identifier

# what dbt calls the two sides in conditions
_NEW, _OLD = "DBT_INTERNAL_SOURCE", "DBT_INTERNAL_DEST"
# the other names of the old side, in conditions of delete+insert
_OLD_OF_DELETES = ("DBT_INCREMENTAL_TARGET", "DBT_INTERNAL_TARGET")


# what a name does not have, outside of quotes
_SQL = re.compile(r"[(|,:+]")
_QUOTED_NAME = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class Increment:
    """
    What a run of an incremental model is to change.

    :param identifier: the model's ``namespace.table``.
    :param cursor: of DuckDB, with the temporary table and the view of the model.
    :param new: the temporary table with the new rows, in SQL.
    :param old: the view of the model, in SQL.
    :param key: ``unique_key``, one or several; for ``delete+insert`` SQL, too.
    :param predicates: ``incremental_predicates``, SQL that holds for the rows of the model that are looked at.
    :param update_columns: of ``merge``: the columns that a row of the model takes from the new one; all when empty.
    :param exclude_columns: of ``merge``: the columns that it does not take.
    :param event_time: of ``microbatch``: the column of a row's time.
    :param period: of ``microbatch``: the first instant of the batch, and the first after it.
    :param needs_all_columns: whether new rows without one of the model's columns are an error, not NULL there.
    """

    identifier: str
    cursor: Any
    new: str
    old: str
    key: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()
    update_columns: tuple[str, ...] = ()
    exclude_columns: tuple[str, ...] = ()
    event_time: str | None = None
    period: tuple[datetime.datetime, datetime.datetime] | None = None
    needs_all_columns: bool = False


@dataclass(frozen=True)
class Change:
    """
    Rows, and which ones of a table they replace.

    :param gaps: how many of the rows have NULL in their key.
    """

    rows: pa.Table
    matcher: RowMatcher | None
    gaps: int = field(default=0)


def change_of(increment: Increment, strategy: str, table: Table) -> Change:
    """
    Return what a strategy changes; nothing is written.

    :param strategy: ``append``, ``delete+insert``, ``merge``, ``microbatch`` or ``insert_overwrite``.
    :param table: the model's.
    :raises ConfigurationError: a column that the configuration names does not exist.
    :raises SchemaError: new rows share their key in a ``merge``, or do not fit the table.
    """
    return _STRATEGIES[strategy](_Sides(increment, table))


def _unquoted(text: str) -> str:
    return _QUOTED_NAME.sub("", text)


@dataclass(frozen=True)
class _Sides:
    increment: Increment
    table: Table

    @cached_property
    def old_columns(self) -> list[str]:
        return column_names(self.table)

    @cached_property
    def new_columns(self) -> list[str]:
        return list(self.increment.cursor.sql(f"SELECT * FROM {self.increment.new} LIMIT 0").columns)  # noqa: S608

    def column(self, name: str, option: str) -> str:
        """Return the table's spelling of a column that the configuration names."""
        wanted = name.strip()
        if len(wanted) > 1 and wanted[0] == wanted[-1] == '"':
            wanted = wanted[1:-1].replace('""', '"')
        found = wanted if wanted in self.old_columns else None
        found = found or next((each for each in self.old_columns if each.lower() == wanted.lower()), None)
        if found is None:
            raise ConfigurationError(
                f"{self.increment.identifier} has no column {wanted!r}, which {option} names; it has "
                f"{', '.join(self.old_columns)}."
            )
        return found

    @cached_property
    def key(self) -> list[str]:
        return list(dict.fromkeys(self.column(name, "unique_key") for name in self.increment.key))

    @property
    def expressions(self) -> list[str]:
        """Return those of the key that can only be SQL, as no column is called so, such as ``id || '-' || day``."""
        known = {name.lower() for name in self.old_columns}
        return [key for key in self.increment.key if key.strip().lower() not in known and _SQL.search(_unquoted(key))]

    @cached_property
    def common(self) -> list[str]:
        """Return the table's columns that the new rows have; those that only they have are left out."""
        present = {name.lower() for name in self.new_columns}
        return [name for name in self.old_columns if name.lower() in present]

    def rows(self, sql: str) -> pa.Table:
        """Return what SQL selects, fitted to the table."""
        identifier = self.increment.identifier
        known = schema_to_pyarrow(self.table.schema(), include_field_ids=False)
        rows = storable_rows(identifier, self.increment.cursor.sql(sql), known)
        names = {name.lower(): name for name in self.old_columns}
        return fit(rows.rename_columns([names.get(name.lower(), name) for name in rows.column_names]), self.table)

    def new_rows(self, condition: str = "true") -> pa.Table:
        missing = [name for name in self.old_columns if name not in set(self.common)]
        if self.increment.needs_all_columns and missing:
            raise ConfigurationError(
                f"{self.increment.identifier} has column(s) {', '.join(missing)}, which the new rows lack: select "
                "them, set on_schema_change, or build the model once with a full refresh."
            )
        columns = ", ".join(map(quote_identifier, self.common))
        return self.rows(f"SELECT {columns} FROM {self.increment.new} WHERE {condition}")  # noqa: S608 - the model's own

    def condition(self, *parts: str) -> str:
        """Return what holds where all parts and the predicates hold."""
        return " AND ".join(f"({part})" for part in (*parts, *self.increment.predicates)) or "true"

    def same_key(self, new: str, old: str) -> str:
        return " AND ".join(
            f"{new}.{quote_identifier(name)} IS NOT DISTINCT FROM {old}.{quote_identifier(name)}" for name in self.key
        )


def _append(sides: _Sides) -> Change:
    return Change(sides.new_rows(), None)


def _delete_insert(sides: _Sides) -> Change:
    increment, rows = sides.increment, sides.new_rows()
    if not increment.key:
        return Change(rows, None)
    if sides.expressions:
        return _delete_insert_by_expressions(sides, rows)
    matcher = KeyMatcher(rows, sides.key)
    if not increment.predicates:
        return Change(rows, matcher, matcher.with_gaps)
    alias = _old_of_deletes(increment)
    condition = sides.condition(f"EXISTS (SELECT 1 FROM {increment.new} AS {_NEW} WHERE {sides.same_key(_NEW, alias)})")  # noqa: S608
    found = ConditionMatcher(increment.cursor, alias, condition, sides.old_columns, keys=matcher)
    return Change(rows, found, matcher.with_gaps)


def _delete_insert_by_expressions(sides: _Sides, rows: pa.Table) -> Change:
    """Replace rows whose key is SQL: no statistics of files say which rows those are."""
    increment = sides.increment
    names = {quote_identifier(f"phlo key {place}"): key for place, key in enumerate(increment.key)}
    keys = ", ".join(f"({key}) AS {name}" for name, key in names.items())
    # in there, the columns of a key can only be the table's
    same = " AND ".join(f"{name} IS NOT DISTINCT FROM ({key})" for name, key in names.items())
    new = f"(SELECT {keys} FROM {increment.new}) AS phlo_keys"  # noqa: S608 - the model's own SQL
    condition = sides.condition(f"EXISTS (SELECT 1 FROM {new} WHERE {same})")  # noqa: S608
    unknown = " OR ".join(f"{name} IS NULL" for name in names)
    [(gaps,)] = increment.cursor.execute(f"SELECT count(*) FROM {new} WHERE {unknown}").fetchall()  # noqa: S608
    found = ConditionMatcher(increment.cursor, _old_of_deletes(increment), condition, sides.old_columns)
    return Change(rows, found, gaps)


def _old_of_deletes(increment: Increment) -> str:
    """Return what predicates of delete+insert call the model."""
    said = " ".join(increment.predicates).upper()
    return next((name for name in _OLD_OF_DELETES if name in said), _OLD)


def _merge(sides: _Sides) -> Change:
    increment = sides.increment
    if not increment.key:
        return Change(sides.new_rows(), None)
    updated = _updated_columns(sides)
    whole = len(updated) == len(sides.old_columns) and not increment.predicates
    rows = sides.new_rows() if whole else sides.rows(_merged_rows(sides, updated))
    matcher = KeyMatcher(rows, sides.key)
    keys = matcher if whole else KeyMatcher(sides.new_rows(), sides.key)
    if keys.shared:
        raise SchemaError(
            f"{increment.identifier}: {keys.shared} new row(s) share their unique_key ({', '.join(sides.key)}) with "
            "another, and 'merge' takes one per key: choose one in the SQL, or use 'delete+insert'."
        )
    if not increment.predicates:
        return Change(rows, matcher, keys.with_gaps)
    condition = f"EXISTS (SELECT 1 FROM {increment.new} AS {_NEW} WHERE {_matches(sides)})"  # noqa: S608 - quoted
    found = ConditionMatcher(increment.cursor, _OLD, condition, sides.old_columns, keys=keys)
    return Change(rows, found, keys.with_gaps)


def _updated_columns(sides: _Sides) -> list[str]:
    increment = sides.increment
    if increment.update_columns and increment.exclude_columns:
        raise ConfigurationError(
            f"{increment.identifier}: give merge_update_columns or merge_exclude_columns, not both."
        )
    if increment.update_columns:
        return [sides.column(name, "merge_update_columns") for name in increment.update_columns]
    excluded = {sides.column(name, "merge_exclude_columns") for name in increment.exclude_columns}
    return [name for name in sides.common if name not in excluded]


def _matches(sides: _Sides) -> str:
    return sides.condition(sides.same_key(_NEW, _OLD))


def _merged_rows(sides: _Sides, updated: Sequence[str]) -> str:
    """Return SQL for the rows of the model that are matched, as they will be, and the new rows that match none."""
    increment, matches = sides.increment, _matches(sides)
    present = set(sides.common)
    taken = [name for name in updated if name in present]
    merged = ", ".join(
        f"{_NEW if name in taken else _OLD}.{quote_identifier(name)} AS {quote_identifier(name)}"
        for name in sides.old_columns
    )
    inserted = ", ".join(f"{_NEW}.{quote_identifier(name)} AS {quote_identifier(name)}" for name in sides.common)
    return (
        f"SELECT {merged} FROM {increment.old} AS {_OLD} JOIN {increment.new} AS {_NEW} ON {matches} "  # noqa: S608 - quoted
        f"UNION ALL BY NAME SELECT {inserted} FROM {increment.new} AS {_NEW} "
        f"WHERE NOT EXISTS (SELECT 1 FROM {increment.old} AS {_OLD} WHERE {matches})"
    )


def _microbatch(sides: _Sides) -> Change:
    increment = sides.increment
    if not increment.event_time or increment.period is None:
        raise ConfigurationError(f"{increment.identifier}: incremental_strategy='microbatch' needs event_time.")
    start, end = increment.period
    name = increment.event_time
    period = f"{name} >= '{start}' and {name} < '{end}'"
    bounds = _between(sides, name, start, end)
    matcher = ConditionMatcher(increment.cursor, _OLD, sides.condition(period), sides.old_columns, bounds=bounds)
    return Change(sides.new_rows(period), matcher)


def _between(sides: _Sides, name: str, start: datetime.datetime, end: datetime.datetime) -> BooleanExpression | None:
    """Return what a reader of files can leave out by; None for a type that compares otherwise."""
    column = sides.column(name, "event_time")
    kind = sides.table.schema().find_type(column)
    if isinstance(kind, DateType):
        # a day counts from its first instant
        return _from_to(column, start.date(), end.date() + datetime.timedelta(days=1))
    if isinstance(kind, TimestamptzType):
        return _from_to(column, _in_utc(start), _in_utc(end))
    if isinstance(kind, TimestampType):
        return _from_to(column, start.replace(tzinfo=None), end.replace(tzinfo=None))
    return None


def _from_to(column: str, start: datetime.date, end: datetime.date) -> BooleanExpression:
    return And(GreaterThanOrEqual(column, value=start), LessThan(column, value=end))  # type: ignore[misc]


def _in_utc(moment: datetime.datetime) -> datetime.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _insert_overwrite(sides: _Sides) -> Change:
    rows = sides.new_rows()
    return Change(rows, PartitionMatcher(rows, sides.table))


_STRATEGIES: Mapping[str, Any] = {
    "append": _append,
    "delete+insert": _delete_insert,
    "merge": _merge,
    "microbatch": _microbatch,
    "insert_overwrite": _insert_overwrite,
}
