"""
Load a folder of files into DuckDB: each exactly once, whole or not at all, whatever happens in between.

Files are read, hashed and taken apart in groups, in which DuckDB sees all lines at once; each is then written in a
transaction of its own, in the order of their names, so that the first occurrence of a key stays. A file with a line
that is not plainly a row is judged line by line.
"""

from __future__ import annotations

import errno
import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import duckdb

from airflow_provider_phlo.exceptions import ConfigurationError, FilesFailedError, PhloError, TransientError
from airflow_provider_phlo.files.database import open_database, stops_load
from airflow_provider_phlo.files.lines import BadFileError, Chunk, chunks
from airflow_provider_phlo.files.rejected import insert_rejected
from airflow_provider_phlo.files.results import FileFailure, LoadResult
from airflow_provider_phlo.files.scanning import (
    SUFFIXES,
    Content,
    File,
    FileChangedError,
    Scan,
    format_of,
    is_passing,
    may_be_left_alone,
    read,
    scan,
    unreadable,
)
from airflow_provider_phlo.files.shape import require_shape
from airflow_provider_phlo.files.staging import Staging, Target
from airflow_provider_phlo.files.tabular import csv_chunks, parquet_chunks
from airflow_provider_phlo.library_errors import describe

log = logging.getLogger(__name__)

# what is staged at once: enough to make the cost of a statement small, and small enough for memory
_GROUP_FILES = 500
_GROUP_BYTES = 32 * 1024 * 1024
# a file that changed later than this before it was loaded may have changed again without its time saying so
_SETTLED = timedelta(seconds=2)
_VERSION = "file_path, file_size, file_mtime, file_sha256, loaded_at"
# of the machine, not of the file that was being read
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_NAMES = ", ".join(SUFFIXES)
# files of other names that the log names
_NAMED = 5
_CHANGING = "was written to, or replaced, while it was read; the next load takes it"

# rows inserted, and lines rejected
_Written = tuple[int, int]
AfterLoad = Callable[[duckdb.DuckDBPyConnection], None]


@dataclass(frozen=True)
class _Read:
    """A file that is new; with its lines, if they are few enough to be staged together with those of other files."""

    content: Content
    chunk: Chunk | None


def load_files(
    folder: Any,
    target: Target,
    database: Path,
    *,
    verify: bool = False,
    wait_seconds: float = 60.0,
    after_load: AfterLoad | None = None,
) -> LoadResult:
    """
    Load what is new below ``folder`` into ``database``.

    A file whose SHA-256 was loaded before in the same format is skipped, whatever its name is. One that has kept its
    path, size and time of change is not read for that, unless ``verify`` is set. A file that changed under its name is
    loaded as a new version, and reported in the log.

    :param folder: a ``Path`` or an ``ObjectStoragePath``; files whose names end as ``scanning.SUFFIXES`` says.
    :param target: the table, and how lines become its rows.
    :param database: the DuckDB file; created where it is missing.
    :param verify: hash every file.
    :param wait_seconds: how long to wait for others who have the database open.
    :param after_load: called with the open connection when all is committed, also if nothing was new or files failed.
    :raises ConfigurationError: there is no such folder, or no file in it has a name that is loaded, or the database is
        not one that can be read, or has tables of these names in another shape.
    :raises FilesFailedError: some files could not be loaded; all others were.
    :raises TransientError: the database is locked, the disk is full, or a file was written to while it was read.
    """
    started = time.monotonic()
    found = scan(folder)
    _name_others(found, folder)
    with open_database(database, wait_seconds) as connection:
        require_shape(connection, target.schema, target.table, database)
        load = _Load(connection, target)
        for failure in found.failures:
            load.fail(failure)
        load.run(found.files, verify)
        if after_load is not None:
            after_load(connection)
    result = LoadResult(
        scanned_files=len(found.files) + len(found.failures),
        loaded_files=load.loaded,
        skipped_files=load.skipped,
        inserted_events=load.inserted,
        rejected_lines=load.rejected,
        other_files=len(found.others),
        duration_ms=round((time.monotonic() - started) * 1000),
        db_path=str(database),
    )
    if load.failures:
        raise _failure(result, load.failures)
    return result


