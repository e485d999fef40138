"""
Write small files, and files with deleted rows, together: fewer and larger files, the same rows.

A bin is a set of files of one partition that fit one file of the target size. Bins are written one after the other,
row group by row group, and committed as one ``replace`` snapshot of main. When main moves meanwhile, bins whose files
are all still there are committed on top of it; the others are given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Operation

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError
from airflow_provider_phlo.iceberg.branches.commits import base_of, commit_changes
from airflow_provider_phlo.iceberg.catalogs.retries import COMMIT_ROUNDS, retry_conflicts
from airflow_provider_phlo.iceberg.files.manifests import FileChanges, live_tasks
from airflow_provider_phlo.iceberg.maintenance.rolling import write_tasks
from airflow_provider_phlo.iceberg.tables.properties import TARGET_FILE_BYTES, whole_number
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.iceberg.tables.support import require_readable_data, require_writable
from airflow_provider_phlo.terms import MAIN_BRANCH

TARGET_BYTES = 128 * 1024 * 1024
# a file is small below this share of the target size; larger ones are not rewritten for every new row
SMALL = 0.75


@dataclass(frozen=True)
class Bin:
    """Files of one partition that become one."""

    tasks: tuple[FileScanTask, ...]

    @property
    def bytes(self) -> int:
        """Return the size of the files."""
        return sum(task.file.file_size_in_bytes for task in self.tasks)

    @property
    def has_deletes(self) -> bool:
        """Return whether rows of the files are deleted by position."""
        return any(task.delete_files for task in self.tasks)

    def holds(self, present: dict[str, frozenset[str]]) -> bool:
        """Return whether all files are ``present`` with no more and no fewer rows."""
        return all(present.get(task.file.file_path) == _delete_paths(task) for task in self.tasks)


# a bin, and the files that hold its rows now
_Written = tuple[Bin, list[DataFile]]


@dataclass(frozen=True)
class CompactionPlan:
    """
    What a compaction writes.

    :param bins: what is written together.
    :param dropped: delete files that no data file will need any more.
    """

    bins: tuple[Bin, ...] = ()
    dropped: tuple[DataFile, ...] = ()

    def totals(self) -> dict[str, Any]:
        """Return how much it is, as a JSON object."""
        return {
            "files": sum(len(item.tasks) for item in self.bins),
            "bytes": sum(item.bytes for item in self.bins),
            "files_after": len(self.bins),
            "delete_files": len(self.dropped),
        }


@dataclass(frozen=True)
class CompactionResult:
    """
    What a compaction did.

    :param files: data files that were replaced.
    :param bytes: their size.
    :param files_after: the files that hold their rows now.
    :param skipped: files left alone because another writer replaced a file of their bin meanwhile.
    :param snapshot_id: the new snapshot, None when there was nothing to do.
    """

    files: int = 0
    bytes: int = 0
    files_after: int = 0
    bytes_after: int = 0
    delete_files: int = 0
    skipped: int = 0
    snapshot_id: int | None = None


def plan_compaction(table: Table, *, target_bytes: int | None = None, min_files: int = 2) -> CompactionPlan:
    """
    Return what to compact on main.

    :param target_bytes: size of the files to be; the table's ``write.target-file-size-bytes`` when None, else 128 MiB.
    :param min_files: bins of fewer files are left, unless rows of them are deleted.
    :raises ConfigurationError: if PyIceberg cannot rewrite such a table.
    """
    target = target_bytes or whole_number(table.properties, TARGET_FILE_BYTES, TARGET_BYTES)
    tasks = _tasks(table)
    bins = tuple(
        item
        for group in _partitions(tasks)
        for item in _packed(group, target)
        if len(item.tasks) >= min_files or item.has_deletes
    )
    return CompactionPlan(bins, _unneeded(table, tasks, bins))


def compact(
    catalog: Catalog, identifier: str, *, target_bytes: int | None = None, min_files: int = 2
) -> CompactionResult:
    """
    Compact main of a table, as :func:`plan_compaction` says, in one snapshot; none if there is nothing to do.

    :raises ConfigurationError: if PyIceberg cannot rewrite such a table.
    :raises CommitConflictError: if others changed main in every round; nothing was changed.
    """
    table = catalog.load_table(identifier)
    target = target_bytes or whole_number(table.properties, TARGET_FILE_BYTES, TARGET_BYTES)
    plan = plan_compaction(table, target_bytes=target, min_files=min_files)
    written: list[_Written] = []
    try:
        for item in plan.bins:
            files: list[DataFile] = []
            written.append((item, files))
            files.extend(write_tasks(table, item.tasks, target))
    except Exception:
        _discard(table.io, written)
        raise
    return _commit(catalog, table, written)


def _commit(catalog: Catalog, table: Table, written: list[_Written]) -> CompactionResult:
    """
    Commit what is written; give up bins from which another writer has removed a file.

    After an error that does not say whether the commit was made, nothing is removed: orphan removal will know.
    """
    identifier, base, total = ".".join(table.name()), base_of(table), _count(written)
    loaded = chain([table], iter(lambda: catalog.load_table(identifier), None))

    def attempt() -> CompactionResult | None:
        current = next(loaded)
        if base_of(current)[:2] != base[:2]:
            return None
        tasks = _tasks(current)
        _give_up_stale(current, tasks, written)
        dropped = _unneeded(current, tasks, [item for item, _ in written])
        if not written and not dropped:
            return CompactionResult(skipped=total)
        result = _result(written, dropped, total)
        changes = FileChanges(_files(written), [task.file for item, _ in written for task in item.tasks], dropped)
        snapshot_id = commit_changes(
            catalog, current, MAIN_BRANCH, changes, Operation.REPLACE, summary=_summary(result)
        )
        return replace(result, snapshot_id=snapshot_id)

    try:
        result = retry_conflicts(attempt, identifier, COMMIT_ROUNDS)
    except CommitConflictError:
        _discard(table.io, written)
        raise
    if result is None:
        _discard(table.io, written)
        raise CommitConflictError(
            f"{identifier}: nothing was compacted, the table was replaced or partitioned anew meanwhile; retry later."
        )
    return result


def _give_up_stale(table: Table, tasks: Iterable[FileScanTask], written: list[_Written]) -> None:
    present = {task.file.file_path: _delete_paths(task) for task in tasks}
    stale = [pair for pair in written if not pair[0].holds(present)]
    _discard(table.io, stale)
    written[:] = [pair for pair in written if pair not in stale]


def _discard(io: FileIO, written: Iterable[_Written]) -> None:
    """Remove files that no commit has named."""
    for file in _files(written):
        with suppress(OSError):
            io.delete(file.file_path)


def _files(written: Iterable[_Written]) -> list[DataFile]:
    return [file for _, files in written for file in files]


def _result(written: Sequence[_Written], dropped: Sequence[DataFile], planned: int) -> CompactionResult:
    added = _files(written)
    return CompactionResult(
        files=_count(written),
        bytes=sum(item.bytes for item, _ in written),
        files_after=len(added),
        bytes_after=sum(file.file_size_in_bytes for file in added),
        delete_files=len(dropped),
        skipped=planned - _count(written),
    )


def _count(written: Sequence[_Written]) -> int:
    return sum(len(item.tasks) for item, _ in written)


def _summary(result: CompactionResult) -> dict[str, str]:
    return {
        "phlo.strategy": "compaction",
        "phlo.files": str(result.files),
        "phlo.files-after": str(result.files_after),
        "phlo.delete-files": str(result.delete_files),
    }


def check_compaction(table: Table) -> None:
    """
    Check that PyIceberg can rewrite main.

    :raises ConfigurationError: if it cannot write such a table.
    :raises SchemaError: if it cannot read its files.
    """
    identifier = ".".join(table.name())
    if table.metadata.format_version > 2:
        raise ConfigurationError(
            f"{identifier} has format version {table.metadata.format_version}, whose row ids a rewrite by PyIceberg "
            "would lose: compact it with Trino (ALTER TABLE … EXECUTE optimize)."
        )
    require_writable(table)
    require_readable_data(table, (task.file for task in live_tasks(table, branch_head(table))))


def _tasks(table: Table) -> list[FileScanTask]:
    """Return the live files of main, with what is deleted of them."""
    check_compaction(table)
    return live_tasks(table, branch_head(table))


def _partitions(tasks: Iterable[FileScanTask]) -> Iterator[list[FileScanTask]]:
    groups: dict[object, list[FileScanTask]] = {}
    for task in tasks:
        groups.setdefault((task.file.spec_id, task.file.partition), []).append(task)
    yield from groups.values()


def _packed(tasks: Iterable[FileScanTask], target: int) -> list[Bin]:
    """Return bins of the files that are small or have rows deleted, each up to ``target`` bytes: first fit."""
    bins: list[list[FileScanTask]] = []
    room: list[int] = []
    candidates = [task for task in tasks if task.delete_files or task.file.file_size_in_bytes < SMALL * target]
    for task in sorted(candidates, key=lambda task: task.file.file_size_in_bytes, reverse=True):
        size = task.file.file_size_in_bytes
        fitting = next((number for number, left in enumerate(room) if left >= size), None)
        if fitting is None:
            bins.append([task])
            room.append(target - size)
        else:
            bins[fitting].append(task)
            room[fitting] -= size
    return [Bin(tuple(item)) for item in bins]


def _unneeded(table: Table, tasks: Iterable[FileScanTask], bins: Iterable[Bin]) -> tuple[DataFile, ...]:
    """Return the delete files that no data file outside ``bins`` needs."""
    rewritten = {task.file.file_path for item in bins for task in item.tasks}
    needed = {path for task in tasks if task.file.file_path not in rewritten for path in _delete_paths(task)}
    return tuple(file for file in _delete_files(table) if file.file_path not in needed)


def _delete_files(table: Table) -> Iterator[DataFile]:
    snapshot = table.current_snapshot()
    for manifest in snapshot.manifests(table.io) if snapshot else ():
        if manifest.content == ManifestContent.DELETES:
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                yield entry.data_file


def _delete_paths(task: FileScanTask) -> frozenset[str]:
    return frozenset(file.file_path for file in task.delete_files)
