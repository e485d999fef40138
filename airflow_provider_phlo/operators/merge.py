"""Merge a staged batch on the run's branch, and make the branch main."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import settings
from airflow_provider_phlo.assets.iceberg import outlets_of, set_event
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.base import PhloOperator, check_engine, chosen_engine
from airflow_provider_phlo.terms import MAIN_BRANCH, Engine, MergeStrategy

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.iceberg.merge.engine import MergeEngine
    from airflow_provider_phlo.ingestion.landing import TableDefinition

MERGE_OPTIONS = ("deduplication", "deduplication_method", "order_by", "hard_delete")


class _LandingOperator(PhloOperator):
    """What merging and publishing have in common: the table's definition, its catalog and its staged batch."""

    def __init__(
        self,
        *,
        table: str,
        unique_key: str | Sequence[str] = (),
        validation_schema: Any = None,
        merge_strategy: str = "merge",
        merge_config: Mapping[str, Any] | None = None,
        add_metadata_columns: bool = True,
        partition_by: str | Sequence[str] | None = None,
        sort_by: str | Sequence[str] | None = None,
        table_properties: Mapping[str, str] | None = None,
        engine: str | None = None,
        iceberg_conn_id: str = "iceberg_default",
        trino_conn_id: str = "trino_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_engine(engine)
        self.table = table
        self.unique_key = unique_key
        self.validation_schema = validation_schema
        self.merge_strategy = merge_strategy
        self.merge_config = merge_config or {}
        self.add_metadata_columns = add_metadata_columns
        self.partition_by = partition_by
        self.sort_by = sort_by
        self.table_properties = table_properties or {}
        self.engine = engine
        self.iceberg_conn_id = iceberg_conn_id
        self.trino_conn_id = trino_conn_id
        self._merging: MergeEngine | None = None

    def on_kill(self) -> None:
        """End the query that runs now."""
        if self._merging is not None:
            self._merging.cancel()

    def _engine(self) -> MergeEngine:
        """Return the engine that merges: the task's own, else the one that is set for all."""
        from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED

        self._merging = EMBEDDED
        if chosen_engine(self.engine) == Engine.TRINO:
            from airflow_provider_phlo.hooks.trino import connect_to
            from airflow_provider_phlo.iceberg.trino import TrinoEngine

            self._merging = TrinoEngine(connect_to(self.trino_conn_id))
        return self._merging

    def _catalog(self) -> Any:
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

        return PhloIcebergHook(self.iceberg_conn_id).catalog

    def _definition(self) -> TableDefinition:
        from airflow_provider_phlo.iceberg.merge import MergePlan
        from airflow_provider_phlo.ingestion.landing import TableDefinition, check_definition
        from airflow_provider_phlo.schemas.columns import load_model, model_columns

        model = self.validation_schema
        return check_definition(
            TableDefinition(
                table=self.qualified(self.table),
                plan=MergePlan(
                    self.merge_strategy,
                    _names(self.unique_key),
                    **merge_options(self.merge_config, self.merge_strategy),
                ),
                declared=model_columns(load_model(model)) if model is not None else None,
                metadata_columns=self.add_metadata_columns,
                partition_by=None if self.partition_by is None else _names(self.partition_by),
                sort_by=_names(self.sort_by or ()),
                properties=self.table_properties,
            )
        )

    def _publish(
        self, context: Context, catalog: Any, landed: Mapping[str, Any], audit: Callable[[Any, str], None]
    ) -> dict[str, Any]:
        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.ingestion import landing, staged_batches
        from airflow_provider_phlo.ingestion.accounting import Accounting

        root, definition, engine = DltHook().staging_root, self._definition(), self._engine()
        result = landing.publish(catalog, root, landed, definition, lambda branch: audit(catalog, branch), engine)
        expired = time.time() - settings.staging_retention_days() * 86_400
        staged_batches.remove_expired(root, definition.table, expired)
        engine.clean(catalog, definition.table, expired)
        event = {name: value for name, value in result.items() if name != "folder"}
        set_event(context, definition.table, {**event, **self._audited()})
        self.log.info("%s is published: %s", definition.table, Accounting.of(result))
        return result

    def _audited(self) -> dict[str, Any]:
        """Return what the event tells of the audit."""
        return {}


class MergeOperator(_LandingOperator):
    """
    Merge what :class:`~airflow_provider_phlo.operators.ingest.IngestOperator` staged.

    :param staged: its result (``ingest.output``).
    :param table: ``table`` or ``namespace.table``.
    :param unique_key: the key column or columns.
    :param validation_schema: from which a missing table is created; a Pandera model, or ``"package.module:Class"``.
    :param merge_strategy: ``merge``, ``append`` or ``replace``.
    :param merge_config: ``deduplication`` (bool), ``deduplication_method`` (``last``, ``first``, ``hash``),
        ``order_by`` (the column that says which version is newer), ``hard_delete`` (the column that marks deletions).
    :param partition_by: columns or transforms; by day of ``_phlo_partition_date`` when None.
    :param sort_by: columns, each with an optional `` desc``.
    :param table_properties: Iceberg properties of a table that is created.
    :param engine: ``pyiceberg`` or ``trino``; None means ``[phlo] engine``.
    :param trino_conn_id: the connection of ``engine="trino"``; its catalog is that of ``iceberg_conn_id``.
    :param publish: True makes the result visible on main; False leaves it on the branch, for an audit.
    """

    template_fields: Sequence[str] = ("staged", "table", "unique_key")

    def __init__(self, *, staged: Any, table: str, publish: bool = True, **kwargs: Any) -> None:
        if publish:
            kwargs.setdefault("outlets", outlets_of(table))
        super().__init__(table=table, **kwargs)
        self.staged = staged
        self.publish = publish

    def run(self, context: Context) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.ingestion import landing, staged_batches

        if self.staged["folder"] is None:
            return {**self.staged, "branch": MAIN_BRANCH}
        catalog, definition, root = self._catalog(), self._definition(), DltHook().staging_root
        landed = landing.land(
            catalog, root, staged_batches.load(root, self.staged["folder"]), definition, self._engine()
        )
        if landed is None:
            raise AirflowSkipException(f"{definition.table}: no rows and no schema, so there is no table to make yet.")
        self.log.info("%s is merged on branch %s: %s", definition.table, landed["branch"], landed)
        if not self.publish:
            return landed
        return self._publish(context, catalog, landed, lambda catalog, branch: None)


class PublishBranchOperator(_LandingOperator):
    """
    Make an audited branch main, in one commit; merge and audit again when main has moved.

    :param merged: the result of a ``MergeOperator(publish=False)``.
    :param audit: the checks that passed on the branch.
    :param audited: what they found: the results of the tasks that ran them, for the asset event.
    :param partition_column: they look at the rows of the run's partition date by this column only.

    The other parameters are those of the :class:`MergeOperator`.
    """

    template_fields: Sequence[str] = ("merged", "audited", "table", "unique_key")

    def __init__(
        self,
        *,
        merged: Any,
        table: str,
        audit: Sequence[Any] = (),
        audited: Sequence[Any] = (),
        partition_column: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", outlets_of(table))
        super().__init__(table=table, **kwargs)
        self.merged = merged
        self.audit = audit
        self.audited = audited
        self.partition_column = partition_column

    def run(self, context: Context) -> dict[str, Any]:
        if self.merged["folder"] is None:
            return dict(self.merged)
        return self._publish(context, self._catalog(), self.merged, partial(self._audit, context))

    def _audit(self, context: Context, catalog: Any, branch: str) -> None:
        """Audit the branch again, as it was merged on top of what main has become."""
        from airflow_provider_phlo.operators.audits import audit
        from airflow_provider_phlo.quality import raise_for_failures

        column = self.partition_column
        day = self.merged["partition_date"] if column else None
        table = self.qualified(self.table)
        results = audit(context, catalog, table, self.audit, branch=branch, partition_column=column, partition=day)
        self.audited = [{"results": [result.to_dict() for result in results]}]
        raise_for_failures(results)

    def _audited(self) -> dict[str, Any]:
        from airflow_provider_phlo.operators.audits import summary

        return summary(self.audited) if self.audited else {}


class PublishTogetherOperator(PhloOperator):
    """
    Make the audited branches of several tables main in one commit, on Nessie: readers see all of them change, or none.

    When main has moved in one of the tables, all are merged and audited again.

    :param merges: tasks ``MergeOperator(publish=False)`` of one catalog.
    :param audits: by table, as its merge names it, the checks that passed on the branch.
    """

    template_fields: Sequence[str] = ("merged",)

    def __init__(
        self,
        *,
        merges: Sequence[MergeOperator],
        audits: Mapping[str, Sequence[Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", [outlet for merge in merges for outlet in outlets_of(merge.table)])
        super().__init__(**kwargs)
        self.merges = merges
        self.merged: Sequence[Any] = [merge.output for merge in merges]
        self.audits = audits or {}
        if len({merge.iceberg_conn_id for merge in merges}) != 1:
            raise ConfigurationError(f"{self.task_id}: merges of one catalog can be published together, give those.")
        strangers = sorted(set(self.audits) - {merge.table for merge in merges})
        if strangers:
            raise ConfigurationError(f"{self.task_id}: audits of {', '.join(strangers)}, which no merge writes.")

    def run(self, context: Context) -> dict[str, Any]:
        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.ingestion import landing, staged_batches

        catalog, root = self.merges[0]._catalog(), DltHook().staging_root
        landed = [
            landing.LandedTable(merged, merge._definition(), self._audit(context, catalog, merge.table))
            for merge, merged in zip(self.merges, self.merged, strict=True)
            if merged["folder"] is not None
        ]
        results = landing.publish_together(catalog, root, landed)
        expired = time.time() - settings.staging_retention_days() * 86_400
        for result in results:
            staged_batches.remove_expired(root, result["table"], expired)
            event = {name: value for name, value in result.items() if name != "folder"}
            set_event(context, result["table"], event)
        self.log.info("published in one commit: %s", ", ".join(result["table"] for result in results))
        return {"tables": results}

    def _audit(self, context: Context, catalog: Any, table: str) -> Callable[[str], None]:
        from airflow_provider_phlo.operators.audits import audit
        from airflow_provider_phlo.quality import raise_for_failures

        checks, identifier = self.audits.get(table, ()), self.qualified(table)
        return lambda branch: raise_for_failures(audit(context, catalog, identifier, checks, branch=branch))


def merge_options(config: Mapping[str, Any], strategy: str) -> dict[str, Any]:
    """
    Return the options of a ``merge_config``.

    :raises ConfigurationError: if it has an option that is not known.
    """
    if not isinstance(config, Mapping):
        raise ConfigurationError(f"merge_config={config!r}: give a dictionary of {', '.join(MERGE_OPTIONS)}.")
    unknown = sorted(set(config) - set(MERGE_OPTIONS))
    if unknown:
        raise ConfigurationError(
            f"merge_config has unknown option(s) {', '.join(unknown)}: it takes {', '.join(MERGE_OPTIONS)}."
        )
    for name, kind in (("deduplication", bool), ("order_by", str), ("hard_delete", str)):
        value = config.get(name)
        if value is not None and not isinstance(value, kind):
            expected = "True or False" if kind is bool else "the name of one column"
            raise ConfigurationError(f"merge_config: {name}={value!r}, give {expected}.")
    return {
        "deduplication": bool(config.get("deduplication", strategy != MergeStrategy.APPEND)),
        "method": config.get("deduplication_method", "last"),
        "order_by": config.get("order_by"),
        "hard_delete": config.get("hard_delete"),
    }


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
