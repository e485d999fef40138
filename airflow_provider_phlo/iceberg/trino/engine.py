"""
Merge by Trino: the batch goes into a staging table, one ``MERGE`` statement takes it into the table.

Trino can neither write a branch nor put properties into a snapshot. So nothing of a run can be seen before it is
published, and what makes a retry harmless is this:

- The statement carries a guard: it changes something only if main is the snapshot that was audited when it begins.
- While it runs, somebody else may commit to other partitions: Trino looks for conflicts only in those that it writes,
  and one key may come to be in two. A MERGE whose snapshot does not follow the audited one is taken back.
- Trino stamps each snapshot with its query's id. That id is written down (the claim of the staging table) after Trino
  has given it and before the query starts. So main's own history shows whether an attempt that died has committed,
  whatever others have committed since.
- The run's mark follows in a commit of its own. A retry that finds the snapshot and no mark sets the mark.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertRefSnapshotId, SetPropertiesUpdate

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, TerminalError, TransientError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.branches.publication import Publication, RunBranch
from airflow_provider_phlo.iceberg.branches.upkeep import upkeep_of
from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit
from airflow_provider_phlo.iceberg.merge.batch import ArrowBatches, Batch
from airflow_provider_phlo.iceberg.merge.plan import MergePlan, MergeResult
from airflow_provider_phlo.iceberg.tables.refs import branch_head, lineage, point_branch
from airflow_provider_phlo.iceberg.trino import staged_merge
from airflow_provider_phlo.iceberg.trino.queries import Queries
from airflow_provider_phlo.iceberg.trino.staged_merge import Claim, Intent, StagedMerge
from airflow_provider_phlo.iceberg.trino.staged_rows import to_stage, unhashed_files
from airflow_provider_phlo.sql import quote, quote_identifier
from airflow_provider_phlo.terms import MAIN_BRANCH, MergeStrategy, MetadataColumn, PartitionDate, Token

log = logging.getLogger(__name__)

REQUIRED = (MetadataColumn.DLT_ID, MetadataColumn.ROW_HASH)
HIDDEN = ("$path", "$file_modified_time", "$partition", "$row_id")
QUERY_ID = "trino_query_id"  # what Trino calls it in a snapshot's summary


class TrinoEngine:
    """
    Merge by Trino.

    :param connect: opens a DB-API connection to Trino whose catalog is the one that PyIceberg has open.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._trino = Queries(connect)

    # --- what landing calls -----------------------------------------------------------------------------------

    def merge(
        self,
        catalog: Catalog,
        identifier: str,
        batch: ArrowBatches | pa.Table,
        plan: MergePlan,
        *,
        token: Token,
        partition_date: PartitionDate | None = None,
        summary: Mapping[str, str] | None = None,
        branch: str | None = None,
    ) -> MergeResult:
        """
        Stage ``batch`` and count what its merge will do; see :func:`~airflow_provider_phlo.iceberg.merge.merge`.

        :param summary: not used: Trino cannot put it into the snapshot. The run's mark carries the counts.
        :returns: the counts; ``snapshot_id`` is None until it is published, ``head`` the snapshot to which
            the counts apply.
        :raises SchemaError: as the embedded engine does.
        :raises ConfigurationError: if the table lacks the metadata columns, or Trino cannot see it.
        :raises CommitConflictError: if the table changed meanwhile.
        """
        started = time.monotonic()
        self.recover(catalog, identifier, token)
        table = catalog.load_table(identifier)
        published = find_published_result(table, token)
        if published is not None:
            return MergeResult.from_json(published)
        _require(table, plan)
        former, since = _abandon(catalog, identifier, token)
        branches.drop(catalog, identifier, branches.branch_name(token))
        head = branch_head(table)
        files = unhashed_files(table, head)
        rows = Batch(batch, table, plan)
        staged = staged_merge.stage(
            catalog,
            table,
            to_stage(rows, partition_date, table if files else None),
            Intent(token, plan, head, since or head, partition_date, former),
        )
        counts = self._counts(staged, table, len(rows))
        if counts["deleted_duplicates"]:
            staged = staged_merge.note_duplicates(catalog, staged)
        if not _changes(counts):
            _pin(catalog, staged)
        return MergeResult(rows=len(rows), **counts, seconds=round(time.monotonic() - started, 3), head=head)

    def publish(self, catalog: Catalog, run: RunBranch, publication: Publication) -> int | None:
        """
        Run the MERGE, and mark the run as published.

        :param publication: its result gets the snapshot; its head is that on which the audit saw the merge.
        :raises CommitConflictError: if main moved since, or another attempt of the run took over: nothing was written.
        """
        identifier, token, result = publication.identifier, publication.token or "", publication.result
        staged = staged_merge.find(catalog, identifier, token)
        table = catalog.load_table(identifier)
        if find_published_result(table, token) is not None or not _changes(result):
            return run.publish(publication)
        if staged is None or staged.claim is not None or staged.intent.head != publication.expected_head:
            raise CommitConflictError(f"{identifier}: the merge of run {token} that was audited is no longer staged.")
        claim = Claim(None, dict(result), dict(publication.properties))
        claim, snapshot_id = self._run(catalog, staged, table, claim)
        return self._mark(catalog, staged, claim, snapshot_id)

    def recover(self, catalog: Catalog, identifier: str, token: Token) -> None:
        """
        Finish what an attempt of this run has left: mark it as published if its MERGE was committed.

        :raises TransientError: if its query is still running and does not end when it is asked to.
        """
        staged = staged_merge.find(catalog, identifier, token)
        if staged is None:
            return
        if find_published_result(catalog.load_table(identifier), token) is not None:
            staged.drop(catalog)
            return
        if not staged.claims:
            return
        self._trino.settle(staged.claims[0].query or "")
        committed = _find_accepted(catalog, staged)
        if committed is not None:
            log.info(
                "%s: an attempt of run %s committed its MERGE and died: it is now marked as published",
                identifier,
                token,
            )
            self._mark(catalog, staged, *committed)

    def clean(self, catalog: Catalog, identifier: str, older_than: float) -> int:
        """
        Drop what runs have staged before ``older_than`` (seconds since 1970) and never published; return how many.

        One whose MERGE was committed is marked as published first.
        """
        dropped = 0
        for staged in staged_merge.find_all(catalog, identifier):
            if staged.intent.staged_at >= older_than:
                continue
            self.recover(catalog, identifier, staged.intent.token)
            if staged_merge.find(catalog, identifier, staged.intent.token) is not None:
                _abandon(catalog, identifier, staged.intent.token)
            dropped += 1
        return dropped

    def cancel(self) -> None:
        """Ask Trino to end the query that runs now, if any."""
        self._trino.cancel()

    # --- what runs in Trino -----------------------------------------------------------------------------------

    def _counts(self, staged: StagedMerge, table: Table, rows: int) -> dict[str, int]:
        """
        Count what the merge will do.

        :raises CommitConflictError: if Trino and PyIceberg see different snapshots: somebody has just committed.
        """
        found: dict[tuple[str, bool], int] = {}
        guard = f"CASE WHEN {_guard(staged)} THEN 1 ELSE 0 END"
        sql = f"SELECT q.*, (SELECT {guard}) FROM ({staged.sql(table).counts}) q (what, kept, n)"  # noqa: S608 - quoted
        for what, kept, number, current in self._trino.execute(sql):
            if not current:
                raise CommitConflictError(f"{staged.identifier}: another writer committed while the merge was planned.")
            found[what, kept] = number
        return _merge_counts(staged.intent.plan, found, rows, staged.table)

    def _run(self, catalog: Catalog, staged: StagedMerge, table: Table, claim: Claim) -> tuple[Claim, int]:
        """Run the MERGE and return its snapshot, with the claim of the attempt that has made it."""
        claimed: list[str] = []

        def started(query: str) -> None:
            if not claimed:  # Trino knows the query and has not begun with it
                staged.set_claim(catalog, Claim(query, claim.result, claim.properties))
                claimed.append(query)

        sql = staged.sql(table).statement(_guard(staged), duplicates=staged.intent.duplicates)
        failure: Exception | None = None
        try:
            self._trino.execute(sql, started)
        except TransientError as error:
            failure = error
        if not claimed:
            raise failure or CommitConflictError(f"{staged.identifier}: Trino did not run the MERGE.")
        if failure is not None:
            self._trino.settle(claimed[0])
        committed = _find_accepted(catalog, StagedMerge(staged.identifier, catalog.load_table(staged.name)))
        if committed is None:
            raise failure or CommitConflictError(f"{staged.identifier}: main moved since the merge was audited.")
        return committed

    def _mark(self, catalog: Catalog, staged: StagedMerge, claim: Claim, snapshot_id: int) -> int | None:
        """Store the run's mark, then drop what it staged."""
        token, table = staged.intent.token, catalog.load_table(staged.identifier)
        size = _summary(table, snapshot_id, "added-files-size")
        result = {**claim.result, "snapshot_id": snapshot_id, "head": snapshot_id, "bytes_written": size}
        main = branches.move_main(
            catalog,
            staged.identifier,
            branches.branch_name(token),
            token=token,
            result=result,
            properties=claim.properties,
            upkeep=upkeep_of(catalog),
        )
        staged.drop(catalog)
        return main


