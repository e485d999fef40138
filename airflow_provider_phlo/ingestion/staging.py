"""
Stage a run's rows as Parquet: extract with dlt, convert and validate, write.

dlt drives the extraction: sources, resources, transformers, paging, incremental cursors and their state. What it
yields is turned into Arrow here, in chunks of bounded size: several times faster than through dlt's own files.
"""

from __future__ import annotations

import datetime
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# dlt would look for its settings in Airflow's Variables too: that imports Airflow's database models, seconds per task.
# Credentials come from connections (`resources`); set the variable to true to let dlt look there anyway.
os.environ.setdefault("PROVIDERS__ENABLE_AIRFLOW_SECRETS", "false")

import dlt
import numpy as np
import pyarrow as pa

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.ingestion import dlt_features, staged_batches, transforms
from airflow_provider_phlo.ingestion.checked_rows import (
    StagingPlan,
    all_but,
    as_read,
    convert_and_validate,
    require_types,
    with_metadata,
    without_empty_columns,
)
from airflow_provider_phlo.ingestion.exact_sources import exact_answers, exact_lines
from airflow_provider_phlo.ingestion.extraction import (
    Chunk,
    chunks,
    dlt_state,
    plain_errors,
    state_text,
)
from airflow_provider_phlo.ingestion.records import Origin
from airflow_provider_phlo.ingestion.rejects import (
    QUARANTINE_SCHEMA,
    Part,
    Rejected,
    Rejects,
    first_of_each,
    rejected_records,
)
from airflow_provider_phlo.ingestion.source_state import reads_on
from airflow_provider_phlo.ingestion.transforms import UNKNOWN
from airflow_provider_phlo.ingestion.unified_types import unify_types
from airflow_provider_phlo.process import keep_offsets
from airflow_provider_phlo.schemas import conversion
from airflow_provider_phlo.schemas.columns import TIMESTAMP, require_names
from airflow_provider_phlo.schemas.conversion.variants import logical_type, with_marks_of
from airflow_provider_phlo.schemas.failures import Failure, FailureCount, bad_rows, count_failures, raise_for_failures
from airflow_provider_phlo.schemas.validation.duplicates import duplicate_rows
from airflow_provider_phlo.terms import METADATA_COLUMNS

__all__ = ["QUARANTINE_SCHEMA", "StagingPlan", "stage"]

log = logging.getLogger(__name__)


