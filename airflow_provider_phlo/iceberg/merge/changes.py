"""
Decide what a merge does: which rows of the batch are written, and which rows of the files go.

Files are pruned by the bounds of the key columns. Of those left the key is read, and the content hash where keys meet.
What becomes of every row is then decided at once, for all files together.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg.files.content_hashes import HASH_TYPE, columns_for_hashes, hashes_of
from airflow_provider_phlo.iceberg.files.manifests import SnapshotFiles
from airflow_provider_phlo.iceberg.files.reading import FileReader
from airflow_provider_phlo.iceberg.merge.batch import Batch
from airflow_provider_phlo.iceberg.merge.keys import NOT_IN_BATCH, KeyBounds
from airflow_provider_phlo.iceberg.merge.rows import (
    HashLookup,
    Mask,
    differs,
    first_of_each_number,
    ranks,
    same_multiset,
)
from airflow_provider_phlo.iceberg.tables.lookup import column_names
from airflow_provider_phlo.terms import MergeStrategy, MetadataColumn, PartitionDate

Item = TypeVar("Item")
Result = TypeVar("Result")
Numbers = np.ndarray[Any, Any]

# threads that read and write files; each holds a row group or two in memory
WORKERS = min(4, os.cpu_count() or 1)
# rows of files whose hashes are looked up at a time
LOOKUP_ROWS = 500_000
# rows whose content is compared at a time
COMPARED_ROWS = 65_536
# bytes of rows that are kept between looking at them and writing them again
KEPT_BYTES = 128 * 2**20


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return ``function`` of every item, in their order; Arrow works without Python's lock."""
    if len(items) < 2 or WORKERS < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(function, items))


