"""What tasks that stage, merge and publish a table share: what it is called, how it is declared, where it lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import settings
from airflow_provider_phlo.assets.iceberg import set_event
from airflow_provider_phlo.operators.base import PhloOperator, check_engine, check_flags, chosen_engine
from airflow_provider_phlo.operators.counters import count_rows
from airflow_provider_phlo.operators.links import TableLink
from airflow_provider_phlo.operators.openlineage import dataset_of_table
from airflow_provider_phlo.terms import Engine, names_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.catalogs.openlineage.work import Work
    from airflow_provider_phlo.iceberg.merge.engine import MergeEngine
    from airflow_provider_phlo.ingestion import LandedBatch, TableDefinition
    from airflow_provider_phlo.quality.freshness import TablePolicy
    from airflow_provider_phlo.schemas.columns import ModelColumns


# why a task of a run that replays the quarantine of one table does nothing for another
REPLAYS_ANOTHER = "this run replays records of another table"


class TableOperator(PhloOperator):
    """
    An operator that works for one table.

    :param table: ``table`` or ``namespace.table`` (templated).
    :param unique_key: the key column or columns (templated).
    :param validation_schema: a Pandera model, or ``"package.module:Class"``.
    :param add_metadata_columns: whether rows carry ``_dlt_*``, ``_cascade_ingested_at`` and ``_phlo_*``.
    :param iceberg_conn_id: the catalog's connection.
    """

    operator_extra_links = (TableLink(),)

    def __init__(
        self,
        *,
        table: str,
        unique_key: str | Sequence[str] = (),
        validation_schema: Any = None,
        add_metadata_columns: bool = True,
        iceberg_conn_id: str = "iceberg_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_flags(add_metadata_columns=add_metadata_columns)
        self.table = table
        self.unique_key = unique_key
        self.validation_schema = validation_schema
        self.add_metadata_columns = add_metadata_columns
        self.iceberg_conn_id = iceberg_conn_id

    def open_catalog(self) -> Catalog:
        """Return the catalog that holds the table."""
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

        return PhloIcebergHook(self.iceberg_conn_id).catalog

    def declared_columns(self) -> ModelColumns | None:
        """Return the columns of the validation schema, None without one."""
        from airflow_provider_phlo.schemas.columns import load_model, model_columns

        return None if self.validation_schema is None else model_columns(load_model(self.validation_schema))


class LandingOperator(TableOperator):
    """
    An operator that merges into a table, or publishes what was merged.

    :param merge_strategy: ``merge``, ``append`` or ``replace``.
    :param merge_config: ``deduplication`` (bool), ``deduplication_method`` (``last``, ``first``, ``hash``),
        ``order_by`` (the column that says which version is newer), ``hard_delete`` (the column that marks deletions).
    :param partition_by: columns or transforms; by day of ``_phlo_partition_date`` when None.
    :param sort_by: columns, each with an optional `` desc``.
    :param table_properties: Iceberg properties of a table that is created.
    :param engine: ``pyiceberg`` or ``trino``; None means ``[phlo] engine``.
    :param trino_conn_id: the connection of ``engine="trino"``; its catalog is that of ``iceberg_conn_id``.

    The other parameters are those of the :class:`TableOperator`.
    """

    def __init__(
        self,
        *,
        merge_strategy: str = "merge",
        merge_config: Mapping[str, Any] | None = None,
        partition_by: str | Sequence[str] | None = None,
        sort_by: str | Sequence[str] | None = None,
        table_properties: Mapping[str, str] | None = None,
        engine: str | None = None,
        trino_conn_id: str = "trino_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_engine(engine)
        self.merge_strategy = merge_strategy
        self.merge_config = merge_config or {}
        self.partition_by = partition_by
        self.sort_by = sort_by
        self.table_properties = table_properties or {}
        self.engine = engine
        self.trino_conn_id = trino_conn_id
        self._merge_engine: MergeEngine | None = None

    def on_kill(self) -> None:
        """End the query that runs now."""
        if self._merge_engine is not None:
            self._merge_engine.cancel()

    def merge_engine(self) -> MergeEngine:
        """Return the engine that merges: the task's own, else the one that is set for all."""
        from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED

        self._merge_engine = EMBEDDED
        if chosen_engine(self.engine) == Engine.TRINO:
            from airflow_provider_phlo.hooks.trino import connect_to
            from airflow_provider_phlo.iceberg.trino import TrinoEngine

            self._merge_engine = TrinoEngine(connect_to(self.trino_conn_id))
        return self._merge_engine

    def table_definition(self) -> TableDefinition:
        """
        Return what is declared of the table.

        :raises ConfigurationError: if the arguments do not fit together.
        """
        from airflow_provider_phlo.ingestion.definition import TableDefinition, merge_plan

        return TableDefinition(
            table=self.qualified(self.table),
            plan=merge_plan(self.merge_strategy, names_of(self.unique_key), self.merge_config),
            declared=self.declared_columns(),
            metadata_columns=self.add_metadata_columns,
            partition_by=None if self.partition_by is None else names_of(self.partition_by),
            sort_by=names_of(self.sort_by),
            properties=self.table_properties,
        )

    def work(self) -> Work:
        """Return the table, and how many rows of it were written, once they are published."""
        from airflow_provider_phlo.catalogs.openlineage.work import Counts, Work, Written

        table, result = self.qualified(self.table), self.result or {}
        merged = result if self.outlets and result.get("folder") else {}
        written = Written(
            dataset_of_table(table), table, counts=Counts.of_merge(merged), snapshot_id=merged.get("snapshot_id")
        )
        return Work(written=(written,))

    def publish_landed(
        self,
        context: Context,
        catalog: Catalog,
        landed: LandedBatch,
        audit: Callable[[str], None],
        policy: TablePolicy | None = None,
    ) -> LandedBatch:
        """
        Make the run's branch main, remove staged batches that have expired, and fill the asset event.

        :param audit: checks the branch it is given again, when main has moved meanwhile.
        :param policy: what is to stand with the table for those who watch it.
        :raises CommitConflictError: if main moved in every round.
        """
        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.ingestion import publish

        root, definition, engine = DltHook().staging_root, self.table_definition(), self.merge_engine()
        published = publish(catalog, root, landed, definition, audit, engine, policy)
        engine.clean(catalog, definition.table, remove_expired_batches(root, definition.table))
        set_event(context, definition.table, {**event_of(published), **self.audit_summary()})
        count_rows(definition.table, published.to_json())
        self.log.info("%s is published: %s", definition.table, published.accounting)
        return published

    def audit_summary(self) -> dict[str, Any]:
        """Return what the asset event reports of the audit."""
        return {}


def remove_expired_batches(root: Any, table: str) -> float:
    """
    Remove the staged batches of ``table`` that are older than ``[phlo] staging_retention_days``.

    :returns: seconds since 1970; what older runs have left is expired.
    """
    from airflow_provider_phlo.ingestion import staged_batches

    expired = time.time() - settings.staging_retention_days() * 86_400
    staged_batches.remove_expired(root, table, expired)
    return expired


# what only the run itself has a use for; Airflow would mask the token
_OF_THE_RUN = frozenset({"folder", "token", "branch", "head"})


def event_of(published: LandedBatch) -> dict[str, Any]:
    """Return what the asset event of a published batch carries: partition date, counts, snapshot; one flat object."""
    return {name: value for name, value in published.to_json().items() if name not in _OF_THE_RUN}
