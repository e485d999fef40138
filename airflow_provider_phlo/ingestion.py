"""
Extract with dlt, convert, validate, and stage a run's rows as Parquet.

dlt drives the extraction: sources, resources, transformers, paging, incremental cursors and their state. What it
yields is turned into Arrow here, in batches of bounded size: several times faster than through dlt's own files.
"""

from __future__ import annotations

import datetime
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

# dlt would look for its settings in Airflow's Variables too: that imports Airflow's database models, seconds a task.
# Credentials come from connections (`resources`); set the variable to true to let dlt look there all the same.
os.environ.setdefault("PROVIDERS__ENABLE_AIRFLOW_SECRETS", "false")

import dlt
import numpy as np
import pyarrow as pa

from airflow_provider_phlo import staging
from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.extraction import Chunk, chunks, dlt_state, hard_delete_column, plain_errors, state_text
from airflow_provider_phlo.row_hash import canonical_json, row_hashes
from airflow_provider_phlo.schemas import conform
from airflow_provider_phlo.schemas.columns import TIMESTAMP, ModelColumns
from airflow_provider_phlo.schemas.names import Failure
from airflow_provider_phlo.schemas.iceberg import METADATA_COLUMNS
from airflow_provider_phlo.schemas.validation import (
    bad_rows,
    counted,
    duplicate_rows,
    missing_values,
    raise_for,
    validate,
)

log = logging.getLogger(__name__)

Transform = Callable[[pa.Table], pa.Table]
HASH = "_phlo_row_hash"
QUARANTINE_SCHEMA = pa.schema(
    [
        ("quarantine_id", pa.string()),
        ("reason", pa.string()),
        ("column_name", pa.string()),
        ("check_name", pa.string()),
        ("run_id", pa.string()),
        ("partition_date", pa.date32()),
        ("source_position", pa.int64()),
        ("record", pa.string()),
        ("quarantined_at", TIMESTAMP),
        (HASH, pa.string()),
    ]
)


@dataclass(frozen=True)
class StagingPlan:
    """
    How to stage the rows of one table.

    :param table: ``namespace.table``.
    :param key: the key columns; a row without one is bad.
    :param declared: the validation schema; None validates nothing.
    :param check_rows: False skips the schema's rules, but not its types.
    :param strict: True fails on a bad row, False sets it aside for the quarantine.
    :param identity: columns whose equality means "the same row" when uniqueness is checked (what the merge drops).
    :param metadata_columns: whether rows carry ``_dlt_*``, ``_cascade_ingested_at`` and ``_phlo_*``.
    :param transforms: applied to every batch, Arrow to Arrow, before validation.
    :param batch_rows: rows converted, validated and written at a time.
    :param known_types: types that columns have in the table already; undeclared ones keep them where they can.
    """

    table: str
    key: tuple[str, ...] = ()
    declared: ModelColumns | None = None
    check_rows: bool = True
    strict: bool = True
    identity: tuple[str, ...] = ()
    metadata_columns: bool = True
    transforms: tuple[Transform, ...] = ()
    batch_rows: int = 50_000
    known_types: Mapping[str, pa.DataType] = field(default_factory=dict)


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
    refresh: bool = False,
) -> staging.StagedBatch | None:
    """
    Stage what ``source`` yields, unless this run has staged it before.

    :param source: returns a dlt source or resource, or an iterable of records, Arrow tables or data frames; or None.
    :param root: the staging root, a path object.
    :param token: the run's token; a retry has the same.
    :param partition_date: ``YYYY-MM-DD``.
    :param pipelines_dir: where dlt keeps its working files.
    :param state: dlt's state as the last published run left it.
    :param refresh: extract again even if the batch is there.
    :returns: the staged batch, or None when ``source`` returned None.
    :raises ValidationError: if ``plan.strict`` and a row breaks the schema; always for a rule that names no rows.
    """
    started = time.monotonic()
    found = None if refresh else staging.find(root, plan.table, partition_date, token)
    if found:
        log.info("%s: %d rows are staged already by this run, nothing is extracted", plan.table, found.rows)
        return found
    with dlt_state(plan.table, pipelines_dir, state) as managed:
        with plain_errors(plan.table):
            yielded = source()
        if yielded is None:
            return None
        writer = staging.BatchWriter(root, plan.table, partition_date, token)
        stager = _Stager(plan, writer, run_id, partition_date)
        for chunk in chunks(yielded, plan.table, plan.batch_rows):
            stager.add(chunk)
        stager.close()
        new_state = state_text(managed)
    return writer.finish(
        staging.StagedBatch(
            table=plan.table,
            token=token,
            partition_date=partition_date,
            run_id=run_id,
            attempt=writer.attempt,
            files=tuple(writer.files),
            rejected_files=tuple(writer.rejected_files),
            read=stager.read,
            rows=stager.read - stager.bad,
            quarantined=stager.bad,
            seconds=round(time.monotonic() - started, 3),
            state=new_state,
            hard_delete=hard_delete_column(yielded, stager.normalize),
        )
    )


