"""How a table is partitioned, sorted and kept, where its owner says so; a table that exists can be given another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyiceberg.partitioning import PartitionField
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, UNSORTED_SORT_ORDER_ID, SortDirection
from pyiceberg.table.update import AddSortOrderUpdate, SetDefaultSortOrderUpdate

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg.tables.creation import check_properties, partition_spec, sort_order


@dataclass(frozen=True)
class TableLayout:
    """
    What the owner of a table says of its files.

    :param partition_by: see :func:`.creation.ensure_table`; None leaves a table as it is.
    :param sort_by: likewise.
    :param properties: table properties; others stay.
    """

    partition_by: tuple[str, ...] | None = None
    sort_by: tuple[str, ...] | None = None
    properties: Mapping[str, str] = field(default_factory=dict)

    def check(self, identifier: str, schema: Schema) -> None:
        """
        Check that a table with these columns can have it.

        :raises ConfigurationError: a column does not exist, or something is not understood.
        """
        check_properties(identifier, self.properties)
        partition_spec(schema, self.partition_by or ())
        sort_order(schema, self.sort_by or ())

    def is_of(self, table: Table) -> bool:
        """Return whether a table has it."""
        return self.has_partitions_of(table) and self._has_order_of(table.metadata) and not self._new_properties(table)

    def has_partitions_of(self, table: Table) -> bool:
        """Return whether a table is partitioned so."""
        if self.partition_by is None:
            return True
        names = {item.name for item in table.schema().fields}
        if any(name not in names and "(" not in name for name in self.partition_by):
            return False
        wanted = partition_spec(table.schema(), self.partition_by)
        return _partitions(wanted.fields) == _partitions(table.spec().fields)

    def check_removal(self, identifier: str, metadata: TableMetadata, names: Collection[str]) -> None:
        """
        Check that a table can lose columns.

        :raises SchemaError: it stays partitioned or sorted by one of them.
        """
        settings = {"partitioned": ("partition_by", self.partition_by), "sorted": ("sort_by", self.sort_by)}
        for use, sources in _uses(metadata).items():
            setting, given = settings[use]
            needed = [item.name for item in metadata.schema().fields if item.field_id in sources and item.name in names]
            if needed and given is None:
                raise SchemaError(
                    f"{identifier} is {use} by {', '.join(needed)}, which its new content lacks, or has as another "
                    f"type. Give it back, or write the table once with another {setting}."
                )

    def apply(self, transaction: Transaction) -> None:
        """Stage what a table lacks of it."""
        schema, metadata = transaction.table_metadata.schema(), transaction.table_metadata
        if self.partition_by is not None:
            _partition(transaction, partition_spec(schema, self.partition_by).fields)
        if self.sort_by == () and _sort_fields(metadata):
            _set_unsorted(transaction)
        elif self.sort_by is not None and not self._has_order_of(metadata):
            with transaction.update_sort_order() as order:
                for by in sort_order(schema, self.sort_by).fields:
                    add = order.desc if by.direction == SortDirection.DESC else order.asc
                    add(_column(schema, by.source_id), by.transform, by.null_order)
        if new := self._new_properties(transaction._table):
            transaction.set_properties(new)

    def _has_order_of(self, metadata: TableMetadata) -> bool:
        if self.sort_by is None:
            return True
        names = {item.name for item in metadata.schema().fields}
        if any(name.partition(" ")[0] not in names and name not in names for name in self.sort_by):
            return False
        return sort_order(metadata.schema(), self.sort_by).fields == _sort_fields(metadata)

    def _new_properties(self, table: Table) -> dict[str, str]:
        return {name: str(value) for name, value in self.properties.items() if table.properties.get(name) != str(value)}


def columns_in_use(metadata: TableMetadata) -> set[int]:
    """Return the ids of the columns that a table is partitioned or sorted by."""
    return set().union(*_uses(metadata).values())


def _uses(metadata: TableMetadata) -> dict[str, set[int]]:
    """Return the ids of the columns that a table is partitioned and sorted by."""
    return {
        "partitioned": {item.source_id for item in metadata.spec().fields if str(item.transform) != "void"},
        "sorted": {item.source_id for item in _sort_fields(metadata)},
    }


def _partition(transaction: Transaction, wanted: Sequence[PartitionField]) -> None:
    schema, current = transaction.table_metadata.schema(), transaction.table_metadata.spec().fields
    if _partitions(wanted) == _partitions(current):
        return
    with transaction.update_spec() as spec:
        for item in current:
            if _partitions([item])[0] not in _partitions(wanted):
                spec.remove_field(item.name)
        for item in wanted:
            if _partitions([item])[0] not in _partitions(current):
                spec.add_field(_column(schema, item.source_id), item.transform, item.name)


def _set_unsorted(transaction: Transaction) -> None:
    # PyIceberg's own takes the last order for it where a table was made sorted
    known = transaction.table_metadata.sort_order_by_id(UNSORTED_SORT_ORDER_ID)
    added = [] if known is not None else [AddSortOrderUpdate(sort_order=UNSORTED_SORT_ORDER)]
    transaction._apply((*added, SetDefaultSortOrderUpdate(sort_order_id=UNSORTED_SORT_ORDER_ID)))


def _column(schema: Schema, field_id: int) -> str:
    return str(schema.find_column_name(field_id))


def _sort_fields(metadata: TableMetadata) -> Any:
    order = metadata.sort_order_by_id(metadata.default_sort_order_id)
    return order.fields if order else ()


AS_IT_IS = TableLayout()


def _partitions(fields: Any) -> list[tuple[int, str]]:
    return [(item.source_id, str(item.transform)) for item in fields if str(item.transform) != "void"]