class _Load:
    """One load: what it has done so far, and what had been loaded before it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, target: Target) -> None:
        self.loaded = self.skipped = self.inserted = self.rejected = 0
        self.failures: list[FileFailure] = []
        self._connection, self._target = connection, target
        self._together, self._alone = Staging(connection, target, "staged"), Staging(connection, target, "staged_alone")
        connection.execute(target.schema)
        rows = connection.execute(f"SELECT {_VERSION} FROM loaded_files").fetchall()  # noqa: S608 - our own names
        self._versions = {row[0]: row[1:] for row in rows}
        replaced = connection.execute("SELECT file_path, file_sha256 FROM replaced_files").fetchall()
        # bytes that were read as lines are not known as CSV
        self._hashes = {(row[3], format_of(row[0])) for row in rows} | {(row[1], format_of(row[0])) for row in replaced}
        self._last = max((row[4] for row in rows), default=datetime.min.replace(tzinfo=UTC))

    def run(self, files: list[File], verify: bool) -> None:
        """
        Load what is new of ``files``.

        :raises TransientError: the database cannot be written to any more.
        """
        for group in self._groups(files, verify):
            self._load_group(group)

    def _groups(self, files: list[File], verify: bool) -> Iterator[list[_Read]]:
        """Yield what is new and has been read; what is better loaded alone is a group of its own."""
        group: list[_Read] = []
        size = 0
        for file in files:
            if not verify and self._is_unchanged(file):
                self.skipped += 1
                continue
            new = self._read(file)
            if new is None:
                continue
            length = _GROUP_BYTES if new.chunk is None else len(new.chunk.data)
            if group and (len(group) >= _GROUP_FILES or size + length > _GROUP_BYTES):
                yield group
                group, size = [], 0
            group.append(new)
            size += length
        if group:
            yield group

    def _is_unchanged(self, file: File) -> bool:
        if file.name not in self._versions:
            return False
        size, modified, _, loaded_at = self._versions[file.name]
        return bool((size, modified) == (file.size, file.modified) and modified < loaded_at - _SETTLED)

    def _read(self, file: File) -> _Read | None:
        """Return what a file holds, unless it was loaded before or cannot be read."""
        try:
            content = read(file)
        except (FileChangedError, OSError) as error:
            self.fail(_failure_of(file, error))
            return None
        if _identity(content) in self._hashes:
            self.skipped += 1
            return None
        if content.data is None or content.file.is_packed or not content.file.has_lines:
            return _Read(content, None)
        try:
            parts = list(chunks(io.BytesIO(content.data), packed=False))
        except BadFileError:  # which is named at its place
            parts = []
        return _Read(content, parts[0] if len(parts) == 1 else None)

    def _load_group(self, group: list[_Read]) -> None:
        """Load files in their order; those that need it alone, at their place."""
        together = {number: new.chunk for number, new in enumerate(group) if new.chunk is not None}
        plain = self._stage_together(together)
        repeated = self._together.repeated() if plain else {}
        for number, new in enumerate(group):
            if _identity(new.content) in self._hashes:  # one before it in the group has the same bytes
                self.skipped += 1
                continue
            if number in plain:
                done = self._load_file(new.content, partial(self._insert_staged, number, repeated.get(number, [])))
            else:
                done = False
                self._load_file(new.content, self._insert_alone)
            if not done:  # what it did to the table, or did not, changes which of the next lines are repeated
                repeated = self._together.repeated(after=number) if plain else {}

    def _stage_together(self, files: dict[int, Chunk]) -> set[int]:
        try:
            return self._together.stage_files(files)
        except duckdb.Error as error:
            if stops_load(error):
                raise _stopped("", error) from None
        return set()  # each of them alone shows which one it is

    def _insert_staged(self, number: int, repeated: list[int], content: Content, moment: datetime) -> _Written:
        return self._together.insert(number, repeated, content.file.name, moment), 0

    def _insert_alone(self, content: Content, moment: datetime) -> _Written:
        inserted = rejected = 0
        with closing(content.open()) as stream:
            for chunk in self._chunks(content, stream):
                lines = self._alone.stage_chunk(chunk)
                if lines:
                    insert_rejected(self._connection, lines, content.file.name, content.sha256, moment)
                rejected += len(lines)
                inserted += self._alone.insert(0, self._alone.repeated().get(0, []), content.file.name, moment)
            content.require_same(stream)
        return inserted, rejected

    def _chunks(self, content: Content, stream: BinaryIO) -> Iterator[Chunk]:
        """Yield what the file has; of a Parquet file, whose end is read first, all is copied before."""
        if content.file.has_lines:
            yield from chunks(stream, packed=content.file.is_packed)
        elif content.file.suffix == ".csv":
            yield from csv_chunks(stream, self._target.to_document, self._target.keys)
        else:
            with TemporaryFile() as copy:
                copyfileobj(stream, copy)
                yield from parquet_chunks(cast(BinaryIO, copy), self._target.to_document, self._target.keys)

    def _load_file(self, content: Content, insert: Callable[[Content, datetime], _Written]) -> bool:
        """
        Load a file in one transaction, and return whether that succeeded.

        :raises TransientError: the database cannot be written to any more.
        """
        moment = self._next_moment()
        try:
            with _transaction(self._connection):
                inserted, rejected = insert(content, moment)
                changed = self._record(content, moment)
        except Exception as error:  # noqa: BLE001 - about this file, or _failure_of raises: the others are loaded
            return self.fail(_failure_of(content.file, error))
        self._hashes.add(_identity(content))
        self.loaded += 1
        self.inserted += inserted
        self.rejected += rejected
        if changed:
            log.warning("%s has changed since it was loaded: loaded as a new version.", content.file.name)
        if rejected:
            log.warning("%s: %d lines are not rows; they are in rejected_lines.", content.file.name, rejected)
        return True

    def _record(self, content: Content, moment: datetime) -> bool:
        """Record the version of a file that is loaded; return whether there was another one."""
        file = content.file
        before = self._versions.get(file.name)
        if before is not None:
            self._connection.execute(
                f"INSERT INTO replaced_files ({_VERSION}, replaced_at) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
                [file.name, *before, moment],
            )
        version = (file.size, file.modified, content.sha256, moment)
        # to look for a row to replace takes longer than to insert one
        verb = "INSERT" if before is None else "INSERT OR REPLACE"
        self._connection.execute(
            f"{verb} INTO loaded_files ({_VERSION}) VALUES (?, ?, ?, ?, ?)",
            [file.name, *version],
        )
        self._versions[file.name] = version
        return before is not None

    def _next_moment(self) -> datetime:
        """Return the time, later for each file even where the clock was set back."""
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        return self._last

    def fail(self, failure: FileFailure) -> bool:
        """Remember that a file could not be loaded; return False: it is not."""
        self.failures.append(failure)
        log.error("%s", failure)
        return False


def _identity(content: Content) -> tuple[str, str]:
    return content.sha256, format_of(content.file.name)


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.begin()
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):  # it may have ended the transaction itself
            connection.rollback()
        raise
    connection.commit()


def _name_others(found: Scan, folder: Any) -> None:
    """
    Name the files that are left alone.

    :raises ConfigurationError: all are: the folder is not the one that was meant, or their names are.
    """
    others = found.others
    if not others:
        return
    few = ", ".join(sorted(others)[:_NAMED]) + (", …" if len(others) > _NAMED else "")
    if not found.files and not found.failures and not all(map(may_be_left_alone, others)):
        raise ConfigurationError(
            f"Nothing in {folder} has a name that is loaded, which ends in {_NAMES}: {few}. Rename what is to be "
            "loaded, or give another folder."
        )
    log.warning("%d files are left alone, as names that are loaded end in %s: %s", len(others), _NAMES, few)


def _failure_of(file: File, error: Exception) -> FileFailure:
    """
    Return why a file could not be loaded.

    :raises TransientError: no other file can be loaded either.
    """
    if isinstance(error, PhloError):
        raise error
    if isinstance(error, BadFileError):
        return FileFailure(file.name, str(error))
    if isinstance(error, FileChangedError):
        return FileFailure(file.name, _CHANGING, passing=True)
    if isinstance(error, duckdb.Error) and stops_load(error):
        raise _stopped(f" at {file.name}", error) from None
    if isinstance(error, OSError):
        if error.errno in _NO_ROOM:
            raise _stopped(f" at {file.name}", error) from None
        return FileFailure(file.name, unreadable(error), is_passing(error))
    return FileFailure(file.name, f"cannot be loaded: {describe(error)}")


def _stopped(where: str, error: Exception) -> TransientError:
    advice = ""
    if isinstance(error, duckdb.OutOfMemoryException):
        advice = " Free memory, or room on the disk of the database, where DuckDB puts what does not fit into memory."
    done = "The files before it are loaded; the next load goes on there."
    return TransientError(f"Loading stopped{where}: {describe(error)}. {done}{advice}")


def _failure(result: LoadResult, failures: list[FileFailure]) -> FilesFailedError | TransientError:
    """Return the error that names every file that was not loaded."""
    listed = "\n".join(f"  {failure}" for failure in failures)
    message = (
        f"{len(failures)} of {result.scanned_files} files could not be loaded; {result.loaded_files} were, with "
        f"{result.inserted_events} new rows:\n{listed}"
    )
    if all(failure.passing for failure in failures):
        return TransientError(message)
    return FilesFailedError(message, result, failures)