# --- decisions --------------------------------------------------------------------------------------------------


def _require(table: Table, plan: MergePlan) -> None:
    """
    Check that the table has what the statements name.

    :raises ConfigurationError: if not.
    """
    name, columns = ".".join(table.name()), table.schema().column_names
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise ConfigurationError(
            f"{name}: engine='trino' needs the metadata columns, and the table lacks {', '.join(missing)}: keep "
            "add_metadata_columns=True, or use engine='pyiceberg'."
        )
    if name != name.lower():
        raise ConfigurationError(f"{name}: Trino knows names in lower case only: rename it, or use engine='pyiceberg'.")
    hidden = [column for column in columns if column.lower() in HIDDEN]
    if hidden:
        raise ConfigurationError(
            f"{name}: Trino has a column {hidden[0]!r} of its own in every table: rename it, or use engine='pyiceberg'."
        )
    nested = [item.name for item in table.schema().fields if not item.field_type.is_primitive]
    for column in (*plan.key, plan.order_by):
        if column in nested:
            raise ConfigurationError(
                f"{name}: column {column!r} is nested, and Trino cannot match or order rows by it: use "
                "engine='pyiceberg', or a column of a plain type."
            )


def _merge_counts(plan: MergePlan, found: Mapping[tuple[str, bool], int], rows: int, staging: Table) -> dict[str, int]:
    """Return the counts of a :class:`MergeResult`."""
    counts = dict.fromkeys(("inserted", "updated", "unchanged", "deleted", "outdated", "replaced"), 0)
    counts["deleted_duplicates"] = sum(number for (_, kept), number in found.items() if not kept)
    first = {what: number for (what, kept), number in found.items() if kept}
    if plan.strategy == MergeStrategy.REPLACE:
        staged = _summary(staging, branch_head(staging), "added-records")
        same = not first.get("different", 0)
        counts["unchanged" if same else "inserted"] = staged
        counts["replaced"] = 0 if same else first.get("replaced", 0)
    else:
        counts["inserted"], counts["updated"] = first.get("insert", 0), first.get("update", 0)
        counts["deleted"], counts["outdated"] = first.get("delete", 0), first.get("outdated", 0)
        counts["unchanged"] = first.get("unchanged", 0) + first.get("absent", 0) + counts["outdated"]
    counts["duplicates"] = rows - sum(counts[name] for name in ("inserted", "updated", "unchanged", "deleted"))
    return counts


