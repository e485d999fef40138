"""Land a staged batch in its table: create or evolve it, merge on the run's branch, set bad rows aside, publish."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg import branches, publication, tables
from airflow_provider_phlo.iceberg.branches import SET_BACK_PROPERTY, STATE_PROPERTY
from airflow_provider_phlo.iceberg.declared import declare_columns
from airflow_provider_phlo.iceberg.marks import find_published_result
from airflow_provider_phlo.iceberg.merge import MergePlan, MergeResult
from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED, MergeEngine
from airflow_provider_phlo.iceberg.publication import Publication, run_branch
from airflow_provider_phlo.iceberg.retries import retry_conflicts
from airflow_provider_phlo.ingestion import quarantine, staged_batches
from airflow_provider_phlo.ingestion.accounting import Accounting, require_equal
from airflow_provider_phlo.schemas.columns import ModelColumns
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg, pandera_to_iceberg
from airflow_provider_phlo.terms import DeduplicationMethod, MergeStrategy, MetadataColumn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableDefinition:
    """
    What a DAG author declares of a table.

    :param table: ``namespace.table``.
    :param declared: the columns of the validation schema; None takes those of the first batch.
    :param partition_by: None means by day of ``_phlo_partition_date``, if the table has metadata columns.
    """

    table: str
    plan: MergePlan
    declared: ModelColumns | None = None
    metadata_columns: bool = True
    partition_by: tuple[str, ...] | None = None
    sort_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)


def table_state(table: Table | None) -> str:
    """Return dlt's state as the last published run of ``table`` left it."""
    return table.properties.get(STATE_PROPERTY, "") if table is not None else ""


def table_types(table: Table | None) -> dict[str, pa.DataType]:
    """Return the Arrow types of the table's columns."""
    if table is None:
        return {}
    return {item.name: item.type for item in schema_to_pyarrow(table.schema(), include_field_ids=False)}


def land(
    catalog: Catalog,
    root: Any,
    batch: staged_batches.StagedBatch,
    definition: TableDefinition,
    engine: MergeEngine = EMBEDDED,
) -> dict[str, Any] | None:
    """
    Merge ``batch`` on its run's branch; rejected rows go to the quarantine table.

    :param root: the staging root.
    :param engine: merges; rejected rows are always written by the embedded one.
    :returns: counts and the branch's snapshot as a JSON object; the first result, if the run has published already;
        None for an empty batch of a table that nobody has described yet.
    """
    if batch.replay:
        quarantine.require_replayable(definition.plan, definition.table, definition.metadata_columns)
    engine.recover(catalog, definition.table, batch.token)
    published = _published(catalog, definition.table, batch.token)
    if published is not None:
        return published
    rows = staged_batches.StagedRows(root, batch)
    described = definition.declared is not None or rows.schema.names or catalog.table_exists(definition.table)
    landed = _merged(catalog, batch, rows, definition, engine) if described else None
    quarantine.add(catalog, root, batch)
    return landed


def _published(catalog: Catalog, identifier: str, token: str) -> dict[str, Any] | None:
    table = tables.find_table(catalog, identifier)
    result = find_published_result(table, token) if table else None
    if result == branches.WITHDRAWN:
        raise ConfigurationError(
            f"{identifier}: another replay has taken over the records of run {token}: there is nothing left to do."
        )
    if result is not None:
        log.info("%s: run %s has published before, nothing to do", identifier, token)
    return result


def _merged(
    catalog: Catalog,
    batch: staged_batches.StagedBatch,
    rows: staged_batches.StagedRows,
    definition: TableDefinition,
    engine: MergeEngine,
) -> dict[str, Any]:
    run = run_branch(catalog, branches.branch_name(batch.token))
    counted = {name: getattr(batch, name) for name in ("read", "added", "dropped", "quarantined")}
    summary = {"phlo.run-id": batch.run_id, **{f"phlo.{name}": str(value) for name, value in counted.items()}}

    def attempt() -> MergeResult:
        run.start(definition.table)
        _prepare(run.target, definition, rows.schema, rows)
        return engine.merge(
            run.target,
            definition.table,
            rows,
            _plan(definition, batch, rows.schema),
            token=batch.token,
            partition_date=batch.partition_date,
            summary=summary,
            branch=run.ref,
        )

    merged = retry_conflicts(attempt, definition.table)
    landed = {
        "table": batch.table,
        "partition_date": batch.partition_date,
        "token": batch.token,
        "branch": branches.branch_name(batch.token),
        "folder": batch.folder,
        **({"replay": True} if batch.replay else {}),
        **counted,
        **merged.to_json(),
    }
    _require_accounted(run.target, batch, rows, landed)
    return landed


