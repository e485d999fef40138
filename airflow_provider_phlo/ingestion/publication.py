"""Publish landed batches: make audited branches main, and merge and audit again where main has moved meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.branches import publication
from airflow_provider_phlo.iceberg.branches.publication import Publication, run_branch
from airflow_provider_phlo.iceberg.branches.run_branches import SET_BACK_PROPERTY, STATE_PROPERTY
from airflow_provider_phlo.iceberg.catalogs.retries import retry_conflicts
from airflow_provider_phlo.iceberg.catalogs.turns import take_turn
from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED, MergeEngine
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.ingestion import quarantine, source_state, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.landing import find_published_batch, merge_on_branch
from airflow_provider_phlo.ingestion.results import LandedBatch
from airflow_provider_phlo.ingestion.staged_batches import StagedBatch, StagedRows
from airflow_provider_phlo.quality.freshness import POLICY_PROPERTY, TablePolicy
from airflow_provider_phlo.terms import DeduplicationMethod, MergeStrategy

log = logging.getLogger(__name__)
# checks the branch it is given, and raises when a blocking check fails
Audit = Callable[[str], None]


def publish(
    catalog: Catalog,
    root: Any,
    landed: LandedBatch,
    definition: TableDefinition,
    audit: Audit,
    engine: MergeEngine = EMBEDDED,
    policy: TablePolicy | None = None,
) -> LandedBatch:
    """
    Make the audited branch main. When main has moved meanwhile, merge again on top of it and audit that.

    :param root: the staging root.
    :param landed: what :func:`~airflow_provider_phlo.ingestion.landing.land` returned.
    :param audit: checks the branch it is given, and raises when a blocking check fails.
    :param engine: the engine that merged the batch.
    :param policy: what is to stand with the table for those who watch it; set in the same commit. None leaves it.
    :returns: ``landed``, with main's snapshot; the first result, if the run has published already.
    :raises CommitConflictError: if main moved in every round.
    """
    engine.recover(catalog, definition.table, landed.token)
    run = run_branch(catalog, landed.branch)
    published = find_published_batch(catalog, definition.table, landed.token)
    if published is not None:
        log.info("%s: run %s has published before, nothing to do", definition.table, landed.token)
        run.drop(definition.table)
        _mark_replayed(catalog, landed)
        return published
    batch = staged_batches.load(root, _folder_of(landed))
    first_attempt = True

    def attempt() -> LandedBatch:
        nonlocal first_attempt
        audited = landed if first_attempt else _merge_and_audit_again(catalog, root, batch, definition, audit, engine)
        first_attempt = False
        engine.publish(catalog, run, _publication(catalog, batch, definition, audited, policy))
        return find_published_batch(catalog, definition.table, batch.token) or audited

    with take_turn(catalog, definition.table):
        published = retry_conflicts(attempt, definition.table)
    _mark_replayed(catalog, landed)
    return published


@dataclass(frozen=True)
class LandedTable:
    """
    One of several tables that are published together.

    :param landed: what :func:`~airflow_provider_phlo.ingestion.landing.land` returned.
    :param audit: checks the branch it is given, and raises when a blocking check fails.
    """

    landed: LandedBatch
    definition: TableDefinition
    audit: Audit


def publish_together(catalog: Catalog, root: Any, landed: Sequence[LandedTable]) -> list[LandedBatch]:
    """
    Make the audited branches of several tables main in one commit; for Nessie catalogs.

    If main of one of the tables has moved meanwhile, all of them are merged and audited again.

    :param root: the staging root.
    :returns: for each table what :func:`publish` returns.
    :raises ConfigurationError: if the catalog cannot commit several tables at once.
    :raises CommitConflictError: if main moved in every round.
    """
    batches = [staged_batches.load(root, _folder_of(each.landed)) for each in landed]
    first_attempt = True

    def attempt() -> list[LandedBatch]:
        nonlocal first_attempt
        audited = [
            each.landed
            if first_attempt
            else _merge_and_audit_again(catalog, root, batch, each.definition, each.audit, EMBEDDED)
            for batch, each in zip(batches, landed, strict=True)
        ]
        first_attempt = False
        publication.publish_together(
            catalog,
            [
                (result.branch, _publication(catalog, batch, each.definition, result))
                for batch, each, result in zip(batches, landed, audited, strict=True)
            ],
        )
        return [
            find_published_batch(catalog, each.definition.table, batch.token) or result
            for batch, each, result in zip(batches, landed, audited, strict=True)
        ]

    results = retry_conflicts(attempt, ", ".join(each.definition.table for each in landed))
    for each in landed:
        _mark_replayed(catalog, each.landed)
    return results


def _folder_of(landed: LandedBatch) -> str:
    if landed.folder is None:
        raise ConfigurationError(f"{landed.table}: this run has staged nothing, so there is nothing to publish.")
    return landed.folder


def _merge_and_audit_again(
    catalog: Catalog,
    root: Any,
    batch: StagedBatch,
    definition: TableDefinition,
    audit: Audit,
    engine: MergeEngine,
) -> LandedBatch:
    """Merge on top of what others have published, and audit that, unless another attempt of the run has published."""
    published = find_published_batch(catalog, definition.table, batch.token)
    if published is not None:
        return published
    landed = merge_on_branch(catalog, batch, StagedRows(root, batch), definition, engine)
    audit(landed.branch)
    return landed


def _publication(
    catalog: Catalog,
    batch: StagedBatch,
    definition: TableDefinition,
    landed: LandedBatch,
    policy: TablePolicy | None = None,
) -> Publication:
    properties = _advanced_state(catalog, batch, definition)
    if policy is not None:  # beside the mark, which every publication sets: this costs no commit, and needs no look
        properties[POLICY_PROPERTY] = policy.to_json()
    return Publication(definition.table, batch.token, landed.to_json(), properties, expected_head=landed.merged.head)


def _advanced_state(catalog: Catalog, batch: StagedBatch, definition: TableDefinition) -> dict[str, str]:
    """
    Return the table property with dlt's state; empty if the table keeps the state that it has.

    It keeps its state if main was set back after the batch was extracted. The batch's state continues after the rows
    that were undone, so with it no run would read them again. Without it, the next run reads them, and this batch.
    What other runs have published since then of other resources stays beside it.

    :raises ConfigurationError: if rows that this batch has would be there twice: others have read them as well, or the
        next run will.
    """
    if not batch.state:
        return {}
    # on a branch of the whole catalog, main has no such table before its first publication
    plan, table = definition.plan, find_table(catalog, definition.table)
    properties = table.properties if table is not None else {}
    hashed = plan.deduplication and plan.method == DeduplicationMethod.HASH
    doubles = plan.strategy == MergeStrategy.REPLACE or (plan.strategy == MergeStrategy.APPEND and not hashed)
    if batch.set_back == properties.get(SET_BACK_PROPERTY, ""):
        present = properties.get(STATE_PROPERTY, "")
        before = present if batch.read_on is None else batch.read_on
        shared = source_state.advanced_by_both(before, batch.state, present)
        if shared and doubles and batch.rows:
            raise ConfigurationError(
                f"{definition.table}: another run has published rows since this run read its source from the same "
                f"place of {', '.join(shared)}, and they may be the same rows: clear the run, so that it reads on from "
                "where the table is now. Runs one after the other (max_active_runs=1) do not meet."
            )
        return {STATE_PROPERTY: source_state.merged(before, batch.state, present)}
    if doubles:
        raise ConfigurationError(
            f"{definition.table} was set back while this run was under way, and the next run would read again what "
            "this one writes: clear the run, so that it continues from where the table is now."
        )
    log.info("%s was set back meanwhile: the next run reads again from there", definition.table)
    return {}


def _mark_replayed(catalog: Catalog, landed: LandedBatch) -> None:
    """Mark the records of a replay, once they are in the table."""
    if landed.replay:
        quarantine.mark_replayed(catalog, landed.table, landed.token)