class _Stager:
    """Check and stage one attempt's chunks; count what was read and what is bad."""

    def __init__(self, plan: StagingPlan, writer: staging.BatchWriter, run_id: str, partition_date: str) -> None:
        self.plan = plan
        self.writer = writer
        self.run_id = run_id
        self.partition_date = partition_date
        self.load_id = str(time.time())
        self.read = 0
        self.bad = 0
        self.found: list[tuple[int, Failure]] = []
        self.occurrences: dict[str, int] = {}
        # of each staged file, the positions in the source that its rows have
        self.positions: list[np.ndarray | range] = []
        self.normalize = dlt.Schema("phlo").naming.normalize_identifier

    def add(self, chunk: Chunk) -> None:
        """Convert, validate and stage one chunk."""
        chunk, rows, failures = _checked(chunk, self.plan, self.normalize)
        self.found += [(self.read, failure) for failure in failures]
        positions: np.ndarray | range = range(self.read, self.read + len(rows))
        bad = bad_rows(failures)
        if bad:
            self._reject(_records(chunk, bad), [row + self.read for row in bad], _reasons(failures, self.read))
            keep = _all_but(bad, len(rows))
            rows, positions = rows.filter(pa.array(keep)), np.asarray(positions)[keep]
        if len(rows):
            self.writer.write(self._with_metadata(rows))
            self.positions.append(positions)
        self.read += len(chunk)

    def close(self) -> None:
        """Look at the batch as a whole: rules that are broken, types that differ, values that are not unique."""
        self._raise_for_failures()
        self._unify_types()
        if self.plan.declared is not None and self.plan.check_rows:
            for columns in self.plan.declared.unique_sets():
                self._check_unique(columns)
            self._raise_for_failures()
        for failure in counted(self.found):
            log.warning("%s: quarantined: %s", self.plan.table, failure)

    def _raise_for_failures(self) -> None:
        summary = counted(self.found)
        if self.plan.strict or any(failure.count is None for failure in summary):
            raise_for(summary, self.plan.table, self.bad)

    def _unify_types(self) -> None:
        """Give the columns of all files one type, and their rows the hashes that go with it."""
        schemas = self.writer.schemas
        common = staging.common_schema(schemas)
        for number, schema in enumerate(schemas):
            if any(common.field(item.name).type != item.type for item in schema):
                rows = self.writer.read(number)
                for position, item in enumerate(schema):
                    wanted = common.field(item.name).type
                    rows = rows.set_column(position, item.name, conform.recast(rows[item.name], wanted))
                self.writer.rewrite(number, self._with_hashes(rows))

    def _with_hashes(self, rows: pa.Table) -> pa.Table:
        if not self.plan.metadata_columns:
            return rows
        hashes = row_hashes(rows, [name for name in rows.column_names if name not in METADATA_COLUMNS])
        return rows.set_column(rows.schema.get_field_index(HASH), HASH, hashes)

    def _check_unique(self, columns: tuple[str, ...]) -> None:
        """Set rows aside that share a value which must be unique, and which the merge would keep apart."""
        if not self.writer.files:
            return
        wanted = list(dict.fromkeys([*columns, *self.plan.identity]))
        tables = [self.writer.read(number, wanted) for number in range(len(self.writer.files))]
        repeated = np.asarray(duplicate_rows(staging.concat(tables), columns, self.plan.identity), np.int64)
        rule = Failure(", ".join(columns), "unique", None)
        start = 0
        for number, table in enumerate(tables):
            rows = repeated[(repeated >= start) & (repeated < start + len(table))] - start
            start += len(table)
            if len(rows):
                self._set_aside(number, rows, rule)

    def _set_aside(self, number: int, rows: np.ndarray, rule: Failure) -> None:
        """Move staged rows to the quarantine."""
        sources = np.asarray(self.positions[number])
        positions = sources[rows].tolist()
        self.found.append((0, Failure(rule.column, rule.check, tuple(positions))))
        staged = self.writer.read(number)
        source_columns = [name for name in staged.column_names if name not in METADATA_COLUMNS]
        records = staged.select(source_columns).take(rows).to_pylist()
        self._reject(records, positions, {position: [rule] for position in positions})
        keep = _all_but(rows, len(staged))
        self.positions[number] = sources[keep]
        self.writer.rewrite(number, staged.filter(pa.array(keep)))

    def _reject(
        self, records: Iterable[Mapping[str, Any]], positions: list[int], reasons: Mapping[int, Sequence[Failure]]
    ) -> None:
        """
        Stage rows for the quarantine.

        The id depends on the record, the broken rules and the how-manieth such record of the run it is: a rerun over
        the same data quarantines nothing twice.
        """
        rows = []
        for position, record in zip(positions, records, strict=True):
            text = canonical_json(record)
            rules = "; ".join(f"{failure.column or 'row'}: {failure.check}" for failure in reasons[position])
            content = blake2b(f"{text}\n{rules}".encode(), digest_size=16).hexdigest()
            self.occurrences[content] = self.occurrences.get(content, 0) + 1
            rows.append(
                {
                    "quarantine_id": f"{content}-{self.occurrences[content]}",
                    "reason": rules,
                    "column_name": reasons[position][0].column,
                    "check_name": reasons[position][0].check,
                    "run_id": self.run_id,
                    "partition_date": datetime.date.fromisoformat(self.partition_date),
                    "source_position": position,
                    "record": text,
                    "quarantined_at": datetime.datetime.now(datetime.UTC),
                    # the id is the content: a record that is there stays as it is
                    HASH: f"{content}-{self.occurrences[content]}",
                }
            )
        self.bad += len(rows)
        self.writer.reject(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA))

    def _with_metadata(self, rows: pa.Table) -> pa.Table:
        if not self.plan.metadata_columns:
            return rows
        rows = rows.select([name for name in rows.column_names if name not in METADATA_COLUMNS])
        count = len(rows)
        values = (
            pa.repeat(pa.scalar(self.load_id), count),
            pa.array(_row_ids(count), pa.string()),
            pa.repeat(pa.scalar(datetime.datetime.now(datetime.UTC), TIMESTAMP), count),
            pa.repeat(pa.scalar(self.run_id), count),
            pa.repeat(pa.scalar(datetime.date.fromisoformat(self.partition_date), pa.date32()), count),
            row_hashes(rows),
        )
        for name, column in zip(METADATA_COLUMNS, values, strict=True):
            rows = rows.append_column(name, column)
        return rows


