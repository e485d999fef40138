"""Walks along the lineage of a table or column, up or down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_phlo.lineage.graph import Graph, Node
from airflow_provider_phlo.lineage.sql.relations import Origin

# the column of what checks, which stands for what it looks at
EVERYTHING = "*"


class Direction(StrEnum):
    """Where to go: to what it is made from, or to what is made from it."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


@dataclass(frozen=True)
class Step:
    """
    One step of a walk.

    :param depth: how many steps it is from the start, from 1.
    :param column: None if the step is of whole tables.
    :param how: what one does to the other: copied, computed, aggregated; filtered, joined and so on of rows.
    :param seen: whether the walk came here before; what follows was walked then.
    """

    depth: int
    node: Node
    column: str | None
    before: str
    how: str = ""
    seen: bool = False


def walk(graph: Graph, node: Node, column: str | None, direction: Direction, depth: int | None = None) -> list[Step]:
    """
    Return the steps of a walk in the order of a tree: after each, what follows it.

    :param column: walk along a column; None along tables.
    :param depth: go this many steps at most.
    """
    steps: list[Step] = []
    seen = {(node.id, column)}
    todo = list(reversed([*_next(graph, node, column, direction, 1)]))
    while todo:
        step = todo.pop()
        place = (step.node.id, step.column)
        ends = step.column is None and column is not None
        known = place in seen and not ends
        steps.append(Step(step.depth, step.node, step.column, step.before, step.how, known))
        if known or ends or (depth is not None and step.depth >= depth):
            continue
        seen.add(place)
        todo += reversed([*_next(graph, step.node, step.column, direction, step.depth + 1)])
    return steps


def _next(graph: Graph, node: Node, column: str | None, direction: Direction, depth: int) -> Iterator[Step]:
    if column is None:
        near = node.parents if direction is Direction.UPSTREAM else graph.children[node.id]
        yield from (Step(depth, graph.nodes[each], None, node.id) for each in near)
        return
    origin = (node.id, column)
    for (other, name), how in _columns(graph, origin, direction):
        yield Step(depth, graph.nodes[other], name, f"{node.id}.{column}", how)
    if direction is Direction.DOWNSTREAM:
        for other, effect in graph.decided_by.get(origin, ()):
            yield Step(depth, graph.nodes[other], None, f"{node.id}.{column}", effect)


def _columns(graph: Graph, origin: Origin, direction: Direction) -> Iterable[tuple[Origin, str]]:
    if direction is Direction.DOWNSTREAM:
        return graph.made_from.get(origin, ())
    column = graph.nodes[origin[0]].columns.get(origin[1])
    return column.origins.items() if column is not None else ()
