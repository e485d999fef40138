"""
The data files of a snapshot, as its manifests list them, and the manifests of the snapshot that follows.

Manifests are read at most once. Those that a commit does not touch are carried over as they are; the others are
written again in chunks that are sorted by partition, so that a later commit to few partitions touches few of them.
"""

from __future__ import annotations

import math
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysFalse, AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import (
    _InclusiveMetricsEvaluator,
    inclusive_projection,
    manifest_evaluator,
    residual_evaluator_of,
)
from pyiceberg.manifest import (
    DATA_FILE_TYPE,
    DEFAULT_READ_VERSION,
    DataFile,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV1,
    ManifestWriterV2,
)
from pyiceberg.table import FileScanTask, Table
from pyiceberg.typedef import Record

from airflow_provider_phlo.iceberg.catalogs.file_io import location_provider
from airflow_provider_phlo.iceberg.files.deletes import DeleteFiles
from airflow_provider_phlo.iceberg.tables.partitioning import partition_schema
from airflow_provider_phlo.iceberg.tables.properties import avro_codec

ALWAYS_TRUE = AlwaysTrue()
LEAST_FILES = 16
# this many manifests below a third of their size are written as one by the next commit
SMALL_MANIFESTS = 16


def manifest_files(files: int) -> int:
    """
    Return how many of a table's files each manifest lists: about as many as there are manifests.

    With fewer, planning a scan opens many manifests; with more, a commit that touches few files writes many entries.
    """
    return max(LEAST_FILES, math.isqrt(files))


class SnapshotFiles:
    """
    The live data files of one snapshot.

    :param snapshot_id: None for a table without any.
    """

    def __init__(self, table: Table, snapshot_id: int | None) -> None:
        self.table = table
        self.snapshot_id = snapshot_id
        snapshot = table.metadata.snapshot_by_id(snapshot_id) if snapshot_id is not None else None
        manifests = snapshot.manifests(table.io) if snapshot else []
        self.manifests = [each for each in manifests if each.content == ManifestContent.DATA]
        self.delete_manifests = [each for each in manifests if each.content == ManifestContent.DELETES]
        self._entries: dict[str, list[ManifestEntry]] = {}

    def entries(self, manifest: ManifestFile) -> list[ManifestEntry]:
        """Return the live entries of one manifest."""
        if manifest.manifest_path not in self._entries:
            self._entries[manifest.manifest_path] = manifest.fetch_manifest_entry(self.table.io)
        return self._entries[manifest.manifest_path]

    def has_read(self, manifest: ManifestFile) -> bool:
        """Return whether the entries of a manifest are in memory."""
        return manifest.manifest_path in self._entries

    def tasks(self, row_filter: BooleanExpression | None = None) -> Iterator[FileScanTask]:
        """Yield the files whose manifests may list rows that ``row_filter`` accepts, with what deletes rows of them."""
        for manifest in self._matching(row_filter or AlwaysTrue()):
            for entry in self.entries(manifest):
                yield self.task(entry)

    def of_partition(self, spec_id: int, partition: Record) -> Iterator[FileScanTask]:
        """Yield the files of one partition."""
        for manifest in self.manifests:
            if manifest.partition_spec_id == spec_id and self._may_hold(manifest, partition):
                for entry in self.entries(manifest):
                    if entry.data_file.partition == partition:
                        yield self.task(entry)

    def _matching(self, row_filter: BooleanExpression) -> Iterator[ManifestFile]:
        schema, specs = self.table.schema(), self.table.specs()
        evaluators = {}
        for manifest in self.manifests:
            spec_id = manifest.partition_spec_id
            if spec_id not in evaluators:
                projected = inclusive_projection(schema, specs[spec_id])(row_filter)
                evaluators[spec_id] = manifest_evaluator(specs[spec_id], schema, projected)
            if evaluators[spec_id](manifest):
                yield manifest

    def _may_hold(self, manifest: ManifestFile, partition: Record) -> bool:
        """Return whether a manifest may list files of a partition, by the bounds in the manifest list."""
        types = self.table.specs()[manifest.partition_spec_id].partition_type(partition_schema(self.table)).fields
        for position, (each, summary) in enumerate(zip(types, manifest.partitions or (), strict=False)):
            value: Any = partition[position]
            if value is None or summary.lower_bound is None or summary.upper_bound is None:
                continue
            value = value.bytes if isinstance(value, uuid.UUID) else value  # as PyIceberg reads bounds
            low, high = (from_bytes(each.field_type, bound) for bound in (summary.lower_bound, summary.upper_bound))  # type: ignore[arg-type]
            if not low <= value <= high:
                return False
        return True

    def task(self, entry: ManifestEntry) -> FileScanTask:
        """Return the file of an entry, with what deletes rows of it."""
        deletes = self._deletes.of(entry) if self.delete_manifests else set()
        return FileScanTask(entry.data_file, deletes, AlwaysTrue())

    @cached_property
    def _deletes(self) -> DeleteFiles:
        return DeleteFiles(self.table, chain.from_iterable(map(self.entries, self.delete_manifests)))


