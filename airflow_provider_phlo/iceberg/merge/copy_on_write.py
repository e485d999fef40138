"""
Merge a batch into a table: one snapshot on the run's branch, or none when nothing changes.

Copy-on-write, in three steps: read the batch (``batch``), decide what comes and goes (``changes``), write the files
that change (``rewrite``). One commit then makes the snapshot and the branch (``commits``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.commits import commit_files
from airflow_provider_phlo.iceberg.files.manifests import SnapshotFiles
from airflow_provider_phlo.iceberg.files.writing import FileLayout
from airflow_provider_phlo.iceberg.merge.batch import ArrowBatches, Batch
from airflow_provider_phlo.iceberg.merge.changes import decide
from airflow_provider_phlo.iceberg.merge.plan import MergePlan, MergeResult
from airflow_provider_phlo.iceberg.merge.rewrite import rewrite
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.iceberg.tables.support import require_writable
from airflow_provider_phlo.terms import MAIN_BRANCH, PartitionDate, Token


def merge(
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
    Merge ``batch`` on top of main, into a branch of its own; what an earlier attempt left there is dropped.

    :param identifier: ``namespace.table``; the table exists and its schema fits (see ``tables.evolve``).
    :param batch: the rows in arrival order: one table, or several that can be read again and need not fit in memory.
    :param token: names the run.
    :param partition_date: the run's partition, which ``replace`` replaces.
    :param summary: more properties of the snapshot, their names begin with ``phlo.``.
    :param branch: ``phlo_<token>`` when None.
    :raises SchemaError: if a key is NULL, or shared by rows of a batch that is not to be deduplicated, or rows do not
        fit the table.
    :raises ConfigurationError: if the table lacks a column that the plan names.
    :raises CommitConflictError: if another writer changes the branch.
    :raises TransientError: if the disk is full.
    """
    started = time.monotonic()
    branch = branch or branches.branch_name(token)
    table = catalog.load_table(identifier)
    require_writable(table)
    files, rows, layout = SnapshotFiles(table, branch_head(table)), Batch(batch, table, plan), FileLayout(table)
    decision = decide(files, rows, partition_date)
    counts = _add_duplicates(decision.counts, len(rows))
    facts = {"phlo.token": token, "phlo.strategy": plan.strategy, "phlo.partition-date": partition_date or ""}
    facts |= {**(summary or {}), **{f"phlo.{name.replace('_', '-')}": str(value) for name, value in counts.items()}}
    with remove_written_on(layout, Exception):
        added, removed = rewrite(files, rows, decision, layout)
    # any other error may hide a commit that was made: what nobody refers to is left to the maintenance
    with remove_written_on(layout, CommitConflictError):
        snapshot_id = commit_files(catalog, table, branch, added=added, removed=removed, summary=facts, files=files)
    if snapshot_id is None and branch != MAIN_BRANCH:
        branches.create(catalog, identifier, branch, at=files.snapshot_id)
    return MergeResult(
        rows=len(rows),
        **counts,
        files_read=decision.files_read,
        files_rewritten=len(removed),
        bytes_written=sum(file.file_size_in_bytes for file in added),
        seconds=round(time.monotonic() - started, 3),
        snapshot_id=snapshot_id,
        head=files.snapshot_id if snapshot_id is None else snapshot_id,
    )


@contextmanager
def remove_written_on(layout: FileLayout, kind: type[Exception]) -> Iterator[None]:
    """Remove the files that were written when there is an error of this kind."""
    try:
        yield
    except kind:
        layout.remove_written()
        raise


def _add_duplicates(counts: Mapping[str, int], rows: int) -> dict[str, int]:
    """Add the number of duplicates: the rows of the batch that no other count includes."""
    return {**counts, "duplicates": rows - sum(counts.get(name, 0) for name in _ACCOUNTED)}


_ACCOUNTED = ("inserted", "updated", "unchanged", "deleted")
