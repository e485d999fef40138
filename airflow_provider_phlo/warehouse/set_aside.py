"""
Rows that an SQL warehouse cannot take, or that break their model, on their way into the quarantine of their table.

Before a load, files with such rows are replaced by copies without them, beside the files; the rows themselves become
files for the table ``…__quarantine``, which are loaded as any others are, in the same transaction.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_provider_phlo.ingestion import staged_files
from airflow_provider_phlo.ingestion.checked_rows import StagingPlan, all_but, convert_and_validate
from airflow_provider_phlo.ingestion.rejects import QUARANTINE_SCHEMA, Part, Rejects, rejected_records
from airflow_provider_phlo.ingestion.staged_batches import disk_errors
from airflow_provider_phlo.schemas.failures import Failure, bad_rows, count_failures, raise_for_failures
from airflow_provider_phlo.terms import QUARANTINE_SUFFIX, Token
from airflow_provider_phlo.warehouse.stage import FILE, ROW, SETTING, Stage
from airflow_provider_phlo.warehouse.stage_batches import StageBatch, StageFile
from airflow_provider_phlo.warehouse.tables import StageTable

log = logging.getLogger(__name__)
# A record that is longer is to be looked up in the stage: engines limit their texts.
_LONGEST_RECORD = 1_000_000
_KEPT = ("quarantine_id", "reason", "column_name", "check_name", "run_id", "partition_date", "record", "quarantined_at")
#: the columns of a quarantine: ``source_file`` and ``source_position`` say where in the stage the row is
QUARANTINE_COLUMNS = pa.schema(
    [
        *(QUARANTINE_SCHEMA.field(name).with_nullable(name != "quarantine_id") for name in _KEPT),
        pa.field("source_file", pa.string()),
        pa.field("source_position", pa.int64()),
    ]
)
# returns the rows of a column whose values the database cannot hold
Unfit = Callable[[pa.Field, pa.Array], Sequence[int]]


@dataclass
class SetAside:
    """
    What is loaded in place of some batches.

    :param batches: they, with copies in place of files that have bad rows.
    :param files: the files for the quarantine of each target.
    :param rows: how many rows of each target are set aside.
    """

    batches: list[StageBatch]
    files: dict[str, list[StageFile]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)


def quarantine_entity(entity: str) -> str:
    """Return what the rows that are set aside are called among the files of a batch."""
    return f"{entity}{QUARANTINE_SUFFIX}"


@contextmanager
def bad_rows_set_aside(
    stage: Stage,
    tables: Sequence[StageTable],
    batches: Sequence[StageBatch],
    unfit: Unfit,
    *,
    engine: str,
    token: Token,
    run_id: str,
    partition_date: str,
) -> Iterator[SetAside]:
    """
    Give the block batches without rows that break their model or that the database cannot hold, then remove the copies.

    :param unfit: what the database cannot hold.
    :param engine: the database's name, for the reason of what it cannot hold.
    :param token: the run's token; a retry has the same.
    :raises ValidationError: a rule of a model fails without naming rows.
    :raises ConfigurationError: a file is damaged or missing.
    """
    found = SetAside(list(batches))
    written: list[str] = []
    try:
        for table in tables:
            rejects = Rejects(run_id, partition_date, datetime.datetime.now(datetime.UTC))
            sorter = _Sorter(stage, table, unfit, engine, token, rejects, written)
            found.batches = [sorter.sort(batch) for batch in found.batches]
            if sorter.rows:
                found.files[table.target], found.rows[table.target] = sorter.files, sorter.rows
                log.warning("%s: %d row(s) go to the quarantine", table.target, sorter.rows)
        yield found
    finally:
        for path in written:
            _remove(stage.root / path)


@dataclass
class _Sorter:
    """Divides the files of one table into what is loaded and what is set aside."""

    stage: Stage
    table: StageTable
    unfit: Unfit
    engine: str
    token: Token
    rejects: Rejects
    written: list[str]
    files: list[StageFile] = field(default_factory=list)
    rows: int = 0

    def __post_init__(self) -> None:
        self.declared = self.table.declared()
        self.plan = StagingPlan(self.table.target, self.table.key, self.declared, strict=False)

    def sort(self, batch: StageBatch) -> StageBatch:
        """Return a batch without bad rows of the table."""
        entity = self.table.entity
        if not batch.files.get(entity):
            return batch
        good: list[StageFile] = []
        bad: list[StageFile] = []
        for file, rows in zip(batch.files[entity], self.stage.read(batch, entity, places=True), strict=True):
            self._sort(file, rows, good, bad)
        self.files += bad
        return replace(batch, files={**batch.files, entity: tuple(good), quarantine_entity(entity): tuple(bad)})

    def _sort(self, file: StageFile, rows: pa.Table, good: list[StageFile], bad: list[StageFile]) -> None:
        source = rows.drop_columns([FILE, ROW])
        present = [column.name for column in self.declared.columns if column.name in source.column_names]
        converted, failures = convert_and_validate(source.select(present), self.plan, str)
        raise_for_failures([each for each in count_failures((0, f) for f in failures) if each.count is None],
                           self.table.target, len(rows))  # fmt: skip
        failures = [*failures, *self._of_engine(converted)]
        found = bad_rows(failures)
        if not found and all(converted[name].type == source[name].type for name in present):
            good.append(file)
            return
        kept = converted.append_column(FILE, rows[FILE]).append_column(ROW, rows[ROW])
        kept = kept.filter(pa.array(all_but(found, len(rows))))
        if len(kept):
            good.append(self._write(file, self.table.entity, kept))
        if found:
            records = rejected_records(source, Part(converted, np.arange(len(rows))), found, failures)
            bad.append(self._write(file, quarantine_entity(self.table.entity), self._rejected(file, records)))
            self.rows += len(found)

    def _of_engine(self, rows: pa.Table) -> list[Failure]:
        """Return what the database cannot hold."""
        failures = []
        for column in self.declared.columns:
            if column.name in rows.column_names:
                values = rows[column.name].combine_chunks()
                found = self.unfit(pa.field(column.name, column.type), values)
                if found:
                    failures.append(Failure(column.name, f"{self.engine} can hold it", tuple(found)))
        return failures

    def _rejected(self, file: StageFile, records: Sequence[Any]) -> pa.Table:
        rows = self.rejects.rows(records)
        texts = [text if len(text) <= _LONGEST_RECORD else None for text in rows["record"].to_pylist()]
        columns: Mapping[str, Any] = {
            **{name: rows[name] for name in _KEPT},
            "record": pa.array(texts, pa.string()),
            "source_file": pa.repeat(pa.scalar(file.name), len(rows)),
            "source_position": rows["source_position"],
            FILE: pa.repeat(pa.scalar(file.name), len(rows)),
            ROW: pa.array(range(len(rows)), pa.int64()),
        }
        return pa.table(dict(columns))

    def _write(self, file: StageFile, entity: str, rows: pa.Table) -> StageFile:
        """Write a file of the load's own; its name is that of the file whose rows it has."""
        prefix, _, organization, date, name = file.path.split("/")
        path = f"{prefix}/_load_{self.token}_{entity}/{organization}/{date}/{name}"
        content = staged_files.parquet_bytes(rows)
        place = self.stage.root / path
        self.written.append(path)
        with disk_errors(place.parent, SETTING):
            if staged_files.is_on_disk(self.stage.root):
                place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as target:
                target.write(content)
        return StageFile(path, len(rows), content.size, staged_files.checksum(content))


def _remove(place: Any) -> None:
    place.unlink(missing_ok=True)
    if staged_files.is_on_disk(place.parent):
        with suppress(OSError):  # others are there still
            for folder in (place.parent, place.parent.parent, place.parent.parent.parent):
                folder.rmdir()


def failing_rows(
    test: Callable[[pa.Array], object], values: pa.Array, errors: Collection[type[Exception]]
) -> list[int]:
    """
    Return the positions of values for which ``test`` raises one of ``errors``, by halving.

    :param test: judges several values at a time.
    """
    found: list[int] = []
    waiting = [(0, len(values))]
    while waiting:
        start, end = waiting.pop()
        try:
            test(values.slice(start, end - start))
        except tuple(errors):
            if end - start == 1:
                found.append(start)
            else:
                middle = (start + end) // 2
                waiting += [(middle, end), (start, middle)]
    return found
