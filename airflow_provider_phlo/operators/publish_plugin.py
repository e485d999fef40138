"""Publish marts through a plugin's publisher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.assets.iceberg import outlets_of
from airflow_provider_phlo.installed_plugins import Kind
from airflow_provider_phlo.operators.base import PhloOperator, require_tables
from airflow_provider_phlo.registry import load, require

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.task_facts import TaskLineage


class PublishPluginOperator(PhloOperator):
    """
    Publish lakehouse tables through a publisher that an installed package brings (see docs/plugins.md).

    The publisher is held to what it was given: it has read every row of every table, and says so, or the task fails.

    ::

        PublishPluginOperator(
            task_id="publish", publisher="csv_files", options={"folder": "/data"}, tables={"daily": "marts.mrt_daily"}
        )

    :param publisher: the name of an entry point of ``phlo.publishers``.
    :param tables: the source (``namespace.table``) of each target (templated).
    :param options: arguments of the publisher (templated).
    :param iceberg_conn_id: the catalog's connection.
    :raises ConfigurationError: there is no such plugin; when the DAG file is parsed.
    """

    template_fields: Sequence[str] = ("tables", "options")

    def __init__(
        self,
        *,
        publisher: str,
        tables: Mapping[str, str],
        options: Mapping[str, Any] | None = None,
        iceberg_conn_id: str = "iceberg_default",
        **kwargs: Any,
    ) -> None:
        sources = tables.values() if isinstance(tables, Mapping) else ()
        kwargs.setdefault("inlets", outlets_of(*sources))
        super().__init__(**kwargs)
        require(Kind.PUBLISHER, publisher)
        self.publisher = publisher
        self.tables = tables
        self.options = options or {}
        self.iceberg_conn_id = iceberg_conn_id

    def lineage(self) -> TaskLineage:
        """Return the targets, each with its source."""
        from airflow_provider_phlo.task_facts import MartFacts, TaskLineage

        return TaskLineage(
            marts=tuple(MartFacts(self.publisher, name, self.qualified(source)) for name, source in self.tables.items())
        )

    def run(self, context: Context) -> dict[str, Any]:
        """
        Publish the tables.

        :raises ConfigurationError: there are no tables, a source does not exist, or the publisher cannot be used or
            does not take these options; nothing is written then.
        :raises AccountingError: the publisher has not written what it was given.
        """
        require_tables(self.task_id, self.tables)
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
        from airflow_provider_phlo.publishing.lakehouse import open_catalog_tables
        from airflow_provider_phlo.publishing.publishers import made, publish_through

        plugin = require(Kind.PUBLISHER, self.publisher)
        publisher = made(load(plugin), self.options, str(plugin))
        names = {target: self.qualified(source) for target, source in self.tables.items()}
        with open_catalog_tables(PhloIcebergHook(self.iceberg_conn_id).catalog, names.values()) as sources:
            marts = {target: sources[source] for target, source in names.items()}
            rows = publish_through(publisher, marts, str(plugin))
        self.log.info("Published through the %s: %s", plugin, rows)
        return {"publisher": f"{plugin.package} {plugin.version}: {plugin.name}", "tables": rows}
