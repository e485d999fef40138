"""Publish marts to a DuckDB file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.assets.iceberg import outlets_of
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.base import PhloOperator, require_tables
from airflow_provider_phlo.operators.links import TableLink
from airflow_provider_phlo.operators.openlineage import copies

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from airflow_provider_phlo.catalogs.openlineage.work import Work
    from airflow_provider_phlo.task_facts import TaskLineage


class PublishDuckDBOperator(PhloOperator):
    """
    Write lakehouse tables to one DuckDB file, which is replaced as a whole; who has it open keeps the old one.

    Other tables that are in the file stay. Its outlet is the file, as a ``file://`` asset, its inlets are the sources.

    ::

        PublishDuckDBOperator(task_id="export", path="/data/marts.duckdb", tables={"daily": "marts.mrt_daily"})

    :param path: the file, absolute (templated); only its owner may read it.
    :param tables: the source (``namespace.table``) of each table of the file (templated).
    :param schema: the schema of the tables in the file (templated).
    :param iceberg_conn_id: the catalog's connection.
    """

    operator_extra_links = (TableLink(),)
    template_fields: Sequence[str] = ("path", "tables", "schema")

    def __init__(
        self,
        *,
        path: str,
        tables: Mapping[str, str],
        schema: str = "main",
        iceberg_conn_id: str = "iceberg_default",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", self.default_outlets({"path": path}))
        sources = tables.values() if isinstance(tables, Mapping) else ()
        kwargs.setdefault("inlets", outlets_of(*sources))
        super().__init__(**kwargs)
        self.path = path
        self.tables = tables
        self.schema = schema
        self.iceberg_conn_id = iceberg_conn_id

    def lineage(self) -> TaskLineage:
        """Return the tables of the file, each with its source."""
        from airflow_provider_phlo.task_facts import MartFacts, TaskLineage

        file = Path(self.path).name
        return TaskLineage(
            marts=tuple(
                MartFacts("duckdb", f"{file}.{self.schema}.{name}", self.qualified(source), file=self.path)
                for name, source in self.tables.items()
            )
        )

    def work(self) -> Work:
        """Return the tables, each a copy of its source, and how many rows were written."""
        tables = (self.result or {}).get("tables", {})
        return copies(self.lineage().marts, {name: each.get("rows") for name, each in tables.items()})

    @classmethod
    def default_outlets(cls, arguments: Mapping[str, Any]) -> list[Asset]:
        """Return the file, if its path is known already."""
        from airflow.sdk import Asset

        path = str(arguments.get("path") or "")
        if not path.startswith("/") or "{{" in path:
            return []
        return [Asset(name=f"duckdb:{path}", uri=f"file://{path}")]

    def run(self, context: Context) -> dict[str, Any]:
        """
        Publish the tables.

        :raises ConfigurationError: there are no tables, the path is relative or not that of a DuckDB file, or a source
            does not exist; nothing is written then.
        """
        require_tables(self.task_id, self.tables)
        if not Path(self.path).is_absolute():
            raise ConfigurationError(
                f"{self.task_id}: {self.path} is relative, and tasks may run in any folder. Give an absolute path."
            )
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
        from airflow_provider_phlo.publishing import publish_marts_to_duckdb

        results = publish_marts_to_duckdb(
            Path(self.path),
            {name: self.qualified(source) for name, source in self.tables.items()},
            catalog=PhloIcebergHook(self.iceberg_conn_id).catalog,
            schema=self.schema,
        )
        return {
            "path": self.path,
            "tables": {name: {"rows": result.rows, "seconds": result.seconds} for name, result in results.items()},
        }
