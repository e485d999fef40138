"""Publish marts to PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.base import PhloOperator
from airflow_provider_phlo.operators.links import TableLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.task_facts import TaskLineage


class PublishOperator(PhloOperator):
    """
    Replace the rows of PostgreSQL tables with those of lakehouse tables; readers see whole versions only.

    ::

        PublishOperator(task_id="publish", tables={"daily": "marts.mrt_daily"}, postgres_conn_id="warehouse")

    :param tables: the source (``namespace.table``) of each PostgreSQL table (templated).
    :param schema: the PostgreSQL schema (templated); created when missing.
    :param postgres_conn_id: the PostgreSQL connection; ``postgres_default`` unset means the bundled server.
    :param iceberg_conn_id: the catalog's connection.
    :param data_source: what the log calls this set of marts; the task id by default (templated).
    """

    operator_extra_links = (TableLink(),)
    template_fields: Sequence[str] = ("tables", "schema", "data_source")

    def __init__(
        self,
        *,
        tables: Mapping[str, str],
        schema: str = "marts",
        postgres_conn_id: str = "postgres_default",
        iceberg_conn_id: str = "iceberg_default",
        data_source: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tables = tables
        self.schema = schema
        self.postgres_conn_id = postgres_conn_id
        self.iceberg_conn_id = iceberg_conn_id
        self.data_source = data_source

    def lineage(self) -> TaskLineage:
        """Return the tables of PostgreSQL, each with its source."""
        from airflow_provider_phlo.task_facts import MartFacts, TaskLineage

        return TaskLineage(
            marts=tuple(
                MartFacts(self.postgres_conn_id, f"{self.schema}.{name}", self.qualified(source))
                for name, source in self.tables.items()
            )
        )

    def run(self, context: Context) -> dict[str, Any]:
        """
        Publish the tables.

        :raises ConfigurationError: there are no tables, or a source or connection does not exist; nothing is written
            then.
        """
        if not self.tables:
            raise ConfigurationError(f"{self.task_id} publishes nothing: name its tables.")
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
        )
        return {"tables": {name: {"rows": result.rows, "seconds": result.seconds} for name, result in results.items()}}
