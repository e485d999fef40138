"""
What was written into a table, and when: from the summaries of its snapshots and the marks of its runs.

A run that changes nothing makes no snapshot, and Trino writes nothing into a summary: their marks say what they did.
Marks are kept for a week, snapshots as long as the table's retention says.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata, TableMetadataV1
from pyiceberg.table.snapshots import Snapshot

from airflow_provider_phlo.formats import VERSION_FIELD
from airflow_provider_phlo.iceberg.branches.history import moment
from airflow_provider_phlo.iceberg.branches.marks import MARK_PREFIX, VERSION, all_marks
from airflow_provider_phlo.iceberg.tables.refs import branch_head, lineage, snapshots_by_id
from airflow_provider_phlo.quality.freshness.policy import CLOCK_SKEW
from airflow_provider_phlo.terms import PartitionDate, SnapshotId, Token

#: What a run counts, in the order in which people read it.
COUNTS = ("read", "inserted", "updated", "deleted", "unchanged", "duplicates", "quarantined")
#: What changes a table, of those.
CHANGES = ("inserted", "updated", "deleted")
#: What is known of the snapshots of other writers (dbt is one): the rows of the files that they added.
WRITTEN = "written"
# jobs that rewrite files and change no row
_UPKEEP = ("compaction", "manifests")


@dataclass(frozen=True)
class Load:
    """
    One publication into a table.

    :param at: when it was published.
    :param token: of the run; empty for other writers.
    :param run_id: Airflow's; empty if only the run's mark is left, which does not have it.
    :param counts: rows by what became of them (:data:`COUNTS`); for other writers :data:`WRITTEN`.
    :param replay: whether its records came from the quarantine.
    """

    at: datetime.datetime
    token: Token
    run_id: str
    partition_date: PartitionDate
    counts: Mapping[str, int]
    replay: bool = False

    @property
    def volume(self) -> int:
        """Return how many rows it changed, or, for other writers, wrote."""
        return sum(self.counts.get(name, 0) for name in (*CHANGES, WRITTEN))

    @property
    def shows_source(self) -> bool:
        """
        Return whether the table was as its source after it: it brought rows, or found them unchanged.

        A run that read nothing may have been sent away with an empty answer, and one all of whose records are in
        quarantine has brought none; a replay reads no source.
        """
        if self.replay:
            return False
        if "read" not in self.counts:
            return self.volume > 0
        return self.counts["read"] > self.counts.get("quarantined", 0)


@dataclass(frozen=True)
class TableLoads:
    """
    What was written into one table.

    :param loads: what is known, oldest first, without what main was set back from.
    :param known_since: what was written before has expired; None if everything is known.
    :param undone: snapshots that main was set back from.
    :param total_rows: how many rows there are now; None if nothing says so.
    """

    table: str
    loads: tuple[Load, ...]
    known_since: datetime.datetime | None
    undone: int
    total_rows: int | None

    @property
    def last(self) -> Load | None:
        """Return the newest one."""
        return self.loads[-1] if self.loads else None

    def current_as_of(self, now: datetime.datetime) -> datetime.datetime | None:
        """
        Return when the table was last as its source, None if no run is known after which it was.

        That is the newest publication that shows it (:attr:`Load.shows_source`), without those of days before the
        newest: who loads old days again brings nothing new. Those that are ahead of the clock are not believed.
        """
        newest: PartitionDate = ""
        found = None
        for load in self.loads:
            if not load.shows_source or load.at > now + CLOCK_SKEW or (load.partition_date or newest) < newest:
                continue
            # a day that a run has by mistake may be far ahead: those after it would all seem old
            believable = (load.at + datetime.timedelta(days=1)).date().isoformat()
            newest = max(newest, min(load.partition_date, believable))
            found = load.at
        return found

    def within(self, since: datetime.datetime, until: datetime.datetime) -> tuple[Load, ...]:
        """Return those of a period: from ``since`` on, before ``until``."""
        return tuple(load for load in self.loads if since <= load.at < until)

    def is_known_from(self, since: datetime.datetime) -> bool:
        """Return whether nothing that was written since then has expired."""
        return self.known_since is None or self.known_since <= since


def table_loads(table: Table) -> TableLoads:
    """Return what was written into a table, as far as its metadata says."""
    metadata = table.metadata
    known = snapshots_by_id(metadata)
    ids = list(lineage(metadata, branch_head(table), known))
    own = [known[number] for number in ids if number in known]
    by_snapshot = dict(_of_snapshots(metadata, own))
    others = {number for number, load in by_snapshot.items() if not load.token}
    by_token = {load.token for load in by_snapshot.values() if load.token}
    by_mark = []
    replays = set()
    for token, at, result in _marks(table.properties):
        if token in by_token:
            if result.get("replay"):
                replays.add(token)
            continue
        number = result.get("snapshot_id")
        if number in others:  # Trino wrote it: the snapshot itself does not say which run it was
            others.discard(number)
            del by_snapshot[number]
        by_mark.append(_of_mark(token, at, result))
    written = (replace(load, replay=load.token in replays) for load in by_snapshot.values())
    loads = tuple(sorted((*written, *by_mark), key=lambda load: load.at))
    return TableLoads(
        ".".join(table.name()),
        loads,
        _known_since(metadata, own, loads, written_by_runs=not others),
        _count_undone(metadata, own),
        int(_summary(own[0]).get("total-records", 0)) if own else 0,
    )


def _of_snapshots(metadata: TableMetadata, snapshots: list[Snapshot]) -> Iterator[tuple[SnapshotId, Load]]:
    published = {entry.snapshot_id: entry.timestamp_ms for entry in reversed(metadata.snapshot_log)}
    for snapshot in snapshots:
        summary = _summary(snapshot)
        if summary.get("phlo.strategy") in _UPKEEP:
            continue
        token = summary.get("phlo.token", "")
        counts = (
            {name: int(summary[f"phlo.{name}"]) for name in COUNTS if f"phlo.{name}" in summary}
            if token
            else {WRITTEN: int(summary.get("added-records", 0))}
        )
        yield (
            snapshot.snapshot_id,
            Load(
                moment(published.get(snapshot.snapshot_id, snapshot.timestamp_ms)),
                token,
                summary.get("phlo.run-id", ""),
                summary.get("phlo.partition-date", ""),
                counts,
            ),
        )


def _of_mark(token: Token, at: datetime.datetime, result: Mapping[str, Any]) -> Load:
    counts = {name: int(result[name]) for name in COUNTS if isinstance(result.get(name), int)}
    return Load(at, token, "", str(result.get("partition_date", "")), counts, bool(result.get("replay")))


def _marks(properties: Mapping[str, str]) -> Iterator[tuple[Token, datetime.datetime, Mapping[str, Any]]]:
    """Yield the marks that can be read: those of a newer release are left out, and so are withdrawn runs."""
    for name, text in all_marks(properties).items():
        mark = orjson.loads(text)
        if mark.get(VERSION_FIELD, 1) <= VERSION and not mark["result"].get("withdrawn"):
            yield name.removeprefix(MARK_PREFIX), moment(mark["at"]), mark["result"]


def _known_since(
    metadata: TableMetadata, own: list[Snapshot], loads: tuple[Load, ...], *, written_by_runs: bool
) -> datetime.datetime | None:
    """
    Return since when everything is known; None means from the first snapshot on.

    :param own: the snapshots of main that are left, newest first.
    :param written_by_runs: whether nobody else wrote what is left. Then their marks, which outlive snapshots, are
        believed to be whole too: the oldest are removed first.
    """
    if not own or _is_first(metadata, own[-1]):
        return None
    oldest = moment(own[-1].timestamp_ms)
    return min(oldest, loads[0].at) if written_by_runs and loads else oldest


def _is_first(metadata: TableMetadata, snapshot: Snapshot) -> bool:
    """Return whether nothing came before a snapshot. PyIceberg takes the parent away when that expires."""
    if snapshot.parent_snapshot_id is not None:
        return False
    if isinstance(metadata, TableMetadataV1):  # it does not count its commits
        summary = _summary(snapshot)
        return summary.get("added-data-files") == summary.get("total-data-files")
    return snapshot.sequence_number == 1 or len(metadata.snapshots) == metadata.last_sequence_number


def _count_undone(metadata: TableMetadata, own: list[Snapshot]) -> int:
    """Return how many snapshots main was set back from; older ones than its history is are kept by tags."""
    logged = {entry.snapshot_id for entry in metadata.snapshot_log} - {snapshot.snapshot_id for snapshot in own}
    oldest = own[-1].timestamp_ms if own else 0
    return sum(each.snapshot_id in logged and each.timestamp_ms >= oldest for each in metadata.snapshots)


def _summary(snapshot: Snapshot) -> Mapping[str, str]:
    return dict(snapshot.summary.additional_properties) if snapshot.summary else {}
