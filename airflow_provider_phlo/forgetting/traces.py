"""
Search what a table's metadata names, now or before: data and delete files, manifests, snapshots, old metadata.

Old metadata files are the trail of what was cut off: a search after a crash finds by them which files the table has
named and names no longer, so that these need no guess by their age. They are therefore among the last to be removed.
"""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import orjson
from pyiceberg.manifest import DataFile, DataFileContent, ManifestFile, read_manifest_list
from pyiceberg.table import Table
from pyiceberg.table.refs import SnapshotRefType

from airflow_provider_phlo.forgetting.holdings import Holdings, State
from airflow_provider_phlo.iceberg.branches.upkeep import held_manifest_lists
from airflow_provider_phlo.iceberg.maintenance.orphans import normalized, referenced
from airflow_provider_phlo.terms import SnapshotId

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Traces:
    """
    Where a table's metadata leads to rows of a person.

    :param table: as it was searched.
    :param snapshots: those of its snapshots that name a file with such rows, or its bounds.
    :param branches: the branches whose heads are among them.
    :param tags: the tags that point to one of them.
    :param held: the hours for which the table holds the manifest list of such a snapshot, which has expired.
    :param files: the data and delete files with such rows that the table still needs.
    :param left: what the table needs no longer, in the order in which it is to be removed.
    :param metadata: old metadata files that lead to such snapshots.
    :param lists: the manifest lists among what is left: they go after the metadata that leads to them.
    """

    table: Table
    snapshots: frozenset[SnapshotId] = frozenset()
    branches: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    files: frozenset[str] = frozenset()
    left: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()

    @property
    def removable(self) -> tuple[str, ...]:
        """Return what can be removed at once, in that order."""
        return (*self.left, *self.metadata, *self.lists)


@dataclass(frozen=True)
class _Old:
    """
    A metadata file of before.

    :param lists: the manifest list of each of its snapshots.
    :param statistics: the statistics of its snapshots, as (snapshot, file).
    """

    path: str
    lists: dict[SnapshotId, str]
    statistics: tuple[tuple[SnapshotId, str], ...]


@dataclass
class _Lists:
    """
    The manifest lists of a table, and what they lead to; each file is read once.

    A file that is gone may have had such rows, and its bounds, in a manifest, be theirs. That counts in what was cut
    off, which nobody misses, and elsewhere only where such rows are found at all: else every search would cost history.

    :param cut: the lists that the table needs no longer.
    :param found: whether such rows are anywhere.
    """

    holdings: Holdings
    cut: frozenset[str] = frozenset()
    found: bool = False
    _lists: dict[str, list[str]] = field(default_factory=dict)
    _manifests: dict[str, list[DataFile]] = field(default_factory=dict)

    def manifests(self, path: str) -> list[str]:
        """Return the manifests that a list names; none if the list is gone."""
        if path not in self._lists:
            found: list[str] = []
            with suppress(FileNotFoundError):
                for manifest in read_manifest_list(self.holdings.table.io.new_input(path)):
                    found.append(manifest.manifest_path)
                    self._read(manifest)
            self._lists[path] = found
        return self._lists[path]

    def _read(self, manifest: ManifestFile) -> None:
        if manifest.manifest_path not in self._manifests:
            files: list[DataFile] = []
            with suppress(FileNotFoundError):
                entries = manifest.fetch_manifest_entry(self.holdings.table.io, discard_deleted=False)
                files = [entry.data_file for entry in entries]
            self._manifests[manifest.manifest_path] = files

    def holding(self, path: str) -> list[DataFile]:
        """Return the files with such rows that a list leads to, also those that it names as deleted."""
        files = (file for manifest in self.manifests(path) for file in self._manifests[manifest])
        return [file for file in files if self.holdings.state(file) == State.HOLDS]

    def tainted(self, path: str) -> list[str]:
        """Return the manifests of a list that name such files, or that may have their bounds."""
        counted = {State.HOLDS, State.GONE} if self.found or path in self.cut else {State.HOLDS}
        return [
            manifest
            for manifest in self.manifests(path)
            if any(self.holdings.state(file) in counted for file in self._manifests[manifest])
        ]


def search(holdings: Holdings, orphaned_metadata: Iterable[str] = ()) -> Traces:
    """
    Search everything that the table's metadata names.

    :param holdings: of the table as it is now; what it has searched before is not searched again.
    :param orphaned_metadata: metadata files that the table's log does not name any more.
    :raises SchemaError: files are of a format that is not read.
    """
    table, metadata = holdings.table, holdings.table.metadata
    held = held_manifest_lists(table.properties)
    old = list(_older(table, {*_logged(table), *orphaned_metadata}))
    kept = {*(item.manifest_list for item in metadata.snapshots), *held.values()}
    cut = {path for each in old for path in each.lists.values()} - kept
    lists = _Lists(holdings, frozenset(cut))
    lists.found = any([lists.holding(path) for path in sorted(kept | cut)])
    snapshots = frozenset(item.snapshot_id for item in metadata.snapshots if lists.tainted(item.manifest_list))
    return Traces(
        table,
        snapshots,
        tuple(_refs(table, snapshots, SnapshotRefType.BRANCH)),
        tuple(_refs(table, snapshots, SnapshotRefType.TAG)),
        tuple(hour for hour, path in held.items() if lists.tainted(path)),
        frozenset(file.file_path for path in kept for file in lists.holding(path)),
        tuple(_left(lists, old, referenced(table))),
        tuple(each.path for each in old if any(lists.tainted(path) for path in each.lists.values())),
        tuple(path for path in sorted(cut) if lists.tainted(path)),
    )


def _refs(table: Table, snapshots: frozenset[SnapshotId], kind: SnapshotRefType) -> Iterator[str]:
    for name, ref in table.metadata.refs.items():
        if ref.snapshot_ref_type == kind and ref.snapshot_id in snapshots:
            yield name


def _left(lists: _Lists, old: Sequence[_Old], needed: Collection[str]) -> Iterator[str]:
    """Yield data and delete files, then manifests, then statistics that only snapshots of before had."""
    cut = sorted(lists.cut)
    files = {file.file_path: file for path in cut for file in lists.holding(path)}
    # with the rows gone first, what leads to them is found again after a crash
    data_first = sorted(files, key=lambda path: files[path].content != DataFileContent.DATA)
    manifests = (manifest for path in cut for manifest in lists.tainted(path))
    statistics = (
        path
        for each in old
        for snapshot_id, path in each.statistics
        if each.lists.get(snapshot_id) in lists.cut and lists.tainted(each.lists[snapshot_id])
    )
    for path in dict.fromkeys(chain(data_first, manifests, statistics)):
        if normalized(path) not in needed:
            yield path


def _logged(table: Table) -> Iterator[str]:
    for entry in table.metadata.metadata_log:
        yield entry.metadata_file


def _older(table: Table, paths: Iterable[str]) -> Iterator[_Old]:
    """Yield what metadata files of before say; those that are gone say nothing."""
    for path in sorted(set(paths) - {table.metadata_location}):
        with suppress(FileNotFoundError):
            with table.io.new_input(path).open() as source:
                content = source.read()
            yield _old(path, orjson.loads(gzip.decompress(content) if content.startswith(_GZIP) else content))


def _old(path: str, content: dict[str, Any]) -> _Old:
    lists = {
        item["snapshot-id"]: item["manifest-list"] for item in content.get("snapshots") or () if "manifest-list" in item
    }
    kept = [*(content.get("statistics") or ()), *(content.get("partition-statistics") or ())]
    return _Old(path, lists, tuple((item["snapshot-id"], item["statistics-path"]) for item in kept))
