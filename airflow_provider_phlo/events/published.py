"""
What readers of events are served: Parquet segments, and a manifest that names them.

DuckDB locks a file for the one process that writes it, so nobody reads the loader's database while a load runs. At the
end of a load the events that are new become a segment, sorted by time and never changed, and the manifest is replaced:
a reader has all of one publication, or all of the one before. All of it can be made again from the database, and a load
does so when a segment is missing, no longer has the size it was written with, or could not be read.

Segments of like size are merged, so that there are few, and an event is written again at most as often as the logarithm
of their number. What a merge made superfluous stays for as long as a reader may still need it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import duckdb
import msgspec

from airflow_provider_phlo.durable_files import flush, put_in_place
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.formats import require_known_version
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.sql import literal

log = logging.getLogger(__name__)

COLUMNS = (
    ("event_id", "VARCHAR"),
    ("event_type", "VARCHAR"),
    ("created_at", "TIMESTAMPTZ"),
    ("actor_id", "BIGINT"),
    ("actor_login", "VARCHAR"),
    ("repo_id", "BIGINT"),
    ("repo_name", "VARCHAR"),
    ("loaded_at", "TIMESTAMPTZ"),
)
MANIFEST_VERSION = 1
# longer than any query may take (queries.SECONDS)
GRACE_SECONDS = 600
# this many segments of one tier become one of the next
FAN_IN = 8
# a segment of this many events is never merged again: merging it would take a load too long
LARGEST_MERGED = FAN_IN**7

_MANIFEST = "manifest.json"
# there when somebody could not read a segment
_SUSPICION = "suspected"
_NAMES = ", ".join(name for name, _ in COLUMNS)


@dataclass(frozen=True)
class Segment:
    """
    Events in one Parquet file.

    :param rows: how many.
    :param size: of the file, in bytes.
    :param last: when the latest of them was created, in microseconds since 1970; None where no event has a time.
    """

    name: str
    rows: int
    size: int
    last: int | None


@dataclass(frozen=True)
class Manifest:
    """
    One publication.

    :param events: how many events it has.
    :param position: how far it goes in the table: rows are numbered as they are inserted, and this is the next number.
    :param last_event: the ``event_id`` of the row before that.
    :param last_loaded_at: its ``loaded_at``, in microseconds since 1970: no other database has both in this place.
    :param published_at: when it was published, in seconds since 1970.
    :param segments: what it is made of.
    :param retired: segments of earlier publications → when they ceased to be one.
    :param database: the name of the file beside the folder that was published; unknown if empty.
    """

    events: int
    position: int
    last_event: str | None
    last_loaded_at: int | None
    published_at: float
    segments: tuple[Segment, ...]
    retired: dict[str, float]
    version: int = MANIFEST_VERSION
    database: str = ""


@dataclass(frozen=True)
class Publication:
    """
    What was published.

    :param events: how many events readers have now.
    :param added: how many of them they did not have before.
    :param rebuilt: whether all of them were written again.
    """

    events: int
    added: int
    rebuilt: bool


def read_manifest(folder: Path) -> Manifest | None:
    """
    Return the current publication; None when there is none.

    :raises ConfigurationError: a newer release has written it.
    :raises TransientError: it cannot be read, or is damaged: the next load makes it again.
    """
    try:
        content = json.loads((folder / _MANIFEST).read_bytes())
        require_known_version(content, MANIFEST_VERSION, "The manifest of the published events")
        return msgspec.convert(content, Manifest)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TransientError(f"The published events cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, AttributeError, msgspec.ValidationError):
        raise TransientError("The manifest of the published events is damaged: load again.") from None


def suspect(folder: Path) -> None:
    """Let the next load compare all that is published with the table: something of it could not be read."""
    with contextlib.suppress(OSError):
        (folder / _SUSPICION).touch(mode=0o600)


def require_own_folder(folder: Path, database: Path) -> None:
    """
    Check that ``folder`` is not where another database beside it is published: its readers would be served this one.

    :raises ConfigurationError: it is, or it is the database.
    """
    advice = "Give the database another name or folder (DUCKDB_PATH)."
    if folder == database:
        raise ConfigurationError(f"{database} has the name of the folder for what is published of it. {advice}")
    before = _manifest_to_follow(folder)
    other = before.database if before else ""
    if other and other != database.name and (folder.parent / other).exists():
        raise ConfigurationError(
            f"{folder} has what is published of {other}, and {database.name} would be published there too: their names "
            f"differ only in the ending. {advice}"
        )


def publish(
    connection: duckdb.DuckDBPyConnection, folder: Path, *, database: str = "", compare: bool = False
) -> Publication:
    """
    Publish the events that readers do not have yet; nothing is written when they have all.

    Call it in the process that holds the database, outside a transaction. A publication that a crash prevented is made
    up for by the next. Everything is written anew where the table is not the one that was published, grown by rows, and
    where a segment is missing or damaged.

    :param connection: the loader's, with the table ``events``; nothing is written to it.
    :param folder: where publications lie; only its owner may read it.
    :param database: the name of the database's file.
    :param compare: read all that is published, and compare it with the table.
    :raises ConfigurationError: a newer release has published to the folder.
    :raises TransientError: the disk is full, or another error of the disk or of DuckDB; readers keep what they had.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = _manifest_to_follow(folder)
        suspected = (folder / _SUSPICION).exists()
        with _snapshot(connection):
            continued = before if before and _is_continued(connection, before) else None
            if continued and not _is_intact(connection, folder, continued, compare=compare or suspected):
                log.warning("Of the events published to %s a part is missing or damaged: all is written anew.", folder)
                continued = None
            manifest = _publish_rows(connection, folder, continued, before, database)
        if suspected:
            (folder / _SUSPICION).unlink(missing_ok=True)
        manifest = _compact(connection, folder, manifest)
        _clean(folder, manifest)
    except duckdb.Error as error:
        raise TransientError(f"Events cannot be published to {folder}: {describe(error)}. Load again.") from None
    except OSError as error:
        raise TransientError(f"Events cannot be published to {folder}: {error.strerror}. Load again.") from None
    added = manifest.events - (before.events if before else 0)
    return Publication(manifest.events, added, rebuilt=before is not None and continued is None)