def _require_accounted(
    catalog: Catalog, batch: staged_batches.StagedBatch, rows: staged_batches.StagedRows, landed: Mapping[str, Any]
) -> None:
    """
    Check that what was read is what was merged, set aside or dropped, by files and snapshot too.

    :raises AccountingError: if not; nothing is published then.
    """
    names = batch.table, batch.run_id
    found = Accounting.of(landed)
    found.require_balance(*names)
    require_equal("rows that were merged", landed["rows"], batch.rows, *names)
    require_equal("rows in the staged files", rows.count(), batch.rows, *names)
    snapshot = catalog.load_table(batch.table).snapshot_by_id(landed["snapshot_id"]) if landed["snapshot_id"] else None
    if snapshot is not None and snapshot.summary is not None:
        facts = snapshot.summary.additional_properties
        grown = int(facts.get("added-records", 0)) - int(facts.get("deleted-records", 0))
        expected = found.inserted - found.deleted - landed["replaced"] - landed["deleted_duplicates"]
        require_equal("rows by which the table grew", grown, expected, *names)
    log.info("%s %s: %s", batch.table, batch.partition_date, found)


def _plan(definition: TableDefinition, batch: staged_batches.StagedBatch, columns: pa.Schema) -> MergePlan:
    """Return the plan, with the hint of a dlt resource where the author says nothing else and rows have the column."""
    plan = definition.plan
    if batch.hard_delete in columns.names and plan.strategy == MergeStrategy.MERGE and plan.hard_delete is None:
        plan = replace(plan, hard_delete=batch.hard_delete)
    if batch.replay and plan.strategy == MergeStrategy.MERGE and plan.order_by is None:
        # a record counts as having arrived when it did first: what came after it stays
        return replace(plan, order_by=MetadataColumn.INGESTED_AT)
    return plan


def _prepare(catalog: Catalog, definition: TableDefinition, columns: pa.Schema, rows: Iterable[pa.Table]) -> None:
    """Create or evolve the table, once it is certain that the rows go in."""
    table = tables.find_table(catalog, definition.table)
    schema = table.schema() if table else _schema(definition, columns)
    _require_plan_columns(definition, {item.name for item in schema.fields} | set(columns.names))
    tables.require_fit(columns.empty_table(), schema, definition.table)
    for part in rows:
        tables.require_fit(part, schema, definition.table)
    partition_by = definition.partition_by
    if partition_by is None:
        partition_by = (MetadataColumn.PARTITION_DATE,) if definition.metadata_columns else ()
    tables.ensure_table(
        catalog,
        definition.table,
        schema,
        partition_by=partition_by,
        sort_by=definition.sort_by,
        properties=definition.properties,
    )
    table = tables.evolve(catalog, definition.table, columns)
    declared = definition.declared
    pii = None if declared is None else [column.name for column in declared.columns if column.pii]
    declare_columns(catalog, table, definition.plan.key, pii)


def _require_plan_columns(definition: TableDefinition, present: set[str]) -> None:
    """Refuse a plan that names columns which neither table nor batch has, before a table is made for it."""
    named = [*definition.plan.key, *filter(None, (definition.plan.order_by, definition.plan.hard_delete))]
    missing = [name for name in named if name not in present]
    if missing:
        raise ConfigurationError(
            f"{definition.table} has no column(s) {', '.join(missing)}, which unique_key, order_by or hard_delete "
            f"names: write them as dlt does; there are {', '.join(sorted(present))}."
        )


def _schema(definition: TableDefinition, columns: pa.Schema) -> Schema:
    if definition.declared is None:
        return arrow_to_iceberg(column for column in columns if not pa.types.is_null(column.type))
    return pandera_to_iceberg(definition.declared.model, metadata_columns=definition.metadata_columns)


def publish(
    catalog: Catalog,
    root: Any,
    landed: Mapping[str, Any],
    definition: TableDefinition,
    audit: Callable[[str], None],
    engine: MergeEngine = EMBEDDED,
) -> dict[str, Any]:
    """
    Make the audited branch main. When main has moved meanwhile, merge again on top of it and audit that.

    :param landed: what :func:`land` returned.
    :param audit: checks the branch it is given, and raises when a blocking check fails.
    :param engine: the one that :func:`land` used.
    :returns: ``landed``, with main's snapshot; the first result, if the run has published already.
    :raises CommitConflictError: if main moved in every round.
    """
    engine.recover(catalog, definition.table, landed["token"])
    run = run_branch(catalog, landed["branch"])
    published = _published(catalog, definition.table, landed["token"])
    if published is not None:
        run.drop(definition.table)
        _settle(catalog, landed)
        return published
    batch = staged_batches.load(root, landed["folder"])
    rounds = count()

    def attempt() -> dict[str, Any]:
        result = landed if next(rounds) == 0 else _rebased(catalog, root, batch, definition, audit, engine)
        engine.publish(catalog, run, _publication(catalog, batch, definition, result))
        return find_published_result(catalog.load_table(definition.table), batch.token) or dict(result)

    result = retry_conflicts(attempt, definition.table)
    _settle(catalog, landed)
    return result


