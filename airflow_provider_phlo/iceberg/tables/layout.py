"""How a table is partitioned, sorted and kept, where its owner says so; a table that exists can be given another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.sorting import SortDirection

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
        return self.has_partitions_of(table) and self._has_order_of(table) and not self._new_properties(table)

    def has_partitions_of(self, table: Table) -> bool:
        """Return whether a table is partitioned so."""
        if self.partition_by is None:
            return True
        names = {item.name for item in table.schema().fields}
        if any(name not in names and "(" not in name for name in self.partition_by):
            return False
        wanted = partition_spec(table.schema(), self.partition_by)
        return _partitions(wanted.fields) == _partitions(table.spec().fields)

    def apply(self, transaction: Transaction) -> None:
        """Stage what a table lacks of it."""
        schema, metadata = transaction.table_metadata.schema(), transaction.table_metadata
        if self.partition_by is not None:
            wanted = partition_spec(schema, self.partition_by).fields
            current = metadata.spec().fields
            if _partitions(wanted) != _partitions(current):
                with transaction.update_spec() as spec:
                    for item in current:
                        if _partitions([item])[0] not in _partitions(wanted):
                            spec.remove_field(item.name)
                    for item in wanted:
                        if _partitions([item])[0] not in _partitions(current):
                            spec.add_field(_column(schema, item.source_id), item.transform, item.name)
        if self.sort_by is not None and not self._has_order_of(metadata):
            with transaction.update_sort_order() as order:
                for by in sort_order(schema, self.sort_by).fields:
                    add = order.desc if by.direction == SortDirection.DESC else order.asc
                    add(_column(schema, by.source_id), by.transform, by.null_order)
        if new := self._new_properties(transaction._table):
            transaction.set_properties(new)

    def _has_order_of(self, table: Any) -> bool:
        if self.sort_by is None:
            return True
        names = {item.name for item in table.schema().fields}
        if any(name.partition(" ")[0] not in names and name not in names for name in self.sort_by):
            return False
        return sort_order(table.schema(), self.sort_by).fields == _sort_fields(table)

    def _new_properties(self, table: Table) -> dict[str, str]:
        return {name: str(value) for name, value in self.properties.items() if table.properties.get(name) != str(value)}


def _column(schema: Schema, field_id: int) -> str:
    return str(schema.find_column_name(field_id))


def _sort_fields(table: Any) -> Any:
    order = table.sort_order() if hasattr(table, "sort_order") else table.sort_order_by_id(table.default_sort_order_id)
    return order.fields


AS_IT_IS = TableLayout()


def _partitions(fields: Any) -> list[tuple[int, str]]:
    return [(item.source_id, str(item.transform)) for item in fields if str(item.transform) != "void"]
