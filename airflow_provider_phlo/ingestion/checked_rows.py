"""From what a source yields to rows that may be staged: types, rules, and the metadata columns."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_provider_phlo.exact_json import read_json
from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.ingestion.extraction import Chunk
from airflow_provider_phlo.ingestion.transforms import Transform
from airflow_provider_phlo.row_hash import row_hashes
from airflow_provider_phlo.schemas import conversion
from airflow_provider_phlo.schemas.columns import ModelColumns
from airflow_provider_phlo.schemas.conversion.variants import VARIANT_OF, is_json, variant_of
from airflow_provider_phlo.schemas.failures import Failure, bad_rows
from airflow_provider_phlo.schemas.types import stored_as
from airflow_provider_phlo.schemas.validation.batch import missing_values, validate
from airflow_provider_phlo.terms import METADATA_COLUMNS, MetadataColumn


@dataclass(frozen=True)
class StagingPlan:
    """
    How to convert, validate and stage the rows of one table.

    :param table: ``namespace.table``.
    :param key: the key columns; a row without one is bad.
    :param declared: the validation schema; None validates nothing.
    :param check_rows: False skips the schema's rules, but not its types.
    :param strict: True fails on a bad row, False sets it aside for the quarantine.
    :param identity: rows that are equal in these columns become one in the merge, so they break no uniqueness rule.
    :param metadata_columns: whether rows carry ``_dlt_*``, ``_cascade_ingested_at`` and ``_phlo_*``.
    :param transforms: applied to every batch, Arrow to Arrow, before validation.
    :param batch_rows: rows converted, validated and written at a time.
    :param comments: those on the table's columns.
    :param known_types: types that columns have in the table already; undeclared ones keep them.
    :param hinted_types: types that dlt's hints give to columns; those of declared columns do not count.
    :param required: columns that dlt's hints make required: a row without a value there is bad.
    :param variants: whether values that an undeclared column cannot hold exactly go to columns beside it; False refuses
        them.
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
    comments: Mapping[str, str | None] = field(default_factory=dict)
    variants: bool = True
    hinted_types: Mapping[str, pa.DataType] = field(default_factory=dict)
    required: tuple[str, ...] = ()


def convert_and_validate(
    content: Chunk, plan: StagingPlan, normalize: Callable[[str], str]
) -> tuple[pa.Table, list[Failure]]:
    """
    Return the rows converted to the types of the schema, and everything that is wrong with them.

    :param normalize: dlt's naming convention.
    :raises SchemaError: if the data lacks a key column.
    """
    try:
        rows, failures = conversion.conform(
            content,
            plan.declared,
            normalize,
            plan.known_types,
            hinted=plan.hinted_types,
            key=plan.key,
            variants=plan.variants,
        )
    except SchemaError as error:
        raise SchemaError(f"{plan.table}: {error}") from None
    failures += _without_required(rows, plan)
    missing = [name for name in plan.key if name not in rows.column_names]
    if missing and len(bad_rows(failures)) < len(rows):
        raise SchemaError(
            f"{plan.table}: key column(s) {', '.join(missing)} are not in the data; "
            f"it has {', '.join(rows.column_names) or 'no columns'}."
        )
    if plan.declared is not None and plan.check_rows:
        return validate(rows, plan.declared, key=plan.key, conversion_failures=failures)
    return rows, missing_values(rows, plan.declared, key=plan.key, conversion_failures=failures)


def _without_required(rows: pa.Table, plan: StagingPlan) -> list[Failure]:
    """Return failures for rows without a value that dlt's hints require; the schema judges declared columns."""
    judged = {*plan.key, *(column.name for column in (plan.declared.columns if plan.declared else ()))}
    names = [name for name in plan.required if name not in judged]
    found: list[Failure] = []
    for name in names:
        parts = [rows[each] for each in rows.column_names if each == name or variant_of(each) == name]
        empty = np.ones(len(rows), bool)
        for part in parts:
            empty &= part.is_null().to_numpy()
        if empty.any():
            found.append(Failure(name, "not_nullable", tuple(np.flatnonzero(empty).tolist())))
    return found


