"""
Merge a batch into a table: one snapshot on the run's branch, or none when nothing changes.

Copy-on-write. Files are pruned by the bounds of the key columns; of those left, only key and hash columns are read;
files with rows to change are written again without them; new versions and new rows follow as new files.
"""

from __future__ import annotations

import datetime
import itertools
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue, BooleanExpression, EqualTo
from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.sorting import SortDirection

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.commits import commit_files
from airflow_provider_phlo.iceberg.rows import (
    HASH,
    content_hashes,
    first_of_each,
    first_of_each_number,
    key_bounds,
    key_values,
    with_hashes,
)
from airflow_provider_phlo.iceberg.tables import fit

PARTITION_DATE = "_phlo_partition_date"
STRATEGIES = ("merge", "append", "replace")
METHODS = ("last", "first", "hash")


@dataclass(frozen=True)
class MergeResult:
    """
    What one merge did: ``rows == inserted + updated + unchanged + duplicates + deleted``.

    :param unchanged: rows of the batch that changed nothing: the table has the same content, or a newer version, or
        not the key that was to be deleted.
    :param duplicates: rows of the batch that another row of the batch (or, appending by hash, of the table) stands for.
    :param deleted: rows of the batch that removed their key from the table (``hard_delete``).
    :param outdated: of the unchanged rows, those that are older than the table's (``order_by``).
    :param replaced: rows of the table that are gone with the partition that was replaced.
    :param deleted_duplicates: rows of the table that shared a key with another and are gone.
    :param files_read: data files of which key and hash were read.
    :param files_rewritten: data files that were replaced.
    :param bytes_written: size of the new data files.
    :param snapshot_id: the new snapshot, None when nothing changed.
    :param head: what the branch points to: the new snapshot, else main's; None for a table without any.
    """

    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicates: int = 0
    deleted: int = 0
    outdated: int = 0
    replaced: int = 0
    deleted_duplicates: int = 0
    files_read: int = 0
    files_rewritten: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    snapshot_id: int | None = None
    head: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class MergePlan:
    """
    How a batch goes into a table.

    :param strategy: ``merge`` (upsert on the key), ``append``, or ``replace`` (the run's partition).
    :param key: the key columns.
    :param deduplication: whether the batch is deduplicated.
    :param method: ``last`` or ``first`` arrival of a key, or ``hash``: exact copies.
    :param order_by: the column that says which version of a row is newer; None means arrival.
    :param hard_delete: the column that marks rows whose key is to be removed: true, or not NULL if it is no boolean.
    """

    strategy: str = "merge"
    key: tuple[str, ...] = ()
    deduplication: bool = True
    method: str = "last"
    order_by: str | None = None
    hard_delete: str | None = None

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ConfigurationError(f"merge_strategy={self.strategy!r}: choose one of {', '.join(STRATEGIES)}.")
        if self.method not in METHODS:
            raise ConfigurationError(f"deduplication_method={self.method!r}: choose one of {', '.join(METHODS)}.")
        if self.strategy == "merge" and not self.key:
            raise ConfigurationError("merge_strategy='merge' needs a unique_key.")
        if self.hard_delete and self.strategy != "merge":
            raise ConfigurationError(
                f"hard_delete={self.hard_delete!r} removes keys, which merge_strategy={self.strategy!r} does not look "
                "at: use merge_strategy='merge'."
            )


def merge(
    catalog: Catalog,
    identifier: str,
    batch: pa.Table,
    plan: MergePlan,
    *,
    token: str,
    partition_date: str | None = None,
    summary: Mapping[str, str] | None = None,
    branch: str | None = None,
) -> MergeResult:
    """
    Merge ``batch`` into a branch of its own, made at main's head; what an earlier attempt left there is dropped.

    :param identifier: ``namespace.table``; the table exists and its schema fits (see ``tables.evolve``).
    :param batch: the rows in arrival order.
    :param token: names the branch, ``phlo_<token>``.
    :param branch: another branch; ``main`` writes straight to it.
    :param partition_date: the run's partition, which ``replace`` replaces.
    :param summary: more properties of the snapshot, their names begin with ``phlo.``.
    :raises SchemaError: if a key is NULL, or shared by rows of a batch that is not to be deduplicated, or rows do not
        fit the table.
    :raises ConfigurationError: if the table has no such key column.
    :raises CommitConflictError: if another attempt of the same run writes to the branch.
    """
    started = time.monotonic()
    branch = branch or branches.branch_name(token)
    straight = branch == MAIN_BRANCH
    table = catalog.load_table(identifier) if straight else branches.create(catalog, identifier, branch)
    _require_columns(table, plan.key)
    rows = with_hashes(fit(batch, table))
    work = _Work(catalog, table, branch)
    if plan.strategy == "append":
        counts = _append(work, rows, plan)
    elif plan.strategy == "replace":
        counts = _replace(work, _deduplicated(rows, plan), partition_date)
    else:
        counts = _upsert(work, _deduplicated(rows, plan), plan.key)
    counts["duplicates"] = len(rows) - counts["inserted"] - counts.get("updated", 0) - counts.get("unchanged", 0)
    snapshot_id = work.commit(
        {
            "phlo.token": token,
            "phlo.strategy": plan.strategy,
            "phlo.partition-date": partition_date or "",
            **(summary or {}),
        },
        counts,
    )
    return MergeResult(
        rows=len(rows),
        **counts,
        files_read=work.files_read,
        files_rewritten=len(work.removed),
        bytes_written=sum(file.file_size_in_bytes for file in work.added),
        seconds=round(time.monotonic() - started, 3),
        snapshot_id=snapshot_id,
        head=work.snapshot_id if snapshot_id is None else snapshot_id,
    )


