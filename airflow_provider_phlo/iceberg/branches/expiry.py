"""
Expire snapshots that nobody reads any more, and drop the branches of failed runs.

Metadata only: files that expired snapshots alone have used are left to :mod:`.maintenance.orphans`.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    RemovePartitionStatisticsUpdate,
    RemovePropertiesUpdate,
    RemoveSnapshotRefUpdate,
    RemoveSnapshotsUpdate,
    SetPropertiesUpdate,
    TableUpdate,
)

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit
from airflow_provider_phlo.iceberg.tables.refs import branch_head, lineage, snapshots_by_id
from airflow_provider_phlo.terms import MAIN_BRANCH

DAY_MS = 86_400_000
AGE_PROPERTY = "history.expire.max-snapshot-age-ms"
KEEP_PROPERTY = "history.expire.min-snapshots-to-keep"
DEFAULT_DAYS = 7
DEFAULT_KEEP = 10
# of a table's own retention; a query takes as long
LEAST_DAYS = 1 / 24
# a hundred years; earlier moments may be outside the range of dates
MOST_DAYS = 36_500


def is_days(number: float) -> bool:
    """Return whether this is an age in days: a number (NaN is not one) from 0 to :data:`MOST_DAYS`."""
    return 0 <= number <= MOST_DAYS


@dataclass(frozen=True)
class Retention:
    """
    What is kept; beside it, whatever branches keep by a retention of their own.

    :param snapshot_days: snapshots expire this many days after main moved on from them. (Counting from when they were
        written would leave readers of a seldom written table no time.) None means what the table's properties say,
        else 7.
    :param keep_last: this many of main are kept, however old. None means what the table's properties say, else 10.
    :param branch_days: branches of failed runs are dropped when their head is older.
    """

    snapshot_days: float | None = None
    keep_last: int | None = None
    branch_days: float = DEFAULT_DAYS

    def __post_init__(self) -> None:
        given = (DEFAULT_DAYS if self.snapshot_days is None else self.snapshot_days, self.branch_days)
        if (self.keep_last is not None and self.keep_last < 1) or not all(map(is_days, given)):
            raise ConfigurationError(
                f"keep_last={self.keep_last}, snapshot_days={self.snapshot_days}, branch_days={self.branch_days}: "
                f"keep at least 1 snapshot (main's head is never removed), and give days from 0 to {MOST_DAYS}."
            )

    def of(self, properties: Mapping[str, str]) -> tuple[float, int]:
        """Return after how many days snapshots of a table with these properties expire, and how many are kept."""
        own = whole_number(properties, AGE_PROPERTY, DEFAULT_DAYS * DAY_MS) / DAY_MS
        days = min(max(own, LEAST_DAYS), MOST_DAYS) if self.snapshot_days is None else self.snapshot_days
        return days, self.keep_last or max(1, whole_number(properties, KEEP_PROPERTY, DEFAULT_KEEP))


def whole_number(properties: Mapping[str, str], name: str, default: int) -> int:
    """Return a property; no run fails because somebody wrote nonsense there."""
    value = str(properties.get(name, ""))
    return int(value) if value.isdecimal() else default


@dataclass(frozen=True)
class ExpiryPlan:
    """What expires: snapshot ids, and names of branches."""

    snapshots: tuple[int, ...] = ()
    branches: tuple[str, ...] = ()

    def totals(self) -> dict[str, Any]:
        """Return how much it is, as a JSON object."""
        return {"snapshots": len(self.snapshots), "branches": list(self.branches)}


def plan_expiry(table: Table, retention: Retention, now: datetime.datetime, most: int | None = None) -> ExpiryPlan:
    """
    Return what expires; never what a branch or tag that stays points to, nor what lies between it and main.

    :param most: no more of main's snapshots stay, however young, nor any that runs of ours wrote and nothing points to.
        What others have staged, and what main was set back from, has the whole time that ``retention`` gives it.
    """
    metadata, moment = table.metadata, int(now.timestamp() * 1000)
    left, known = left_main(metadata), snapshots_by_id(metadata)
    dropped = tuple(sorted(_old_branches(metadata, left, moment - int(retention.branch_days * DAY_MS))))
    days, keep_last = retention.of(table.properties)
    published = list(lineage(metadata, branch_head(table), known))
    keep = {*_needed(metadata, dropped), *_kept_by_branches(metadata, dropped, left, moment), *published[:keep_last]}
    beyond = set() if most is None or len(known) <= most else {*published[most:], *_abandoned(metadata, left)}
    oldest = moment - int(days * DAY_MS)
    expired = (
        item.snapshot_id
        for item in metadata.snapshots
        if item.snapshot_id not in keep
        and (left.get(item.snapshot_id, item.timestamp_ms) < oldest or item.snapshot_id in beyond)
    )
    return ExpiryPlan(tuple(expired), dropped)


def held_by(table: Table, snapshot_ids: Collection[int]) -> tuple[int, int]:
    """Return the number and the size of the data and delete files that only these snapshots need."""
    own: dict[str, ManifestFile] = {}
    others: dict[str, ManifestFile] = {}
    for snapshot in table.metadata.snapshots if snapshot_ids else ():
        found = own if snapshot.snapshot_id in snapshot_ids else others
        found.update({manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)})
    needed = set(_sizes(table, others.values()))
    alone = _sizes(table, (manifest for path, manifest in own.items() if path not in others))
    sizes = [size for path, size in alone.items() if path not in needed]
    return len(sizes), sum(sizes)


def _sizes(table: Table, manifests: Iterable[ManifestFile]) -> dict[str, int]:
    return {
        entry.data_file.file_path: entry.data_file.file_size_in_bytes
        for manifest in manifests
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    }


def expire(catalog: Catalog, identifier: str, retention: Retention, now: datetime.datetime) -> ExpiryPlan:
    """
    Expire what :func:`plan_expiry` says, in one commit.

    :returns: what expired.
    :raises CommitConflictError: if other writers committed first in every round.
    """

    def attempt() -> ExpiryPlan:
        table = catalog.load_table(identifier)
        plan = plan_expiry(table, retention, now)
        # what is not needed may have become so when a branch has moved
        unmoved = [
            AssertRefSnapshotId(ref=name, snapshot_id=ref.snapshot_id) for name, ref in table.metadata.refs.items()
        ]
        branches.commit(catalog, table, unmoved, list(expiry_updates(table, plan)))
        return plan

    return retry_commit(attempt, identifier)


def expiry_updates(table: Table, plan: ExpiryPlan) -> Iterator[TableUpdate]:
    """Yield what a commit does to expire what is planned."""
    for name in plan.branches:
        yield RemoveSnapshotRefUpdate(ref_name=name)
    if not plan.snapshots:
        return
    kept = snapshots_by_id(table.metadata).keys() - set(plan.snapshots)
    for item in table.metadata.partition_statistics:  # PyIceberg takes a snapshot's other statistics away with it
        if item.snapshot_id not in kept:
            yield RemovePartitionStatisticsUpdate(snapshot_id=item.snapshot_id)
    yield RemoveSnapshotsUpdate(snapshot_ids=list(plan.snapshots))
    undone = branches.undone_snapshots(table)
    known = undone - set(plan.snapshots)
    if known:
        yield SetPropertiesUpdate(updates={branches.UNDONE_PROPERTY: branches.undone_text(known)})
    elif undone:
        yield RemovePropertiesUpdate(removals=[branches.UNDONE_PROPERTY])


def left_main(metadata: TableMetadata) -> dict[int, int]:
    """Return when main moved on from each snapshot, in milliseconds; not of those it never pointed to."""
    return {before.snapshot_id: after.timestamp_ms for before, after in pairwise(metadata.snapshot_log)}


def _abandoned(metadata: TableMetadata, left: Mapping[int, int]) -> Iterator[int]:
    """Yield the snapshots that runs of ours wrote and main never pointed to."""
    for snapshot in metadata.snapshots:
        if snapshot.snapshot_id not in left and branches.token_of(snapshot):
            yield snapshot.snapshot_id


def _kept_by_branches(
    metadata: TableMetadata, dropped: Collection[str], left: Mapping[int, int], moment: int
) -> Iterator[int]:
    """Yield what branches keep of their own histories, as Iceberg's ``WITH SNAPSHOT RETENTION`` has it."""
    known = snapshots_by_id(metadata)
    for name, ref in metadata.refs.items():
        age, least = ref.max_snapshot_age_ms, ref.min_snapshots_to_keep or 0
        if name in dropped or not (least or age is not None):
            continue
        for number, snapshot_id in enumerate(lineage(metadata, ref.snapshot_id, known)):
            if snapshot_id not in known:
                break
            at = left.get(snapshot_id, known[snapshot_id].timestamp_ms)
            if number < least or (age is not None and at >= moment - age):
                yield snapshot_id