def _changes(counts: Mapping[str, Any]) -> bool:
    return any(counts.get(name) for name in ("inserted", "updated", "deleted", "replaced", "deleted_duplicates"))


# --- what attempts leave ----------------------------------------------------------------------------------------


def _abandon(catalog: Catalog, identifier: str, token: Token) -> tuple[tuple[Claim, ...], int | None]:
    """Drop what this run has staged; return whose queries ran it, and the snapshot from which to look for theirs."""
    staged = staged_merge.find(catalog, identifier, token)
    if staged is None:
        return (), None
    if staged.claim is None:
        staged.set_claim(catalog, Claim())
    staged.drop(catalog)
    return staged.claims, staged.intent.since


def _pin(catalog: Catalog, staged: StagedMerge) -> None:
    """Leave a branch in place of a merge that changes nothing: it is audited and published as any other."""
    table = branches.create(catalog, staged.identifier, branches.branch_name(staged.intent.token))
    if branch_head(table) != staged.intent.head:
        raise CommitConflictError(f"{staged.identifier}: another writer committed while the merge was planned.")
    staged.drop(catalog)


def _find_accepted(catalog: Catalog, staged: StagedMerge) -> tuple[Claim, int] | None:
    """
    Return what :func:`_find_committed` does, unless somebody else's commit came between the audit and the MERGE's.

    Then main is set back to theirs, and None returned. Where main has moved on already, rows without a key stay as they
    are, as if they had come first; others are merged again, which leaves one row per key.
    """
    committed = _find_committed(catalog, staged)
    snapshot = catalog.load_table(staged.identifier).snapshot_by_id(committed[1]) if committed else None
    if snapshot is None or snapshot.parent_snapshot_id == staged.intent.head:
        return committed
    token, plan = staged.intent.token, staged.intent.plan
    if _take_back(catalog, staged.identifier, snapshot):
        log.info("%s: main moved while run %s merged: its snapshot is taken back", staged.identifier, token)
    elif plan.strategy == MergeStrategy.MERGE or plan.by_hash:
        log.warning("%s: main moved while run %s merged, and went on from there", staged.identifier, token)
    else:
        return committed
    staged.drop(catalog)
    return None