def _require_columns(table: Table, key: Sequence[str]) -> None:
    missing = [name for name in key if name not in table.schema().column_names]
    if missing:
        raise ConfigurationError(
            f"{'.'.join(table.name())} has no key column(s) {', '.join(missing)}: unique_key names columns as dlt "
            f"writes them; the table has {', '.join(item.name for item in table.schema().fields)}."
        )


class _Work:
    """The files that one merge adds to and removes from a branch, until they are committed as one snapshot."""

    def __init__(self, catalog: Catalog, table: Table, branch: str) -> None:
        self.catalog = catalog
        self.table = table
        self.branch = branch
        self.snapshot_id = branches.head(table, branch)
        self.added: list[DataFile] = []
        self.removed: list[DataFile] = []
        self.files_read = 0
        self._write_uuid = uuid.uuid4()
        self._counter = itertools.count(0)

    def tasks(self, row_filter: BooleanExpression) -> list[FileScanTask]:
        """Return the files of the branch that may hold rows that ``row_filter`` accepts."""
        if self.snapshot_id is None:
            return []
        return list(self.table.scan(row_filter=row_filter, snapshot_id=self.snapshot_id).plan_files())

    def read(self, task: FileScanTask, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the live rows of one file, in file order, deletes applied."""
        schema = self.table.schema()
        projected = schema if columns is None else schema.select(*columns)
        # the task alone decides what is read: its residual filter must not drop rows
        whole = FileScanTask(task.file, task.delete_files, AlwaysTrue())
        scan = ArrowScan(self.table.metadata, self.table.io, projected, AlwaysTrue())
        return scan.to_table([whole]).select([item.name for item in projected.fields])

    def remove(self, task: FileScanTask, survivors: pa.Table) -> None:
        """Replace a file by its ``survivors``."""
        self.removed.append(task.file)
        self.add(survivors)

    def add(self, rows: pa.Table) -> None:
        """Write ``rows`` as new files, one or more a partition, in the table's sort order."""
        if len(rows):
            rows = self._sorted(rows).combine_chunks()
            self.added += _dataframe_to_data_files(
                self.table.metadata, rows, self.table.io, self._write_uuid, self._counter
            )

    def _sorted(self, rows: pa.Table) -> pa.Table:
        # of a table made elsewhere, what is nested cannot be sorted by here
        names = {item.field_id: item.name for item in self.table.schema().fields if item.field_type.is_primitive}
        keys = [
            (names[item.source_id], "descending" if item.direction == SortDirection.DESC else "ascending")
            for item in self.table.sort_order().fields
            if item.source_id in names
        ]
        return rows.sort_by(keys) if keys else rows

    def commit(self, summary: Mapping[str, str], counts: Mapping[str, int]) -> int | None:
        """Make all of it one snapshot of the branch; none if there is nothing."""
        properties = {**summary, **{f"phlo.{name.replace('_', '-')}": str(value) for name, value in counts.items()}}
        return commit_files(
            self.catalog, self.table, self.branch, added=self.added, removed=self.removed, summary=properties
        )


def _append(work: _Work, rows: pa.Table, plan: MergePlan) -> dict[str, int]:
    """Append; by hash, without the rows that batch or table hold already."""
    if plan.deduplication and plan.method == "hash":
        hashes = content_hashes(rows)
        new = first_of_each(hashes) & ~_in_table(work, hashes)
        rows = rows.filter(pa.array(new))
    elif plan.deduplication:
        rows = _deduplicated(rows, plan)
    work.add(rows)
    return {"inserted": len(rows)}


def _in_table(work: _Work, hashes: pa.Array) -> np.ndarray[Any, Any]:
    """Return for every hash whether a row of the table has it."""
    found = np.zeros(len(hashes), bool)
    for task in work.tasks(AlwaysTrue()) if len(hashes) else ():
        present = content_hashes(_read_hashed(work, task))
        found |= pc.is_in(hashes, value_set=present).to_numpy(zero_copy_only=False)
    return found


def _replace(work: _Work, rows: pa.Table, partition_date: str | None) -> dict[str, int]:
    """Replace the run's partition; the same content again changes nothing."""
    if PARTITION_DATE not in rows.column_names or partition_date is None:
        raise ConfigurationError(
            "merge_strategy='replace' needs the metadata column _phlo_partition_date and a partition."
        )
    day = datetime.date.fromisoformat(partition_date)
    strangers = len(rows) - pc.sum(_on_day(rows, day)).as_py() if len(rows) else 0
    if strangers:
        raise SchemaError(f"{strangers} row(s) of the batch are not of {partition_date}, the partition to be replaced.")
    old: list[tuple[FileScanTask, pa.Table, pa.Array]] = []
    for task in work.tasks(EqualTo(PARTITION_DATE, value=day)):  # type: ignore[misc]
        content = work.read(task)
        work.files_read += 1
        old.append((task, content, _on_day(content, day)))
    replaced = [content.filter(inside) for _, content, inside in old]
    before = [value for part in replaced for value in content_hashes(part).to_pylist()]
    if sorted(before) == sorted(content_hashes(rows).to_pylist()):
        return {"inserted": 0, "unchanged": len(rows)}
    for task, content, inside in old:
        if pc.any(inside).as_py():
            work.remove(task, content.filter(pc.invert(inside)))
    work.add(rows)
    return {"inserted": len(rows), "replaced": sum(len(part) for part in replaced)}


def _on_day(rows: pa.Table, day: datetime.date) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(rows[PARTITION_DATE], pa.scalar(day)), False)


