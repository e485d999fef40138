"""The branches of one table and their histories: what a branch points to, what came before it, and how it is moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import SetSnapshotRefUpdate

from airflow_provider_phlo.terms import MAIN_BRANCH, SnapshotId


def branch_head(table: Table, branch: str = MAIN_BRANCH) -> SnapshotId | None:
    """Return the snapshot that ``branch`` points to, or None where it does not exist."""
    ref = table.metadata.refs.get(branch)
    return ref.snapshot_id if ref else None


def snapshots_by_id(metadata: TableMetadata) -> dict[SnapshotId, Snapshot]:
    """Return the snapshots of a table by their ids, for who looks for many: PyIceberg searches all for each."""
    return {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}


def lineage(
    metadata: TableMetadata,
    snapshot_id: SnapshotId | None,
    snapshots: Mapping[SnapshotId, Snapshot] | None = None,
) -> Iterator[SnapshotId]:
    """
    Return the ids of a snapshot and of its ancestors, newest first; an expired one is the last.

    :param snapshots: those of the table by their ids, for who follows several.
    """
    known = snapshots_by_id(metadata) if snapshots is None else snapshots
    while snapshot_id is not None:
        yield snapshot_id
        snapshot = known.get(snapshot_id)
        snapshot_id = snapshot.parent_snapshot_id if snapshot else None


def is_ancestor(metadata: TableMetadata, snapshot_id: SnapshotId | None, *, of: SnapshotId) -> bool:
    """Return whether ``snapshot_id`` is ``of`` or one of its ancestors; the empty table (None) precedes everything."""
    return snapshot_id is None or snapshot_id in lineage(metadata, of)


def point_branch(table: Table, branch: str, snapshot_id: SnapshotId) -> SetSnapshotRefUpdate:
    """Return the update that makes ``branch`` point to a snapshot, once it is committed; its retention stays."""
    before = table.metadata.refs.get(branch)
    return SetSnapshotRefUpdate(
        ref_name=branch,
        type=SnapshotRefType.BRANCH,
        snapshot_id=snapshot_id,
        max_ref_age_ms=before.max_ref_age_ms if before else None,
        max_snapshot_age_ms=before.max_snapshot_age_ms if before else None,
        min_snapshots_to_keep=before.min_snapshots_to_keep if before else None,
    )
