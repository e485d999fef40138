"""Land a staged batch in its table: create or evolve it, merge on the run's branch, set bad rows aside, publish."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol, TypeVar

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from airflow_provider_phlo import staging
from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError
from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.commits import pause
from airflow_provider_phlo.iceberg.merge import MergePlan, MergeResult, merge
from airflow_provider_phlo.schemas.columns import ModelColumns
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg, pandera_to_iceberg

log = logging.getLogger(__name__)
Result = TypeVar("Result")

STATE_PROPERTY = "phlo.dlt-state"
PUBLISH_ATTEMPTS = 20


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


class Engine(Protocol):
    """What merges, and makes the merge visible. A run uses one engine from its first step to its last."""

    def recover(self, catalog: Catalog, identifier: str, token: str) -> None:
        """Finish what an attempt of this run that died has left half done."""

    def merge(
        self,
        catalog: Catalog,
        identifier: str,
        batch: pa.Table,
        plan: MergePlan,
        *,
        token: str,
        partition_date: str | None = None,
        summary: Mapping[str, str] | None = None,
    ) -> MergeResult:
        """Merge where readers do not see it."""

    def publish(
        self,
        catalog: Catalog,
        identifier: str,
        branch: str,
        *,
        token: str,
        result: Mapping[str, Any],
        properties: Mapping[str, str] | None = None,
        expected_head: int | None = None,
    ) -> int | None:
        """Make the merge main's, with the run's mark."""

    def clean(self, catalog: Catalog, identifier: str, older_than: float) -> int:
        """Remove what runs have left that were given up before ``older_than``."""

    def cancel(self) -> None:
        """End what runs outside of this process."""


class EmbeddedEngine:
    """PyIceberg: writes the run's branch, which then becomes main. Nothing is ever half done."""

    def recover(self, catalog: Catalog, identifier: str, token: str) -> None:
        return

    def merge(self, *arguments: Any, **options: Any) -> MergeResult:
        return merge(*arguments, **options)

    def publish(self, *arguments: Any, **options: Any) -> int | None:
        return branches.publish(*arguments, **options)

    def clean(self, catalog: Catalog, identifier: str, older_than: float) -> int:
        return 0

    def cancel(self) -> None:
        return


EMBEDDED = EmbeddedEngine()


def quarantine_table(table: str) -> str:
    """Return the name of the table that holds the rejected rows of ``table``."""
    return f"{table}__quarantine"


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
    batch: staging.StagedBatch,
    definition: TableDefinition,
    engine: Engine = EMBEDDED,
) -> dict[str, Any] | None:
    """
    Merge ``batch`` on its run's branch; rejected rows go to the quarantine table.

    :param root: the staging root.
    :param engine: merges; rejected rows are always written by the embedded one.
    :returns: counts and the branch's snapshot as a JSON object; the first result, if the run has published already;
        None for an empty batch of a table that nobody has described yet.
    """
    engine.recover(catalog, definition.table, batch.token)
    published = _published(catalog, definition.table, batch.token)
    if published is not None:
        return published
    rows = staging.read_rows(root, batch)
    described = definition.declared is not None or rows.column_names or catalog.table_exists(definition.table)
    landed = _merged(catalog, batch, rows, definition, engine) if described else None
    _quarantine(catalog, root, batch)
    return landed


def _published(catalog: Catalog, identifier: str, token: str) -> dict[str, Any] | None:
    table = tables.find_table(catalog, identifier)
    result = branches.published_result(table, token) if table else None
    if result is not None:
        log.info("%s: run %s has published before, nothing to do", identifier, token)
    return result


def _merged(
    catalog: Catalog, batch: staging.StagedBatch, rows: pa.Table, definition: TableDefinition, engine: Engine
) -> dict[str, Any]:
    _prepare(catalog, definition, rows)
    summary = {"phlo.run-id": batch.run_id, "phlo.read": str(batch.read), "phlo.quarantined": str(batch.quarantined)}

    def attempt() -> MergeResult:
        return engine.merge(
            catalog,
            definition.table,
            rows,
            definition.plan,
            token=batch.token,
            partition_date=batch.partition_date,
            summary=summary,
        )

    return _landed(batch, _until_done(attempt, definition.table))


