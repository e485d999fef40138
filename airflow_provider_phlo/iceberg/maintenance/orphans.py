"""
Remove files below a table's location that no snapshot, branch, tag, metadata file or statistics needs.

Killed writers leave such files, as do lost races and expired snapshots. A file that a running writer has not
committed yet looks the same: nothing but its age protects it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import read_manifest_list
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.branches.upkeep import held_manifest_lists
from airflow_provider_phlo.iceberg.catalogs.opening import is_nessie
from airflow_provider_phlo.iceberg.tables.lookup import is_staging, table_names

MINIMUM_HOURS = 1
# others may commit all the time, so the files of every version seen meanwhile count as needed
LISTINGS = 3
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z0-9+.-]+):/*(?P<rest>.*)", re.DOTALL)
_SAME_STORES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "local": "file", "abfss": "abfs", "wasbs": "wasb"}


@dataclass(frozen=True)
class Orphan:
    """A file that nothing needs."""

    location: str
    bytes: int


@dataclass(frozen=True)
class OrphanPlan:
    """The files to remove."""

    files: tuple[Orphan, ...] = ()

    def totals(self) -> dict[str, Any]:
        """Return how much it is, as a JSON object."""
        return {"files": len(self.files), "bytes": sum(file.bytes for file in self.files)}


def check_orphan_removal(catalog: Catalog, table: Table, *, days: float, force: bool = False) -> None:
    """
    Check that files which this table's metadata does not name can safely be called orphans.

    :raises ConfigurationError: if another table, branch or writer may need them, or the age guard is too short.
    """
    identifier = ".".join(table.name())
    if days * 24 < MINIMUM_HOURS and not force:
        raise ConfigurationError(
            f"{identifier}: orphan_days={days} is less than {MINIMUM_HOURS} hour. Age is all that protects files that "
            "a running writer has not committed: give more, or force when nothing writes to the table."
        )
    if is_nessie(catalog):
        raise ConfigurationError(
            f"{identifier} is in a Nessie catalog: files that only its other branches need look like orphans here. "
            "Use Nessie's own garbage collector (nessie-gc)."
        )
    location = normalized(table.location())
    warehouse = catalog.properties.get("warehouse", "")
    if warehouse and _within(normalized(warehouse), location):
        raise ConfigurationError(
            f"{identifier} lies at the warehouse's root, where any table's files may be: move it to a folder of its "
            "own (create it anew with a location, and copy it)."
        )
    _check_neighbours(catalog, identifier, location)


def _check_neighbours(catalog: Catalog, identifier: str, location: str) -> None:
    for other in table_names(catalog):
        if other == identifier or is_staging(other):
            continue
        try:
            neighbour = normalized(catalog.load_table(other).location())
        except NoSuchTableError:  # dropped since it was listed
            continue
        if _within(location, neighbour) or _within(neighbour, location):
            raise ConfigurationError(
                f"{identifier} and {other} share a location: a file that one lacks may be the other's. Give one of "
                "them a location of its own."
            )


def plan_orphans(catalog: Catalog, identifier: str, *, days: float, now: datetime.datetime) -> OrphanPlan:
    """
    Return the files that nothing needs and that are older than ``days``; see :func:`check_orphan_removal`.

    :param days: the age guard, longer than any writer runs.
    :raises ConfigurationError: if the files may be needed by another address.
    """
    oldest = now - datetime.timedelta(days=days)
    table = catalog.load_table(identifier)
    needed = referenced(table)
    for _ in range(LISTINGS):
        listed = [file for file in stored_files(table.io, table.location()) if file.modified < oldest]
        newer = catalog.load_table(identifier)
        needed |= referenced(newer)
        if newer.metadata_location == table.metadata_location:
            break
        table = newer
    unknown = [file for file in listed if normalized(file.location) not in needed]
    _require_one_address(identifier, table.location(), unknown, needed)
    return OrphanPlan(tuple(Orphan(file.location, file.bytes) for file in unknown))


def _require_one_address(identifier: str, location: str, unknown: Sequence[StoredFile], needed: set[str]) -> None:
    """
    Refuse to call files orphans that the table may need by another address: a link, an alias of the store's host.

    :raises ConfigurationError: a file of the same path below some other place is needed.
    """
    root = normalized(location)
    elsewhere: dict[str, list[str]] = {}
    for path in needed:
        if not _within(path, root):
            elsewhere.setdefault(path.rpartition("/")[2], []).append(path)
    for file in unknown:
        below = normalized(file.location).removeprefix(root)
        for other in elsewhere.get(below.rpartition("/")[2], ()):
            if other.endswith(below):
                raise ConfigurationError(
                    f"{identifier} needs files of {other.removesuffix(below)}, and its location {location} has files "
                    "of the same names: where both are one place (a link, another name of the store), removing them "
                    "would lose rows. Give the table the location by which its files are named (Spark: ALTER TABLE … "
                    "SET LOCATION), or move the copies away."
                )


def remove_orphans(catalog: Catalog, identifier: str, *, days: float, now: datetime.datetime) -> OrphanPlan:
    """
    Remove what :func:`plan_orphans` finds.

    :returns: what was removed.
    """
    plan = plan_orphans(catalog, identifier, days=days, now=now)
    if not plan.files:
        return plan
    table = catalog.load_table(identifier)
    needed = referenced(table)
    removed = [file for file in plan.files if normalized(file.location) not in needed]
    for file in removed:
        try:
            table.io.delete(file.location)
        except FileNotFoundError:  # somebody else cleans up, too
            continue
    return OrphanPlan(tuple(removed))


def referenced(table: Table) -> set[str]:
    """Return the normalized locations of all files that a table needs, in any of its snapshots."""
    metadata = table.metadata
    found = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    found.update(item.statistics_path for item in (*metadata.statistics, *metadata.partition_statistics))
    manifests: dict[str, Any] = {}
    for snapshot in metadata.snapshots:
        found.add(snapshot.manifest_list)
        manifests.update({manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)})
    for held in held_manifest_lists(table.properties).values():
        found.add(held)
        with suppress(FileNotFoundError):  # a table that was copied or restored says so of files it never had
            listed = read_manifest_list(table.io.new_input(held))
            manifests.update({manifest.manifest_path: manifest for manifest in listed})
    found.update(manifests)
    for manifest in manifests.values():
        entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        found.update(entry.data_file.file_path for entry in entries)
    return {normalized(location) for location in found}


def normalized(location: str) -> str:
    """Return one spelling of a location: engines differ in schemes (``s3a``) and in slashes (``file:/``)."""
    match = _SCHEME.fullmatch(location)
    scheme, rest = (match["scheme"].lower(), match["rest"]) if match else ("file", location)
    return f"{_SAME_STORES.get(scheme, scheme)}:/{re.sub('/+', '/', rest.strip('/'))}"


def _within(inner: str, outer: str) -> bool:
    return f"{inner}/".startswith(f"{outer}/")


@dataclass(frozen=True)
class StoredFile:
    """A file as its store lists it."""

    location: str
    bytes: int
    modified: datetime.datetime


def stored_files(io: FileIO, location: str) -> Iterator[StoredFile]:
    """Yield all files below ``location``, as locations that ``io`` understands."""
    listed = _by_arrow(io, location) if isinstance(io, PyArrowFileIO) else _by_fsspec(io, location)
    for file in listed:
        # Hadoop's catalogs find the current metadata by it, nothing names it
        if not file.location.endswith("/version-hint.text"):
            yield file


def _by_arrow(io: PyArrowFileIO, location: str) -> Iterator[StoredFile]:
    from pyarrow.fs import FileSelector, FileType

    scheme, netloc, path = io.parse_location(location, io.properties)
    path = path.rstrip("/")
    for info in io.fs_by_scheme(scheme, netloc).get_file_info(FileSelector(path, recursive=True, allow_not_found=True)):
        if info.type == FileType.File and info.mtime is not None:
            yield StoredFile(location.rstrip("/") + info.path[len(path) :], info.size, info.mtime)


def _by_fsspec(io: Any, location: str) -> Iterator[StoredFile]:
    scheme = location.partition("://")[0]
    store = io.get_fs(scheme)
    root = store._strip_protocol(location).rstrip("/")
    found: Mapping[str, Mapping[str, Any]] = store.find(root, detail=True)
    for path, info in found.items():
        modified = info.get("LastModified") or info.get("last_modified") or info.get("mtime") or info.get("updated")
        if modified is not None:
            yield StoredFile(location.rstrip("/") + path[len(root) :], info["size"], _moment(modified))


def _moment(value: Any) -> datetime.datetime:
    if isinstance(value, int | float):
        return datetime.datetime.fromtimestamp(value, datetime.UTC)
    moment = value if isinstance(value, datetime.datetime) else datetime.datetime.fromisoformat(str(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
