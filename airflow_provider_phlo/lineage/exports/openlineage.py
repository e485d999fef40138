"""A graph as OpenLineage events: what is designed, not what has run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider_phlo.lineage.graph import CHECKING, Graph, Kind, Node
from airflow_provider_phlo.lineage.sql.relations import Effect, How

if TYPE_CHECKING:
    from openlineage.client.event_v2 import DatasetEvent, JobEvent

_PRODUCER = "urn:airflow-provider-phlo"
_DIRECT = {How.COPIED: "IDENTITY", How.COMPUTED: "TRANSFORMATION", How.AGGREGATED: "AGGREGATION"}
_INDIRECT = {
    Effect.FILTERED: "FILTER",
    Effect.JOINED: "JOIN",
    Effect.GROUPED: "GROUP_BY",
    Effect.DEDUPLICATED: "GROUP_BY",
    Effect.SORTED: "SORT",
}


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
        when = {"eventTime": self._time, "producer": _PRODUCER}
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

    def _dataset(self, node: Node) -> tuple[str, str]:
        """Return namespace and name of a dataset."""
        uri = next((name for name in (node.id, *node.names) if "://" in name), None)
        if uri is not None:
            parts = urlsplit(uri)
            path = [unquote(part) for part in parts.path.strip("/").split("/")]
            return f"{parts.scheme}://{parts.netloc}", ("." if node.kind is Kind.MART else "/").join(path)
        if node.kind is Kind.MART:
            return node.id.partition(":")[0], node.id.partition(":")[2]
        if node.kind is Kind.SOURCE:
            return "airflow://connections", node.id.partition(":")[2]
        if node.kind is Kind.DASHBOARD:
            return "dbt://exposures", node.id.partition(":")[2]
        return f"iceberg://{self._catalog}", node.id

    def _facets(self, node: Node) -> dict[str, Any]:
        from openlineage.client.facet_v2 import column_lineage_dataset, ownership_dataset, schema_dataset

        facets: dict[str, Any] = {}
        if node.columns:
            fields = [schema_dataset.SchemaDatasetFacetFields(name) for name in node.columns]
            facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields, producer=_PRODUCER)
        if node.owners:
            owners = [ownership_dataset.Owner(owner) for owner in node.owners]
            facets["ownership"] = ownership_dataset.OwnershipDatasetFacet(owners=owners, producer=_PRODUCER)
        of_columns = {
            name: column_lineage_dataset.Fields(self._inputs(column.origins, "DIRECT", _DIRECT))
            for name, column in node.columns.items()
            if column.origins
        }
        of_rows = self._inputs(node.effects, "INDIRECT", _INDIRECT)
        if of_columns or of_rows:
            facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(
                fields=of_columns, dataset=of_rows, producer=_PRODUCER
            )
        return facets

    def _inputs(self, origins: Mapping[tuple[str, str], Any], kind: str, subtypes: Mapping[Any, str]) -> list[Any]:
        from openlineage.client.facet_v2 import column_lineage_dataset

        return [
            column_lineage_dataset.InputField(
                *self._dataset(self._graph.nodes[node]),
                column,
                [column_lineage_dataset.Transformation(kind, subtypes[how])],
            )
            for (node, column), how in origins.items()
        ]
