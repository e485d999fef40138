"""Load batches into Iceberg tables through the merge engine: each table on a branch of the run, audited, published."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, EqualTo, IsNull

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.catalogs import nessie
from airflow_provider_phlo.iceberg.catalogs.turns import end_kept_turn
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED, MergeEngine
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.ingestion import LandedBatch, LandedTable, StagingPlan, TableDefinition, land, publish
from airflow_provider_phlo.ingestion import publish_together as publish_all
from airflow_provider_phlo.ingestion import stage as stage_rows
from airflow_provider_phlo.ingestion.preparation import table_comments, table_types
from airflow_provider_phlo.ingestion.staged_batches import StagedBatch
from airflow_provider_phlo.terms import Token
from airflow_provider_phlo.warehouse.stage import Stage
from airflow_provider_phlo.warehouse.stage_batches import StageBatch
from airflow_provider_phlo.warehouse.tables import StageTable, TableLoad, require_distinct

log = logging.getLogger(__name__)
# checks the branch of a table, and raises when a blocking check fails
Audit = Callable[[str, str], None]


def no_audit(table: str, branch: str) -> None:
    """Check nothing."""


@dataclass(frozen=True)
class IcebergWarehouse:
    """
    The tables of a catalog.

    :param staging_root: where the merge engine stages the rows that it takes, a path object.
    :param pipelines_dir: where dlt keeps its working files.
    :param strict: True fails on a row that breaks its model, False sets it aside for the table's quarantine.
    :param audit: checks each table's branch, ``audit(table, branch)``, before it is published.
    :param batch_rows: rows converted, validated and written at a time.
    """

    catalog: Catalog
    staging_root: Any
    pipelines_dir: Path
    strict: bool = True
    audit: Audit = no_audit
    engine: MergeEngine = EMBEDDED
    batch_rows: int = 50_000
    name: str = field(default="iceberg", init=False)

    def load(
        self,
        stage: Stage,
        tables: Sequence[StageTable],
        batches: Sequence[StageBatch],
        token: Token,
        *,
        run_id: str,
        partition_date: str,
    ) -> list[TableLoad]:
        """
        Load batches into tables.

        All tables are merged and audited before the first is published. On Nessie they are published in one commit,
        elsewhere one after another: what a kill leaves out is finished by calling this again with the same token.

        :raises ValidationError: a row breaks its model, and ``strict`` is set; nothing is published.
        :raises SchemaError: the rows do not fit a table; nothing is published.
        :raises CommitConflictError: other writers won every round.
        """
        require_distinct(tables)
        batches = list({batch.name: batch for batch in batches}.values())
        try:
            staged = [self._stage(stage, table, batches, token, run_id, partition_date) for table in tables]
            definitions = [_definition(table) for table in tables]
            landed = [self._land(batch, definition) for batch, definition in zip(staged, definitions, strict=True)]
            for each in landed:
                self.audit(each.table, each.branch)
            published = self._publish(landed, definitions)
        finally:
            end_kept_turn()
        return [_result(each) for each in published]

    def _stage(
        self, stage: Stage, table: StageTable, batches: Sequence[StageBatch], token: Token, run_id: str, day: str
    ) -> StagedBatch:
        present = find_table(self.catalog, table.target)
        plan = StagingPlan(
            table=table.target,
            key=table.key,
            declared=table.declared(),
            strict=self.strict,
            identity=table.key,
            batch_rows=self.batch_rows,
            known_types=table_types(present),
            comments=table_comments(present),
        )

        def rows() -> Iterator[pa.Table]:
            for batch in batches:
                yield from stage.read(batch, table.entity)

        staged = stage_rows(
            rows,
            plan,
            root=self.staging_root,
            token=table_token(token, table.target),
            partition_date=day,
            run_id=run_id,
            pipelines_dir=self.pipelines_dir,
        )
        if staged is None:
            raise ConfigurationError(f"{table.target}: nothing was staged.")
        return staged

    def _land(self, batch: StagedBatch, definition: TableDefinition) -> LandedBatch:
        landed = land(self.catalog, self.staging_root, batch, definition, self.engine)
        if landed is None:
            raise ConfigurationError(f"{definition.table}: nothing was landed.")
        return landed

    def _publish(self, landed: Sequence[LandedBatch], definitions: Sequence[TableDefinition]) -> list[LandedBatch]:
        audits = [self._audit_of(definition.table) for definition in definitions]
        if nessie.is_nessie(self.catalog):
            together = [LandedTable(*each) for each in zip(landed, definitions, audits, strict=True)]
            return publish_all(self.catalog, self.staging_root, together)
        return [
            publish(self.catalog, self.staging_root, batch, definition, audit, self.engine)
            for batch, definition, audit in zip(landed, definitions, audits, strict=True)
        ]

    def _audit_of(self, table: str) -> Callable[[str], None]:
        return lambda branch: self.audit(table, branch)

    def count_rows(self, table: str, *, by: str, where: Mapping[str, Any]) -> dict[Any, int]:
        """
        Return how many published rows there are for each value of a column, of those with the given values in others.

        :returns: nothing where there are no such rows, or no such table.
        :raises ConfigurationError: the table has no such column.
        """
        found: Counter[Any] = Counter()
        for batch in self._batches(table, (by,), where):
            for each in batch.column(by).value_counts().to_pylist():
                found[each["values"]] += each["counts"]
        return dict(found)

    def rows(self, table: str, columns: Sequence[str], *, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        """
        Return the published rows that have the given values in some columns.

        :returns: nothing where there are no such rows, or no such table.
        :raises ConfigurationError: the table has no such column.
        """
        return [row for batch in self._batches(table, columns, where) for row in batch.to_pylist()]

    def _batches(self, table: str, columns: Sequence[str], where: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        found = find_table(self.catalog, table)
        if found is None:
            return
        unknown = {*columns, *where} - set(found.schema().column_names)
        if unknown:
            raise ConfigurationError(f"{table} has no column {', '.join(sorted(unknown))}.")
        condition: BooleanExpression = AlwaysTrue()
        for name, value in where.items():
            condition = And(condition, IsNull(term=name) if value is None else EqualTo(term=name, value=value))
        yield from found.scan(row_filter=condition, selected_fields=tuple(columns)).to_arrow_batch_reader()


def table_token(token: Token, table: str) -> Token:
    """Return the token of a run for one of the tables that it fills."""
    return blake2b(f"{token}\n{table}".encode(), digest_size=8).hexdigest()


def _definition(table: StageTable) -> TableDefinition:
    return TableDefinition(table.target, MergePlan(key=table.key, order_by=table.order_by), table.declared())


def _result(published: LandedBatch) -> TableLoad:
    merged = published.merged
    return TableLoad(
        published.table,
        rows=published.read,
        inserted=merged.inserted,
        updated=merged.updated,
        unchanged=merged.unchanged,
        duplicates=merged.duplicates,
        quarantined=published.quarantined,
        snapshot_id=merged.snapshot_id if merged.snapshot_id is not None else merged.head,
    )