def stage(
    source: Callable[[], Any],
    plan: StagingPlan,
    *,
    root: Any,
    token: str,
    partition_date: str,
    run_id: str,
    pipelines_dir: Path,
    state: str = "",
    set_back: str = "",
    refresh: bool = False,
    replay: bool = False,
    hard_delete: str = "",
    zone: str = "UTC",
) -> staged_batches.StagedBatch | None:
    """
    Stage what ``source`` yields, unless this run has staged it before.

    :param source: returns a dlt source or resource, or an iterable of records, Arrow tables or data frames; or None.
    :param root: the staging root, a path object.
    :param token: the run's token; a retry has the same.
    :param partition_date: ``YYYY-MM-DD``.
    :param pipelines_dir: where dlt keeps its working files.
    :param state: dlt's state as the last published run left it.
    :param set_back: the id of the last time that the table's main was set back, as it was together with ``state``.
    :param refresh: extract again even if the batch has been staged.
    :param replay: ``source`` yields records from the quarantine: bad ones stay there, whatever ``plan.strict`` says.
    :param hard_delete: the column that marks deletions; when empty, the one that the dlt resource hints.
    :param zone: whose day the partition date is, for sources that read the window of a scheduler.
    :returns: the staged batch, or None when ``source`` returned None.
    :raises SchemaError: if column names of the schema break dlt's naming convention (nothing is extracted then), or a
        column has a type that Iceberg does not have.
    :raises ValidationError: if a row breaks the schema and ``plan.strict`` is set; in any case if a check fails without
        naming rows.
    """
    keep_offsets()
    started = time.monotonic()
    found = None if refresh else staged_batches.find(root, plan.table, partition_date, token)
    if found:
        log.info("%s: this run has already staged %d rows, nothing is extracted", plan.table, found.rows)
        return found
    with dlt_state(plan.table, pipelines_dir, state) as managed:
        normalize = naming_convention()
        if plan.declared is not None:
            require_names(plan.declared, normalize)
        with plain_errors(plan.table), exact_answers():
            yielded = source()
        if yielded is None:
            return None
        writer = staged_batches.BatchWriter(root, plan.table, partition_date, token)
        plan = replace(plan, strict=False) if replay else plan
        stager = _Stager(plan, writer, run_id, partition_date, normalize, replay)
        hints = dlt_features.read_hints(yielded, plan.table, plan.key, normalize)
        stager.take_hints(hints, hard_delete)

        def note(mark: Any) -> None:
            dlt_features.read_mark(mark, hints, plan.table, plan.key, normalize)
            stager.take_hints(hints, hard_delete)

        with (
            dlt_features.day_for_schedulers(partition_date, zone),
            dlt_features.duckdb_reader(),
            exact_answers(),
            exact_lines(),
        ):
            for chunk in chunks(yielded, plan.table, plan.batch_rows, note):
                stager.add(chunk)
        stager.close()
        new_state = state_text(managed)
    return writer.finish(
        staged_batches.StagedBatch(
            table=plan.table,
            token=token,
            partition_date=partition_date,
            run_id=run_id,
            attempt=writer.attempt,
            files=tuple(writer.files),
            rejected_files=tuple(writer.rejected_files),
            read=stager.read,
            added=stager.added,
            dropped=stager.dropped,
            rows=stager.rows,
            quarantined=stager.quarantined,
            seconds=round(time.monotonic() - started, 3),
            state=new_state,
            read_on=state,
            reads_on=reads_on(state, dlt_features.kept_cursors(yielded)),
            set_back=set_back,
            hard_delete=stager.rejects.hard_delete,
            replay=replay,
        )
    )


def naming_convention() -> Callable[[str], str]:
    """Return dlt's naming convention, as it is configured: a source's name of a field → the column's."""
    normalize: Callable[[str], str] = dlt.Schema("phlo").naming.normalize_identifier
    return normalize


