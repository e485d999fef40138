"""Land a staged batch: merge it on the run's branch, account for every record, set bad ones aside."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.branches.publication import run_branch
from airflow_provider_phlo.iceberg.catalogs.retries import retry_conflicts
from airflow_provider_phlo.iceberg.catalogs.turns import take_turn
from airflow_provider_phlo.iceberg.merge import MergePlan, MergeResult
from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED, MergeEngine
from airflow_provider_phlo.ingestion import quarantine
from airflow_provider_phlo.ingestion.accounting import require_equal
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.preparation import prepare_table
from airflow_provider_phlo.ingestion.results import LandedBatch
from airflow_provider_phlo.ingestion.staged_batches import StagedBatch, StagedRows
from airflow_provider_phlo.schemas.conversion.variants import is_json, variant_of
from airflow_provider_phlo.terms import MergeStrategy, MetadataColumn

log = logging.getLogger(__name__)

# what databases and files write for a row that stays
_NO = frozenset({"0", "false", "f", "no", "n", "off", "", "{}", "[]"})


def land(
    catalog: Catalog,
    root: Any,
    batch: StagedBatch,
    definition: TableDefinition,
    engine: MergeEngine = EMBEDDED,
) -> LandedBatch | None:
    """
    Merge ``batch`` on its run's branch, then add its rejected rows to the quarantine table.

    :param root: the staging root.
    :param engine: merges; rejected rows are always written by the embedded one.
    :returns: counts and the branch's snapshot; the first result, if the run has published already; None for an empty
        batch without a schema, whose table does not exist yet.
    :raises ConfigurationError: if the batch replays records that cannot be merged without harm, or another replay has
        taken them over.
    :raises AccountingError: if the counts do not add up.
    """
    if batch.replay:
        definition.require_replayable()
    engine.recover(catalog, definition.table, batch.token)
    published = find_published_batch(catalog, definition.table, batch.token)
    if published is not None:
        log.info("%s: run %s has published before, nothing to do", definition.table, batch.token)
        return published
    rows = StagedRows(root, batch)
    described = definition.declared is not None or rows.schema.names or catalog.table_exists(definition.table)
    landed = merge_on_branch(catalog, batch, rows, definition, engine) if described else None
    quarantine.add_rejected(catalog, root, batch)
    return landed


def find_published_batch(catalog: Catalog, identifier: str, token: str) -> LandedBatch | None:
    """
    Return what the run with ``token`` has published, or None if it has not published.

    :raises ConfigurationError: if another replay has taken over its records.
    """
    table = tables.find_table(catalog, identifier)
    result = find_published_result(table, token) if table else None
    if result is None:
        return None
    if result == branches.WITHDRAWN:
        raise ConfigurationError(
            f"{identifier}: another replay has taken over the records of run {token}: there is nothing left to do."
        )
    return LandedBatch.from_json(result)


def merge_on_branch(
    catalog: Catalog, batch: StagedBatch, rows: StagedRows, definition: TableDefinition, engine: MergeEngine
) -> LandedBatch:
    """
    Prepare the table, merge ``rows`` on top of main into the run's branch, and check that every record is there.

    :raises CommitConflictError: if other writers won every round.
    :raises AccountingError: if the counts do not add up.
    :raises SchemaError: if a column that decides what the merge does has values of several types, or values that do
        not decide it.
    :raises ConfigurationError: if the batch is what came after the rows that it would replace.
    """
    run = run_branch(catalog, branches.branch_name(batch.token))
    counts = {name: getattr(batch, name) for name in ("read", "added", "dropped", "quarantined")}
    summary = {"phlo.run-id": batch.run_id, **{f"phlo.{name}": str(value) for name, value in counts.items()}}

    plan = _plan_for(batch, rows.schema, definition.plan)
    _require_no_variants(batch.table, rows.schema, plan)
    _require_an_order(batch.table, rows.schema, plan)
    _require_clear_deletions(batch.table, rows, plan)

    def attempt() -> MergeResult:
        run.start(definition.table)
        prepare_table(run.target, definition, rows)
        return engine.merge(
            run.target,
            definition.table,
            rows,
            plan,
            token=batch.token,
            partition_date=batch.partition_date,
            summary=summary,
            branch=run.ref,
        )

    with take_turn(catalog, definition.table, keep=True):
        merged = retry_conflicts(attempt, definition.table)
    _require_whole_partition(batch, merged)
    landed = LandedBatch(
        batch.table,
        batch.partition_date,
        batch.token,
        run.name,
        batch.folder,
        batch.replay,
        **counts,
        merged=merged,
    )
    _require_accounted(run.target, batch, rows, landed)
    return landed


def _require_whole_partition(batch: StagedBatch, merged: MergeResult) -> None:
    """Refuse to replace rows by those that came after them: a cursor does not yield the former again."""
    if batch.reads_on and merged.replaced:
        raise ConfigurationError(
            f"{batch.table}: the partition {batch.partition_date} has {merged.replaced} row(s) of an earlier run, and "
            "the source reads on from where that stopped (dlt's state): what came later would replace them. main is as "
            "it was. Let the source yield the whole day (a cursor with end_value, or allow_external_schedulers=True), "
            "use merge_strategy='merge' or 'append', or set the table back first (phlo catalog rollback), which sets "
            "the cursor back, too."
        )


def _require_no_variants(table: str, columns: pa.Schema, plan: MergePlan) -> None:
    """Refuse values of ``order_by`` or ``hard_delete`` in a variant column: the merge would not see them."""
    deciding = {plan.order_by, plan.hard_delete} - {None}
    unseen = [name for name in columns.names if variant_of(name) in deciding]
    if unseen:
        raise SchemaError(
            f"{table}: {', '.join(unseen)} holds values that the column's type in the table cannot hold, and the merge "
            "decides by that column: declare it in the schema, or convert its values in a transform."
        )


def _require_an_order(table: str, columns: pa.Schema, plan: MergePlan) -> None:
    """Refuse an ``order_by`` column of nested values: their JSON text has an order, in which 10 is less than 9."""
    if plan.order_by in columns.names and is_json(columns.field(plan.order_by)):
        raise SchemaError(
            f"{table}: order_by={plan.order_by!r} holds nested values, which have no order: name a column of "
            "numbers or times, or make one of them in a transform."
        )


def _require_clear_deletions(table: str, rows: StagedRows, plan: MergePlan) -> None:
    """Refuse values of ``hard_delete`` that say no: as dlt has it, all but NULL remove a key."""
    name = plan.hard_delete
    if name is None or name not in rows.schema.names:
        return
    kind = rows.schema.field(name).type
    if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
        return
    for part in rows:
        if any(map(_says_no, pc.unique(part[name]).to_pylist())):
            raise SchemaError(
                f"{table}: hard_delete={name!r} is a column of {kind}, in which any value but NULL removes its key, "
                "and some of its values say no (0, false, n, empty text): declare the column as bool, or make these "
                "values NULL in a transform."
            )


def _says_no(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _NO
    return not value.strip(b"\0") if isinstance(value, bytes) else value is not None and not value


def _plan_for(batch: StagedBatch, columns: pa.Schema, plan: MergePlan) -> MergePlan:
    """Return the plan; where the author says nothing, dlt hints the deletion column, and a replay has an order."""
    if batch.hard_delete in columns.names and plan.strategy == MergeStrategy.MERGE and plan.hard_delete is None:
        plan = replace(plan, hard_delete=batch.hard_delete)
    if batch.replay and plan.strategy == MergeStrategy.MERGE and plan.order_by is None:
        # a replayed record keeps its first arrival time, so that rows that came after it stay
        return replace(plan, order_by=MetadataColumn.INGESTED_AT)
    return plan


def _require_accounted(catalog: Catalog, batch: StagedBatch, rows: StagedRows, landed: LandedBatch) -> None:
    """
    Check that every record read was merged, set aside or dropped; compare with the staged files and the snapshot, too.

    :raises AccountingError: if not; nothing is published then.
    """
    names, merged, accounting = (batch.table, batch.run_id), landed.merged, landed.accounting
    accounting.require_balance(*names)
    require_equal("rows that were merged", merged.rows, batch.rows, *names)
    require_equal("rows in the staged files", rows.count(), batch.rows, *names)
    snapshot = catalog.load_table(batch.table).snapshot_by_id(merged.snapshot_id) if merged.snapshot_id else None
    if snapshot is not None and snapshot.summary is not None:
        facts = snapshot.summary.additional_properties
        grown = int(facts.get("added-records", 0)) - int(facts.get("deleted-records", 0))
        expected = merged.inserted - merged.deleted - merged.replaced - merged.deleted_duplicates
        require_equal("rows by which the table grew", grown, expected, *names)
    log.info("%s %s: %s", batch.table, batch.partition_date, accounting)
