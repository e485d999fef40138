"""
What is made from a table: where its key is copied, rows can be found by it; what else there is, is named.

A column counts as a copy if the SQL of everything between hands its values on unchanged. What is aggregated, hashed or
not known cannot be searched by the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from airflow_provider_phlo.lineage.graph import CHECKING, Graph, Kind, Node
from airflow_provider_phlo.lineage.sql.relations import How
from airflow_provider_phlo.lineage.walking import Direction, walk

# nothing is stored there, or the table's own places include it
_NOTHING_STORED = CHECKING | {Kind.DASHBOARD, Kind.SOURCE, Kind.QUARANTINE}


@dataclass(frozen=True)
class Copy:
    """
    A table, mart or export in which rows are found by a copy of the key.

    :param columns: for each column of the key, the one that has its values there.
    """

    node: Node
    columns: dict[str, str]


@dataclass(frozen=True)
class Downstream:
    """
    What is made from a table.

    :param copies: in the order in which it is made.
    :param figures: what has no copy of the key, but holds what was computed from the rows.
    :param unknown: what may have a copy of the key, and why nobody knows.
    """

    copies: tuple[Copy, ...] = ()
    figures: tuple[str, ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()


def downstream(graph: Graph, table: str, key: Sequence[str]) -> Downstream:
    """
    Return what is made from a table, directly or not.

    :param table: ``namespace.table``; one that the graph does not have has nothing made from it.
    :param key: the columns of its key.
    """
    start = graph.nodes.get(table)
    if start is None:
        return Downstream()
    places = {column: _copies_of(graph, start, column) for column in key}
    copies, figures, unknown = [], [], []
    for node in _made_from(graph, start):
        found = [places[column].get(node.id, []) for column in key]
        copies += [Copy(node, dict(zip(key, names, strict=True))) for names in product(*found)]
        reason = node.unknown or next((each.unknown for each in node.columns.values() if each.unknown), None)
        if reason is not None and not all(found):
            unknown.append((node.id, reason))
        elif not all(found):
            figures.append(node.id)
    return Downstream(tuple(copies), tuple(figures), tuple(unknown))


def _made_from(graph: Graph, start: Node) -> Iterator[Node]:
    """Yield what is made from a table, each once, nearest first."""
    depths: dict[str, int] = {}
    for step in walk(graph, start, None, Direction.DOWNSTREAM):
        if step.node.kind not in _NOTHING_STORED and step.node.id != start.id:
            depths[step.node.id] = min(step.depth, depths.get(step.node.id, step.depth))
    for name in sorted(depths, key=lambda each: (depths[each], each)):
        yield graph.nodes[name]


def _copies_of(graph: Graph, start: Node, column: str) -> dict[str, list[str]]:
    """Return the columns that have the values of a column unchanged, by the node that they are in."""
    found: dict[str, list[str]] = {}
    todo, seen = [(start.id, start.exact_name(column))], set()
    while todo:
        origin = todo.pop()
        for (node, name), how in graph.made_from.get(origin, ()):
            if how is How.COPIED and (node, name) not in seen:
                seen.add((node, name))
                found.setdefault(node, []).append(name)
                todo.append((node, name))
    return found