def _checked(chunk: Chunk, plan: StagingPlan, normalize: Callable[[str], str]) -> tuple[Chunk, pa.Table, list[Failure]]:
    """Return the chunk as transforms leave it, its rows converted, and everything wrong with them."""
    if plan.transforms:
        chunk = _transformed(chunk, plan, normalize)
    rows, failures = conform.conform(chunk, plan.declared, normalize, plan.known_types)
    missing = [name for name in plan.key if name not in rows.column_names]
    if missing and len(rows):
        raise SchemaError(
            f"{plan.table}: key column(s) {', '.join(missing)} are not in the data; "
            f"it has {', '.join(rows.column_names)}."
        )
    if plan.declared is not None and plan.check_rows:
        rows, failures = validate(rows, plan.declared, key=plan.key, conversion_failures=failures)
    else:
        failures = missing_values(rows, plan.declared, key=plan.key, conversion_failures=failures)
    return chunk, rows, failures


def _transformed(chunk: Chunk, plan: StagingPlan, normalize: Callable[[str], str]) -> pa.Table:
    """
    Apply the transforms. What they drop counts as never read; what they add counts.

    They see a declared type where all values of a column have it; what they return is converted once more.
    """
    wanted = {column.name: column.type for column in plan.declared.columns} if plan.declared else {}
    table, _ = conform.conform(chunk, None, normalize, {**plan.known_types, **wanted})
    for transform in plan.transforms:
        result = transform(table)
        if not isinstance(result, pa.Table):
            raise ConfigurationError(
                f"{plan.table}: transform {transform!r} returned {type(result).__name__}, not a pyarrow.Table."
            )
        table = result
    if len(table) != len(chunk):
        log.info("%s: transforms made %d rows of %d", plan.table, len(table), len(chunk))
    return table


def _records(chunk: Chunk, rows: Sequence[int]) -> list[Mapping[str, Any]]:
    if isinstance(chunk, pa.Table):
        records: list[Mapping[str, Any]] = chunk.take(list(rows)).to_pylist()
        return records
    return [chunk[row] for row in rows]


def _all_but(rows: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    keep = np.ones(count, bool)
    keep[rows] = False
    return keep


def _row_ids(count: int) -> list[str]:
    """Return ``count`` random ids of 80 bits, as dlt gives its rows."""
    digits = np.random.default_rng().bytes(10 * count).hex()
    return [digits[start : start + 20] for start in range(0, 20 * count, 20)]


def _reasons(failures: Iterable[Failure], offset: int) -> dict[int, list[Failure]]:
    reasons: dict[int, list[Failure]] = {}
    for failure in failures:
        for row in failure.rows or ():
            reasons.setdefault(row + offset, []).append(failure)
    return reasons
