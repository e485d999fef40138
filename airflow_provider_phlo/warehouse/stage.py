"""
Where rows are staged on their way into a warehouse, and how they are found again.

::

    <root>/<prefix>/<entity>/org=<organization>/date=<date>/<attempt>-00000.parquet, …
    <root>/<prefix>/_batches/org=<organization>/date=<date>/<token>.json

The manifest (``.json``) is written last: it makes the batch exist. An attempt that dies leaves files and no manifest,
which nothing reads, and retention removes them. An attempt begins with the time at which it began, so the files of all
batches sort in the order of writing. Every row has the name of its file and its place in it as columns, by which a
warehouse knows the files that it has copied, and which of two rows was written later. A root is any path object:
``pathlib.Path``, or Airflow's ``ObjectStoragePath``.
"""

from __future__ import annotations

import datetime
import logging
import re
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_phlo.durable_files import flush, put_in_place
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.ingestion import staged_files
from airflow_provider_phlo.ingestion.staged_batches import disk_errors
from airflow_provider_phlo.warehouse.selection import select
from airflow_provider_phlo.warehouse.stage_batches import (
    BATCH_NAME,
    LONGEST_NAME,
    StageBatch,
    StageFile,
    batch_folder,
    batch_name,
    organization_folder,
)

log = logging.getLogger(__name__)
# where manifests are, beside the folders of entities: readers of Parquet pass over names that begin so
MANIFESTS = "_batches"
SETTING = "stage_path"
# columns of every file: its name without ``.parquet``, and the number of the row in it
FILE, ROW = "_phlo_file", "_phlo_row"
_CURE = (
    "and its batch cannot be loaded: put it back from a copy, or remove the manifest of the batch and run again, so "
    "that it is read anew."
)
_ENTITY = re.compile(r"[a-z][a-z0-9_]*")
_STAMP = "%Y%m%dT%H%M%S%f"
_FILE = re.compile(r"(?P<stamp>\d{8}T\d{12})-[0-9a-f]{8}-\d{5,}\.parquet(\.part)?")


def _shown(folder: str) -> str:
    """Return the name that the folder of an organization shows, as far as it does, without its case."""
    return unquote(folder.removeprefix("org=")[:LONGEST_NAME], errors="replace").casefold()


class Stage:
    """
    The batches below one folder.

    :param root: a path object.
    :param prefix: the folder below it, named after the source.
    """

    def __init__(self, root: Any, prefix: str = "github") -> None:
        self.root = root
        self.prefix = prefix
        self.folder = root / prefix
        self._damaged: set[str] = set()

    @contextmanager
    def writer(self, organization: str, date: str, token: str) -> Iterator[StageWriter]:
        """
        Stage a batch: its manifest is written when the block ends without an error.

        ::

            with stage.writer("octo-org", "2026-11-28", token) as writer:
                writer.write("reviews", table)
            writer.batch

        Where a run has staged its batch before, ``writer.batch`` is that one from the beginning, and what is written is
        left out.

        :raises TransientError: the disk is full.
        """
        writer = StageWriter(self, organization, date, token)
        try:
            yield writer
        except BaseException:
            writer.discard()
            raise
        writer.finish()

    def find(self, name: str) -> StageBatch | None:
        """
        Return the batch with this name, None if there is none.

        :raises ConfigurationError: its manifest is damaged.
        """
        path = self.folder / MANIFESTS / f"{_inside(name)}.json"
        try:
            with staged_files.intact(path, _CURE):
                content = staged_files.manifest_content(path.read_text())
        except FileNotFoundError:
            return None
        try:
            batch = StageBatch.from_json(content)
            if batch.name == name and datetime.datetime.fromisoformat(batch.written_at).tzinfo:
                return batch
        except (AttributeError, KeyError, TypeError, ValueError):
            pass  # JSON, but not of ours
        raise ConfigurationError(f"{path} is not the manifest of its batch, {_CURE}")

    def load(self, name: str) -> StageBatch:
        """
        Return the batch with this name.

        :raises ConfigurationError: there is none.
        """
        batch = self.find(name)
        if batch is None:
            raise ConfigurationError(
                f"No batch {name} in the stage {self.folder}: retention has removed it, or [phlo] {SETTING} has "
                "changed."
            )
        return batch

    def batches(self, organizations: Collection[str] | None = None, since: str | None = None) -> list[StageBatch]:
        """
        Return the batches in the order of writing.

        A damaged manifest is left out with a warning, unless ``organizations`` has its organization.

        :param organizations: only theirs, whatever the case of their names; all when None.
        :param since: the first batch of this day (``YYYY-MM-DD``) or a later one, and all that were written after it:
            loaded alone, it would replace newer rows that are equal by ``order_by``. All when None.
        :raises ConfigurationError: of an organization nothing is selected, or its manifest is damaged; no such day.
        """
        wanted = None if organizations is None else {name.casefold(): name for name in organizations}
        return select(self._present(wanted), wanted, since, self.folder)

    def _present(self, wanted: Collection[str] | None) -> Iterator[StageBatch]:
        """Yield the batches in folders that may be of the organizations that are wanted."""
        folder = self.folder / MANIFESTS
        shown = None if wanted is None else {_shown(organization_folder(name)) for name in wanted}
        for path in staged_files.files_below(folder):
            name = path.removesuffix(".json")
            if name == path or not BATCH_NAME.fullmatch(name):
                continue
            if shown is None:
                batch = self._intact(name)
            else:
                batch = self.find(name) if _shown(name.partition("/")[0]) in shown else None
            if batch is not None:  # retention may be at work, too
                yield batch

    def _intact(self, name: str) -> StageBatch | None:
        """Return a batch; None, and warn once, where its manifest is damaged."""
        try:
            return self.find(name)
        except ConfigurationError as error:
            if name not in self._damaged:
                self._damaged.add(name)
                log.warning("%s is left out: %s", name, error)
            return None

    def read(self, batch: StageBatch, entity: str, *, places: bool = False) -> Iterator[pa.Table]:
        """
        Yield the rows of each file of an entity, each file checked as a whole before it is.

        :param places: with the columns that say where in the stage a row is.
        :raises ConfigurationError: a file is damaged or missing.
        """
        for file in batch.files.get(entity, ()):
            path = self.root / file.path
            content = staged_files.read_bytes(path, file.crc, _CURE)
            with staged_files.intact(path, _CURE):
                rows = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
            yield rows if places else rows.drop_columns([FILE, ROW])

    def remove_expired(self, days: int) -> int:
        """
        Remove what was written more than ``days`` days ago, and what attempts that died then left; no damaged manifest.

        :returns: how many batches were removed.
        """
        expired = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
        # nothing is written before its day begins: what is younger need not be read
        last_day = f"date={expired.date().isoformat()}"
        old = []
        for path in staged_files.files_below(self.folder):
            top, _, place = path.partition("/")
            day, _, name = place.partition("/")[2].partition("/")
            if day > last_day:
                continue
            if top == MANIFESTS and BATCH_NAME.fullmatch(place.removesuffix(".json")):
                batch = self._intact(place.removesuffix(".json"))
                if batch is not None and datetime.datetime.fromisoformat(batch.written_at) < expired:
                    old.append(path)
            elif (found := _FILE.fullmatch(name)) and found["stamp"] < expired.strftime(_STAMP):
                old.append(path)
        # manifests first: a batch has all of its files, or does not exist
        for path in sorted(old, key=lambda each: not each.startswith(f"{MANIFESTS}/")):
            (self.folder / path).unlink(missing_ok=True)
            self._remove_empty((self.folder / path).parent)
        return sum(path.endswith(".json") for path in old)

    def _remove_empty(self, folder: Any) -> None:
        if staged_files.is_on_disk(folder):
            with suppress(OSError):  # it is not empty, or gone already
                folder.rmdir()


