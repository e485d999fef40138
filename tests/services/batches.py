"""Batches as the ingestion stages them, and what is in a table, comparable."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.iceberg.branches.publication import Publication, run_branch
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.merge import MergePlan, MergeResult
from airflow_provider_phlo.iceberg.merge.engine import MergeEngine
from airflow_provider_phlo.iceberg.trino.preview import create_staged_view
from airflow_provider_phlo.schemas.iceberg import METADATA_FIELDS, arrow_to_iceberg
from airflow_provider_phlo.terms import METADATA_COLUMNS

DAY = "2024-01-15"
Row = dict[str, Any]


def batch(rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType], day: str = DAY) -> pa.Table:
    """Return rows with the metadata columns; the hash is left to the merge."""
    values: dict[str, Any] = {
        "_dlt_load_id": "load",
        "_cascade_ingested_at": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        "_phlo_run_id": "run",
        "_phlo_partition_date": dt.date.fromisoformat(day),
        "_phlo_row_hash": None,
    }
    columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()}
    for name, kind, _ in METADATA_FIELDS:
        ids = [uuid.uuid4().hex for _ in rows]
        columns[name] = pa.array(ids if name == "_dlt_id" else [values[name]] * len(rows), kind)
    return pa.table(columns)


def create(catalog: Catalog, name: str, types: Mapping[str, pa.DataType]) -> None:
    """Create the table as the ingestion would."""
    tables.ensure_table(catalog, name, arrow_to_iceberg(batch([], types).schema), partition_by="_phlo_partition_date")


def run(
    engine: MergeEngine, catalog: Catalog, name: str, rows: pa.Table, plan: MergePlan, day: str = DAY, token: str = ""
) -> tuple[MergeResult, list[tuple[Any, ...]]]:
    """Merge and publish a batch as a run does; return the counts and what the audit saw."""
    token = token or uuid.uuid4().hex[:16]
    branch = f"phlo_{token}"
    tables.evolve(catalog, name, rows.schema)
    result = engine.merge(catalog, name, rows, plan, token=token, partition_date=day)
    audited = content(catalog, name, branch)
    publish(engine, catalog, name, token, result)
    return result, audited


def publish(engine: MergeEngine, catalog: Catalog, name: str, token: str, result: MergeResult) -> None:
    """Publish what the run with ``token`` has merged."""
    publication = Publication(name, token, result.to_json(), expected_head=result.head)
    engine.publish(catalog, run_branch(catalog, f"phlo_{token}"), publication)


def content(catalog: Catalog, name: str, branch: str | None = None) -> list[tuple[Any, ...]]:
    """Return the rows that DuckDB reads: source columns and hash, sorted and comparable."""
    with connect(catalog, tables=[name], branch=branch, staged=create_staged_view) as connection:
        return comparable(connection.sql(f"SELECT * FROM {name}").to_arrow_table().to_pylist())


def comparable(rows: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Return rows as sorted tuples: NaN equals NaN, -0.0 equals 0.0, and a NULL is as good as no column."""
    kept = (
        {name: plain(value) for name, value in row.items() if name not in METADATA_COLUMNS and value is not None}
        | {"_phlo_row_hash": row["_phlo_row_hash"]}
        for row in rows
    )
    return sorted((tuple(sorted(row.items())) for row in kept), key=repr)


def plain(value: Any) -> Any:
    """Return a value that compares as contents do here."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return tuple((name, plain(item)) for name, item in sorted(value.items()))
    return str(value.normalize()) if isinstance(value, decimal.Decimal) else value
