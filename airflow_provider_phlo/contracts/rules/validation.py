"""Whether a table is as its contract says: columns, types, nullability, partitioning. Its rows are not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.types import ListType, NestedField, StructType

from airflow_provider_phlo.contracts.model.contract import Column, Contract, Promise
from airflow_provider_phlo.schemas.types import without_ids
from airflow_provider_phlo.suggestions import did_you_mean


@dataclass(frozen=True)
class Breach:
    """
    Something that the table lacks.

    :param column: with dots for members; empty for the table as a whole.
    :param line: where the contract says it.
    :param blocking: whether readers cannot rely on the contract; else it is only likely to be broken.
    """

    table: str
    column: str
    problem: str
    line: int | None = None
    blocking: bool = True


def validate(promise: Promise, schema: Schema, spec: PartitionSpec | None = None) -> list[Breach]:
    """
    Return what a table lacks of what was promised.

    :param promise: of that table.
    :param schema: the table's, or that of the model it will be made from.
    :param spec: its partitioning; None if that is not to be compared.
    """
    found = list(_members(promise.table, (), promise.columns, schema.fields))
    if spec is not None and promise.partitioned_by:
        found += _partitioning(promise, schema, spec)
    return found


def ownership(contract: Contract) -> list[Breach]:
    """Return that nobody owns a contract, if that is so."""
    if contract.owner:
        return []
    return [Breach(promise.table, "", "nobody owns the contract: write owner", promise.line) for promise in
            contract.promises[:1]]  # fmt: skip


def _members(
    table: str, above: tuple[str, ...], promised: Sequence[Column], fields: Sequence[NestedField]
) -> Iterator[Breach]:
    there = {field.name: field for field in fields}
    for column in promised:
        path = (*above, column.name)
        field = there.get(column.name)
        if field is None:
            problem = f"the table has no such column.{did_you_mean(column.name, there)}".rstrip(".")
            yield Breach(table, ".".join(path), problem, column.line)
            continue
        yield from _column(table, path, column, field)


def _column(table: str, path: tuple[str, ...], column: Column, field: NestedField) -> Iterator[Breach]:
    name = ".".join(path)
    if column.type and not column.type.keeps(field.field_type):
        problem = f"the contract says {column.type.text}, the table has {without_ids(field.field_type)}"
        yield Breach(table, name, problem, column.line)
        return
    if column.required and not field.required and not path[:-1]:
        problem = "the contract says that every row has a value, the table allows NULL"
        yield Breach(table, name, problem, column.line, blocking=False)
    if column.members:
        inner = field.field_type.element_type if isinstance(field.field_type, ListType) else field.field_type
        if isinstance(inner, StructType):
            yield from _members(table, path, column.members, inner.fields)
        else:
            yield Breach(table, name, f"it has no members, it is {without_ids(field.field_type)}", column.line)


def _partitioning(promise: Promise, schema: Schema, spec: PartitionSpec) -> Iterator[Breach]:
    by = [schema.find_column_name(field.source_id) for field in spec.fields]
    for name in promise.partitioned_by:
        if name not in by:
            now = f"by {', '.join(filter(None, by))}" if by else "not partitioned"
            yield Breach(promise.table, name, f"the contract says that the table is partitioned by it; it is {now}")