def without_empty_columns(rows: pa.Table, plan: StagingPlan) -> pa.Table:
    """Return ``rows`` without undeclared columns that have no value, or had one in bad rows only."""
    named = {*plan.key, *(column.name for column in (plan.declared.columns if plan.declared else ()))}
    empty = [name for name in rows.column_names if name not in named and rows[name].null_count == len(rows)]
    return rows.drop_columns(empty)


def require_types(schema: pa.Schema, table: str) -> None:
    """
    Refuse types that a table cannot have before they are staged: Parquet cannot hold some of them either.

    :raises SchemaError: names table and column.
    """
    for item in schema:
        try:
            stored_as(item.type)
        except SchemaError as error:
            raise SchemaError(f"{table}: column {item.name!r}: {error}") from None


def as_read(rows: pa.Table, plan: StagingPlan) -> list[dict[str, Any]]:
    """Return staged rows as records that a replay reads alike: no JSON text, and variants in their columns."""
    nested = {item.name for item in rows.schema if is_json(item)}
    nested |= {column.name for column in (plan.declared.columns if plan.declared else ()) if column.json}
    bases = {item.name: (item.metadata or {}).get(VARIANT_OF, b"").decode() for item in rows.schema}
    found = []
    for row in rows.to_pylist():
        record: dict[str, Any] = {}
        for name, value in row.items():
            read = read_json(value) if name in nested and value is not None else value
            record[bases[name] or name] = _together(record.get(bases[name] or name), read)
        found.append(record)
    return found


def _together(value: Any, more: Any) -> Any:
    """Return a value with what a struct had no members for."""
    if value is None or more is None:
        return more if value is None else value
    if isinstance(value, dict):
        return {**value, **{name: _together(value.get(name), each) for name, each in more.items()}}
    if isinstance(more, dict):  # a map
        return [(name, _together(each, more.get(str(name)))) for name, each in value]
    return [_together(*each) for each in zip(value, more, strict=True)]


def all_but(rows: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Return a mask of ``count`` rows that leaves out ``rows``."""
    keep = np.ones(count, bool)
    keep[rows] = False
    return keep


def with_metadata(rows: pa.Table, load_id: str, run_id: str, partition_date: str, arrived: pa.Array) -> pa.Table:
    """
    Return ``rows`` with the metadata columns after the source's; columns that have these names are replaced.

    :param load_id: dlt's id of the load: seconds since 1970, as text.
    :param partition_date: ``YYYY-MM-DD``.
    :param arrived: when each row arrived.
    """
    rows = rows.select([name for name in rows.column_names if name not in METADATA_COLUMNS])
    count = len(rows)
    values = {
        MetadataColumn.DLT_LOAD_ID: pa.repeat(pa.scalar(load_id), count),
        MetadataColumn.DLT_ID: _row_ids(count),
        MetadataColumn.INGESTED_AT: arrived,
        MetadataColumn.RUN_ID: pa.repeat(pa.scalar(run_id), count),
        MetadataColumn.PARTITION_DATE: pa.repeat(
            pa.scalar(datetime.date.fromisoformat(partition_date), pa.date32()), count
        ),
        MetadataColumn.ROW_HASH: row_hashes(rows),
    }
    for name, column in values.items():
        rows = rows.append_column(str(name), column)
    return rows


def with_new_hashes(rows: pa.Table) -> pa.Table:
    """Return ``rows``, whose source columns have changed, with their content hashes computed again."""
    hashes = row_hashes(rows, [name for name in rows.column_names if name not in METADATA_COLUMNS])
    return rows.set_column(rows.schema.get_field_index(MetadataColumn.ROW_HASH), MetadataColumn.ROW_HASH, hashes)


def _row_ids(count: int) -> pa.Array:
    """Return ``count`` random ids of 80 bits, as dlt gives its rows."""
    digits = pa.py_buffer(np.random.default_rng().bytes(10 * count).hex().encode())
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(20), count, [None, digits]).cast(pa.string())
