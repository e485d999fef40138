"""A graph as OpenLineage events: what is designed, not what has run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.lineage.datasets import DatasetName, dataset_of, mart_dataset, source_dataset, table_dataset
from airflow_provider_phlo.lineage.exports.facets import PRODUCER, column_lineage
from airflow_provider_phlo.lineage.graph import CHECKING, Graph, Kind, Node

if TYPE_CHECKING:
    from openlineage.client.event_v2 import DatasetEvent, JobEvent


def openlineage_lines(graph: Graph, catalog: str, now: datetime | None = None) -> Iterator[str]:
    """
    Yield one event per line, as OpenLineage's own file transport writes them.

    What makes a table or mart is a ``JobEvent`` with its inputs, its output, the output's schema and column lineage.
    What nothing makes is a ``DatasetEvent``. Checks make no data, and are left out.

    :param catalog: the catalog's name, as in the URIs of assets.
    :param now: the time of the events.
    """
    from openlineage.client.serde import Serde

    events = _Events(graph, catalog, (now or datetime.now(UTC)).isoformat())
    for node in graph.nodes.values():
        if node.kind not in CHECKING:
            yield json.dumps(json.loads(Serde.to_json(events.event(node))))


class _Events:
    def __init__(self, graph: Graph, catalog: str, time: str) -> None:
        self._graph = graph
        self._catalog = catalog
        self._time = time

    def event(self, node: Node) -> DatasetEvent | JobEvent:
        """Return the event of a node."""
        from openlineage.client.event_v2 import DatasetEvent, InputDataset, Job, JobEvent, OutputDataset, StaticDataset

        namespace, name = self._dataset(node)
        facets = self._facets(node)
        when = {"eventTime": self._time, "producer": PRODUCER}
        parents = [self._graph.nodes[parent] for parent in node.parents]
        if not parents:
            return DatasetEvent(dataset=StaticDataset(namespace=namespace, name=name, facets=facets), **when)
        inputs = [self._dataset(parent) for parent in parents if parent.kind not in CHECKING]
        return JobEvent(
            job=Job(namespace="phlo", name=node.tasks[0] if node.tasks else f"{node.kind} {name}"),
            inputs=[InputDataset(namespace=each, name=read) for each, read in inputs],
            outputs=[OutputDataset(namespace=namespace, name=name, facets=facets)],
            **when,
        )

    def _dataset(self, node: Node) -> DatasetName:
        uri = next((name for name in (node.id, *node.names) if "://" in name), "")
        if uri:
            return dataset_of(uri)
        of, _, name = node.id.partition(":")
        if node.kind is Kind.MART:
            return mart_dataset(of, name)
        if node.kind is Kind.SOURCE:
            return source_dataset(name)
        if node.kind is Kind.DASHBOARD:
            return DatasetName("dbt://exposures", name)
        return table_dataset(self._catalog, node.id)

    def _facets(self, node: Node) -> dict[str, Any]:
        from openlineage.client.facet_v2 import ownership_dataset, schema_dataset

        facets: dict[str, Any] = {}
        if node.columns:
            fields = [schema_dataset.SchemaDatasetFacetFields(name) for name in node.columns]
            facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields, producer=PRODUCER)
        if node.owners:
            owners = [ownership_dataset.Owner(owner) for owner in node.owners]
            facets["ownership"] = ownership_dataset.OwnershipDatasetFacet(owners=owners, producer=PRODUCER)
        lineage = column_lineage(
            {name: column.origins for name, column in node.columns.items()},
            node.effects,
            lambda table: self._dataset(self._graph.nodes[table]),
        )
        if lineage is not None:
            facets["columnLineage"] = lineage
        return facets