def live_tasks(
    table: Table, snapshot_id: int | None, row_filter: BooleanExpression = ALWAYS_TRUE
) -> list[FileScanTask]:
    """
    Return the files of a snapshot that may hold rows which ``row_filter`` accepts, with what is deleted of them.

    PyIceberg plans as well, and reads manifests side by side, but refuses a table for any equality deletes.

    :param snapshot_id: None for a table without any.
    :returns: as PyIceberg's scans do, each with what is left of the filter for its rows.
    :raises SchemaError: if rows are deleted in a way that PyIceberg does not read.
    """
    files = SnapshotFiles(table, snapshot_id)
    if snapshot_id is None or not files.delete_manifests:
        return list(table.scan(row_filter, snapshot_id=snapshot_id).plan_files()) if snapshot_id is not None else []
    schema, specs = table.schema(), table.specs()
    may_hold = _InclusiveMetricsEvaluator(schema, row_filter).eval
    found = []
    for task in files.tasks(row_filter):
        evaluator = residual_evaluator_of(specs[task.file.spec_id], row_filter, True, schema)
        residual = evaluator.residual_for(task.file.partition)
        if residual != AlwaysFalse() and may_hold(task.file):
            found.append(FileScanTask(task.file, task.delete_files, residual))
    return found


@dataclass(frozen=True)
class FileChanges:
    """
    How the files of a snapshot differ from those of the one before.

    :param added: data files of the table's current partition spec.
    :param removed: data files.
    :param dropped: delete files that no data file needs any more.
    :param clustered: whether all manifests are written anew, sorted by partition.
    :param without_bounds: the columns, as field ids, whose bounds a data file loses, by its path: see
        ``maintenance.bounds``.
    :param traceless: whether manifests keep nothing of files that are removed, now or before: an entry that says so has
        bounds, which are values of rows.
    """

    added: Sequence[DataFile] = ()
    removed: Sequence[DataFile] = ()
    dropped: Sequence[DataFile] = ()
    clustered: bool = False
    without_bounds: Mapping[str, Collection[int]] = field(default_factory=dict)
    traceless: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.added or self.removed or self.dropped or self.clustered or self.without_bounds or self.traceless
        )


def next_manifests(files: SnapshotFiles, changes: FileChanges, snapshot_id: int) -> list[ManifestFile]:
    """
    Write and return the manifests of the snapshot that follows.

    :param files: those of the snapshot before.
    :raises ValueError: if a removed file is not one of the snapshot's.
    """
    gone = {file.file_path for file in changes.removed}
    kept, pools, found = _taken_apart(files, gone, changes, snapshot_id)
    if found != gone:
        raise ValueError(f"{len(gone - found)} file(s) to remove are not in snapshot {files.snapshot_id}.")
    added = [_entry(ManifestEntryStatus.ADDED, snapshot_id, file) for file in changes.added]
    pools[files.table.spec().spec_id] += added
    size = manifest_files(sum(map(_size, files.manifests)) + len(added))
    written = [
        _write(files.table, spec_id, chunk, snapshot_id)
        for spec_id, entries in pools.items()
        for chunk in _chunks(sorted(entries, key=_by_partition), size)
    ]
    return written + kept + list(_without_dropped(files, changes, snapshot_id))


def _without_dropped(files: SnapshotFiles, changes: FileChanges, snapshot_id: int) -> Iterator[ManifestFile]:
    """Yield the manifests of delete files, without those that are dropped."""
    dropped = {file.file_path for file in changes.dropped}
    for manifest in files.delete_manifests:
        anew = changes.traceless and manifest.deleted_files_count != 0
        entries = files.entries(manifest) if dropped or anew else []
        kept = [entry for entry in entries if entry.data_file.file_path not in dropped]
        if len(kept) == len(entries) and not anew:
            yield manifest
        elif kept:
            carried = [_carried(entry, False, snapshot_id) for entry in kept]
            yield _write(files.table, manifest.partition_spec_id, carried, snapshot_id, ManifestContent.DELETES)


