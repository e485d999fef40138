"""
Files below a table's location that its metadata has never named, or no old metadata file says so any more.

A killed writer leaves such files, and one that still runs has some that it has not committed yet: nothing but their age
tells them apart.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from pyiceberg.avro.file import AvroFile
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestContent, ManifestFile, read_manifest_list
from pyiceberg.table import Table
from pyiceberg.typedef import Record

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.forgetting.holdings import Holdings, State
from airflow_provider_phlo.iceberg.maintenance.orphans import StoredFile, normalized, referenced, stored_files

_FORMATS = {".parquet": FileFormat.PARQUET, ".orc": FileFormat.ORC}
_METADATA = ".metadata.json"


@dataclass(frozen=True)
class Strays:
    """
    Such files with rows of a person.

    :param old: those that can be removed.
    :param young: those that a running writer may have written.
    :param since: when the youngest was written.
    """

    old: tuple[str, ...] = ()
    young: tuple[str, ...] = ()
    since: datetime.datetime | None = None


def unnamed_files(table: Table) -> list[StoredFile]:
    """Return the files below the table's location that it does not need."""
    needed = referenced(table)
    return [file for file in stored_files(table.io, table.location()) if normalized(file.location) not in needed]


def metadata_among(files: list[StoredFile], before: datetime.datetime) -> list[str]:
    """
    Return the metadata files that the table's log does not name any more.

    :param before: a younger one may be of a commit that is under way.
    """
    return [file.location for file in files if file.location.endswith(_METADATA) and file.modified < before]


def search_strays(
    holdings: Holdings, files: list[StoredFile], known: frozenset[str], before: datetime.datetime
) -> Strays:
    """
    Search files for rows of a person.

    :param files: what :func:`unnamed_files` returned.
    :param known: those that the metadata of before named.
    :param before: when a file must have been written so that no running writer needs it.
    """
    ours = {normalized(path) for path in known}
    found = [file for file in files if normalized(file.location) not in ours and _has_rows(holdings, file.location)]
    young = [file for file in found if file.modified >= before]
    return Strays(
        tuple(file.location for file in found if file.modified < before),
        tuple(file.location for file in young),
        max((file.modified for file in young), default=None),
    )


def _has_rows(holdings: Holdings, path: str) -> bool:
    """Return whether a file has such rows or may have: one that is in pieces, as killed writers leave them, may."""
    extension = f".{path.rpartition('.')[2]}"
    try:
        if extension in _FORMATS:
            return holdings.state(_data_file(holdings.table, path, _FORMATS[extension])) == State.HOLDS
        if extension == ".avro":
            return any(holdings.state(file) != State.FREE for file in _named_by(holdings.table, path))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, EOFError, SchemaError):  # Arrow's errors are of these, too
        return True
    return False


def _data_file(table: Table, path: str, kind: FileFormat) -> DataFile:
    spec = table.spec()
    file = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=kind,
        partition=Record(*(None for _ in spec.fields)),
        record_count=0,
    )
    file.spec_id = spec.spec_id
    return file


def _named_by(table: Table, path: str) -> Iterator[DataFile]:
    """Yield the files that a manifest names, or those of the manifests that a manifest list names."""
    source = table.io.new_input(path)
    if path.rpartition("/")[2].startswith("snap-"):
        manifests = list(read_manifest_list(source))
    else:
        with AvroFile[Record](source) as reader:
            spec_id = int(reader.header.meta.get("partition-spec-id", 0))
        manifests = [_manifest(path, spec_id)]
    for manifest in manifests:
        with suppress(FileNotFoundError):
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
                yield entry.data_file


def _manifest(path: str, spec_id: int) -> ManifestFile:
    return ManifestFile.from_args(
        manifest_path=path,
        manifest_length=0,
        partition_spec_id=spec_id,
        content=ManifestContent.DATA,
        sequence_number=0,
        min_sequence_number=0,
        added_snapshot_id=0,
    )