def _manifest_to_follow(folder: Path) -> Manifest | None:
    with contextlib.suppress(TransientError):
        return read_manifest(folder)
    return None


@contextlib.contextmanager
def _snapshot(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """See one state of the database."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _is_continued(connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> bool:
    """
    Return whether the table is the one that was published, perhaps with more rows.

    It is if the row that was its last still has its number, and as many rows come before as were published: a table
    that lost rows has fewer, and one of another database another row.
    """
    query = "SELECT event_id, epoch_us(loaded_at) FROM events WHERE rowid = ?"
    last = connection.execute(query, [manifest.position - 1]).fetchall()
    if last != [(manifest.last_event, manifest.last_loaded_at)]:
        return False
    query = "SELECT (SELECT count(*) FROM events) - count(*) FROM events WHERE rowid >= ?"
    return connection.execute(query, [manifest.position]).fetchall() == [(manifest.events,)]


def _is_intact(connection: duckdb.DuckDBPyConnection, folder: Path, manifest: Manifest, *, compare: bool) -> bool:
    """Return whether the segments are there with their sizes, and with ``compare``, hold what the table holds."""
    for segment in manifest.segments:
        try:
            if (folder / segment.name).stat().st_size != segment.size:
                return False
        except FileNotFoundError:
            return False
    if not compare or not manifest.segments:
        return True
    query = f"SELECT count(*), bit_xor(hash({_NAMES})) FROM"
    try:
        # in a transaction of its own, which an error ends
        with connection.cursor() as cursor:
            found = cursor.execute(f"{query} {_rows_of(folder, manifest.segments)}").fetchall()
    except duckdb.Error:
        return False
    return found == connection.execute(f"{query} events WHERE rowid < ?", [manifest.position]).fetchall()


def _rows_of(folder: Path, segments: Sequence[Segment]) -> str:
    return f"read_parquet([{', '.join(literal(str(folder / segment.name)) for segment in segments)}])"


def _publish_rows(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    continued: Manifest | None,
    before: Manifest | None,
    database: str,
) -> Manifest:
    """Write the rows that ``continued`` does not have as a segment beside its own, and let the manifest name it."""
    first = continued.position if continued else 0
    query = "SELECT count(*), max(rowid) FROM events WHERE rowid >= ?"
    ((new, last),) = connection.execute(query, [first]).fetchall()
    if continued and not new:
        return continued
    segments = continued.segments if continued else ()
    position, last_event, last_loaded_at = 0, None, None
    if new:
        rows = f"SELECT {_NAMES} FROM events WHERE rowid >= {first}"  # noqa: S608 - names and a number
        segments = (*segments, _write_segment(connection, folder, rows, new))
        query = "SELECT rowid + 1, event_id, epoch_us(loaded_at) FROM events WHERE rowid = ?"
        ((position, last_event, last_loaded_at),) = connection.execute(query, [last]).fetchall()
    events = new + (continued.events if continued else 0)
    retired = dict(before.retired) if before else {}
    fresh = Manifest(events, position, last_event, last_loaded_at, time.time(), segments, retired, database=database)
    return _replace_manifest(folder, before, fresh)


def _write_segment(connection: duckdb.DuckDBPyConnection, folder: Path, rows: str, count: int) -> Segment:
    name = f"{uuid.uuid4().hex}.parquet"
    path = folder / name
    connection.execute(f"COPY ({rows} ORDER BY created_at) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)")
    os.chmod(path, 0o600)
    flush(path)
    query = f"SELECT epoch_us(max(created_at)) FROM read_parquet({literal(str(path))})"  # noqa: S608 - quoted
    ((last,),) = connection.execute(query).fetchall()
    return Segment(name, count, path.stat().st_size, last)


def _replace_manifest(folder: Path, before: Manifest | None, manifest: Manifest) -> Manifest:
    """Put a manifest in the place of another: readers find one of the two, also after a power cut."""
    current = {segment.name for segment in manifest.segments}
    past = [segment.name for segment in before.segments] if before else []
    now = time.time()
    retired = {**manifest.retired, **{name: now for name in past if name not in current}}
    manifest = replace(manifest, retired=retired)
    part = folder / f"{_MANIFEST}.part"
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(asdict(manifest), out)
    put_in_place(part, folder / _MANIFEST)
    return manifest


# --- few segments, and no file that nobody needs


def _tier(segment: Segment) -> int:
    tier, rows = 0, segment.rows
    while rows >= FAN_IN:
        tier, rows = tier + 1, rows // FAN_IN
    return tier


def _mergeable(segments: Sequence[Segment]) -> list[Segment]:
    """Return segments to merge: those of the lowest tier that is full, and of the tiers below."""
    small = [segment for segment in segments if segment.rows < LARGEST_MERGED]
    for tier in sorted({_tier(segment) for segment in small}):
        if sum(_tier(segment) == tier for segment in small) >= FAN_IN:
            return [segment for segment in small if _tier(segment) <= tier]
    return []


def _compact(connection: duckdb.DuckDBPyConnection, folder: Path, manifest: Manifest) -> Manifest:
    while merged := _mergeable(manifest.segments):
        rows = f"SELECT {_NAMES} FROM {_rows_of(folder, merged)}"  # noqa: S608 - names and quoted paths
        try:
            segment = _write_segment(connection, folder, rows, sum(segment.rows for segment in merged))
        except duckdb.Error:
            suspect(folder)
            raise
        others = tuple(segment for segment in manifest.segments if segment not in merged)
        manifest = _replace_manifest(folder, manifest, replace(manifest, segments=(*others, segment)))
    return manifest


def _clean(folder: Path, manifest: Manifest) -> None:
    """Remove segments that no manifest has named for a while: retired ones, and what a crash left."""
    current = {segment.name for segment in manifest.segments}
    due = time.time() - GRACE_SECONDS
    for path in folder.glob("*.parquet"):
        with contextlib.suppress(FileNotFoundError):
            since = manifest.retired.get(path.name, path.stat().st_mtime)
            if path.name not in current and since < due:
                path.unlink()
    gone = {name for name in manifest.retired if not (folder / name).exists()}
    if gone:
        kept = {name: since for name, since in manifest.retired.items() if name not in gone}
        _replace_manifest(folder, None, replace(manifest, retired=kept))
