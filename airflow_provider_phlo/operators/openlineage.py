"""
What tasks report to OpenLineage when Airflow's provider asks: nothing is imported, kept or read where that is absent.

The provider asks when a task begins and ends, in a process that the task's own has forked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import PhloError

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_phlo.catalogs.openlineage.tables import TableDescription
    from airflow_provider_phlo.catalogs.openlineage.work import Work
    from airflow_provider_phlo.lineage.datasets import DatasetName
    from airflow_provider_phlo.task_facts import MartFacts

log = logging.getLogger(__name__)


class ReportsToOpenLineage:
    """
    What an operator adds so that its events have datasets and facets: :meth:`work`.

    An error on the way costs the facets and leaves one warning, never the task.
    """

    #: What the task returned, and the error that it ended with.
    result: Any = None
    failure: PhloError | None = None

    def work(self) -> Work:
        """
        Return what the task has read and written, by its :attr:`result` and :attr:`failure`.

        When the task begins both are None: what is known then are names.
        """
        from airflow_provider_phlo.catalogs.openlineage.work import Read, Work, Written
        from airflow_provider_phlo.lineage.datasets import dataset_of

        read, written = (
            [uri for each in getattr(self, name, ()) if (uri := getattr(each, "uri", None))]
            for name in ("inlets", "outlets")
        )
        return Work(tuple(Read(dataset_of(uri)) for uri in read), tuple(Written(dataset_of(uri)) for uri in written))

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any] | None:
        """Return the datasets by their names."""
        return self._without_harm(lambda: self._lineage_event(day=None, is_done=False), level=logging.DEBUG)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the datasets with their facets."""
        return self._without_harm(lambda: self._lineage_event(day=self._day(task_instance), is_done=True))

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the datasets by their names, and what checks have found."""
        return self._without_harm(lambda: self._lineage_event(day=self._day(task_instance), is_done=False))

    def _lineage_event(self, *, day: str | None, is_done: bool) -> OperatorLineage[Any, Any]:
        from airflow.providers.openlineage.extractors import OperatorLineage

        from airflow_provider_phlo import settings
        from airflow_provider_phlo.catalogs.openlineage.facets import facets_of

        work = self.work()
        asked = _Tables(getattr(self, "iceberg_conn_id", "iceberg_default")) if is_done or self.failure else None
        facets = facets_of(
            work,
            asked or (lambda _: None),
            dataset_of_table,
            day=day,
            zone=settings.day_zone(),
            is_done=is_done,
        )
        return OperatorLineage(inputs=facets.inputs, outputs=facets.outputs, run_facets=facets.run)

    def _day(self, task_instance: Any) -> str:
        from airflow_provider_phlo import runs

        said = self.result.get("partition_date") if isinstance(self.result, Mapping) else None
        return said or runs.partition_date(
            task_instance.get_template_context(), getattr(self, "partition_date", None) or None
        )

    def _without_harm(
        self, report: Callable[[], OperatorLineage[Any, Any]], level: int = logging.WARNING
    ) -> OperatorLineage[Any, Any] | None:
        from airflow_provider_phlo.library_errors import describe

        try:
            return report()
        except Exception as error:  # noqa: BLE001 - observability may degrade, never fail a task
            log.log(level, "The OpenLineage event of this task has no datasets: %s.", describe(error).rstrip("."))
            return None


def dataset_of_table(table: str) -> DatasetName:
    """Return what OpenLineage calls ``namespace.table`` of the catalog."""
    from airflow_provider_phlo.lineage.datasets import dataset_of
    from airflow_provider_phlo.naming import asset_uri

    return dataset_of(asset_uri(table))


def copies(marts: Iterable[MartFacts], rows: Mapping[str, int | None]) -> Work:
    """
    Return the work of a task that copies tables of the catalog to marts.

    :param rows: how many rows were written, by the name of the mart; nothing of those that it lacks is known.
    """
    from airflow_provider_phlo.catalogs.openlineage.work import Copied, Counts, Read, Work, Written
    from airflow_provider_phlo.lineage.datasets import mart_dataset

    marts = list(marts)
    sources = {mart.source: dataset_of_table(mart.source) for mart in marts}
    return Work(
        tuple(Read(dataset, table) for table, dataset in sources.items()),
        tuple(
            Written(
                mart_dataset(mart.connection, mart.table, mart.uri),
                counts=Counts(rows.get(mart.table.rpartition(".")[2])),
                made_of=Copied(sources[mart.source], mart.source),
            )
            for mart in marts
        ),
    )


class _Tables:
    """
    Tables of the catalog of a connection, which is opened when the first is asked for.

    The task's own catalog is not asked: its connections to a database or server belong to the other process.
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._catalog: Any = None

    def __call__(self, table: str) -> TableDescription | None:
        from airflow_provider_phlo.catalogs.openlineage.tables import describe_table
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
        from airflow_provider_phlo.iceberg.tables.lookup import find_current_table

        if self._catalog is None:
            self._catalog = PhloIcebergHook(self._conn_id).catalog
        found = find_current_table(self._catalog, table)
        return None if found is None else describe_table(found)
