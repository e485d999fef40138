"""Which rows of a batch go into a staging table."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import IsNull
from pyiceberg.table import FileScanTask, Table

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg.files.content_hashes import HASH_TYPE, stored_or_computed_hashes
from airflow_provider_phlo.iceberg.files.manifests import live_tasks
from airflow_provider_phlo.iceberg.files.reading import read_file
from airflow_provider_phlo.iceberg.merge.batch import Batch
from airflow_provider_phlo.iceberg.tables.evolution import fit
from airflow_provider_phlo.iceberg.tables.lookup import column_names
from airflow_provider_phlo.iceberg.tables.partitioning import require_found_by_trino
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.terms import MergeStrategy, MetadataColumn, PartitionDate


def to_stage(batch: Batch, partition_date: PartitionDate | None, unhashed: Table | None) -> pa.Table:
    """
    Return the rows that go into the staging table, deduplicated as the embedded engine does it.

    :param unhashed: the table, if it may have rows without a stored hash.
    :raises SchemaError: if a row is not of the partition that is to be replaced, or Trino would not find it again.
    """
    if batch.plan.strategy == MergeStrategy.REPLACE:
        _require_day(
            batch.decision_columns, batch.plan.partition_to_replace(batch.decision_columns.column_names, partition_date)
        )
    rows = pa.concat_tables([fit(pa.table({}), batch.table), *batch.chosen(batch.kept)])
    require_found_by_trino(rows, batch.table)
    if batch.plan.strategy == MergeStrategy.APPEND and batch.plan.by_hash:
        return rows.filter(pc.invert(_among_unhashed(stored_or_computed_hashes(rows), unhashed)))
    return rows


def _among_unhashed(hashes: pa.Array, table: Table | None) -> pa.Array:
    """Return for each hash whether a row of the table has this content and no stored hash."""
    found = pa.array([False] * len(hashes), pa.bool_())
    if table is None or not len(hashes):
        return found
    for task in unhashed_files(table, branch_head(table)):
        for rows in read_file(table, task, column_names(table)):
            present = stored_or_computed_hashes(rows.filter(pc.is_null(rows[MetadataColumn.ROW_HASH])))
            found = pc.or_(found, pc.is_in(hashes, value_set=present.cast(HASH_TYPE)))
    return found


def _require_day(rows: pa.Table, partition_date: str) -> None:
    same = pc.fill_null(pc.equal(rows[MetadataColumn.PARTITION_DATE].cast(pa.string()), partition_date), False)
    of_other_days = len(rows) - (pc.sum(same).as_py() or 0)
    if of_other_days:
        raise SchemaError(
            f"{of_other_days} row(s) of the batch are not of {partition_date}, the partition to be replaced."
        )


def unhashed_files(table: Table, snapshot_id: int | None) -> Sequence[FileScanTask]:
    """Return the files that may hold rows without a stored hash: others have written them."""
    return live_tasks(table, snapshot_id, IsNull(term=MetadataColumn.ROW_HASH.value))
