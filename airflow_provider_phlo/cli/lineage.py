"""``phlo lineage``: where tables and columns come from, what is made from them, and what breaks with them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.errors import exit_on_error
from airflow_provider_phlo.cli.output import Result, printable, show

if TYPE_CHECKING:
    import argparse

    from airflow_provider_phlo.lineage.graph import Graph, Node
    from airflow_provider_phlo.lineage.walking import Direction, Step

_STEPS = ["direction", "depth", "node", "kind", "column", "from", "how", "dags", "owners", "unknown"]


def show_lineage(args: argparse.Namespace) -> None:
    """Print what a table or column is made from, and what is made from it."""
    from airflow_provider_phlo.cli.lineage_graph import load_graph
    from airflow_provider_phlo.lineage.finding import find
    from airflow_provider_phlo.lineage.walking import walk

    with exit_on_error("lineage show"):
        graph = load_graph(args.project or ())
        node, column = find(graph, args.name)
        walks = {each: walk(graph, node, column, each, args.depth) for each in _directions(args)}
    if args.output == "json":
        show(Result(_STEPS, [_row(each, step) for each, steps in walks.items() for step in steps]), "json")
    else:
        _print_trees(node, column, walks)
    _print_problems("lineage show", graph)


def _directions(args: argparse.Namespace) -> list[Direction]:
    from airflow_provider_phlo.lineage.walking import Direction

    asked = [each for each in Direction if getattr(args, each.value)]
    return asked or list(Direction)


def _row(direction: Direction, step: Step) -> tuple[Any, ...]:
    node = step.node
    unknown = node.columns[step.column].unknown if step.column in node.columns else node.unknown
    return (
        str(direction), step.depth, node.id, str(node.kind), step.column, step.before, step.how or None, node.dags,
        node.owners, unknown,
    )  # fmt: skip


def _print_trees(node: Node, column: str | None, walks: dict[Direction, list[Step]]) -> None:
    from airflow_provider_phlo.lineage.tree import name_of

    print(printable(name_of(node, column)), _note(_about(node, column)), sep="  ")
    for direction, steps in walks.items():
        print(f"\n{direction.capitalize()}" if steps else f"\n{direction.capitalize()}: nothing")
        _print_tree(steps, node.dags)


def _print_tree(steps: Sequence[Step], dags: Sequence[str]) -> None:
    from airflow_provider_phlo.lineage.tree import name_of, notes_of, tree_lines

    for drawn, step in tree_lines(steps):
        print(drawn + printable(name_of(step.node, step.column)), _note(notes_of(step, dags)), sep="  ")


def _about(node: Node, column: str | None) -> list[str]:
    notes = [str(node.kind), *([node.detail] if node.detail else []), *node.dags]
    notes += [f"owner {', '.join(node.owners)}"] if node.owners else []
    unknown = node.columns[column].unknown if column is not None else node.unknown
    return [*notes, *([f"unknown: {unknown}"] if unknown else [])]


def _note(notes: Iterable[str]) -> str:
    text = printable(" · ".join(notes))
    return f"\033[2m{text}\033[0m" if text and sys.stdout.isatty() else text


def _print_problems(command: str, graph: Graph) -> None:
    for problem in graph.problems:
        print(f"phlo {command}: {problem}", file=sys.stderr)
