"""Load what is staged into a warehouse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import runs, settings
from airflow_provider_phlo.assets.iceberg import outlets_of, set_event
from airflow_provider_phlo.assets.postgres import postgres_asset
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.base import NOTHING_TO_DO, PhloOperator, check_flags
from airflow_provider_phlo.operators.counters import count_rows
from airflow_provider_phlo.operators.links import TableLink
from airflow_provider_phlo.operators.openlineage import dataset_of_table
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from airflow_provider_phlo.catalogs.openlineage.work import Work
    from airflow_provider_phlo.lineage.datasets import DatasetName
    from airflow_provider_phlo.task_facts import TaskLineage
    from airflow_provider_phlo.warehouse.stage import Stage
    from airflow_provider_phlo.warehouse.stage_batches import StageBatch
    from airflow_provider_phlo.warehouse.tables import StageTable, Warehouse


class StageLoadOperator(PhloOperator):
    """
    Load batches of a stage into tables of a warehouse: one row per key, the newest; a retry loads nothing twice.

    ::

        StageLoadOperator(
            task_id="load",
            batches=staged.output["batches"],
            tables=[
                StageTable("reviews", "raw.reviews", ("row_key",), "schemas.reviews:Review", order_by="updated_at"),
            ],
        )

    Without ``batches`` it loads what is there of ``organizations`` from a day on, which asks no source again.

    :param tables: :class:`~airflow_provider_phlo.warehouse.tables.StageTable` for each entity.
    :param batches: names of batches, one or several (templated). Left out, the two that follow select some.
    :param organizations: whose batches, whatever the case of their names (templated); all when empty.
    :param since: the first batch of this day or a later one, ``YYYY-MM-DD``, and all that were written after it
        (templated); all when empty.
    :param prefix: the source's folder in the stage.
    :param warehouse: ``iceberg``, ``snowflake`` or ``postgres``; ``[phlo] warehouse`` when None.
    :param conn_id: its connection; ``[phlo] warehouse_conn_id`` when None.
    :param strict_validation: True fails on a row that breaks its model (of an SQL warehouse: on one that its columns
        cannot hold), False sets it aside in the table ``…__quarantine``.
    :param retention_days: how long files are kept; ``[phlo] stage_retention_days`` when None.
    """

    operator_extra_links = (TableLink(),)
    template_fields: Sequence[str] = ("batches", "organizations", "since")

    def __init__(
        self,
        *,
        tables: Sequence[StageTable],
        batches: Any = None,
        organizations: Any = None,
        since: str | None = None,
        prefix: str = "github",
        warehouse: str | None = None,
        conn_id: str | None = None,
        strict_validation: bool = True,
        retention_days: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_flags(strict_validation=strict_validation)
        if not tables:
            raise ConfigurationError("StageLoadOperator loads nothing: name its tables.")
        kwargs.setdefault("outlets", self.default_outlets({"tables": tables, "warehouse": warehouse}))
        super().__init__(**kwargs)
        self.tables = tables
        self.batches = batches
        # what a task before it named, even if that is nothing, is not "all that is there"
        self.selects = batches is None
        self.organizations = organizations
        self.since = since
        self.prefix = prefix
        self.warehouse = warehouse
        self.conn_id = conn_id
        self.strict_validation = strict_validation
        self.retention_days = retention_days

    @classmethod
    def default_outlets(cls, arguments: Mapping[str, Any]) -> list[Asset]:
        """Return the tables, where they are Iceberg's."""
        if (arguments.get("warehouse") or settings.warehouse()) != "iceberg":
            return []
        return outlets_of(*(table.target for table in arguments.get("tables", ())))

    def lineage(self) -> TaskLineage:
        """Return the tables, and the columns that their models declare."""
        from airflow_provider_phlo.schemas.outline import written_columns
        from airflow_provider_phlo.task_facts import IngestionFacts, TaskLineage

        if not self.default_outlets({"tables": self.tables, "warehouse": self.warehouse}):
            return TaskLineage()
        source = (f"{self.prefix} (stage)",)
        return TaskLineage(
            tuple(
                IngestionFacts(
                    table.target, source, written_columns(table.model), quarantines=not self.strict_validation
                )
                for table in self.tables
            )
        )

    def work(self) -> Work:
        """Return the stage, and the tables with how many rows were written; those of Snowflake are left out."""
        from airflow_provider_phlo.catalogs.openlineage.work import Counts, Read, Work, Written
        from airflow_provider_phlo.lineage.datasets import source_dataset

        done = {each["table"]: Counts.of_merge(each) for each in (self.result or {}).get("tables", ())}
        kind = self.warehouse or settings.warehouse()
        written = [
            Written(dataset, table.target if kind == "iceberg" else "", counts=done.get(table.target, Counts()))
            for table in self.tables
            if (dataset := self._dataset(table.target, kind)) is not None
        ]
        return Work((Read(source_dataset(f"{self.prefix} (stage)")),), tuple(written))

    def _dataset(self, table: str, warehouse: str) -> DatasetName | None:
        from airflow_provider_phlo.lineage.datasets import dataset_of

        if warehouse == "iceberg":
            return dataset_of_table(table)
        if warehouse != "postgres":
            return None
        schema, _, name = table.rpartition(".")
        return dataset_of(postgres_asset(name, schema, self.conn_id or settings.warehouse_conn_id()).uri)

    def run(self, context: Context) -> dict[str, Any]:
        """
        Load the batches, then remove files that are too old.

        :raises ConfigurationError: a batch does not exist or is damaged, nothing is staged of an organization that was
            named, or the warehouse is not set up.
        :raises ValidationError: a row breaks its model, and ``strict_validation`` is on.
        :raises SchemaError: rows and table do not fit.
        :raises TransientError: the warehouse or the store did not answer.
        """
        from airflow_provider_phlo.hooks.warehouse import open_stage, open_warehouse, remove_expired

        stage = open_stage(self.prefix)
        batches = self._selected(stage)
        if not batches:
            return {"tables": [], "batches": [], NOTHING_TO_DO: "no batch was staged, or none is there any more"}
        warehouse = open_warehouse(self.warehouse, self.conn_id, strict=self.strict_validation)
        result = self._load(context, stage, warehouse, batches)
        remove_expired(stage, self.log, self.retention_days)
        return result

    def _selected(self, stage: Stage) -> list[StageBatch]:
        if not self.selects:
            found = {batch.name: batch for batch in map(stage.load, names_of(self.batches))}
            return sorted(found.values(), key=lambda batch: (batch.written_at, batch.name))
        return stage.batches(names_of(self.organizations) or None, self.since or None)

    def _load(
        self, context: Context, stage: Stage, warehouse: Warehouse, batches: Sequence[StageBatch]
    ) -> dict[str, Any]:
        from airflow_provider_phlo.warehouse.sql_warehouse import SqlWarehouse

        day = runs.partition_date(context)
        token = runs.token(context, ",".join(table.target for table in self.tables))
        if isinstance(warehouse, SqlWarehouse):
            for statement in warehouse.statements(self.tables, batches, token):
                self.log.info("%s", statement)
        loads = warehouse.load(stage, self.tables, batches, token, run_id=context["run_id"], partition_date=day)
        if warehouse.name == "iceberg":
            for load in loads:
                set_event(context, load.table, {**load.to_json(), "partition_date": day})
                count_rows(load.table, load.to_json())
        names = [batch.name for batch in batches]
        self.log.info("%d batch(es) are loaded: %s", len(names), [load.to_json() for load in loads])
        return {"warehouse": warehouse.name, "tables": [load.to_json() for load in loads], "batches": names}
