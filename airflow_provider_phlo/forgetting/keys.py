"""
Whose rows: the values of a key, typed as a table's columns are, and the test that finds rows which have them.

A value appears in no message: errors of this wing are pasted into tickets.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import IcebergType, TimeType, UUIDType

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.branches.declared import declared_columns
from airflow_provider_phlo.iceberg.merge.keys import KeyBounds
from airflow_provider_phlo.iceberg.merge.replacement import KeyMatcher
from airflow_provider_phlo.iceberg.merge.rows import Mask
from airflow_provider_phlo.iceberg.tables.staging import with_metadata


@dataclass(frozen=True)
class RowTest:
    """
    Finds rows of a person, by columns as one schema of a table has them.

    :param view: the table with that schema.
    :param columns: what it looks at.
    :param matches: returns a mask of the rows that are theirs.
    :param may_be_in: whether the bounds of a file leave room for such rows.
    """

    view: Table
    columns: tuple[str, ...]
    matches: Callable[[pa.Table], Mask]
    may_be_in: Callable[[DataFile], bool]


class Wanted(Protocol):
    """Whose rows are searched for."""

    def tests(self, table: Table) -> list[RowTest]:
        """Return one test for each way in which the table's schemas, old ones too, have had the columns."""


@dataclass(frozen=True)
class Key:
    """
    The key of a person's rows.

    :param values: column → value, as text.
    """

    values: Mapping[str, str] = field(repr=False)

    def renamed(self, names: Mapping[str, str]) -> Key:
        """Return the same values under the names that other columns have: old name → new name."""
        return Key({names[name]: value for name, value in self.values.items()})

    def tests(self, table: Table) -> list[RowTest]:
        """
        Return one test for each way in which the table's schemas have had the columns.

        A column that was dropped and added again has another field id, and what it held is in old files still.

        :raises ConfigurationError: no schema of the table has had the columns, or a value is not of a column's type.
        """
        found: dict[tuple[int, ...], RowTest] = {}
        current = table.metadata.current_schema_id
        refused = ""
        for schema in sorted(table.schemas().values(), key=lambda each: each.schema_id != current):
            fields = [item for item in schema.fields if item.name in self.values]
            ids = tuple(sorted(item.field_id for item in fields))
            if len(fields) != len(self.values) or ids in found:
                continue
            try:
                rows = self._typed(Schema(*fields))
            except _NotOfTypeError as error:
                refused = refused or f"{'.'.join(table.name())}: {error}"
                continue
            found[ids] = _test(_as_of(table, schema.schema_id), rows)
        if not found:
            raise ConfigurationError(refused or _no_columns(table, self.values))
        return list(found.values())

    def _typed(self, schema: Schema) -> pa.Table:
        """Return the key as a row."""
        columns = []
        for item in schema.fields:
            value = typed(self.values[item.name], item.field_type)
            if value is None:
                raise _NotOfTypeError(
                    f"the value given for {item.name} is not of the column's type, {item.field_type}: give one that is."
                )
            columns.append(value)
        return pa.table(columns, schema=schema_to_pyarrow(schema, include_field_ids=False))


def typed(text: str, kind: IcebergType) -> pa.Array | None:
    """Return a value of a column's type as an array; None if the text is not one."""
    wanted = schema_to_pyarrow(kind)
    try:
        if isinstance(kind, UUIDType):
            return pa.ExtensionArray.from_storage(wanted, pa.array([uuid.UUID(text).bytes], pa.binary(16)))
        if isinstance(kind, TimeType):  # which Arrow does not read
            return pa.array([datetime.time.fromisoformat(text)], wanted)
        return pa.array([text]).cast(wanted)
    except (ValueError, pa.ArrowNotImplementedError):  # Arrow's errors of values are ValueErrors
        return None


class _NotOfTypeError(Exception):
    """A value cannot be one of a column."""


def _as_of(table: Table, schema_id: int) -> Table:
    """Return a table with the columns that one of its schemas has."""
    return with_metadata(table, table.metadata.model_copy(update={"current_schema_id": schema_id}))


def _test(view: Table, rows: pa.Table) -> RowTest:
    names = tuple(rows.column_names)
    return RowTest(view, names, KeyMatcher(rows, names), KeyBounds(rows, names, view.schema()).may_be_in)


def _no_columns(table: Table, names: Mapping[str, str]) -> str:
    identifier = ".".join(table.name())
    known = ", ".join(item.name for item in table.schema().fields)
    return f"{identifier} has no column {' and '.join(sorted(names))}: it has {known}."


def parse_key(table: Table, given: Sequence[str]) -> Key:
    """
    Return the key that somebody has given.

    :param given: the value of the table's own key, if that is one column; else ``column=value`` for each column.
    :raises ConfigurationError: it is not one of these, or what the table's key is cannot be known.
    """
    columns = {item.name for schema in table.schemas().values() for item in schema.fields}
    pairs = list(_pairs(given, columns))
    if len(pairs) == len(given) and pairs:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ConfigurationError("--key gives a column twice: give each column of the key once.")
        return Key(dict(pairs))
    own, identifier = key_of(table), ".".join(table.name())
    if len(given) == 1 and len(own) == 1:
        return Key({own[0]: given[0]})
    if own:
        raise ConfigurationError(
            f"{identifier} has the key {', '.join(own)}: give --key column=value for each of its columns."
        )
    raise ConfigurationError(
        f"It is not known what the key of {identifier} is: give --key column=value, once for each column that shows "
        f"whose rows they are (of {', '.join(item.name for item in table.schema().fields)})."
    )


def _pairs(given: Sequence[str], columns: set[str]) -> Iterator[tuple[str, str]]:
    for text in given:
        # a value, and a column's name, may have an equals sign
        for name in sorted(columns, key=len, reverse=True):
            if text.startswith(f"{name}="):
                yield name, text.removeprefix(f"{name}=")
                break


def key_of(table: Table) -> tuple[str, ...]:
    """Return the columns of a table's key: as its pipeline declared it, else its identifier fields; none if unknown."""
    declared, _ = declared_columns(table)
    schema = table.schema()
    return declared or tuple(str(schema.find_column_name(each)) for each in schema.identifier_field_ids)