class _Stager:
    """Check and stage the chunks of one attempt; count what was read and what becomes of it."""

    def __init__(
        self,
        plan: StagingPlan,
        writer: staged_batches.BatchWriter,
        run_id: str,
        partition_date: str,
        normalize: Callable[[str], str],
        replay: bool,
    ) -> None:
        self.plan = plan
        self.writer = writer
        self.run_id = run_id
        self.partition_date = partition_date
        self.load_id = str(time.time())
        self.read = self.added = self.dropped = self.rows = self.quarantined = 0
        self.summary: list[FailureCount] = []
        self.normalize = normalize
        self.names = conversion.ColumnNames(normalize, plan.table, plan.comments)
        self.replay = replay
        self.rejects = Rejects(run_id, partition_date, datetime.datetime.now(datetime.UTC))
        # for each staged file, the positions of its rows in the source
        self.positions: list[np.ndarray] = []
        # metadata columns that the source has, too
        self.replaced: list[str] = []
        # for a replay, by position, where in the quarantine the records come from
        self.origins: list[Origin | None] = []

    def take_hints(self, hints: dlt_features.Hints, hard_delete: str) -> None:
        """Take what dlt's hints say of the columns, before the rows that they are about."""
        self.rejects.hard_delete = hard_delete or hints.hard_delete
        self.plan = replace(self.plan, hinted_types=dict(hints.types), required=tuple(hints.required))

    def add(self, chunk: Chunk) -> None:
        """Convert, validate and stage one chunk."""
        start = self.read
        self.read += len(chunk)
        if self.replay:
            self.origins += [getattr(record, "origin", None) for record in chunk]
        part = self._transformed(chunk, start) if self.plan.transforms else Part(chunk, np.arange(len(chunk)))
        # transforms return columns, which have their names
        normalize = self.normalize if self.plan.transforms else self.names
        rows, failures = convert_and_validate(part.content, self.plan, normalize)
        # where transforms lost the position of the record, that of the row is used instead
        known = part.origins != UNKNOWN
        self._count(failures, np.where(known, part.origins, np.arange(len(rows))) + start)
        positions = np.where(known, part.origins + start, UNKNOWN)
        bad = bad_rows(failures)
        if bad:
            keep = all_but(bad, len(rows))
            if self.added:
                keep &= ~np.isin(part.origins, part.origins[~keep & known])
            self._reject(rejected_records(chunk, part, bad, failures), start)
            self.added -= int((~keep).sum()) - len(first_of_each(part, bad))
            rows, positions = rows.filter(pa.array(keep)), positions[keep]
        if len(rows):
            rows = without_empty_columns(rows, self.plan)
            require_types(rows.schema, self.plan.table)
            self._keep_key_types(rows.schema)
            self.writer.write(self.names.noted(self._with_metadata(rows, positions)))
            self.positions.append(positions)
            self.rows += len(rows)

    def _transformed(self, chunk: Chunk, start: int) -> Part:
        """Apply the transforms to the records that can be read; the others are set aside before."""
        wanted = {column.name: column.type for column in self.plan.declared.columns} if self.plan.declared else {}
        # declared types where all values of a column have them; what the transforms return is converted once more
        plan = self.plan
        try:
            table, failures = conversion.conform_loosely(
                chunk, wanted, self.names, plan.known_types, plan.hinted_types, plan.key
            )
        except SchemaError as error:
            raise SchemaError(f"{plan.table}: {error}") from None
        positions = np.arange(len(table))
        bad = bad_rows(failures)
        if bad:
            self._count(failures, positions + start)
            self._reject(rejected_records(chunk, Part(chunk, positions), bad, failures), start)
            keep = all_but(bad, len(table))
            table, positions = table.filter(pa.array(keep)), positions[keep]
        found = self._apply(table, positions)
        self.added += found.added
        self.dropped += found.dropped
        if found.added or found.dropped:
            log.info("%s: transforms made %d rows of %d", self.plan.table, len(found.rows), len(table))
        origins = np.full(len(found.rows), UNKNOWN) if found.origins is None else found.origins
        return Part(with_marks_of(found.rows, table.schema), origins)

    def _apply(self, table: pa.Table, positions: np.ndarray) -> transforms.Transformed:
        found = transforms.apply(self.plan.transforms, table, positions, self.plan.table)
        if found.origins is None and self.replay:
            # a replay has to know which record failed again, so records are transformed one by one
            alone = [self._of_one(table.slice(row, 1), positions[row : row + 1]) for row in range(len(table))]
            return transforms.together(alone)
        return found

    def _of_one(self, record: pa.Table, position: np.ndarray) -> transforms.Transformed:
        found = transforms.apply(self.plan.transforms, record, position, self.plan.table)
        return replace(found, origins=np.repeat(position, len(found.rows)))

    def _count(self, failures: Sequence[Failure], positions: np.ndarray) -> None:
        """Count failures, and keep the positions of the first ones in the source."""
        at = [
            each if each.rows is None else Failure(each.column, each.check, tuple(positions[[*each.rows]].tolist()))
            for each in failures
        ]
        self.summary = count_failures([(0, each) for each in at], self.summary)

    def close(self) -> None:
        """Check the batch as a whole: failures that end the run, types that differ, values that are not unique."""
        self._raise_for_failures()
        unify_types(self.writer, self.plan)
        if self.plan.declared is not None and self.plan.check_rows:
            for columns in self.plan.declared.unique_sets():
                self._check_unique(columns)
            self._raise_for_failures()
        for failure in self.summary:
            log.warning("%s: quarantined: %s", self.plan.table, failure)

    def _raise_for_failures(self) -> None:
        if self.plan.strict or any(failure.count is None for failure in self.summary):
            raise_for_failures(self.summary, self.plan.table, self.quarantined)

    def _keep_key_types(self, schema: pa.Schema) -> None:
        """Let the first rows decide the type of an undeclared key, which has no variants."""
        new = [name for name in self.plan.key if name not in self.plan.known_types and name in schema.names]
        if new:
            types = {**self.plan.known_types, **{name: logical_type(schema.field(name)) for name in new}}
            self.plan = replace(self.plan, known_types=types)

    def _check_unique(self, columns: tuple[str, ...]) -> None:
        """Set aside rows that share a value which has to be unique, and that the merge would not make one row."""
        if not self.writer.files:
            return
        wanted = list(dict.fromkeys([*columns, *self.plan.identity]))
        tables = [self.writer.read(number, wanted) for number in range(len(self.writer.files))]
        repeated = np.asarray(duplicate_rows(staged_batches.concat(tables), columns, self.plan.identity), np.int64)
        rule = Failure(", ".join(columns), "unique", None)
        start = 0
        for number, table in enumerate(tables):
            rows = repeated[(repeated >= start) & (repeated < start + len(table))] - start
            start += len(table)
            if len(rows):
                self._set_aside(number, rows, rule)

    def _set_aside(self, number: int, rows: np.ndarray, rule: Failure) -> None:
        """Move staged rows to the quarantine."""
        positions = self.positions[number]
        self._count([Failure(rule.column, rule.check, tuple(range(len(rows))))], positions[rows])
        staged = self.writer.read(number)
        source_columns = [name for name in staged.column_names if name not in METADATA_COLUMNS]
        records = as_read(staged.select(source_columns).take(rows), self.plan)
        sources = [int(position) if position != UNKNOWN else None for position in positions[rows]]
        self._reject([Rejected(*each, [rule]) for each in zip(records, sources, strict=True)], 0)
        keep = all_but(rows, len(staged))
        self.positions[number] = positions[keep]
        self.writer.rewrite(number, staged.filter(pa.array(keep)))
        self.rows -= len(rows)

    def _reject(self, rejected: Sequence[Rejected], start: int) -> None:
        """Stage records for the quarantine; their positions count from ``start``."""
        at = [None if each.position is None else each.position + start for each in rejected]
        origins = [self._origin(position) for position in at]
        self.quarantined += len(rejected)
        self.writer.reject(
            self.rejects.rows(
                [
                    replace(each, position=position, origin=origin)
                    for each, position, origin in zip(rejected, at, origins, strict=True)
                ]
            )
        )

    def _origin(self, position: int | None) -> Origin | None:
        return self.origins[position] if position is not None and position < len(self.origins) else None

    def _arrived(self, positions: np.ndarray) -> pa.Array:
        """Return when rows arrived: now, or for a replay when they first did."""
        now = datetime.datetime.now(datetime.UTC)
        if not self.replay:
            return pa.repeat(pa.scalar(now, TIMESTAMP), len(positions))
        origins = [self._origin(int(position)) if position != UNKNOWN else None for position in positions]
        return pa.array([now if each is None else each.arrived_at for each in origins], TIMESTAMP)

    def _with_metadata(self, rows: pa.Table, positions: np.ndarray) -> pa.Table:
        if not self.plan.metadata_columns:
            return rows
        replaced = [name for name in rows.column_names if name in METADATA_COLUMNS and name not in self.replaced]
        if replaced:
            self.replaced += replaced
            log.warning("%s: %s of the source is replaced by that of the run", self.plan.table, ", ".join(replaced))
        return with_metadata(rows, self.load_id, self.run_id, self.partition_date, self._arrived(positions))
