"""
Extract with dlt, convert, validate, and stage a run's rows as Parquet.

dlt drives the extraction: sources, resources, transformers, paging, incremental cursors and their state. What it
yields is turned into Arrow here, in batches of bounded size: several times faster than through dlt's own files.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import dlt
import numpy as np
import pyarrow as pa
from dlt.common.exceptions import DltException
from dlt.common.json import json as dlt_json
from dlt.extract import DltResource, DltSource

from airflow_provider_phlo import staging
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, SchemaError
from airflow_provider_phlo.row_hash import canonical_json, row_hashes
from airflow_provider_phlo.schemas import conform
from airflow_provider_phlo.schemas.columns import TIMESTAMP, ModelColumns
from airflow_provider_phlo.schemas.conform import Failure
from airflow_provider_phlo.schemas.iceberg import METADATA_COLUMNS
from airflow_provider_phlo.schemas.validation import (
    FailureCount,
    bad_rows,
    counted,
    duplicates,
    missing_values,
    raise_for,
    validate,
)

log = logging.getLogger(__name__)

Transform = Callable[[pa.Table], pa.Table]


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
    :raises ValidationError: if ``plan.strict`` and a row breaks the schema; always for duplicate unique values.
    """
    started = time.monotonic()
    found = None if refresh else staging.find(root, plan.table, partition_date, token)
    if found:
        log.info("%s: %d rows are staged already by this run, nothing is extracted", plan.table, found.rows)
        return found
    with _own_errors(), _dlt_state(plan.table, pipelines_dir / token, state) as dlt_state:
        yielded = source()
        if yielded is None:
            return None
        writer = staging.BatchWriter(root, plan.table, partition_date, token)
        totals = _stage_all(yielded, plan, writer, run_id, partition_date)
        new_state = dlt_json.typed_dumps(dlt_state["sources"]) if dlt_state.get("sources") else ""
    return writer.finish(
        staging.StagedBatch(
            table=plan.table,
            token=token,
            partition_date=partition_date,
            run_id=run_id,
            attempt=writer.attempt,
            files=tuple(writer.files),
            rejected_files=tuple(writer.rejected_files),
            read=totals.read,
            rows=totals.read - totals.bad,
            quarantined=totals.bad,
            seconds=round(time.monotonic() - started, 3),
            state=new_state,
        )
    )


