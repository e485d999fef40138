"""Walks along the lineage of a table or column, up or down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from airflow_provider_phlo.lineage.graph import Graph, Node
from airflow_provider_phlo.lineage.sql.relations import Origin

# the column of what checks, which stands for what it looks at
EVERYTHING = "*"
# how a column affects a table that may use it in ways that are not known
UNKNOWN = "unknown"


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
    :param how: what one does to the other: copied, computed, aggregated; of rows filtered, joined and so on; unknown.
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
        for other, how in of_rows(graph, origin):
            yield Step(depth, graph.nodes[other], None, f"{node.id}.{column}", how)


def around(graph: Graph, node: Node) -> Graph:
    """Return the part of a graph that a node is made from and that is made from it."""
    names = {node.id}
    for direction in Direction:
        names |= {step.node.id for step in walk(graph, node, None, direction)}
    kept = [replace(each, parents=[name for name in each.parents if name in names]) for each in graph.nodes.values()]
    return Graph({each.id: each for each in kept if each.id in names}, graph.starts, graph.problems)


def of_rows(graph: Graph, origin: Origin) -> Iterator[tuple[str, str]]:
    """Yield what a column affects as a whole: tables whose rows it decides, and those of which nobody knows better."""
    decided = graph.decided_by.get(origin, ())
    yield from decided
    known = {each for each, _ in decided} | {other for (other, _), _ in graph.made_from.get(origin, ())}
    for other in graph.children[origin[0]]:
        if other not in known and other in graph.uncertain:
            yield other, UNKNOWN


def _columns(graph: Graph, origin: Origin, direction: Direction) -> Iterable[tuple[Origin, str]]:
    if direction is Direction.DOWNSTREAM:
        return graph.made_from.get(origin, ())
    column = graph.nodes[origin[0]].columns.get(origin[1])
    return column.origins.items() if column is not None else ()
