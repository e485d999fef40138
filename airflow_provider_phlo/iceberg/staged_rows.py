"""Which rows of a batch go into a staging table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.merge import PARTITION_DATE, MergePlan, _deduplicated
from airflow_provider_phlo.iceberg.rows import HASH, content_hashes, first_of_each


def to_stage(rows: pa.Table, plan: MergePlan, partition_date: str | None, unhashed: Table | None) -> pa.Table:
    """
    Return the rows that go into the staging table, deduplicated as the embedded engine does it.

    :param rows: the batch with the table's columns and its hashes.
    :param unhashed: the table, if it may have rows without a stored hash.
    :raises SchemaError: if a key is NULL, or a row is not of the partition that is to be replaced.
    """
    if plan.strategy == "replace":
        _require_day(rows, partition_date)
    if plan.strategy != "append":
        return _deduplicated(_by_order(rows, plan), plan)
    if not plan.deduplication:
        return rows
    if plan.method != "hash":
        return _deduplicated(_by_order(rows, plan), plan)
    hashes = content_hashes(rows)
    new = pa.array(first_of_each(hashes))
    return rows.filter(pc.and_(new, pc.invert(_among_unhashed(hashes, unhashed))))


def _by_order(rows: pa.Table, plan: MergePlan) -> pa.Table:
    """Return the rows with older ones first, so that the last arrival of a key is its newest version."""
    if plan.order_by is None or not len(rows):
        return rows
    values = rows[plan.order_by].combine_chunks()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    number = pa.array(range(len(rows)), pa.int64())
    keys = pa.table({"value": values, "number": number})
    return rows.take(pc.sort_indices(keys, sort_keys=[("value", "ascending", "at_start"), ("number", "ascending")]))


def _among_unhashed(hashes: pa.Array, table: Table | None) -> pa.Array:
    """Return for each hash whether a row of the table has this content and no stored hash."""
    found = pa.array([False] * len(hashes))
    if table is None or not len(hashes):
        return found
    scan = table.scan(row_filter=f"{HASH} IS NULL", snapshot_id=branches.head(table))
    for record_batch in scan.to_arrow_batch_reader():
        present = content_hashes(pa.Table.from_batches([record_batch]))
        found = pc.or_(found, pc.is_in(hashes, value_set=present))
    return found


def _require_day(rows: pa.Table, partition_date: str | None) -> None:
    if PARTITION_DATE not in rows.column_names or partition_date is None:
        raise ConfigurationError(
            "merge_strategy='replace' needs the metadata column _phlo_partition_date and a partition."
        )
    same = pc.fill_null(pc.equal(rows[PARTITION_DATE].cast(pa.string()), partition_date), False)
    strangers = len(rows) - (pc.sum(same).as_py() or 0)
    if strangers:
        raise SchemaError(f"{strangers} row(s) of the batch are not of {partition_date}, the partition to be replaced.")


def unhashed_files(table: Table, snapshot_id: int | None) -> Sequence[Any]:
    """Return the files that may hold rows without a stored hash: others have written them."""
    if snapshot_id is None:
        return ()
    return list(table.scan(row_filter=f"{HASH} IS NULL", snapshot_id=snapshot_id).plan_files())