def _upsert(work: _Work, rows: pa.Table, key: tuple[str, ...]) -> dict[str, int]:
    """Insert rows of new keys, replace rows whose content differs, leave the others alone."""
    keys, hashes = key_values(rows, key), content_hashes(rows)
    seen = np.zeros(len(rows), bool)
    changed = np.zeros(len(rows), bool)
    extra = 0
    for task in work.tasks(key_bounds(rows, key)) if len(rows) else ():
        present = _read_hashed(work, task, key)
        position = pc.index_in(key_values(present, key), value_set=keys)
        hit = np.flatnonzero(position.is_valid().to_numpy(zero_copy_only=False))
        if not len(hit):
            continue
        at = position.take(pa.array(hit)).to_numpy(zero_copy_only=False).astype(np.int64)
        repeated = seen[at] | ~first_of_each_number(at)
        differs = pc.not_equal(content_hashes(present).take(pa.array(hit)), hashes.take(pa.array(at)))
        stale = pc.fill_null(differs, True).to_numpy(zero_copy_only=False) & ~repeated
        seen[at], changed[at[stale]] = True, True
        extra += int(repeated.sum())
        if stale.any() or repeated.any():
            survives = np.ones(len(present), bool)
            survives[hit[stale | repeated]] = False
            work.remove(task, work.read(task).filter(pa.array(survives)))
    work.add(rows.filter(pa.array(changed | ~seen)))
    updated, inserted = int(changed.sum()), int((~seen).sum())
    return {
        "inserted": inserted,
        "updated": updated,
        "unchanged": len(rows) - inserted - updated,
        "deleted_duplicates": extra,
    }


def _read_hashed(work: _Work, task: FileScanTask, key: Sequence[str] = ()) -> pa.Table:
    """Return the key columns of a file and what its content hash needs."""
    work.files_read += 1
    schema = work.table.schema()
    if HASH in schema.column_names:
        rows = work.read(task, [*key, HASH])
        if not rows[HASH].null_count:
            return rows
    return work.read(task)


def _deduplicated(rows: pa.Table, plan: MergePlan) -> pa.Table:
    """
    Return the rows of which each key has one; without a key, ``hash`` drops exact copies.

    ``hash`` drops exact copies and keeps the last of what then still shares a key: the last of the key, in short.

    :raises SchemaError: if a key is NULL, or is shared and the batch is not to be deduplicated.
    """
    if not len(rows):
        return rows
    if not plan.key:
        copies = plan.deduplication and plan.method == "hash"
        return rows.filter(pa.array(first_of_each(content_hashes(rows)))) if copies else rows
    for name in plan.key:
        if rows[name].null_count:
            raise SchemaError(
                f"Key column {name!r} has {rows[name].null_count} NULL(s): a row without key cannot be merged."
            )
    keys = key_values(rows, plan.key)
    keep = first_of_each(keys) if plan.method == "first" else first_of_each(keys[::-1])[::-1]
    if not plan.deduplication and not keep.all():
        raise SchemaError(
            f"{int((~keep).sum())} row(s) share their key with another of the batch, and deduplication is off: "
            "switch it on, or make the source yield each key once."
        )
    return rows.filter(pa.array(keep))
