"""``phlo lineage``: where tables and columns come from, what is made from them, and what breaks with them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.terminal.errors import exit_on_error
from airflow_provider_phlo.cli.terminal.output import Result, show, write_lines
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.printable_text import printable

if TYPE_CHECKING:
    import argparse

    from airflow_provider_phlo.lineage.graph import Graph, Node
    from airflow_provider_phlo.lineage.impact import Impact
    from airflow_provider_phlo.lineage.walking import Direction, Step

_IMPACT = ["kind", "name", "columns", "how", "depth", "dags", "owners", "detail"]
_STEPS = ["direction", "depth", "node", "kind", "column", "from", "how", "dags", "owners", "unknown"]


def show_lineage(args: argparse.Namespace) -> None:
    """Print what a table or column is made from, and what is made from it."""
    from airflow_provider_phlo.cli.lake.lineage_graph import load_graph
    from airflow_provider_phlo.lineage.finding import find
    from airflow_provider_phlo.lineage.walking import walk

    with exit_on_error("lineage show"):
        graph = load_graph(args.project or ())
        _print_problems("lineage show", graph)
        node, column = find(graph, args.name)
        walks = {each: walk(graph, node, column, each, args.depth) for each in _directions(args)}
    if args.output == "json":
        show(Result(_STEPS, [_row(each, step) for each, steps in walks.items() for step in steps]), "json")
    else:
        _print_trees(node, column, walks)


def show_impact(args: argparse.Namespace) -> None:
    """Print what a change of a table or column affects, and whom to ask."""
    from airflow_provider_phlo.cli.lake.lineage_graph import load_graph
    from airflow_provider_phlo.lineage.finding import find
    from airflow_provider_phlo.lineage.impact import impact
    from airflow_provider_phlo.lineage.tree import name_of

    with exit_on_error("lineage impact"):
        graph = load_graph(args.project or ())
        _print_problems("lineage impact", graph)
        node, column = find(graph, args.name)
        found = impact(graph, node, column)
    as_json = args.output == "json"
    rows = []
    for each in found.affected:
        lists = (each.columns, each.how, each.node.dags, each.node.owners)
        columns, how, dags, owners = lists if as_json else (", ".join(map(str, names)) or None for names in lists)
        name = each.node.id if as_json else name_of(each.node)
        rows.append((str(each.node.kind), name, columns, how, each.depth, dags, owners, each.node.detail or None))
    show(Result(_IMPACT, rows), args.output)
    if not as_json:
        _print_summary(found)


def _print_summary(found: Impact) -> None:
    counts = Counter(str(each.node.kind) for each in found.affected)
    words = ", ".join(f"{count:,} {_plural(kind, count)}" for kind, count in counts.items())
    print(printable(f"Affected: {words or 'nothing'}."))
    print(printable(f"DAGs: {', '.join(found.dags) or 'none'}. Owners: {', '.join(found.owners) or 'none named'}."))


def _plural(kind: str, count: int) -> str:
    return kind if count == 1 else f"{kind}s"


def export(args: argparse.Namespace) -> None:
    """Write the lineage as a diagram or as data."""
    from airflow_provider_phlo.cli.lake.lineage_graph import load_graph
    from airflow_provider_phlo.lineage.finding import find
    from airflow_provider_phlo.lineage.walking import around

    with exit_on_error("lineage export"):
        graph = load_graph(args.project or ())
        _print_problems("lineage export", graph)
        shown = graph if args.name is None else around(graph, find(graph, args.name)[0])
        lines = list(_lines(shown, args.format))
        if args.output == "-":
            write_lines(lines)
        else:
            _write(Path(args.output), lines)


def _lines(graph: Graph, form: str) -> Iterable[str]:
    if form == "openlineage":
        from airflow_provider_phlo import settings
        from airflow_provider_phlo.lineage.exports.openlineage import openlineage_lines

        return openlineage_lines(graph, settings.catalog_name())
    if form == "json":
        from airflow_provider_phlo.lineage.exports.plain import to_plain

        return [json.dumps(to_plain(graph), ensure_ascii=False, indent=1)]
    from airflow_provider_phlo.lineage.exports import diagrams

    return diagrams.mermaid(graph) if form == "mermaid" else diagrams.dot(graph)


def _write(path: Path, lines: Iterable[str]) -> None:
    """Replace a file at once: whoever reads it meanwhile reads all of it."""
    if not path.name or path.is_dir():
        raise ConfigurationError(f"{path} cannot be written: it is a folder.")
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None


def _directions(args: argparse.Namespace) -> list[Direction]:
    from airflow_provider_phlo.lineage.walking import Direction

    asked = [each for each in Direction if getattr(args, each.value)]
    return asked or list(Direction)


def _row(direction: Direction, step: Step) -> tuple[Any, ...]:
    from airflow_provider_phlo.lineage.tree import reason_of

    node = step.node
    return (
        str(direction), step.depth, node.id, str(node.kind), step.column, step.before, step.how or None, node.dags,
        node.owners, reason_of(step),
    )  # fmt: skip


def _print_trees(node: Node, column: str | None, walks: dict[Direction, list[Step]]) -> None:
    from airflow_provider_phlo.lineage.tree import name_of

    lines = [f"{printable(name_of(node, column))}  {_note(_about(node, column))}"]
    for direction, steps in walks.items():
        lines += ["", f"{direction.capitalize()}{'' if steps else ': nothing'}", *_tree(steps, node.dags)]
    write_lines(lines)


def _tree(steps: Sequence[Step], dags: Sequence[str]) -> Iterator[str]:
    from airflow_provider_phlo.lineage.tree import name_of, notes_of, tree_lines

    for drawn, step in tree_lines(steps):
        yield f"{drawn}{printable(name_of(step.node, step.column))}  {_note(notes_of(step, dags))}"


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