class StageWriter:
    """
    Write the files of one attempt; see :meth:`Stage.writer`.

    :param batch: the batch, once it is there.
    """

    def __init__(self, stage: Stage, organization: str, date: str, token: str) -> None:
        self.batch = stage.find(batch_name(organization, date, token))
        self._stage = stage
        self._owner = (organization, date, token)
        self._began = datetime.datetime.now(datetime.UTC)
        self._attempt = f"{self._began.strftime(_STAMP)}-{uuid.uuid4().hex[:8]}"
        self._files: dict[str, list[StageFile]] = {}

    def write(self, entity: str, rows: pa.Table) -> None:
        """
        Stage rows of an entity as one more file; none for no rows.

        :param entity: lowercase letters, digits and underscores.
        """
        if not _ENTITY.fullmatch(entity):
            raise ConfigurationError(
                f"{entity!r} cannot be staged: name it in lowercase letters, digits and underscores."
            )
        written = self._files.setdefault(entity, [])
        if self.batch is not None or not len(rows):
            return
        organization, date, _ = self._owner
        folder = f"{self._stage.prefix}/{entity}/{batch_folder(organization, date)}"
        name = f"{self._attempt}-{len(written):05d}"
        path = f"{folder}/{name}.parquet"
        content = staged_files.parquet_bytes(_with_places(rows, name))
        with disk_errors(self._stage.root / folder, SETTING):
            if staged_files.is_on_disk(self._stage.root):
                (self._stage.root / folder).mkdir(parents=True, exist_ok=True)
            written.append(StageFile(path, len(rows), content.size, staged_files.checksum(content)))
            with (self._stage.root / path).open("wb") as target:
                target.write(content)
            if staged_files.is_on_disk(self._stage.root):
                flush(self._stage.root / path)

    def discard(self) -> None:
        """Remove the files of an attempt that failed."""
        for file in (file for files in self._files.values() for file in files):
            (self._stage.root / file.path).unlink(missing_ok=True)

    def finish(self) -> None:
        """Write the manifest, in one step, unless the batch is there already."""
        if self.batch is not None:
            return
        batch = StageBatch(
            *self._owner,
            written_at=self._began.isoformat().replace("+00:00", "Z"),
            files={entity: tuple(files) for entity, files in self._files.items()},
        )
        path = self._stage.folder / MANIFESTS / f"{batch.name}.json"
        content = staged_files.manifest_text(batch.to_json())
        with disk_errors(path.parent, SETTING):
            if staged_files.is_on_disk(self._stage.root):
                path.parent.mkdir(parents=True, exist_ok=True)
                part = Path(path.parent) / f"{self._attempt}-00000.parquet.part"
                part.write_text(content)
                put_in_place(part, Path(path))
            else:  # an object store writes an object whole or not at all
                path.write_text(content)
        self.batch = batch


def _with_places(rows: pa.Table, name: str) -> pa.Table:
    taken = [column for column in rows.column_names if column in (FILE, ROW)]
    if taken:
        raise ConfigurationError(f"Rows with columns of their own named {', '.join(taken)} cannot be staged.")
    files = pa.repeat(pa.scalar(name), len(rows))
    return rows.append_column(FILE, files).append_column(ROW, pa.array(range(len(rows)), pa.int64()))


def _inside(name: str) -> str:
    """
    Return ``name``, if it is the name of a batch.

    :raises ConfigurationError: it is anything else, which might lead elsewhere.
    """
    if not BATCH_NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} does not name a batch: write org=<organization>/date=YYYY-MM-DD/<token>.")
    return name
