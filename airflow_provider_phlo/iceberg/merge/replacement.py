"""
Put rows in the place of others: what an increment of SQL computed, for those of its keys, partitions or period.

Which rows go is a :class:`RowMatcher`'s to say, from a few columns of the files that may have any. A row that would go
and come again as it was stays where it is, so that the same increment again changes nothing, and one that differs in
few rows rewrites the files of those.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import _InclusiveMetricsEvaluator
from pyiceberg.table import FileScanTask, Table

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg.branches.commits import commit_files
from airflow_provider_phlo.iceberg.branches.run_branches import Head, require_head
from airflow_provider_phlo.iceberg.files.content_hashes import whole_rows
from airflow_provider_phlo.iceberg.files.manifests import SnapshotFiles
from airflow_provider_phlo.iceberg.files.reading import FileReader
from airflow_provider_phlo.iceberg.files.writing import FileLayout
from airflow_provider_phlo.iceberg.merge.batch import ArrowBatches, Batch
from airflow_provider_phlo.iceberg.merge.changes import MergeDecision, RowsKept
from airflow_provider_phlo.iceberg.merge.copy_on_write import remove_written_on
from airflow_provider_phlo.iceberg.merge.keys import NOT_IN_BATCH, KeyBounds, KeyIndex
from airflow_provider_phlo.iceberg.merge.plan import MergePlan
from airflow_provider_phlo.iceberg.merge.rewrite import rewrite
from airflow_provider_phlo.iceberg.merge.rows import Mask
from airflow_provider_phlo.iceberg.tables.lookup import column_names
from airflow_provider_phlo.iceberg.tables.partitioning import split
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.iceberg.tables.settling import AS_THEY_ARE, Settlement, settle_columns
from airflow_provider_phlo.iceberg.tables.staging import as_settled, staged_summary
from airflow_provider_phlo.iceberg.tables.support import require_writable
from airflow_provider_phlo.row_hash import encoded_rows, row_hashes
from airflow_provider_phlo.terms import MAIN_BRANCH, MergeStrategy, SnapshotId

_ROW = "phlo row"


class RowMatcher(Protocol):
    """Says which rows of a table are to be replaced."""

    @property
    def columns(self) -> Sequence[str]:
        """Return the columns that it looks at."""

    def tasks(self, files: SnapshotFiles) -> list[FileScanTask]:
        """Return the files that may have such rows."""

    def __call__(self, rows: pa.Table) -> Mask:
        """Return a mask of the rows that are replaced."""


@dataclass(frozen=True)
class Replacement:
    """
    What :func:`replace_rows` did.

    :param inserted: rows that were written.
    :param removed: rows that are gone.
    :param unchanged: rows of the batch that the table had already, in the place of the ones that they replace.
    :param snapshot_id: the new snapshot, None when nothing changed.
    """

    inserted: int
    removed: int
    unchanged: int
    snapshot_id: SnapshotId | None


def replace_rows(
    catalog: Catalog,
    identifier: str,
    rows: ArrowBatches | pa.Table,
    matcher: RowMatcher | None,
    *,
    branch: str = MAIN_BRANCH,
    volatile_columns: Collection[str] = (),
    summary: Mapping[str, str] | None = None,
    expected_head: SnapshotId | Literal[Head.ANY] | None = Head.ANY,
    settlement: Settlement = AS_THEY_ARE,
) -> Replacement:
    """
    Replace the rows that ``matcher`` names by ``rows``, in one snapshot, or none when nothing changes.

    :param identifier: ``namespace.table``; the table exists and its schema fits (see ``tables.evolve``).
    :param rows: all of them are in the table afterwards.
    :param matcher: None replaces nothing: rows are appended.
    :param branch: goes on from there if it exists, else from main.
    :param volatile_columns: columns that do not count when rows are compared.
    :param summary: properties of the snapshot.
    :param expected_head: main's snapshot that ``rows`` were computed from.
    :param settlement: what is staged for the table: the rows have its columns. On main it is committed with them, or
        alone where no row changes.
    :raises SchemaError: rows do not fit the table.
    :raises CommitConflictError: another writer came first; nothing was written.
    :raises TransientError: the disk is full.
    """
    table = catalog.load_table(identifier)
    require_writable(table)
    require_head(identifier, branch_head(table), expected_head)
    on_main = branch == MAIN_BRANCH
    staged = staged_summary(table) if settlement.updates and not on_main else {}
    table = as_settled(table, settlement)
    at = branch_head(table, branch) if branch in table.metadata.refs else branch_head(table)
    files, layout = SnapshotFiles(table, at), FileLayout(table)
    key = tuple(matcher.columns) if isinstance(matcher, KeyMatcher) else ()
    batch = Batch(rows, table, MergePlan(MergeStrategy.APPEND, key=key, deduplication=False))
    decision = _decide(files, batch, matcher, {name.lower() for name in volatile_columns})
    with remove_written_on(layout, Exception):
        added, removed = rewrite(files, batch, decision, layout)
    with remove_written_on(layout, CommitConflictError):
        snapshot_id = commit_files(
            catalog,
            table,
            branch,
            added=added,
            removed=removed,
            summary={**(summary or {}), **staged},
            files=files,
            settlement=settlement if on_main else AS_THEY_ARE,
        )
        if snapshot_id is None and on_main and settlement.updates:
            settle_columns(catalog, identifier, settlement)
    return Replacement(snapshot_id=snapshot_id, **decision.counts)


def _decide(files: SnapshotFiles, batch: Batch, matcher: RowMatcher | None, volatile: Collection[str]) -> MergeDecision:
    written = np.ones(len(batch), bool)
    if matcher is None:
        return MergeDecision({"inserted": len(batch), "removed": 0, "unchanged": 0}, written)
    compared = [name for name in column_names(files.table) if name.lower() not in volatile]
    kept = RowsKept()
    found = [(task, *_find(files.table, task, matcher, compared, kept)) for task in matcher.tasks(files)]
    old = pa.concat_arrays([pa.array([], pa.string()), *(hashes for _, _, hashes in found)])
    new = pa.concat_arrays(
        [pa.array([], pa.string()), *(row_hashes(part, compared) for part in batch.chosen(written) if len(part))]
    )
    stays, written = _unmatched(old, new)
    start, gone = 0, []
    for task, mask, hashes in found:
        mask[mask] = stays[start : start + len(hashes)]
        start += len(hashes)
        if mask.any():
            gone.append((task, mask))
        else:
            kept.take(task.file)
    counts = {"inserted": int(written.sum()), "removed": int(stays.sum()), "unchanged": int((~written).sum())}
    return MergeDecision(counts, written, gone, len(found), kept)


def _find(
    table: Table, task: FileScanTask, matcher: RowMatcher, compared: Sequence[str], kept: RowsKept
) -> tuple[Mask, pa.Array]:
    """Return which live rows of a file match, and the hashes of these; keep the rows for the time of writing."""
    with FileReader(table, task) as reader:
        masks = [matcher(part) for part in reader.rows(matcher.columns)]
        hashes = [pa.array([], pa.string())]
        if any(mask.any() for mask in masks):
            for mask, part in zip(masks, kept.keep(task.file, whole_rows(reader)), strict=True):
                hashes.append(row_hashes(part.filter(pa.array(mask)), compared))
    return np.concatenate([np.zeros(0, bool), *masks]), pa.concat_arrays(hashes)


def _unmatched(old: pa.Array, new: pa.Array) -> tuple[Mask, Mask]:
    """Return which of the old and of the new values the other side lacks, each counted as often as it occurs."""
    codes = pa.concat_arrays([old, new]).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    before, after = codes[: len(old)], codes[len(old) :]
    count = int(codes.max()) + 1 if len(codes) else 0
    common = np.minimum(np.bincount(before, minlength=count), np.bincount(after, minlength=count))
    return _occurrence(before) >= common[before], _occurrence(after) >= common[after]


def _occurrence(codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return, for each code, how often it occurred before."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]] if len(codes) else np.zeros(0, bool)
    starts = np.maximum.accumulate(np.where(first, np.arange(len(codes)), 0))
    found = np.empty(len(codes), np.int64)
    found[order] = np.arange(len(codes)) - starts
    return found


class KeyMatcher:
    """
    Matches the rows whose key some rows have; NULL is a value of a key.

    :param rows: with the key columns, in the table's types.
    :param key: the columns.
    """

    def __init__(self, rows: pa.Table, key: Sequence[str]) -> None:
        self.columns = list(key)
        rows = rows.select(self.columns).combine_chunks()
        gaps = _with_gaps(rows)
        self._whole = rows.filter(pa.array(~gaps))
        self._index = KeyIndex(self._whole, self.columns)
        holed = rows.filter(pa.array(gaps))
        self._holed = encoded_rows(holed, self.columns) if len(holed) else None
        #: rows that share their key with another
        self.shared = len(self._whole) - self._index.count
        if self._holed is not None:
            self.shared += len(holed) - len(self._holed.unique())
        #: rows with NULL in their key
        self.with_gaps = len(holed)

    def tasks(self, files: SnapshotFiles) -> list[FileScanTask]:
        """Return the files whose bounds leave room for one of the keys."""
        if not len(self._whole) and self._holed is None:
            return []
        if self._holed is not None:  # bounds do not cover NULL
            return list(files.tasks())
        bounds = KeyBounds(self._whole, self.columns, files.table.schema())
        return [task for task in files.tasks(bounds.filter()) if bounds.may_be_in(task.file)]

    def __call__(self, rows: pa.Table) -> Mask:
        found = self._index.locate(rows) != NOT_IN_BATCH
        if self._holed is not None:
            at = np.flatnonzero(_with_gaps(rows))
            found[at] = pc.is_in(
                encoded_rows(rows.take(pa.array(at)), self.columns), value_set=self._holed.combine_chunks()
            ).to_numpy(zero_copy_only=False)
        return found


def _with_gaps(rows: pa.Table) -> Mask:
    found = np.zeros(len(rows), bool)
    for column in rows.columns:
        if column.null_count:
            found |= column.is_null().to_numpy()
    return found


class PartitionMatcher:
    """
    Matches the rows of the partitions that some rows have; all rows of a table without partitions.

    :param rows: of the table's columns.
    :param table: by whose current spec rows are in partitions.
    """

    def __init__(self, rows: pa.Table, table: Table) -> None:
        self._table = table
        names = column_names(table)
        sources = {table.schema().find_column_name(item.source_id) for item in table.spec().fields}
        # a member of a struct has its place in the column
        self.columns = [name for name in names if name in sources] if sources <= {*names} else names
        self.columns = self.columns or names[:1]
        self._partitions = {partition.record for partition, _ in split(rows, table)}
        self._is_partitioned = bool(table.spec().fields)

    def tasks(self, files: SnapshotFiles) -> list[FileScanTask]:
        """Return the files of these partitions, and those of other specs."""
        current = files.table.spec().spec_id
        return [
            task
            for task in files.tasks()
            if not self._is_partitioned or task.file.spec_id != current or task.file.partition in self._partitions
        ]

    def __call__(self, rows: pa.Table) -> Mask:
        found = np.zeros(len(rows), bool)
        if not self._is_partitioned:
            return ~found
        numbered = rows.append_column(_ROW, pa.array(np.arange(len(rows))))
        for partition, part in split(numbered, self._table):
            if partition.record in self._partitions:
                found[part[_ROW].to_numpy()] = True
        return found


class ConditionMatcher:
    """
    Matches the rows that a condition of SQL holds for.

    :param cursor: of DuckDB, where the condition's other tables are.
    :param alias: what the condition calls the table.
    :param condition: SQL.
    :param columns: the table's columns that the condition may read.
    :param bounds: what holds for every row that matches, to leave out files by.
    :param keys: rows whose keys every row that matches has, to leave out files by.
    """

    def __init__(
        self,
        cursor: Any,
        alias: str,
        condition: str,
        columns: Sequence[str],
        *,
        bounds: BooleanExpression | None = None,
        keys: KeyMatcher | None = None,
    ) -> None:
        self.columns = columns
        self._cursor = cursor
        self._sql = f'SELECT "{_ROW}" FROM "{_ROW}s" AS {alias} WHERE {condition}'  # noqa: S608 - the model's own SQL
        self._bounds = bounds or AlwaysTrue()
        self._keys = keys

    def tasks(self, files: SnapshotFiles) -> list[FileScanTask]:
        """Return the files whose bounds leave room for such rows."""
        if self._keys is not None:
            return self._keys.tasks(files)
        may_hold = _InclusiveMetricsEvaluator(files.table.schema(), self._bounds).eval
        return [task for task in files.tasks(self._bounds) if may_hold(task.file)]

    def __call__(self, rows: pa.Table) -> Mask:
        found = np.zeros(len(rows), bool)
        self._cursor.register(f"{_ROW}s", rows.append_column(_ROW, pa.array(np.arange(len(rows)))))
        found[self._cursor.execute(self._sql).fetchnumpy()[_ROW]] = True
        # not after an error: of an aborted transaction DuckDB would say that, and no longer why
        self._cursor.unregister(f"{_ROW}s")
        return found
