"""Commit to a table that others commit to as well: lost races are repeated, conflicts are errors."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from itertools import chain

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile, ManifestFile, write_manifest_list
from pyiceberg.table import Table
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotSummaryCollector, Summary, update_snapshot_summaries
from pyiceberg.table.update import AddSnapshotUpdate, AssertRefSnapshotId, AssertTableUUID

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError
from airflow_provider_phlo.iceberg.catalogs.file_io import location_provider
from airflow_provider_phlo.iceberg.catalogs.opening import is_nessie
from airflow_provider_phlo.iceberg.catalogs.retries import disk_errors, retry_commit
from airflow_provider_phlo.iceberg.files.manifests import FileChanges, SnapshotFiles, next_manifests
from airflow_provider_phlo.iceberg.tables.partitioning import partition_schema
from airflow_provider_phlo.iceberg.tables.properties import avro_codec
from airflow_provider_phlo.iceberg.tables.refs import branch_head, point_branch
from airflow_provider_phlo.iceberg.tables.settling import AS_THEY_ARE, Settlement
from airflow_provider_phlo.iceberg.tables.staging import BASE_SCHEMA
from airflow_provider_phlo.terms import MAIN_BRANCH


def commit_files(
    catalog: Catalog,
    table: Table,
    branch: str,
    *,
    added: Sequence[DataFile],
    removed: Sequence[DataFile] = (),
    summary: Mapping[str, str],
    files: SnapshotFiles | None = None,
    settlement: Settlement = AS_THEY_ARE,
) -> int | None:
    """
    Replace ``removed`` by ``added``, in one snapshot that becomes the head of ``branch``.

    Commits of others to other branches do not matter meanwhile; a commit to this branch is a conflict.

    :param table: as it was read when the files were chosen and written.
    :param branch: made by this commit if it does not exist.
    :param summary: properties of the snapshot.
    :param files: the files of the snapshot to build on; None means the head of ``branch``, or main's if it is new.
    :param settlement: what becomes the table's in the same commit: ``table`` and the files have it already.
    :returns: the snapshot's id, or None if there is nothing to do.
    :raises CommitConflictError: if another writer has changed the branch, or how the table is partitioned.
    """
    operation = Operation.OVERWRITE if removed else Operation.APPEND
    changes = FileChanges(added, removed)
    return commit_changes(
        catalog, table, branch, changes, operation, summary=summary, files=files, settlement=settlement
    )


def commit_changes(
    catalog: Catalog,
    table: Table,
    branch: str,
    changes: FileChanges,
    operation: Operation,
    *,
    summary: Mapping[str, str],
    files: SnapshotFiles | None = None,
    settlement: Settlement = AS_THEY_ARE,
) -> int | None:
    """
    Commit ``changes`` as one snapshot that becomes the head of ``branch``; see :func:`commit_files`.

    :param operation: Iceberg's name for the kind of change; ``replace`` if no row has changed.
    """
    if not changes:
        return None
    require_table_branches(catalog, branch)
    identifier = ".".join(table.name())
    ref = table.metadata.refs.get(branch)
    if ref is not None and ref.snapshot_ref_type != SnapshotRefType.BRANCH:
        raise ValueError(f"{branch} of {identifier} is a tag, not a branch.")
    files = files or SnapshotFiles(table, branch_head(table, branch) or branch_head(table))
    snapshot_id, parent = table.metadata.new_snapshot_id(), files.snapshot_id
    with disk_errors(identifier):
        manifests = next_manifests(files, changes, snapshot_id)
    facts = _summary(table, parent, operation, changes, summary)
    base = base_of(table, branch)
    # what a settlement changes is the catalog's table, not the one that has it
    loaded = chain([] if settlement.updates else [table], iter(lambda: catalog.load_table(identifier), None))

    def attempt() -> int:
        current = next(loaded)
        if base_of(current, branch) != base:
            raise CommitConflictError(
                f"{identifier}: branch {branch} was changed by another writer; nothing was published, retry."
            )
        snapshot = _snapshot(current, snapshot_id, parent, manifests, facts)
        # the columns that the files were written with are not the table's yet
        if BASE_SCHEMA in summary or settlement.updates:
            snapshot = snapshot.model_copy(update={"schema_id": table.metadata.current_schema_id})
        _commit_snapshot(catalog, current, branch, snapshot, settlement)
        return snapshot_id

    return retry_commit(attempt, identifier)


def require_table_branches(catalog: Catalog, branch: str | None) -> None:
    """
    Refuse the branch of a single table where it would destroy data.

    :raises ConfigurationError: on Nessie, where it would replace main.
    """
    if branch not in (None, MAIN_BRANCH) and is_nessie(catalog):
        raise ConfigurationError(
            f"Catalog {catalog.name!r} is a Nessie catalog, on which a table's own branch ({branch}) would replace "
            "main: use a branch of the whole catalog, see iceberg.branches.publication.run_branch."
        )


def base_of(table: Table, branch: str = MAIN_BRANCH) -> tuple[object, ...]:
    """Return what written files depend on: they cannot be committed once it has changed."""
    head = branch_head(table, branch) or branch_head(table)
    return table.metadata.table_uuid, table.metadata.default_spec_id, head


def _snapshot(
    table: Table, snapshot_id: int, parent: int | None, manifests: Sequence[ManifestFile], summary: Summary
) -> Snapshot:
    """Write the manifest list, which holds the sequence number, and return the snapshot."""
    name = f"snap-{snapshot_id}-{uuid.uuid4()}.avro"
    location = location_provider(table.location(), table.properties).new_metadata_location(name)
    number = table.metadata.next_sequence_number()
    with write_manifest_list(
        format_version=table.metadata.format_version,
        output_file=table.io.new_output(location),
        snapshot_id=snapshot_id,
        parent_snapshot_id=parent,
        sequence_number=number,
        avro_compression=avro_codec(table),  # type: ignore[arg-type]
    ) as writer:
        # PyIceberg numbers new manifests in place, and a later attempt has another number
        writer.add_manifests([ManifestFile(*(each[field] for field in range(len(each)))) for each in manifests])
    return Snapshot(
        snapshot_id=snapshot_id,
        parent_snapshot_id=parent,
        manifest_list=location,
        sequence_number=number,
        summary=summary,
        schema_id=table.metadata.current_schema_id,
    )


def _commit_snapshot(catalog: Catalog, table: Table, branch: str, snapshot: Snapshot, settlement: Settlement) -> None:
    """
    Add ``snapshot`` and make it the head of ``branch``, and the table what ``settlement`` says.

    :raises CommitFailedException: if another writer was faster: the branch may be untouched.
    """
    # PyIceberg lets nothing but main be asserted of a table without snapshots; whoever was faster has made one
    asserted = branch if table.metadata.snapshots else MAIN_BRANCH
    needed, updates = settlement.changes(table) if settlement.updates else ((), ())
    requirements = (
        AssertTableUUID(uuid=table.metadata.table_uuid),
        AssertRefSnapshotId(ref=asserted, snapshot_id=branch_head(table, asserted)),
        *needed,
    )
    try:
        moved = point_branch(table, branch, snapshot.snapshot_id)
        catalog.commit_table(table, requirements, (*updates, AddSnapshotUpdate(snapshot=snapshot), moved))
    except ValueError as error:
        # PyIceberg reports a sequence number that another commit has taken as a plain ValueError
        newer = catalog.load_table(".".join(table.name()))
        if newer.metadata_location == table.metadata_location:
            raise
        raise CommitFailedException(str(error)) from error


def _summary(
    table: Table,
    parent: int | None,
    operation: Operation,
    changes: FileChanges,
    properties: Mapping[str, str],
) -> Summary:
    """Return the counts that Iceberg asks for, with ``properties``."""
    specs, schema = table.specs(), partition_schema(table)
    collector = SnapshotSummaryCollector()
    for file in changes.added:
        collector.add_file(file, schema, table.spec())
    for file in (*changes.removed, *changes.dropped):
        collector.remove_file(file, schema, specs[file.spec_id])
    before = table.metadata.snapshot_by_id(parent) if parent is not None else None
    # PyIceberg adds totals up for operations that it writes itself, and a compaction is not one of these
    counted = Operation.OVERWRITE if operation == Operation.REPLACE else operation
    summary = update_snapshot_summaries(
        Summary(operation=counted, **collector.build(), **properties), before.summary if before else None
    )
    return Summary(operation=operation, **summary.additional_properties)
