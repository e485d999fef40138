"""Rewrite a branch without the rows of a person: the files that hold them are written again without these."""

from __future__ import annotations

import numpy as np
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Operation

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.forgetting.holdings import Holdings, State
from airflow_provider_phlo.iceberg.branches.commits import commit_changes
from airflow_provider_phlo.iceberg.files.content_hashes import whole_rows
from airflow_provider_phlo.iceberg.files.manifests import FileChanges, SnapshotFiles
from airflow_provider_phlo.iceberg.files.reading import FileReader
from airflow_provider_phlo.iceberg.files.writing import FileLayout
from airflow_provider_phlo.iceberg.merge.batch import Batch
from airflow_provider_phlo.iceberg.merge.changes import MergeDecision
from airflow_provider_phlo.iceberg.merge.copy_on_write import remove_written_on
from airflow_provider_phlo.iceberg.merge.plan import MergePlan
from airflow_provider_phlo.iceberg.merge.rewrite import rewrite
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.terms import MergeStrategy

STRATEGY = "forget"


def rewrite_branch(catalog: Catalog, holdings: Holdings, branch: str) -> None:
    """
    Commit a snapshot of ``branch`` without the rows, whose manifests keep nothing of the files that had them.

    Files whose rows are hidden by deletes are written again too, and delete files that nothing needs then are dropped.

    :param holdings: of the table as it is now.
    :raises CommitConflictError: another writer has changed the branch; nothing was changed.
    :raises SchemaError: rows are deleted in a way that PyIceberg does not read.
    :raises TransientError: the disk is full.
    """
    table, head = holdings.table, branch_head(holdings.table, branch)
    if head is None:  # dropped meanwhile
        return
    files, layout = SnapshotFiles(table, head), FileLayout(table)
    tasks = list(files.tasks())
    removal = [(task, holdings.mask(task)) for task in tasks if _is_touched(holdings, task)]
    decision = MergeDecision({}, np.zeros(0, bool), removal)
    with remove_written_on(layout, Exception):
        added, removed = rewrite(files, _no_rows(table), decision, layout)
    dropped = _unneeded_deletes(files, tasks, removed)
    rows = sum(int(mask.sum()) for _, mask in removal)
    with remove_written_on(layout, CommitConflictError):
        commit_changes(
            catalog,
            table,
            branch,
            FileChanges(added, removed, dropped, traceless=True),
            Operation.OVERWRITE if removed else Operation.REPLACE,
            summary={"phlo.strategy": STRATEGY, "phlo.deleted": str(rows)},
            files=files,
        )


def require_rewritable(holdings: Holdings, branch: str) -> None:
    """
    Check that the files which :func:`rewrite_branch` would write again can be read whole, by reading them.

    :raises SchemaError: rows are deleted in a way that PyIceberg does not read, or values do not fit the columns.
    """
    table = holdings.table
    for task in SnapshotFiles(table, branch_head(table, branch)).tasks():
        if _is_touched(holdings, task):
            with FileReader(table, task) as reader:
                for _ in whole_rows(reader):
                    pass


def rows_of(holdings: Holdings, branch: str) -> int:
    """Return how many of the rows that readers of a branch see are theirs."""
    table = holdings.table
    tasks = SnapshotFiles(table, branch_head(table, branch)).tasks()
    return sum(int(holdings.mask(task).sum()) for task in tasks if holdings.state(task.file) == State.HOLDS)


def _is_touched(holdings: Holdings, task: FileScanTask) -> bool:
    return any(holdings.state(file) == State.HOLDS for file in (task.file, *task.delete_files))


def _no_rows(table: Table) -> Batch:
    rows = schema_to_pyarrow(table.schema(), include_field_ids=False).empty_table()
    return Batch(rows, table, MergePlan(MergeStrategy.APPEND, deduplication=False))


def _unneeded_deletes(files: SnapshotFiles, tasks: list[FileScanTask], removed: list[DataFile]) -> list[DataFile]:
    """Return the delete files that no data file needs which stays: their paths and bounds are of what goes."""
    gone = {file.file_path for file in removed}
    needed = {each.file_path for task in tasks if task.file.file_path not in gone for each in task.delete_files}
    every = (entry.data_file for manifest in files.delete_manifests for entry in files.entries(manifest))
    return [file for file in every if file.file_path not in needed]
