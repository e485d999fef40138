"""
Commit a snapshot that changes how rows are stored, and not which.

PyIceberg writes ``append``, ``overwrite`` and ``delete`` snapshots. These are ``replace`` ones: incremental readers and
the history know from it that no row has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.manifest import (
    DataFile,
    ManifestContent,
    ManifestEntry,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.table import Table, Transaction
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.typedef import EMPTY_DICT

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.commits import retried

# PyIceberg's own default of commit.manifest.target-size-bytes
MANIFEST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Rewrite:
    """
    What one ``replace`` snapshot does.

    :param added: data files that hold the rows of ``removed``, less those that were deleted by position.
    :param dropped: delete files that no data file needs any more.
    :param manifest_bytes: write all manifests anew, clustered by partition, each about this long; None leaves them.
    """

    added: Sequence[DataFile] = ()
    removed: Sequence[DataFile] = ()
    dropped: Sequence[DataFile] = ()
    manifest_bytes: int | None = None


def commit_rewrite(catalog: Catalog, table: Table, rewrite: Rewrite, summary: Mapping[str, str]) -> int:
    """
    Make ``rewrite`` a snapshot of main.

    :param table: as it was read when the rewrite was chosen.
    :param summary: properties of the snapshot.
    :returns: the snapshot's id.
    :raises CommitConflictError: if main, or how the table is partitioned, has changed since; nothing is committed.
    """
    identifier = ".".join(table.name())
    base = base_of(table)
    current = [table]

    def attempt() -> int:
        try:
            return _commit(current[0], rewrite, summary)
        except (CommitFailedException, ValidationException, ValueError) as error:
            newer = catalog.load_table(identifier)
            if base_of(newer) != base:
                raise CommitConflictError(f"{identifier}: main was changed by another writer.") from error
            raced = newer.metadata_location != current[0].metadata_location
            current[0] = newer
            # PyIceberg reports a sequence number that another commit has taken as a plain ValueError
            if not (raced or isinstance(error, CommitFailedException)):
                raise
            raise CommitFailedException(str(error)) from error

    return retried(attempt, identifier)


def base_of(table: Table) -> tuple[object, ...]:
    """Return what a rewrite depends on: it cannot be committed once it has changed."""
    return table.metadata.table_uuid, table.metadata.default_spec_id, branches.head(table)


def _commit(table: Table, rewrite: Rewrite, summary: Mapping[str, str]) -> int:
    # PyIceberg's own retry would put the snapshot on top of whatever main has become: off, in memory only
    properties = {**table.metadata.properties, "commit.retry.num-retries": "0"}
    table.metadata = table.metadata.model_copy(update={"properties": properties})
    with table.transaction() as transaction:
        producer = _RewriteFiles(transaction, rewrite, dict(summary))
        producer.commit()
    return producer.snapshot_id


class _RewriteFiles(_OverwriteFiles):
    """A producer of ``replace`` snapshots, which can drop delete files and cluster manifests."""

    def __init__(self, transaction: Transaction, rewrite: Rewrite, summary: dict[str, str]) -> None:
        super().__init__(
            operation=Operation.OVERWRITE,  # PyIceberg computes no totals for a replace: renamed in _summary
            transaction=transaction,
            io=transaction._table.io,
            snapshot_properties=summary,
            branch=MAIN_BRANCH,
        )
        self._rewrite = rewrite
        for file in rewrite.removed:
            self.delete_data_file(file)
        for file in rewrite.added:
            self.append_data_file(file)

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        # counted in the summary; PyIceberg looks for them among the data files only, which it has done by now
        self._deleted_data_files |= set(self._rewrite.dropped)
        own = [
            item for item in manifests if item.added_snapshot_id == self.snapshot_id and not item.has_existing_files()
        ]
        others = [
            item for item in manifests if item not in own and (item.has_added_files() or item.has_existing_files())
        ]
        data = [item for item in others if item.content == ManifestContent.DATA]
        if self._rewrite.manifest_bytes is not None:
            data = list(self._clustered(data, self._rewrite.manifest_bytes))
        deletes = [item for item in others if item.content == ManifestContent.DELETES]
        return [*own, *data, *self._without_dropped(deletes)]

    def _clustered(self, manifests: Sequence[ManifestFile], target: int) -> Iterator[ManifestFile]:
        for spec_id in sorted({item.partition_spec_id for item in manifests}):
            same = [item for item in manifests if item.partition_spec_id == spec_id]
            entries = sorted(
                (entry for item in same for entry in self.fetch_manifest_entry(item)),
                key=lambda entry: _partition_order(entry.data_file),
            )
            size = entries_per_manifest(same, len(entries), target)
            for start in range(0, len(entries), size):
                yield self._written(self.new_manifest_writer(self.spec(spec_id)), entries[start : start + size])

    def _without_dropped(self, manifests: Iterable[ManifestFile]) -> Iterator[ManifestFile]:
        dropped = set(self._rewrite.dropped)
        for manifest in manifests:
            entries = self.fetch_manifest_entry(manifest)
            kept = [entry for entry in entries if entry.data_file not in dropped]
            if len(kept) == len(entries):
                yield manifest
            elif kept:
                yield self._written(self._delete_manifest_writer(self.spec(manifest.partition_spec_id)), kept)

    def _delete_manifest_writer(self, spec: PartitionSpec) -> DeleteManifestWriter:
        return DeleteManifestWriter(
            spec, self.schema(), self.new_manifest_output(), self.snapshot_id, self._compression
        )

    @staticmethod
    def _written(writer: Any, entries: Iterable[ManifestEntry]) -> ManifestFile:
        with writer:
            for entry in entries:
                writer.existing(entry)
        return writer.to_manifest_file()

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        totals = super()._summary(snapshot_properties).additional_properties
        return Summary(operation=Operation.REPLACE, **totals)


class DeleteManifestWriter(ManifestWriterV2):
    """Write a manifest of delete files, which PyIceberg 0.12 only reads."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def entries_per_manifest(manifests: Sequence[ManifestFile], entries: int, target: int) -> int:
    """Return how many of their ``entries`` fit a manifest of ``target`` bytes."""
    return max(1, target * entries // max(1, sum(item.manifest_length for item in manifests)))


def _partition_order(file: DataFile) -> list[tuple[bool, str]]:
    # values of one partition field have one type, NULL aside; padded, so that numbers sort as numbers
    return [(value is not None, f"{value:>30}" if value is not None else "") for value in _values(file)]


def _values(file: DataFile) -> list[Any]:
    return [file.partition[position] for position in range(len(file.partition))]
