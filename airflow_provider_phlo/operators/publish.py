"""Publish marts to PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import runs
from airflow_provider_phlo.assets.iceberg import outlets_of, set_event_of
from airflow_provider_phlo.assets.postgres import postgres_asset
from airflow_provider_phlo.operators.base import NOTHING_TO_DO, PhloOperator, require_tables
from airflow_provider_phlo.operators.links import TableLink
from airflow_provider_phlo.operators.openlineage import copies

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from airflow_provider_phlo.catalogs.openlineage.work import Work
    from airflow_provider_phlo.task_facts import TaskLineage


class PublishOperator(PhloOperator):
    """
    Fill PostgreSQL tables from lakehouse tables, all in one transaction; readers see whole versions only.

    Only rows that differ are written where it is certain which snapshot a table holds; the result says how each table
    got its rows, and why. Outlets are the tables, as ``postgres://`` assets, inlets their sources.

    ::

        PublishOperator(
            task_id="publish",
            tables={"daily": "marts.mrt_daily"},
            key={"daily": ["day", "device"]},
            postgres_conn_id="warehouse",
        )

    :param tables: the source (``namespace.table``) of each PostgreSQL table (templated).
    :param key: the columns of each PostgreSQL table in which no two of its rows are equal (templated); by default what
        the dbt model of its source declares: see docs/publishing.md.
    :param schema: the PostgreSQL schema (templated); created when missing.
    :param postgres_conn_id: the PostgreSQL connection; ``postgres_default`` unset means the bundled server.
    :param iceberg_conn_id: the catalog's connection.
    :param data_source: what the log calls this set of marts; the task id by default (templated).
    """

    operator_extra_links = (TableLink(),)
    template_fields: Sequence[str] = ("tables", "key", "schema", "data_source")

    def __init__(
        self,
        *,
        tables: Mapping[str, str],
        key: Mapping[str, str | Sequence[str]] | None = None,
        schema: str = "marts",
        postgres_conn_id: str = "postgres_default",
        iceberg_conn_id: str = "iceberg_default",
        data_source: str | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = {"tables": tables, "schema": schema, "postgres_conn_id": postgres_conn_id}
        kwargs.setdefault("outlets", self.default_outlets(arguments))
        kwargs.setdefault("inlets", outlets_of(*_known(tables).values()))
        super().__init__(**kwargs)
        self.tables = tables
        self.key = key
        self.schema = schema
        self.postgres_conn_id = postgres_conn_id
        self.iceberg_conn_id = iceberg_conn_id
        self.data_source = data_source

    def lineage(self) -> TaskLineage:
        """Return the tables of PostgreSQL, each with its source."""
        from airflow_provider_phlo.task_facts import MartFacts, TaskLineage

        return TaskLineage(
            marts=tuple(
                MartFacts(
                    self.postgres_conn_id,
                    f"{self.schema}.{name}",
                    self.qualified(source),
                    postgres_asset(name, self.schema, self.postgres_conn_id).uri,
                )
                for name, source in _known(self.tables).items()
                if "{{" not in self.schema
            )
        )

    def work(self) -> Work:
        """Return the tables, each a copy of its source, and how many rows were written."""
        tables = (self.result or {}).get("tables", {})
        return copies(self.lineage().marts, {name: each.get("inserted") for name, each in tables.items()})

    @classmethod
    def default_outlets(cls, arguments: Mapping[str, Any]) -> list[Asset]:
        """Return the PostgreSQL tables whose names are known already."""
        schema = arguments.get("schema", "marts")
        if "{{" in schema:
            return []
        connection = arguments.get("postgres_conn_id", "postgres_default")
        return [postgres_asset(table, schema, connection) for table in _known(arguments.get("tables"))]

    def run(self, context: Context) -> dict[str, Any]:
        """
        Publish the tables.

        :raises ConfigurationError: there are no tables, or a source or connection does not exist; nothing is written
            then.
        """
        require_tables(self.task_id, self.tables)
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
        from airflow_provider_phlo.hooks.postgres import postgres_coordinates
        from airflow_provider_phlo.publishing import publish_marts_to_postgres

        results = publish_marts_to_postgres(
            context,
            None,
            postgres_coordinates(self.postgres_conn_id),
            {name: self.qualified(source) for name, source in self.tables.items()},
            self.data_source or self.task_id,
            catalog=PhloIcebergHook(self.iceberg_conn_id).catalog,
            schema=self.schema,
            key=self.key,
        )
        tables = {table: result.facts for table, result in results.items()}
        self._set_events(context, tables)
        if all(result.mode == "unchanged" for result in results.values()):
            return {"tables": tables, NOTHING_TO_DO: "every table holds the current snapshot of its source already"}
        return {"tables": tables}

    def _set_events(self, context: Context, tables: Mapping[str, Mapping[str, Any]]) -> None:
        if "outlet_events" not in context:  # not run by Airflow
            return
        day = runs.partition_date(context)
        for table, facts in tables.items():
            uri = postgres_asset(table, self.schema, self.postgres_conn_id).uri
            set_event_of(context, uri, {**facts, "partition_date": day})


def _known(tables: Any) -> dict[str, str]:
    """Return the tables whose names are known when the DAG file is parsed."""
    if not isinstance(tables, Mapping):
        return {}
    return {name: source for name, source in tables.items() if "{{" not in f"{name}{source}"}
