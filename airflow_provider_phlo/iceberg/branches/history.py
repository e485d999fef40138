"""What happened to a table: its snapshots with the counts of the runs that made them, and branches that were kept."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Snapshot

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head, lineage, snapshots_by_id
from airflow_provider_phlo.terms import MAIN_BRANCH, Token

COUNTS = ("inserted", "updated", "deleted", "unchanged", "duplicates", "replaced", "quarantined")
CURRENT = "current"
UNDONE = "undone"


@dataclass(frozen=True)
class HistoryEntry:
    """
    One snapshot.

    :param at: when the branch came to point to it; when it was written, if it never did.
    :param state: ``current``, ``undone`` (main was set back from it), or empty.
    :param strategy: ``merge``, ``append``, ``replace``, ``compaction``, ``manifests``; empty if others wrote it.
    :param counts: rows, by what happened to them; those that the writer reported.
    :param refs: branches and tags that point to it.
    """

    snapshot_id: int
    at: datetime.datetime
    operation: str
    state: str = ""
    strategy: str = ""
    run_id: str = ""
    token: Token = ""
    partition_date: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    total_rows: int | None = None
    refs: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeptBranch:
    """
    A run's branch that was not published: the run failed, or is still running.

    :param at: when it was last written.
    :param rows: rows that the run inserted or updated on it.
    :param snapshots: how many snapshots it is ahead of main's history.
    """

    name: str
    run_id: str
    partition_date: str
    at: datetime.datetime
    age_days: float
    rows: int
    snapshots: int


def load(catalog: Catalog, identifier: str) -> Table:
    """
    Return the table.

    :raises ConfigurationError: if no table has that name.
    """
    table = find_table(catalog, identifier)
    if table is None:
        raise ConfigurationError(f"Table {identifier} does not exist: correct the name, or run what writes it first.")
    return table


def history(table: Table, *, branch: str = MAIN_BRANCH, limit: int | None = None) -> list[HistoryEntry]:
    """
    Return the snapshots of a branch, newest first; for main, also those that it was set back from.

    :raises ConfigurationError: if the table has no such branch.
    """
    metadata, head = table.metadata, branch_head(table, branch)
    if head is None and branch != MAIN_BRANCH:
        raise ConfigurationError(
            f"{'.'.join(table.name())} has no branch {branch}: it has {', '.join(sorted(metadata.refs)) or 'none'}."
        )
    known = snapshots_by_id(metadata)
    own = list(lineage(metadata, head, known))
    undone = {entry.snapshot_id for entry in metadata.snapshot_log} - set(own) if branch == MAIN_BRANCH else set()
    snapshots = [found for item in (*own, *undone) if (found := known.get(item))]
    entries = _entries(metadata, snapshots, head, undone)
    # main's own lineage is in order, whatever clocks say; those it was set back from go in between by time
    return sorted(entries, key=lambda entry: entry.at, reverse=True)[:limit]


def entry_of(table: Table, snapshot_id: int) -> HistoryEntry | None:
    """Return what is known of one snapshot, None if it has expired."""
    snapshot = table.metadata.snapshot_by_id(snapshot_id)
    return next(_entries(table.metadata, [snapshot], branch_head(table), set())) if snapshot else None


def _entries(
    metadata: TableMetadata, snapshots: list[Snapshot], head: int | None, undone: set[int]
) -> Iterator[HistoryEntry]:
    refs = defaultdict(list)
    for name, ref in metadata.refs.items():
        refs[ref.snapshot_id].append(name)
    published = {entry.snapshot_id: entry.timestamp_ms for entry in reversed(metadata.snapshot_log)}
    for snapshot in snapshots:
        number, summary = snapshot.snapshot_id, _summary(snapshot)
        yield HistoryEntry(
            snapshot_id=number,
            at=moment(published.get(number, snapshot.timestamp_ms)),
            operation=str(snapshot.summary.operation.value) if snapshot.summary else "",
            state=CURRENT if number == head else UNDONE if number in undone else "",
            strategy=summary.get("phlo.strategy", ""),
            run_id=summary.get("phlo.run-id", ""),
            token=summary.get("phlo.token", ""),
            partition_date=summary.get("phlo.partition-date", ""),
            counts={name: int(summary[f"phlo.{name}"]) for name in COUNTS if f"phlo.{name}" in summary},
            total_rows=int(summary["total-records"]) if "total-records" in summary else None,
            refs=tuple(sorted(refs[number])),
        )


def _summary(snapshot: Snapshot) -> dict[str, str]:
    return dict(snapshot.summary.additional_properties) if snapshot.summary else {}


def kept_branches(table: Table, now: datetime.datetime | None = None) -> list[KeptBranch]:
    """Return the branches of runs that have not published, oldest first."""
    now = now or datetime.datetime.now(datetime.UTC)
    metadata, snapshots = table.metadata, snapshots_by_id(table.metadata)
    published = set(lineage(metadata, branch_head(table), snapshots))
    found = []
    for name, ref in metadata.refs.items():
        snapshot = snapshots.get(ref.snapshot_id)
        own = ref.snapshot_ref_type == SnapshotRefType.BRANCH and branches.is_of_a_run(name, snapshot)
        if not own or snapshot is None:
            continue
        ahead = [*takewhile(lambda item: item not in published, lineage(metadata, ref.snapshot_id, snapshots))]
        summary: dict[str, Any] = _summary(snapshot) if ahead else {}
        at = moment(snapshot.timestamp_ms)
        found.append(
            KeptBranch(
                name=name,
                run_id=summary.get("phlo.run-id", ""),
                partition_date=summary.get("phlo.partition-date", ""),
                at=at,
                age_days=round((now - at).total_seconds() / 86_400, 2),
                rows=int(summary.get("phlo.inserted", 0)) + int(summary.get("phlo.updated", 0)),
                snapshots=len(ahead),
            )
        )
    return sorted(found, key=lambda item: item.at)


def moment(milliseconds: int) -> datetime.datetime:
    """Return the time that a number in Iceberg's metadata stands for."""
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
