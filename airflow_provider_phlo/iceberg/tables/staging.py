"""
What a run changes of a table beside its rows, before it is published: columns, partitions, order and properties.

Iceberg has one schema for all branches of a table. A run's new one is added to those that the table knows, and its
snapshots name it; which one is the table's is set by the commit that publishes. A run that fails leaves the table as
it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AddSnapshotUpdate,
    AssertCurrentSchemaId,
    AssertDefaultSortOrderId,
    AssertDefaultSpecId,
    AssertLastAssignedFieldId,
    AssertTableUUID,
    SetCurrentSchemaUpdate,
    SetDefaultSortOrderUpdate,
    SetDefaultSpecUpdate,
    SetPropertiesUpdate,
    TableRequirement,
    TableUpdate,
)

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg.tables.settling import AS_THEY_ARE, Settlement
from airflow_provider_phlo.iceberg.tables.support import require_committable

# a table's property: the schema that was staged last and never published, behind the one that it was staged on
STAGED_SCHEMA = "phlo.staged-schema"
# what a staged snapshot's summary says: the schema that the table had, and has until the branch is published
BASE_SCHEMA = "phlo.base-schema"
_OF_THE_TABLE = (SetDefaultSpecUpdate, SetDefaultSortOrderUpdate, SetPropertiesUpdate)


def staged_summary(table: Table) -> dict[str, str]:
    """Return what a snapshot has in its summary that is written for a table as it will be once it is published."""
    return {BASE_SCHEMA: str(table.metadata.current_schema_id)}


def begin(table: Table, settlement: Settlement = AS_THEY_ARE) -> Transaction:
    """
    Begin to change a table as a run's branch has it; what is changed is for :func:`commit_staged`.

    :param settlement: what the run has staged before.
    """
    transaction = table.transaction()
    transaction._stage(settlement.updates, settlement.requirements)
    return transaction


def staged_before(table: Table) -> Settlement:
    """
    Return what a run staged that failed: to go on from there.

    Columns that were added again by every attempt would leave a schema behind each time, and one that a partition was
    named after could not be. No row of the table has ever had these columns.
    """
    base, _, staged = table.properties.get(STAGED_SCHEMA, "").partition(":")
    if base != str(table.metadata.current_schema_id) or not staged.isdigit():
        return AS_THEY_ARE
    if table.metadata.schema_by_id(int(staged)) is None:
        return AS_THEY_ARE
    return Settlement(updates=(SetCurrentSchemaUpdate(schema_id=int(staged)),))


def commit_staged(transaction: Transaction) -> Settlement:
    """
    Commit what a transaction adds, and leave the table as it is.

    :returns: what makes the changes the table's.
    :raises CommitFailedException: another writer was faster.
    :raises CommitConflictError: another writer changed the table's columns at the same moment.
    """
    table, before, after = transaction._table, transaction._table.metadata, transaction.table_metadata
    settlement = _settlement(before, after)
    added = [item for item in transaction._updates if not isinstance(item, _OF_THE_TABLE)]
    if all(isinstance(item, SetCurrentSchemaUpdate) for item in added):
        return settlement
    require_committable(table)
    updates = [_of_schema(item, after.current_schema_id) for item in added]
    if any(isinstance(item, SetCurrentSchemaUpdate) for item in added):
        updates.append(SetCurrentSchemaUpdate(schema_id=before.current_schema_id))
        said = f"{before.current_schema_id}:{after.current_schema_id}"
        updates.append(SetPropertiesUpdate(updates={STAGED_SCHEMA: said}))
    table.catalog.commit_table(table, tuple(_requirements(transaction)), tuple(updates))
    _require_schema(table, after)
    return settlement


def uncommitted(transaction: Transaction) -> Settlement:
    """Return what makes a transaction's changes the table's, for the commit that writes rows; nothing is committed."""
    return Settlement(requirements=tuple(_requirements(transaction)), updates=tuple(transaction._updates))


def as_on_branch(table: Table, branch: str | None) -> Table:
    """Return a table with the columns that a branch has: those that its run has staged, if any."""
    snapshot = table.snapshot_by_name(branch) if branch in table.metadata.refs else None
    if snapshot is None or not _is_staged(snapshot, table.metadata):
        return table
    return with_metadata(table, table.metadata.model_copy(update={"current_schema_id": snapshot.schema_id}))


def as_settled(table: Table, settlement: Settlement) -> Table:
    """Return a table as it will be once what is staged is published."""
    return with_metadata(table, begin(table, settlement).table_metadata) if settlement.updates else table


def with_metadata(table: Table, metadata: TableMetadata) -> Table:
    """Return a table as other metadata describe it."""
    return Table(table.name(), metadata, table.metadata_location, table.io, table.catalog)


def _is_staged(snapshot: Snapshot, metadata: TableMetadata) -> bool:
    """Return whether a snapshot has columns that are not the table's yet: once they are, the table's are newer."""
    said = snapshot.summary.additional_properties.get(BASE_SCHEMA) if snapshot.summary else None
    return said == str(metadata.current_schema_id) and metadata.schema_by_id(snapshot.schema_id or 0) is not None


def _settlement(before: TableMetadata, after: TableMetadata) -> Settlement:
    requirements: list[TableRequirement] = []
    updates: list[TableUpdate] = []
    if after.current_schema_id != before.current_schema_id:
        requirements.append(AssertCurrentSchemaId(current_schema_id=before.current_schema_id))
        updates.append(SetCurrentSchemaUpdate(schema_id=after.current_schema_id))
    if after.default_spec_id != before.default_spec_id:
        requirements.append(AssertDefaultSpecId(default_spec_id=before.default_spec_id))
        updates.append(SetDefaultSpecUpdate(spec_id=after.default_spec_id))
    if after.default_sort_order_id != before.default_sort_order_id:
        requirements.append(AssertDefaultSortOrderId(default_sort_order_id=before.default_sort_order_id))
        updates.append(SetDefaultSortOrderUpdate(sort_order_id=after.default_sort_order_id))
    # what is published is staged no more
    changed = {STAGED_SCHEMA: ""} if updates else {}
    changed |= {name: value for name, value in after.properties.items() if before.properties.get(name) != value}
    if changed:
        updates.append(SetPropertiesUpdate(updates=changed))
    return Settlement(requirements=tuple(requirements), updates=tuple(updates))


def _requirements(transaction: Transaction) -> Sequence[TableRequirement]:
    """Return what has to hold for a commit: ids of columns are given away once."""
    before = transaction._table.metadata
    needed: list[TableRequirement] = [
        AssertTableUUID(uuid=before.table_uuid),
        AssertCurrentSchemaId(current_schema_id=before.current_schema_id),
        # the transaction may have begun with a schema that was staged before
        *(item for item in transaction._requirements if not isinstance(item, AssertCurrentSchemaId)),
    ]
    if any(isinstance(item, AddSchemaUpdate) for item in transaction._updates):
        needed.append(AssertLastAssignedFieldId(last_assigned_field_id=before.last_column_id))
    return needed


def _of_schema(update: TableUpdate, schema_id: int) -> TableUpdate:
    """Let a snapshot name the schema that the run ends with, whatever comes after it in the transaction."""
    if not isinstance(update, AddSnapshotUpdate):
        return update
    return AddSnapshotUpdate(snapshot=update.snapshot.model_copy(update={"schema_id": schema_id}))


def _require_schema(table: Table, wanted: TableMetadata) -> None:
    """Check that the catalog has given the schema the number that was asked for: two runs may add theirs at once."""
    identifier = ".".join(table.name())
    found = table.catalog.load_table(identifier).metadata.schema_by_id(wanted.current_schema_id)
    if found is None or found.fields != wanted.schema().fields:
        raise CommitConflictError(f"{identifier}: another writer changed its columns at the same moment. Run it again.")