class RowsKept:
    """Whole rows of files that are looked at and then written again, as many as there is memory for."""

    def __init__(self) -> None:
        self._of: dict[str, list[pa.Table]] = {}
        self._left = KEPT_BYTES

    def keep(self, file: DataFile, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield all rows of a file, in file order, and keep them if there is room for all of them."""
        kept: list[pa.Table] = []
        for part in parts:
            self._left -= part.nbytes
            if self._left >= 0:
                kept.append(part)
            else:
                kept.clear()
            yield part
        if self._left >= 0:
            self._of[file.file_path] = kept

    def take(self, file: DataFile) -> list[pa.Table] | None:
        """Return the rows of a file, and keep them no longer; None if they are not here."""
        return self._of.pop(file.file_path, None)


@dataclass(frozen=True)
class MergeDecision:
    """
    What a merge is going to do.

    :param counts: those of :class:`~airflow_provider_phlo.iceberg.merge.copy_on_write.MergeResult`.
    :param to_write: a mask of the rows of the batch that are written.
    :param to_remove: the files that lose rows, each with a mask of those rows.
    :param files_read: how many files were opened.
    :param rows_kept: what was read whole of those files already.
    """

    counts: dict[str, int]
    to_write: Mask
    to_remove: list[tuple[FileScanTask, Mask]] = field(default_factory=list)
    files_read: int = 0
    rows_kept: RowsKept = field(default_factory=RowsKept)


def decide(files: SnapshotFiles, batch: Batch, partition_date: PartitionDate | None) -> MergeDecision:
    """
    Return what is to be done; nothing is written.

    :param files: those of the snapshot to merge into.
    :param partition_date: the partition that ``replace`` replaces.
    :raises SchemaError: if ``replace`` gets rows of another partition.
    :raises ConfigurationError: if ``replace`` has no partition.
    """
    if batch.plan.strategy == MergeStrategy.APPEND:
        return _append(files, batch)
    if batch.plan.strategy == MergeStrategy.REPLACE:
        return _replace(files, batch, partition_date)
    return _upsert(files, batch)


def _append(files: SnapshotFiles, batch: Batch) -> MergeDecision:
    """Append; by hash, without the rows that batch or table hold already."""
    new, tasks = batch.kept, []
    if batch.plan.by_hash and len(batch):
        tasks = list(files.tasks())
        rows = np.flatnonzero(new)
        lookup = HashLookup(batch.hashes.filter(pa.array(new)))

        def seen(group: Sequence[FileScanTask]) -> Mask:
            present = [each for task in group for each in _read_hashes(files, task)]
            return lookup.among(pa.concat_arrays([pa.array([], HASH_TYPE), *present]))

        for found in in_threads(seen, list(_grouped(tasks))):
            new[rows[found]] = False
    return MergeDecision({"inserted": int(new.sum())}, new, files_read=len(tasks))


def _read_hashes(files: SnapshotFiles, task: FileScanTask) -> Iterator[pa.Array]:
    with FileReader(files.table, task) as reader:
        for rows in reader.rows(columns_for_hashes(reader)):
            yield hashes_of(reader, rows)


def _grouped(tasks: Iterable[FileScanTask]) -> Iterator[list[FileScanTask]]:
    """Yield the files in groups of enough rows for one lookup."""
    group: list[FileScanTask] = []
    for task in tasks:
        group.append(task)
        if sum(each.file.record_count for each in group) >= LOOKUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _replace(files: SnapshotFiles, batch: Batch, partition_date: PartitionDate | None) -> MergeDecision:
    """Replace the run's partition; the same content again changes nothing."""
    partition_date = batch.plan.partition_to_replace(column_names(files.table), partition_date)
    day = datetime.date.fromisoformat(partition_date)
    of_other_days = len(batch) - int(_on_day(batch.decision_columns, day).sum())
    if of_other_days:
        raise SchemaError(
            f"{of_other_days} row(s) of the batch are not of {partition_date}, the partition to be replaced."
        )
    tasks = _within(files, pa.table({MetadataColumn.PARTITION_DATE: pa.array([day])}), [MetadataColumn.PARTITION_DATE])

    def inside(task: FileScanTask) -> tuple[Mask, list[pa.Array]]:
        masks, hashes = [np.zeros(0, bool)], []
        with FileReader(files.table, task) as reader:
            for rows in reader.rows(columns_for_hashes(reader, [MetadataColumn.PARTITION_DATE])):
                masks.append(_on_day(rows, day))
                hashes.append(hashes_of(reader, rows.filter(pa.array(masks[-1]))))
        return np.concatenate(masks), hashes

    old = in_threads(inside, tasks)
    before = pa.concat_arrays([pa.array([], HASH_TYPE), *(each for _, hashes in old for each in hashes)])
    after = batch.hashes.filter(pa.array(batch.kept))
    if same_multiset(before, after):
        return MergeDecision(
            {"inserted": 0, "unchanged": len(after)}, np.zeros(len(batch), bool), files_read=len(tasks)
        )
    gone = [(task, mask) for task, (mask, _) in zip(tasks, old, strict=True) if mask.any()]
    return MergeDecision({"inserted": len(after), "replaced": len(before)}, batch.kept, gone, len(tasks))


def _on_day(rows: pa.Table, day: datetime.date) -> Mask:
    on_day = pc.fill_null(pc.equal(rows[MetadataColumn.PARTITION_DATE], pa.scalar(day)), False)
    return on_day.to_numpy()


def _within(files: SnapshotFiles, rows: pa.Table, columns: Sequence[str]) -> list[FileScanTask]:
    """Return the files that may have rows with the values that ``rows`` have in ``columns``."""
    bounds = KeyBounds(rows, columns, files.table.schema())
    return [task for task in files.tasks(bounds.filter()) if bounds.may_be_in(task.file)]


@dataclass(frozen=True)
class _KeyMatches:
    """
    The rows of a file whose keys the batch has.

    :param length: how many live rows the file has.
    :param file_rows: the positions of the matching rows among them.
    :param batch_rows: for each of them, the row of the batch that is kept for its key.
    :param differs: whether the contents of the two differ.
    :param order: the file's values of ``order_by``.
    """

    task: FileScanTask
    length: int
    file_rows: Numbers
    batch_rows: Numbers
    differs: Mask
    order: pa.Array | None


def _upsert(files: SnapshotFiles, batch: Batch) -> MergeDecision:
    """Insert rows of new keys, replace rows whose content differs, remove what is deleted, leave the rest alone."""
    tasks = _within(files, batch.decision_columns, batch.plan.key) if len(batch) else []
    hits = [each for each in in_threads(_Finder(files, batch), tasks) if each is not None]
    at = np.concatenate([np.zeros(0, np.int64), *(each.batch_rows for each in hits)])
    differing = np.concatenate([np.zeros(0, bool), *(each.differs for each in hits)])
    winner, outdated = _winners(batch, at, differing, [each.order for each in hits])
    deleted = winner & ~outdated & batch.deletes[at]
    updated = winner & ~outdated & differing & ~batch.deletes[at]
    found = np.zeros(len(batch), bool)
    found[at] = True
    new = batch.kept & ~found & ~batch.deletes
    counts = {
        "inserted": int(new.sum()),
        "updated": int(updated.sum()),
        "unchanged": int(batch.kept.sum() - new.sum() - updated.sum() - deleted.sum()),
        "deleted": int(deleted.sum()),
        "outdated": int((winner & outdated).sum()),
        "deleted_duplicates": int((~winner).sum()),
    }
    new[at[updated]] = True
    return MergeDecision(counts, new, list(_gone(hits, ~winner | deleted | updated)), len(tasks))


class _Finder:
    """Find the rows of a file that share a key with the batch."""

    def __init__(self, files: SnapshotFiles, batch: Batch) -> None:
        self.files = files
        self.batch = batch
        self.index = batch.key_index
        rows = np.flatnonzero(batch.kept)
        self.row_of = np.zeros(self.index.count, np.int64)
        self.row_of[self.index.numbers[rows]] = rows

    def __call__(self, task: FileScanTask) -> _KeyMatches | None:
        with FileReader(self.files.table, task) as reader:
            return self._matches(reader)

    def _matches(self, reader: FileReader) -> _KeyMatches | None:
        plan = self.batch.plan
        start, rows, numbers, orders = 0, [], [], []
        columns = list(dict.fromkeys([*plan.key, *([plan.order_by] if plan.order_by else [])]))
        for part in reader.rows(columns):
            found = self.index.locate(part)
            hit = np.flatnonzero(found != NOT_IN_BATCH)
            rows.append(hit + start)
            numbers.append(found[hit])
            if plan.order_by:
                orders.append(part[plan.order_by].combine_chunks().take(pa.array(hit)))
            start += len(part)
        if not any(map(len, rows)):
            return None
        hits, at = np.concatenate(rows), self.row_of[np.concatenate(numbers)]
        order = pa.concat_arrays(orders) if orders else None
        return _KeyMatches(reader.task, start, hits, at, self._differs(reader, hits, at), order)

    def _differs(self, reader: FileReader, hits: Numbers, at: Numbers) -> Mask:
        batch = self.batch
        by_column = MetadataColumn.ROW_HASH not in column_names(self.files.table) and batch.is_small
        found = np.zeros(len(hits), bool)
        for which, present in _hit_rows(reader, hits):
            rows = pa.array(at[which])
            if by_column:
                found[which] = differs(present, batch.all_rows.take(rows))
            else:
                hashes = batch.hashes.take(rows)
                found[which] = pc.not_equal(hashes_of(reader, present), hashes).to_numpy(zero_copy_only=False)
        return found


def _hit_rows(reader: FileReader, hits: Numbers) -> Iterator[tuple[slice, pa.Table]]:
    """Yield the rows at the positions ``hits`` in pieces, each with the slice of ``hits`` that it covers."""
    start = 0
    for part in reader.rows(columns_for_hashes(reader)):
        first, end = np.searchsorted(hits, [start, start + len(part)])
        for begin in range(first, end, COMPARED_ROWS):
            which = slice(begin, min(begin + COMPARED_ROWS, end))
            yield which, part.take(pa.array(hits[which] - start))
        start += len(part)


def _winners(batch: Batch, at: Numbers, differing: Mask, orders: Sequence[pa.Array | None]) -> tuple[Mask, Mask]:
    """
    Return which of the table's rows with one key is compared with the batch's row, and which rows are newer than that.

    That is the newest, and of several one that equals the batch's row.

    :param at: for every hit the row of the batch.
    :param differing: for every hit, whether it differs from that row.
    :param orders: the hits' values of ``order_by``.
    """
    theirs, outdated = np.zeros(len(at), np.int64), np.zeros(len(at), bool)
    if batch.order is not None and len(at):
        present = pa.concat_arrays([each for each in orders if each is not None])
        both = ranks(pa.concat_arrays([present, batch.order.take(pa.array(at))]))
        theirs, outdated = both[: len(at)].astype(np.int64), both[len(at) :] < both[: len(at)]
    winner = first_of_each_number(at)
    if not winner.all():
        best_first = np.lexsort((differing, -theirs, at))
        winner = np.zeros(len(at), bool)
        winner[best_first[first_of_each_number(at[best_first])]] = True
    return winner, outdated


def _gone(hits: Sequence[_KeyMatches], remove: Mask) -> Iterator[tuple[FileScanTask, Mask]]:
    start = 0
    for each in hits:
        of_file = remove[start : start + len(each.file_rows)]
        start += len(each.file_rows)
        if of_file.any():
            mask = np.zeros(each.length, bool)
            mask[each.file_rows[of_file]] = True
            yield each.task, mask
