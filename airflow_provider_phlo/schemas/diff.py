"""
What differs between two schemas, and whom it breaks.

The old schema is that of a table (or of the model that made it), the new one that of rows to come. Whether a merge
would accept them is decided by the functions that the merge itself uses (:mod:`airflow_provider_phlo.schemas.types`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import pyarrow as pa
from pandera.pandas import DataFrameModel
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, StructType

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.columns import Column, ModelColumns, model_columns
from airflow_provider_phlo.schemas.constraints import Constraints, constraints, is_tighter, plain, words
from airflow_provider_phlo.schemas.iceberg import pandera_to_iceberg
from airflow_provider_phlo.schemas.types import Path, holds, promotes, without_ids
from airflow_provider_phlo.terms import METADATA_COLUMNS

Described: TypeAlias = "type[DataFrameModel] | Schema | Table"
Broken = Literal["table", "producers", "consumers"]

# what happens to undeclared columns from now on
_STRICT: dict[bool | str, tuple[Broken | None, str]] = {
    True: ("producers", "rows with a value in an undeclared column are bad from now on"),
    "filter": ("consumers", "undeclared columns are dropped from now on"),
    False: (None, "undeclared columns are kept from now on"),
}


@dataclass(frozen=True)
class SchemaChange:
    """
    One difference.

    :param path: the column, or the way to a nested member (``("actor", "login")``, ``("tags", "element")``); empty for
        the schema as a whole.
    :param kind: ``added``, ``removed``, ``type``, ``nullability``, ``doc``, ``order``; between models also ``default``,
        ``unique``, ``range``, ``allowed_values``, ``rule``, ``pii``, ``strict``.
    :param old: what it was; None if there was nothing.
    :param new: what it is; None if there is nothing.
    :param breaks: whom it breaks: the ``table`` (a merge of such rows is refused), ``producers`` (rows that were good
        are now bad) or ``consumers`` (readers lose values that they had); None if it is compatible.
    :param reason: why, in words.
    """

    path: Path
    kind: str
    old: Any
    new: Any
    breaks: Broken | None
    reason: str

    @property
    def compatible(self) -> bool:
        """Return whether nobody has to change anything."""
        return self.breaks is None

    @property
    def name(self) -> str:
        """Return the path with dots: ``actor.login``."""
        return ".".join(self.path)


def schema_diff(old: Described, new: Described) -> tuple[SchemaChange, ...]:
    """
    Return what differs, in the order of the columns.

    Constraints are compared only if both are models, because a table has none. Metadata columns are ignored.

    :param old: what is there: a Pandera model, an Iceberg schema or a table.
    :param new: what comes, likewise.
    :raises SchemaError: if one of them is something else, or cannot be an Iceberg table.

    ::

        for change in schema_diff(catalog.load_table("raw.readings"), Reading):
            print(change.name, change.kind, change.old, change.new, change.breaks, change.reason)
    """
    before, after = _fields(old), _fields(new)
    declared = _model_of(new)
    changes = [*_members((), before, after, declared)]
    changes += _order(before, after)
    was = _model_of(old)
    if was is not None and declared is not None:
        changes += _constraint_changes(was, declared)
    names = list(dict.fromkeys(item.name for item in [*before, *after]))
    return tuple(sorted(changes, key=lambda change: names.index(change.path[0]) if change.path else len(names)))


def _fields(side: Described) -> Sequence[NestedField]:
    if isinstance(side, Table):
        side = side.schema()
    if isinstance(side, type) and issubclass(side, DataFrameModel):
        side = pandera_to_iceberg(side, metadata_columns=False)
    if not isinstance(side, Schema):
        raise SchemaError(f"{side!r} cannot be compared: give a Pandera model, an Iceberg schema or a table.")
    return [item for item in side.fields if item.name not in METADATA_COLUMNS]


def _model_of(side: Described) -> ModelColumns | None:
    return model_columns(side) if isinstance(side, type) else None


def _members(
    parent: Path, old: Iterable[NestedField], new: Iterable[NestedField], declared: ModelColumns | None = None
) -> Iterator[SchemaChange]:
    before, after = {item.name: item for item in old}, {item.name: item for item in new}
    for name, item in before.items():
        path = (*parent, name)
        if name in after:
            yield from _field(path, item, after[name])
        else:
            yield _removed(path, item)
    for name, item in after.items():
        if name not in before:
            yield _added((*parent, name), item, declared[name] if declared is not None else None)


def _removed(path: Path, item: NestedField) -> SchemaChange:
    was = without_ids(item.field_type)
    if item.required:
        reason = "the table requires it: a merge without it is refused"
        return SchemaChange(path, "removed", was, None, "table", reason)
    reason = "new rows are NULL there: readers lose the values"
    return SchemaChange(path, "removed", was, None, "consumers", reason)


def _added(path: Path, item: NestedField, column: Column | None) -> SchemaChange:
    kind = without_ids(item.field_type)
    if item.required and (column is None or column.default is None):
        reason = "optional in the table, but rows without a value are now bad"
        return SchemaChange(path, "added", None, kind, "producers", reason)
    return SchemaChange(path, "added", None, kind, None, "optional in the table, NULL in its existing rows")


def _field(path: Path, old: NestedField, new: NestedField) -> Iterator[SchemaChange]:
    yield from _types(path, old.field_type, new.field_type)
    if old.required and not new.required:
        reason = "the table requires it: a merge with a NULL is refused"
        yield SchemaChange(path, "nullability", "required", "optional", "table", reason)
    elif new.required and not old.required:
        yield SchemaChange(path, "nullability", "optional", "required", "producers", "rows without a value are now bad")
    if old.doc != new.doc:
        yield SchemaChange(path, "doc", old.doc, new.doc, None, "only the text; an existing table keeps its own")


def _types(path: Path, old: IcebergType, new: IcebergType) -> Iterator[SchemaChange]:
    if isinstance(old, StructType) and isinstance(new, StructType):
        yield from _members(path, old.fields, new.fields)
    elif isinstance(old, ListType) and isinstance(new, ListType):
        yield from _field((*path, "element"), old.element_field, new.element_field)
    elif isinstance(old, MapType) and isinstance(new, MapType):
        yield from _map_key((*path, "key"), old.key_type, new.key_type)
        yield from _field((*path, "value"), old.value_field, new.value_field)
    elif old != new:
        yield _type_change(path, old, new)


def _map_key(path: Path, old: IcebergType, new: IcebergType) -> Iterator[SchemaChange]:
    """Compare the keys of a map, whose type a table cannot change."""
    if holds(old, new):
        yield from _types(path, old, new)
    else:
        yield _refused(path, old, new)


def _type_change(path: Path, old: IcebergType, new: IcebergType) -> SchemaChange:
    names = without_ids(old), without_ids(new)
    texts = {"string", "binary"}
    if names == ("binary", "string"):
        return SchemaChange(path, "type", *names, None, "the table keeps binary, and stores the text as UTF-8")
    if set(names) == texts or not (holds(old, new) or promotes(old, new)):
        return _refused(path, old, new)
    if holds(old, new):
        reason = f"the table keeps {names[0]}; values that {names[1]} cannot hold are bad or rounded"
        return SchemaChange(path, "type", *names, "producers", reason)
    return SchemaChange(path, "type", *names, None, f"the table's column is widened to {names[1]}")


def _refused(path: Path, old: IcebergType, new: IcebergType) -> SchemaChange:
    names = without_ids(old), without_ids(new)
    reason = f"Iceberg cannot turn {names[0]} into {names[1]}: the merge is refused"
    return SchemaChange(path, "type", *names, "table", reason)


def _order(old: Sequence[NestedField], new: Sequence[NestedField]) -> Iterator[SchemaChange]:
    after = {item.name for item in new}
    before = [item.name for item in old if item.name in after]
    common = set(before)
    now = [item.name for item in new if item.name in common]
    if now != before:
        yield SchemaChange(
            (), "order", tuple(before), tuple(now), None, "columns are found by name; a table keeps its order"
        )


def _constraint_changes(old: ModelColumns, new: ModelColumns) -> Iterator[SchemaChange]:
    for column in new.columns:
        if column.name not in old:
            continue
        path = (column.name,)
        yield from _column(path, old[column.name], column)
        before, after = (constraints(each.schema.columns[column.name].checks) for each in (old, new))
        yield from _ranges(path, before, after, whole=pa.types.is_integer(column.type))
        yield from _allowed_values(path, before, after)
        yield from _rules(path, before.rules, after.rules)
        yield from _warnings(path, before.warnings, after.warnings)
    yield from _whole(old, new)


def _column(path: Path, old: Column, new: Column) -> Iterator[SchemaChange]:
    if old.unique != new.unique:
        yield _tightened(path, "unique", old.unique, new.unique, tighter=new.unique)
    if old.default != new.default:
        lost = new.default is None and not new.nullable
        was, now = (None if value is None else plain(value) for value in (old.default, new.default))
        reason = "rows without a value are now bad" if lost else "it fills in for a missing value from now on"
        yield SchemaChange(path, "default", was, now, "producers" if lost else None, reason)
    if old.pii != new.pii:
        reason = "its values are kept out of messages" if new.pii else "its values may appear in messages"
        yield SchemaChange(path, "pii", old.pii, new.pii, None, f"{reason} from now on")


def _ranges(path: Path, old: Constraints, new: Constraints, *, whole: bool) -> Iterator[SchemaChange]:
    before, after = ((each.whole_ends() if whole else (each.low, each.high)) for each in (old, new))
    if before != after:
        tighter = is_tighter("low", before[0], after[0]) or is_tighter("high", before[1], after[1])
        yield _tightened(path, "range", old.range(), new.range(), tighter=tighter)


def _allowed_values(path: Path, old: Constraints, new: Constraints) -> Iterator[SchemaChange]:
    before, after = old.allowed, new.allowed
    if before is None and after is None:
        return
    gone = after is not None and (before is None or any(value not in after for value in before))
    come = before is not None and (after is None or any(value not in before for value in after))
    if gone or come:
        yield _tightened(path, "allowed_values", words(before), words(after), tighter=gone)


def _rules(path: Path, old: Sequence[str], new: Sequence[str]) -> Iterator[SchemaChange]:
    for rule in [*old, *new]:
        if (rule in old) != (rule in new):
            was, now = (rule if rule in side else None for side in (old, new))
            yield _tightened(path, "rule", was, now, tighter=rule in new)


def _warnings(path: Path, old: Sequence[str], new: Sequence[str]) -> Iterator[SchemaChange]:
    for rule in [*old, *new]:
        if (rule in old) != (rule in new):
            was, now = (f"{rule} (warns)" if rule in side else None for side in (old, new))
            yield SchemaChange(path, "rule", was, now, None, "a rule that only warns rejects no row")


def _whole(old: ModelColumns, new: ModelColumns) -> Iterator[SchemaChange]:
    before, after = (
        [f"unique together: {', '.join(sorted(each))}" for each in side.unique_together] for side in (old, new)
    )
    yield from _rules((), before, after)
    before_checks, after_checks = (constraints(side.schema.checks) for side in (old, new))
    yield from _rules((), before_checks.rules, after_checks.rules)
    yield from _warnings((), before_checks.warnings, after_checks.warnings)
    if old.strict != new.strict:
        breaks, reason = _STRICT[new.strict]
        yield SchemaChange((), "strict", old.strict, new.strict, breaks, reason)


def _tightened(path: Path, kind: str, old: Any, new: Any, *, tighter: bool) -> SchemaChange:
    if tighter:
        return SchemaChange(path, kind, old, new, "producers", "rows that were good may now be bad")
    return SchemaChange(path, kind, old, new, None, "rows that were good still are; readers may see new values")
