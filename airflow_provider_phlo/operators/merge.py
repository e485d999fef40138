"""Merge a staged batch on the run's branch, and publish it unless an audit comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.assets.iceberg import outlets_of
from airflow_provider_phlo.operators.base import NOTHING_TO_DO, check_flags
from airflow_provider_phlo.operators.table import REPLAYS_ANOTHER, LandingOperator

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context


class MergeOperator(LandingOperator):
    """
    Merge what :class:`~airflow_provider_phlo.operators.ingest.IngestOperator` staged.

    ::

        staged = IngestOperator(task_id="ingest", source=fetch, table="events", unique_key="id")
        MergeOperator(task_id="merge", staged=staged.output, table="events", unique_key="id")

    :param staged: its result (``ingest.output``).
    :param publish: True makes the result visible on main; False leaves it on the branch, for an audit.

    The other parameters are those of the :class:`~airflow_provider_phlo.operators.table.LandingOperator`
    (``table``, ``unique_key``, ``validation_schema``, ``merge_strategy``, ``merge_config``, ``partition_by``, …).
    """

    template_fields: Sequence[str] = ("staged", "table", "unique_key")

    def __init__(self, *, staged: Any, table: str, publish: bool = True, **kwargs: Any) -> None:
        check_flags(publish=publish)
        kwargs.setdefault("outlets", self.default_outlets({"table": table, "publish": publish}))
        super().__init__(table=table, **kwargs)
        self.staged = staged
        self.publish = publish

    @classmethod
    def default_outlets(cls, arguments: Mapping[str, Any]) -> list[Asset]:
        """Return the table, unless an audit comes before it is published."""
        return outlets_of(arguments.get("table")) if arguments.get("publish", True) else []

    def run(self, context: Context) -> dict[str, Any]:
        """
        Merge the batch; publish it, or leave it on the run's branch.

        :raises AirflowSkipException: there are no rows, no schema and no table.
        :raises SchemaError: the rows do not fit the table.
        :raises AccountingError: the counts do not add up.
        """
        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.iceberg.catalogs.turns import end_kept_turn
        from airflow_provider_phlo.ingestion import LandedBatch, StagedSummary, land, staged_batches

        staged = StagedSummary.from_json(self.staged)
        if staged.folder is None:
            nothing = LandedBatch(staged.table, staged.partition_date).to_json()
            return {**nothing, NOTHING_TO_DO: REPLAYS_ANOTHER}
        catalog, definition, root = self.open_catalog(), self.table_definition(), DltHook().staging_root
        landed = land(catalog, root, staged_batches.load(root, staged.folder), definition, self.merge_engine())
        if landed is None:
            self.skip(f"{definition.table}: no rows and no schema, so there is no table to make yet.")
        self.log.info("%s is merged on branch %s: %s", definition.table, landed.branch, landed.to_json())
        if self.publish:
            landed = self.publish_landed(context, catalog, landed, lambda branch: None)
        end_kept_turn()
        return landed.to_json()
