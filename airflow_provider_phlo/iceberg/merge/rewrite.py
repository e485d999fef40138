"""
Write the files that a merge changes: the rows that remain of files that lose some, with the new rows of the partition.

Partitions are written side by side, and what is in memory of one is a row group. Small files of a partition that is
written anyway join in when they have become many, so that small runs leave few files behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask
from pyiceberg.typedef import Record

from airflow_provider_phlo.iceberg.files.content_hashes import whole_rows
from airflow_provider_phlo.iceberg.files.manifests import SnapshotFiles
from airflow_provider_phlo.iceberg.files.reading import FileReader
from airflow_provider_phlo.iceberg.files.writing import FileLayout, PartitionWriters
from airflow_provider_phlo.iceberg.merge.batch import Batch
from airflow_provider_phlo.iceberg.merge.changes import MergeDecision, RowsKept, in_threads
from airflow_provider_phlo.iceberg.merge.rows import Mask
from airflow_provider_phlo.iceberg.tables.partitioning import Partition, split_lazily

# a file is small below this part of the target size; this many small ones of a partition become one
SMALL_PART = 8
SMALL_FILES = 8


@dataclass
class _Unit:
    """
    What one thread writes: the rest of some files, and new rows.

    :param partition: that of all of it; None if the files were written for another partitioning.
    :param files: each with a mask of the rows that go; None for a file that only joins in.
    """

    partition: Partition | None
    files: list[tuple[FileScanTask, Mask | None]] = field(default_factory=list)
    rows: list[Callable[[], pa.Table]] = field(default_factory=list)


def rewrite(
    files: SnapshotFiles, batch: Batch, decision: MergeDecision, layout: FileLayout
) -> tuple[list[DataFile], list[DataFile]]:
    """
    Write the files that ``decision`` names.

    :param files: those of the snapshot that changes.
    :returns: the new files, and those that they replace.
    :raises TransientError: if the disk is full.
    """
    units = _units(batch, decision, layout)
    for unit in units:
        _join_small_files(unit, files, decision, layout)

    def write(unit: _Unit) -> list[DataFile]:
        writers = PartitionWriters(layout)
        for task, gone in unit.files:
            for rows in _survivors(layout, task, gone, decision.rows_kept):
                writers.write(rows, unit.partition)
        for rows in unit.rows:
            writers.write(rows(), unit.partition)
        return writers.close()

    added = [file for written in in_threads(write, units) for file in written]
    if not batch.is_small:
        writers = PartitionWriters(layout)
        for rows in batch.chosen(decision.to_write):
            writers.write(rows, None)
        added += writers.close()
    return added, [task.file for unit in units for task, _ in unit.files]


def _units(batch: Batch, decision: MergeDecision, layout: FileLayout) -> list[_Unit]:
    current = layout.table.spec().spec_id
    units: dict[Record, _Unit] = {}
    of_old_specs: list[_Unit] = []
    for task, gone in decision.to_remove:
        if task.file.spec_id == current:
            partition = layout.partition(task.file.partition)
            units.setdefault(partition.record, _Unit(partition)).files.append((task, gone))
        else:
            of_old_specs.append(_Unit(None, [(task, gone)]))
    if batch.is_small and decision.to_write.any():
        all_written = decision.to_write.all()
        written = batch.all_rows if all_written else batch.all_rows.filter(pa.array(decision.to_write))
        for partition, rows in split_lazily(written, layout.table):
            units.setdefault(partition.record, _Unit(partition)).rows.append(rows)
    return [*units.values(), *of_old_specs]


def _join_small_files(unit: _Unit, files: SnapshotFiles, decision: MergeDecision, layout: FileLayout) -> None:
    """Let the small files of a partition join in, if they have become many."""
    if unit.partition is None:
        return
    known = {task.file.file_path for task, _ in unit.files}
    small = [
        task
        for task in files.of_partition(unit.partition.spec.spec_id, unit.partition.record)
        if task.file.file_size_in_bytes * SMALL_PART < layout.target_bytes and task.file.file_path not in known
    ]
    if len(small) >= SMALL_FILES:
        unit.files += [(task, None) for task in small]


def _survivors(layout: FileLayout, task: FileScanTask, gone: Mask | None, kept: RowsKept) -> Iterator[pa.Table]:
    start = 0
    for rows in kept.take(task.file) or _read(layout, task):
        if gone is not None:
            of_part = gone[start : start + len(rows)]
            start += len(rows)
            rows = rows.filter(pa.array(np.logical_not(of_part))) if of_part.any() else rows
        yield rows


def _read(layout: FileLayout, task: FileScanTask) -> Iterator[pa.Table]:
    with FileReader(layout.table, task) as reader:
        yield from whole_rows(reader)