def _old_branches(metadata: TableMetadata, left: Mapping[int, int], oldest: int) -> Iterator[str]:
    main, snapshots = metadata.refs.get(MAIN_BRANCH), snapshots_by_id(metadata)
    for name, ref in metadata.refs.items():
        snapshot = snapshots.get(ref.snapshot_id)
        own = ref.snapshot_ref_type == SnapshotRefType.BRANCH and branches.is_of_a_run(name, snapshot)
        # a run that has not merged yet has a branch at main's head, whose age says nothing about the run
        if not own or (main and ref.snapshot_id == main.snapshot_id):
            continue
        if snapshot and left.get(ref.snapshot_id, snapshot.timestamp_ms) < oldest:
            yield name


def _needed(metadata: TableMetadata, dropped: tuple[str, ...]) -> set[int]:
    """Return the heads of what stays, and what lies between them and main."""
    main, snapshots = metadata.refs.get(MAIN_BRANCH), snapshots_by_id(metadata)
    published = set(lineage(metadata, main.snapshot_id if main else None, snapshots))
    needed = set()
    for name, ref in metadata.refs.items():
        if name in dropped:
            continue
        for snapshot_id in lineage(metadata, ref.snapshot_id, snapshots):
            needed.add(snapshot_id)
            if snapshot_id in published:
                break
    return needed