def _take_back(catalog: Catalog, identifier: str, snapshot: Snapshot) -> bool:
    """Set main back to the snapshot before ``snapshot``; return False where that is not main any more."""

    def attempt() -> bool:
        table = catalog.load_table(identifier)
        if branch_head(table) != snapshot.snapshot_id or snapshot.parent_snapshot_id is None:
            return False
        undone = branches.undone_snapshots(table) | {snapshot.snapshot_id}
        branches.commit(
            catalog,
            table,
            [AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=snapshot.snapshot_id)],
            [
                point_branch(table, MAIN_BRANCH, snapshot.parent_snapshot_id),
                # who has begun to build on it is refused
                SetPropertiesUpdate(updates={branches.UNDONE_PROPERTY: branches.undone_text(undone)}),
            ],
        )
        return True

    return retry_commit(attempt, identifier)


def _find_committed(catalog: Catalog, staged: StagedMerge) -> tuple[Claim, int] | None:
    """
    Return main's snapshot that a query of this run has committed, with its claim, or None.

    :raises TerminalError: if main's history no longer reaches back far enough to show it.
    """
    table, intent = catalog.load_table(staged.identifier), staged.intent
    claims = {claim.query: claim for claim in staged.claims}
    for snapshot_id in lineage(table.metadata, branch_head(table)):
        if snapshot_id == intent.since:
            return None
        snapshot = table.snapshot_by_id(snapshot_id)
        if snapshot is None:
            raise TerminalError(
                f"{staged.identifier}: whether the MERGE of run {intent.token} was committed is not known: its "
                f"snapshots have expired. Look for rows with the _dlt_id of {staged.name}, then drop that table."
            )
        claim = claims.get(snapshot.summary.additional_properties.get(QUERY_ID)) if snapshot.summary else None
        if claim is not None:
            return claim, snapshot_id
    return None


def _summary(table: Table, snapshot_id: int | None, name: str) -> int:
    """Return a number of a snapshot's summary, 0 where it is missing."""
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id is not None else None
    return int(snapshot.summary.additional_properties.get(name, "0")) if snapshot and snapshot.summary else 0


def _guard(staged: StagedMerge) -> str:
    """Return the condition that main is the snapshot on which the merge was planned."""
    namespace, _, name = staged.identifier.rpartition(".")
    refs = f"{quote(namespace)}.{quote_identifier(name + '$refs')}"
    if staged.intent.head is None:
        return f"NOT EXISTS (SELECT 1 FROM {refs} WHERE name = 'main')"  # noqa: S608 - quoted
    return f"EXISTS (SELECT 1 FROM {refs} WHERE name = 'main' AND snapshot_id = {int(staged.intent.head)})"  # noqa: S608