def _taken_apart(
    files: SnapshotFiles, gone: set[str], changes: FileChanges, snapshot_id: int
) -> tuple[list[ManifestFile], dict[int, list[ManifestEntry]], set[str]]:
    """Return the unchanged manifests, the entries of the others by spec, and which files to remove were found."""
    size = manifest_files(sum(map(_size, files.manifests)))
    small = [each for each in files.manifests if changes.clustered or _size(each) * 3 < size]
    folded = {each.manifest_path for each in small} if changes.clustered or len(small) >= SMALL_MANIFESTS else set()
    if changes.traceless:
        folded |= {each.manifest_path for each in files.manifests if each.deleted_files_count != 0}
    touched = gone | changes.without_bounds.keys()
    kept: list[ManifestFile] = []
    pools: dict[int, list[ManifestEntry]] = defaultdict(list)
    found: set[str] = set()
    for manifest in sorted(files.manifests, key=lambda each: not files.has_read(each)):
        met = set()
        if touched - found:
            met = {entry.data_file.file_path for entry in files.entries(manifest)} & touched
        if not met and manifest.manifest_path not in folded:
            if _size(manifest):
                kept.append(manifest)
            continue
        found |= met
        for entry in files.entries(manifest):
            path = entry.data_file.file_path
            if path in gone and changes.traceless:
                continue
            carried = _carried(entry, path in gone, snapshot_id)
            carried.data_file = _without_bounds(entry.data_file, changes.without_bounds.get(path, ()))
            pools[manifest.partition_spec_id].append(carried)
    return kept, pools, found & gone


def _without_bounds(file: DataFile, columns: Collection[int]) -> DataFile:
    if not columns:
        return file
    values = {item.name: file[position] for position, item in enumerate(DATA_FILE_TYPE[DEFAULT_READ_VERSION].fields)}
    for name in ("lower_bounds", "upper_bounds"):
        values[name] = {key: each for key, each in values[name].items() if key not in columns}
    return DataFile.from_args(**values)


def _chunks(entries: list[ManifestEntry], most: int) -> Iterator[list[ManifestEntry]]:
    """Yield chunks of about one size, none of more than ``most``."""
    parts = -(-len(entries) // most)
    for part in range(parts):
        yield entries[len(entries) * part // parts : len(entries) * (part + 1) // parts]


def _size(manifest: ManifestFile) -> int:
    return (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)


def _carried(entry: ManifestEntry, removed: bool, snapshot_id: int) -> ManifestEntry:
    if removed:
        return _entry(ManifestEntryStatus.DELETED, snapshot_id, entry.data_file, entry)
    return _entry(ManifestEntryStatus.EXISTING, entry.snapshot_id, entry.data_file, entry)


def _entry(
    status: ManifestEntryStatus, snapshot_id: int | None, file: DataFile, before: ManifestEntry | None = None
) -> ManifestEntry:
    # the numbers of an added file are those of its snapshot, which only the commit knows
    return ManifestEntry.from_args(
        status=status,
        snapshot_id=snapshot_id,
        sequence_number=before.sequence_number if before else None,
        file_sequence_number=before.file_sequence_number if before else None,
        data_file=file,
    )


def _by_partition(entry: ManifestEntry) -> tuple[tuple[bool, Any], ...]:
    partition = entry.data_file.partition
    values = [partition[position] for position in range(len(partition))]
    return tuple((value is not None, 0 if value is None else value) for value in values)


def _write(
    table: Table,
    spec_id: int,
    entries: Sequence[ManifestEntry],
    snapshot_id: int,
    content: ManifestContent = ManifestContent.DATA,
) -> ManifestFile:
    location = location_provider(table.location(), table.properties).new_metadata_location(f"{uuid.uuid4()}-m0.avro")
    writer = _DeleteManifestWriter if content == ManifestContent.DELETES else _WRITERS[table.metadata.format_version]
    with writer(
        table.specs()[spec_id],
        partition_schema(table),
        table.io.new_output(location),
        snapshot_id,
        avro_codec(table),  # type: ignore[arg-type]
    ) as manifest:
        for entry in entries:
            manifest.add_entry(entry)
    return manifest.to_manifest_file()


class _DeleteManifestWriter(ManifestWriterV2):
    """Write a manifest of delete files, which PyIceberg 0.12 only reads."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


_WRITERS = {1: ManifestWriterV1, 2: ManifestWriterV2}