def _landed(batch: staging.StagedBatch, result: MergeResult) -> dict[str, Any]:
    return {
        "table": batch.table,
        "partition_date": batch.partition_date,
        "token": batch.token,
        "branch": branches.branch_name(batch.token),
        "folder": batch.folder,
        "read": batch.read,
        "quarantined": batch.quarantined,
        **result.to_dict(),
    }


def _prepare(catalog: Catalog, definition: TableDefinition, rows: pa.Table) -> None:
    """Create or evolve the table, once it is certain that the rows go in."""
    table = tables.find_table(catalog, definition.table)
    schema = table.schema() if table else _schema(definition, rows)
    tables.require_fit(rows, schema, definition.table)
    partition_by = definition.partition_by
    if partition_by is None:
        partition_by = ("_phlo_partition_date",) if definition.metadata_columns else ()
    tables.ensure_table(
        catalog,
        definition.table,
        schema,
        partition_by=partition_by,
        sort_by=definition.sort_by,
        properties=definition.properties,
    )
    tables.evolve(catalog, definition.table, rows.schema)


def _schema(definition: TableDefinition, rows: pa.Table) -> Schema:
    if definition.declared is None:
        return arrow_to_iceberg(column for column in rows.schema if not pa.types.is_null(column.type))
    return pandera_to_iceberg(definition.declared.model, metadata_columns=definition.metadata_columns)


def _quarantine(catalog: Catalog, root: Any, batch: staging.StagedBatch) -> None:
    """Publish the rejected rows at once: they are there to be looked at, whatever becomes of the run."""
    rejected = staging.read_rejected(root, batch)
    if not len(rejected):
        return
    table = quarantine_table(batch.table)
    plan = MergePlan(key=("quarantine_id",))
    definition = TableDefinition(table, plan, partition_by=("partition_date",), metadata_columns=False)
    _prepare(catalog, definition, rejected)

    def attempt() -> None:
        merged = merge(catalog, table, rejected, plan, token=batch.token, partition_date=batch.partition_date)
        branches.publish(catalog, table, branches.branch_name(batch.token), expected_head=merged.head)

    _until_done(attempt, table)


def publish(
    catalog: Catalog,
    root: Any,
    landed: Mapping[str, Any],
    definition: TableDefinition,
    audit: Callable[[str], None],
    engine: Engine = EMBEDDED,
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
    published = _published(catalog, definition.table, landed["token"])
    if published is not None:
        return published
    batch = staging.load(root, landed["folder"])
    rounds = count()

    def attempt() -> dict[str, Any]:
        result = landed if next(rounds) == 0 else _rebased(catalog, root, batch, definition, audit, engine)
        engine.publish(
            catalog,
            definition.table,
            result["branch"],
            token=batch.token,
            result=result,
            properties={STATE_PROPERTY: batch.state} if batch.state else None,
            expected_head=result["head"],
        )
        return branches.published_result(catalog.load_table(definition.table), batch.token) or dict(result)

    return _until_done(attempt, definition.table)


def _rebased(
    catalog: Catalog,
    root: Any,
    batch: staging.StagedBatch,
    definition: TableDefinition,
    audit: Callable[[str], None],
    engine: Engine,
) -> Mapping[str, Any]:
    """Merge again on top of what others have published, and audit that, unless another attempt has published."""
    published = _published(catalog, definition.table, batch.token)
    if published is not None:
        return published
    result = _merged(catalog, batch, staging.read_rows(root, batch), definition, engine)
    audit(result["branch"])
    return result


def _until_done(attempt: Callable[[], Result], table: str) -> Result:
    """Repeat ``attempt`` while other writers win; one of them wins every round, so all get through."""
    for round_number in range(PUBLISH_ATTEMPTS):
        try:
            return attempt()
        except CommitConflictError as conflict:
            log.info("%s: another writer was faster (%s), merging again on top of it", table, conflict)
            pause(round_number)
    raise CommitConflictError(f"{table}: other writers won {PUBLISH_ATTEMPTS} rounds; nothing was published, retry.")


def check_definition(definition: TableDefinition) -> TableDefinition:
    """
    Return ``definition`` if its parts fit each other.

    :raises ConfigurationError: if ``replace`` has no partition to replace.
    """
    if definition.plan.strategy == "replace" and not definition.metadata_columns:
        raise ConfigurationError(
            f"{definition.table}: merge_strategy='replace' replaces the run's _phlo_partition_date, which "
            "add_metadata_columns=False leaves out: keep the metadata columns, or merge on a key."
        )
    return definition
