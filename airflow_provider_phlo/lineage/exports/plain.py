"""A graph as JSON: nodes, edges between them, and edges between their columns."""

from __future__ import annotations

from typing import Any

from airflow_provider_phlo.lineage.graph import Graph, Node


def to_plain(graph: Graph) -> dict[str, Any]:
    """
    Return ``nodes``, ``edges`` and ``column_edges``.

    An edge leads from what is read to what reads it. Where the rows of a table depend on a column, the edge's ``to``
    has no column.
    """
    return {
        "nodes": [_node(node) for node in graph.nodes.values()],
        "edges": [{"from": parent, "to": node.id} for node in graph.nodes.values() for parent in node.parents],
        "column_edges": [edge for node in graph.nodes.values() for edge in _column_edges(node)],
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "kind": str(node.kind),
        "names": node.names,
        "detail": node.detail or None,
        "owners": node.owners,
        "tasks": node.tasks,
        "columns": [
            {"name": name, **({"unknown": column.unknown} if column.unknown else {})}
            for name, column in node.columns.items()
            if name != "*"
        ],
        "complete": node.complete,
        "unknown": node.unknown,
    }


def _column_edges(node: Node) -> list[dict[str, Any]]:
    edges = [
        _edge(origin, node.id, None if name == "*" else name, str(how))
        for name, column in node.columns.items()
        for origin, how in column.origins.items()
    ]
    return edges + [_edge(origin, node.id, None, str(effect)) for origin, effect in node.effects.items()]


def _edge(origin: tuple[str, str], node: str, column: str | None, how: str) -> dict[str, Any]:
    return {"from": {"node": origin[0], "column": origin[1]}, "to": {"node": node, "column": column}, "how": how}
