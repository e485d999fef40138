"""What a change of a table or column affects, and whom to ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from airflow_provider_phlo.lineage.graph import Graph, Kind, Node
from airflow_provider_phlo.lineage.walking import EVERYTHING, UNKNOWN, of_rows

_ORDER = {kind: rank for rank, kind in enumerate(Kind)}


@dataclass
class Affected:
    """
    A node that a change affects.

    :param depth: how many steps it is from the change.
    :param columns: its columns that are affected; none if the rows are, or it checks.
    :param how: what is done on the way to it: copied, computed, aggregated, filtered and so on; of a table as a whole,
        ``read``; ``unknown`` where nobody knows which columns are used.
    """

    node: Node
    depth: int
    columns: list[str] = field(default_factory=list)
    how: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Impact:
    """
    All that a change affects.

    :param affected: in the order of their kinds, the nearest first.
    :param dags: the DAGs that make the changed table or anything affected, or that it starts.
    :param owners: those of the changed table and of all that is affected.
    """

    affected: list[Affected]
    dags: list[str]
    owners: list[str]


def impact(graph: Graph, node: Node, column: str | None) -> Impact:
    """
    Return what breaks or changes when a table, or one of its columns, does.

    :param column: None for the whole table.
    """
    found: dict[str, Affected] = {}
    # breadth first: a place is first met on the shortest way
    todo: list[tuple[str, str | None, int]] = [(node.id, column, 0)]
    seen = {(node.id, column)}
    for here, name, depth in todo:
        for other, other_column, how in _affected_by(graph, here, name):
            each = found.setdefault(other, Affected(graph.nodes[other], depth + 1))
            _record(each, other_column, how)
            if (other, other_column) not in seen:
                seen.add((other, other_column))
                todo.append((other, other_column, depth + 1))
    found.pop(node.id, None)
    affected = sorted(found.values(), key=lambda each: (_ORDER[each.node.kind], each.depth, each.node.id))
    nodes = [node, *(each.node for each in affected)]
    started = [dag for each in nodes for dag in graph.starts.get(each.id, ())]
    return Impact(
        affected,
        list(dict.fromkeys([*(dag for each in nodes for dag in each.dags), *started])),
        list(dict.fromkeys(owner for each in nodes for owner in each.owners)),
    )


def _affected_by(graph: Graph, node: str, column: str | None) -> Iterator[tuple[str, str | None, str]]:
    """Yield what reads a table or column: node, column and how; no column where its rows as a whole are affected."""
    if column is None:
        yield from ((other, None, "read") for other in graph.children[node])
        return
    for (other, name), how in graph.made_from.get((node, column), ()):
        yield other, name, how
    for other, effect in of_rows(graph, (node, column)):
        yield other, None, effect


def _record(affected: Affected, column: str | None, how: str) -> None:
    if column not in (None, EVERYTHING) and column not in affected.columns:
        affected.columns.append(str(column))
    if how not in affected.how and not (how == UNKNOWN and affected.how):
        affected.how.append(how)
