"""The columns that a table has once new content is its main: those of the content, in their order, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table, Transaction
from pyiceberg.table.update import AssertTableUUID, TableRequirement, TableUpdate
from pyiceberg.table.update.schema import UpdateSchema

from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit
from airflow_provider_phlo.iceberg.tables.evolution import apart_from_partitions
from airflow_provider_phlo.iceberg.tables.layout import AS_IT_IS


@dataclass(frozen=True)
class Settlement:
    """
    What becomes of a table's columns; no data file is touched.

    :param stale: columns that go; those that the table lacks do not count.
    :param order: those that come first, in this order; those that the table lacks do not count.
    """

    stale: tuple[str, ...] = ()
    order: tuple[str, ...] = ()

    def is_of(self, table: Table) -> bool:
        """Return whether a table has these columns."""
        return self._is_of([item.name for item in table.schema().fields])

    def apply(self, transaction: Transaction) -> None:
        """
        Stage what a table lacks of it.

        :raises SchemaError: the table is partitioned or sorted by a column that goes.
        """
        identifier, metadata = ".".join(transaction._table.name()), transaction.table_metadata
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
