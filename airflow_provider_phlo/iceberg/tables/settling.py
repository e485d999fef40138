"""The columns that a table has once new content is its main: those of the content, in their order, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import (
    AssertTableUUID,
    SetCurrentSchemaUpdate,
    SetDefaultSortOrderUpdate,
    SetDefaultSpecUpdate,
    SetPropertiesUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.table.update.schema import UpdateSchema

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit
from airflow_provider_phlo.iceberg.tables.evolution import apart_from_partitions
from airflow_provider_phlo.iceberg.tables.layout import AS_IT_IS


@dataclass(frozen=True)
class Settlement:
    """
    What becomes of a table's columns; no data file is touched.

    :param stale: columns that go; those that the table lacks do not count.
    :param order: those that come first, in this order; those that the table lacks do not count.
    :param requirements: what of the table is as it was when ``updates`` were staged, see :mod:`.staging`.
    :param updates: what makes the table's what was staged: columns, partitions, order and properties.
    """

    stale: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    requirements: tuple[TableRequirement, ...] = ()
    updates: tuple[TableUpdate, ...] = ()

    def is_of(self, table: Table) -> bool:
        """Return whether a table has these columns, and what was staged for it."""
        return self._is_staged(table.metadata) and self._is_of([item.name for item in table.schema().fields])

    def _is_staged(self, metadata: TableMetadata) -> bool:
        """Return whether what is staged is the table's."""
        return all(_is_done(update, metadata) for update in self.updates)

    def apply(self, transaction: Transaction) -> None:
        """
        Stage what a table lacks of it.

        :raises SchemaError: the table is partitioned or sorted by a column that goes.
        :raises CommitConflictError: another writer has changed the table since something was staged for it.
        """
        identifier = ".".join(transaction._table.name())
        if not self._is_staged(transaction.table_metadata):
            try:
                transaction._apply(self.updates, self.requirements)
            except CommitFailedException as error:
                raise CommitConflictError(
                    f"{identifier}: its columns or partitions were changed since its content was computed ({error})."
                ) from error
        metadata = transaction.table_metadata
        names = [item.name for item in metadata.schema().fields]
        if self._is_of(names):
            return
        AS_IT_IS.check_removal(identifier, metadata, self.stale)
        with apart_from_partitions(identifier), transaction.update_schema(True) as update:
            self._stage(update, names)

    def changes(self, table: Table) -> tuple[Sequence[TableRequirement], Sequence[TableUpdate]]:
        """
        Return what a commit needs and does for it.

        :raises SchemaError: as :meth:`apply`.
        :raises CommitConflictError: as :meth:`apply`.
        """
        if self.is_of(table):
            return (), ()
        transaction = table.transaction()
        self.apply(transaction)
        # the table's identity is asserted by every commit
        needed = [item for item in transaction._requirements if not isinstance(item, AssertTableUUID)]
        return needed, transaction._updates

    def _is_of(self, names: Sequence[str]) -> bool:
        wanted = [name for name in dict.fromkeys(self.order) if name in names]
        return not set(self.stale) & set(names) and list(names[: len(wanted)]) == wanted

    def _stage(self, update: UpdateSchema, names: Sequence[str]) -> None:
        gone = set(self.stale) & set(names)
        for name in gone:
            update.delete_column((name,))
        left = [name for name in names if name not in gone]
        wanted = [name for name in dict.fromkeys(self.order) if name in left]
        for at, name in enumerate(wanted):
            if left[at] == name:
                continue
            left.remove(name)
            left.insert(at, name)
            if at:
                update.move_after((name,), (wanted[at - 1],))
            else:
                update.move_first((name,))


def _is_done(update: TableUpdate, metadata: TableMetadata) -> bool:
    if isinstance(update, SetCurrentSchemaUpdate):
        return metadata.current_schema_id == update.schema_id
    if isinstance(update, SetDefaultSpecUpdate):
        return metadata.default_spec_id == update.spec_id
    if isinstance(update, SetDefaultSortOrderUpdate):
        return metadata.default_sort_order_id == update.sort_order_id
    return isinstance(update, SetPropertiesUpdate) and update.updates.items() <= metadata.properties.items()


AS_THEY_ARE = Settlement()


def settle_columns(catalog: Catalog, identifier: str, settlement: Settlement) -> None:
    """
    Give a table its columns, in one commit; none if it has them.

    :raises SchemaError: it is partitioned or sorted by a column that goes.
    :raises CommitConflictError: if other writers changed the table in every round.
    """

    def attempt() -> None:
        with catalog.load_table(identifier).transaction() as transaction:
            settlement.apply(transaction)

    retry_commit(attempt, identifier)