def _settle(catalog: Catalog, landed: Mapping[str, Any]) -> None:
    """Mark the records of a replay, once they are in the table."""
    if landed.get("replay"):
        quarantine.settle(catalog, landed["table"], landed["token"])


def _advanced_state(catalog: Catalog, batch: staged_batches.StagedBatch, definition: TableDefinition) -> dict[str, str]:
    """
    Return dlt's state as the table is to keep it; nothing leaves the table's as it is.

    The state of a batch that was extracted before main was set back goes on from what was undone: with it, nobody
    would read that again. Without it, the next run reads this batch again, too.

    :raises ConfigurationError: if rows that are read again would be doubled.
    """
    if not batch.state:
        return {}
    plan, properties = definition.plan, catalog.load_table(definition.table).properties
    if batch.staged_at - batch.seconds >= float(properties.get(SET_BACK_PROPERTY, 0)):
        return {STATE_PROPERTY: batch.state}
    if plan.strategy == MergeStrategy.APPEND and not (plan.deduplication and plan.method == DeduplicationMethod.HASH):
        raise ConfigurationError(
            f"{definition.table} was set back while this run was under way, and what it appends would be read again "
            "by the next: clear the run, so that it goes on from where the table is now."
        )
    log.info("%s was set back meanwhile: the next run reads again from there", definition.table)
    return {}


@dataclass(frozen=True)
class LandedTable:
    """
    One of several tables that are published together.

    :param landed: what :func:`land` returned.
    :param audit: checks the branch it is given, and raises when a blocking check fails.
    """

    landed: Mapping[str, Any]
    definition: TableDefinition
    audit: Callable[[str], None]


def publish_together(catalog: Catalog, root: Any, landed: Sequence[LandedTable]) -> list[dict[str, Any]]:
    """
    Make the audited branches of several tables main in one commit; for Nessie catalogs.

    When main has moved in one of them meanwhile, all are merged and audited again on top of it.

    :returns: of each table what :func:`publish` returns.
    :raises ConfigurationError: if the catalog cannot commit several tables at once.
    :raises CommitConflictError: if main moved in every round.
    """
    batches = [staged_batches.load(root, each.landed["folder"]) for each in landed]
    rounds = count()

    def attempt() -> list[dict[str, Any]]:
        rebase = next(rounds) > 0
        results = [
            _rebased(catalog, root, batch, each.definition, each.audit, EMBEDDED) if rebase else each.landed
            for batch, each in zip(batches, landed, strict=True)
        ]
        publication.publish_together(
            catalog,
            [
                (result["branch"], _publication(catalog, batch, each.definition, result))
                for batch, each, result in zip(batches, landed, results, strict=True)
            ],
        )
        return [
            find_published_result(catalog.load_table(each.definition.table), batch.token) or dict(result)
            for batch, each, result in zip(batches, landed, results, strict=True)
        ]

    results = retry_conflicts(attempt, ", ".join(each.definition.table for each in landed))
    for each in landed:
        _settle(catalog, each.landed)
    return results


def _publication(
    catalog: Catalog, batch: staged_batches.StagedBatch, definition: TableDefinition, result: Mapping[str, Any]
) -> Publication:
    state = _advanced_state(catalog, batch, definition)
    return Publication(definition.table, batch.token, result, state, expected_head=result["head"])


def _rebased(
    catalog: Catalog,
    root: Any,
    batch: staged_batches.StagedBatch,
    definition: TableDefinition,
    audit: Callable[[str], None],
    engine: MergeEngine,
) -> Mapping[str, Any]:
    """Merge again on top of what others have published, and audit that, unless another attempt has published."""
    published = _published(catalog, definition.table, batch.token)
    if published is not None:
        return published
    result = _merged(catalog, batch, staged_batches.StagedRows(root, batch), definition, engine)
    audit(result["branch"])
    return result


def check_definition(definition: TableDefinition) -> TableDefinition:
    """
    Return ``definition`` if its parts fit each other.

    :raises ConfigurationError: if ``replace`` has no partition to replace.
    """
    if definition.plan.strategy == MergeStrategy.REPLACE and not definition.metadata_columns:
        raise ConfigurationError(
            f"{definition.table}: merge_strategy='replace' replaces the run's _phlo_partition_date, which "
            "add_metadata_columns=False leaves out: keep the metadata columns, or merge on a key."
        )
    return definition