@contextmanager
def _dlt_state(table: str, pipelines_dir: Path, state: str) -> Iterator[dict[str, Any]]:
    """Make dlt read and change ``state`` while a source runs; nothing of it stays on this worker."""
    pipeline = dlt.pipeline(
        pipeline_name=table.replace(".", "__"), pipelines_dir=str(pipelines_dir), dataset_name="staged"
    )
    try:
        with pipeline.managed_state() as managed:
            managed.pop("sources", None)
            if state:
                managed["sources"] = dlt_json.typed_loads(state)
            yield managed
    finally:
        pipeline.deactivate()
        staging.remove(pipelines_dir)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raise our own errors as they are: dlt wraps what a resource raises, and with it whether a retry can help."""
    try:
        yield
    except DltException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, PhloError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None


@dataclass
class _Totals:
    read: int = 0
    bad: int = 0


def _stage_all(
    yielded: Any, plan: StagingPlan, writer: staging.BatchWriter, run_id: str, partition_date: str
) -> _Totals:
    totals = _Totals()
    normalize = dlt.Schema("phlo").naming.normalize_identifier
    load_id = str(time.time())
    found: list[tuple[int, Failure]] = []
    occurrences: dict[str, int] = {}
    for chunk in _chunks(_items(yielded, plan.table), plan.batch_rows):
        rows, failures = _checked(chunk, plan, normalize)
        found += [(totals.read, failure) for failure in failures]
        bad = bad_rows(failures)
        if bad:
            reasons = _reasons(failures)
            writer.reject(_rejected(chunk, bad, reasons, totals.read, run_id, partition_date, occurrences))
            keep = np.ones(len(rows), bool)
            keep[bad] = False
            rows = rows.filter(pa.array(keep))
        writer.write(_with_metadata(rows, plan, load_id, run_id, partition_date))
        totals.read += len(chunk)
        totals.bad += len(bad)
    summary = counted(found)
    if plan.strict or any(failure.count is None for failure in summary):
        raise_for(summary, plan.table, totals.bad)
    for failure in summary:
        log.warning("%s: quarantined: %s", plan.table, failure)
    _check_unique(plan, writer)
    return totals


def _checked(chunk: Any, plan: StagingPlan, normalize: Callable[[str], str]) -> tuple[pa.Table, list[Failure]]:
    """Return the chunk converted and transformed, and everything wrong with it."""
    if plan.transforms:
        # transforms see declared types where the values have them; the result is converted once more
        table, _ = conform.conform(chunk, None, normalize)
        for transform in plan.transforms:
            table = _transformed(table, transform)
        chunk = table
    rows, failures = conform.conform(chunk, plan.declared, normalize, plan.known_types)
    missing = [name for name in plan.key if name not in rows.column_names]
    if missing and len(rows):
        raise SchemaError(
            f"{plan.table}: key column(s) {', '.join(missing)} are not in the data; "
            f"it has {', '.join(rows.column_names)}."
        )
    if plan.declared is not None and plan.check_rows:
        return validate(rows, plan.declared, key=plan.key, conversion_failures=failures)
    return rows, missing_values(rows, plan.declared, key=plan.key, conversion_failures=failures)


def _transformed(table: pa.Table, transform: Transform) -> pa.Table:
    result = transform(table)
    if not isinstance(result, pa.Table):
        raise ConfigurationError(f"Transform {transform!r} returned {type(result).__name__}, not a pyarrow.Table.")
    return result


def _items(yielded: Any, table: str) -> Iterator[Any]:
    """Yield what a source yields, one record or one table at a time."""
    if isinstance(yielded, DltSource):
        names = list(yielded.selected_resources)
        if len(names) != 1:
            raise ConfigurationError(
                f"{table}: the source {yielded.name!r} has the resources {', '.join(names) or 'none'}; "
                f"a table takes one: return source.with_resources({(names or ['name'])[0]!r})."
            )
        yielded = yielded.resources[names[0]]
    if isinstance(yielded, DltResource) and yielded.write_disposition != "append":
        log.info(
            "%s: write_disposition=%r of the dlt resource has no effect, merge_strategy decides",
            table,
            yielded.write_disposition,
        )
    if isinstance(yielded, Mapping) or _as_table(yielded) is not None:
        yielded = [yielded]
    for item in yielded:
        if isinstance(item, (list, tuple)):
            yield from item
        else:
            yield item


def _as_table(item: Any) -> pa.Table | None:
    """Return an Arrow table, record batch, or any data frame that speaks Arrow as a table; None for anything else."""
    if isinstance(item, pa.Table):
        return item
    if isinstance(item, pa.RecordBatch):
        return pa.Table.from_batches([item])
    if type(item).__module__.startswith("pandas"):
        return pa.Table.from_pandas(item, preserve_index=False).replace_schema_metadata(None)
    if hasattr(item, "__arrow_c_stream__"):
        return pa.table(item)
    return None


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Mapping[str, Any]] | pa.Table]:
    """Yield lists of records and slices of tables of at most ``size`` rows, in arrival order."""
    records: list[Mapping[str, Any]] = []
    for item in items:
        if isinstance(item, Mapping):
            records.append(item)
            if len(records) == size:
                yield records
                records = []
            continue
        if records:
            yield records
            records = []
        table = _as_table(item)
        if table is None:
            raise ConfigurationError(
                f"The source yielded a {type(item).__name__}: yield records (dict), lists of them, Arrow tables "
                "or data frames."
            )
        for start in range(0, len(table), size):
            yield table.slice(start, size)
    if records:
        yield records


def _with_metadata(rows: pa.Table, plan: StagingPlan, load_id: str, run_id: str, partition_date: str) -> pa.Table:
    if not plan.metadata_columns:
        return rows
    rows = rows.drop_columns([name for name in METADATA_COLUMNS if name in rows.column_names])
    count = len(rows)
    values = (
        pa.repeat(pa.scalar(load_id), count),
        pa.array(_row_ids(count), pa.string()),
        pa.repeat(pa.scalar(datetime.datetime.now(datetime.UTC), TIMESTAMP), count),
        pa.repeat(pa.scalar(run_id), count),
        pa.repeat(pa.scalar(datetime.date.fromisoformat(partition_date), pa.date32()), count),
        row_hashes(rows),
    )
    for name, column in zip(METADATA_COLUMNS, values, strict=True):
        rows = rows.append_column(name, column)
    return rows


def _row_ids(count: int) -> list[str]:
    """Return ``count`` random ids of 80 bits, as dlt gives its rows."""
    digits = np.random.default_rng().bytes(10 * count).hex()
    return [digits[start : start + 20] for start in range(0, 20 * count, 20)]


def _reasons(failures: Iterable[Failure]) -> dict[int, list[Failure]]:
    reasons: dict[int, list[Failure]] = {}
    for failure in failures:
        for row in failure.rows or ():
            reasons.setdefault(row, []).append(failure)
    return reasons


def _rejected(
    chunk: Any,
    bad: Sequence[int],
    reasons: Mapping[int, Sequence[Failure]],
    offset: int,
    run_id: str,
    partition_date: str,
    occurrences: dict[str, int],
) -> pa.Table:
    """
    Return the quarantine's rows of a chunk.

    The id depends on the record, the broken rules and the how-manieth such record of the run it is: a rerun over
    the same data quarantines nothing twice.
    """
    records = chunk.take(list(bad)).to_pylist() if isinstance(chunk, pa.Table) else [chunk[row] for row in bad]
    rows = []
    for row, record in zip(bad, records, strict=True):
        text = canonical_json(record)
        rules = "; ".join(f"{failure.column}: {failure.check}" for failure in reasons[row])
        content = blake2b(f"{text}\n{rules}".encode(), digest_size=16).hexdigest()
        occurrences[content] = occurrences.get(content, 0) + 1
        rows.append(
            {
                "quarantine_id": f"{content}-{occurrences[content]}",
                "reason": rules,
                "column_name": reasons[row][0].column,
                "check_name": reasons[row][0].check,
                "run_id": run_id,
                "partition_date": datetime.date.fromisoformat(partition_date),
                "source_position": row + offset,
                "record": text,
                "quarantined_at": datetime.datetime.now(datetime.UTC),
                # the id is the content: a record that is there stays as it is
                "_phlo_row_hash": f"{content}-{occurrences[content]}",
            }
        )
    return pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)


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
        ("_phlo_row_hash", pa.string()),
    ]
)


def _check_unique(plan: StagingPlan, writer: staging.BatchWriter) -> None:
    """Fail when a declared unique column (or set of them) holds one value for rows that the merge keeps apart."""
    if plan.declared is None or not plan.check_rows or not writer.files:
        return
    unique = [(column.name,) for column in plan.declared.columns if column.unique]
    for columns in [*unique, *plan.declared.unique_together]:
        wanted = list(dict.fromkeys([*columns, *plan.identity]))
        tables = [_read_columns(writer, name, wanted) for name in writer.files]
        repeated = duplicates(staging.concat(tables), columns, plan.identity)
        if repeated:
            raise_for([FailureCount(", ".join(columns), "unique", None)], plan.table, repeated)


def _read_columns(writer: staging.BatchWriter, name: str, columns: list[str]) -> pa.Table:
    import pyarrow.parquet as pq

    with (writer.folder / name).open("rb") as source:
        return pq.read_table(source, columns=columns)
