"""A graph as a diagram of tables: Mermaid's flowcharts, and Graphviz's DOT."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_phlo.lineage.graph import Graph, Kind, Node
from airflow_provider_phlo.lineage.tree import name_of

# the ends of a Mermaid node, and the shape of a Graphviz one
_MERMAID = {
    Kind.SOURCE: ("([", "])"),
    Kind.TABLE: ("[(", ")]"),
    Kind.QUARANTINE: ("[(", ")]"),
    Kind.MART: ("[[", "]]"),
    Kind.TEST: ("{{", "}}"),
    Kind.CHECK: ("{{", "}}"),
    Kind.RECONCILIATION: ("{{", "}}"),
    Kind.DASHBOARD: ("[/", "/]"),
}
_DOT = {
    Kind.SOURCE: "oval",
    Kind.TABLE: "cylinder",
    Kind.QUARANTINE: "cylinder",
    Kind.MART: "box3d",
    Kind.TEST: "hexagon",
    Kind.CHECK: "hexagon",
    Kind.RECONCILIATION: "hexagon",
    Kind.DASHBOARD: "tab",
}
# what Mermaid takes as it is; everything else is written as a character's number
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _.,:()")


def mermaid(graph: Graph) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart."""
    yield "flowchart LR"
    numbers = {name: f"n{number}" for number, name in enumerate(graph.nodes)}
    for node in graph.nodes.values():
        opens, closes = _MERMAID.get(node.kind, ("[", "]"))
        yield f'  {numbers[node.id]}{opens}"{_mermaid_text(_label(node))}"{closes}:::{node.kind}'
    for node in graph.nodes.values():
        yield from (f"  {numbers[parent]} --> {numbers[node.id]}" for parent in node.parents)


def dot(graph: Graph) -> Iterator[str]:
    """Yield the lines of a Graphviz digraph."""
    yield "digraph lineage {"
    yield "  rankdir=LR;"
    for node in graph.nodes.values():
        yield f"  {_dot_text(node.id)} [label={_dot_text(_label(node))}, shape={_DOT.get(node.kind, 'box')}];"
    for node in graph.nodes.values():
        yield from (f"  {_dot_text(parent)} -> {_dot_text(node.id)};" for parent in node.parents)
    yield "}"


def _label(node: Node) -> str:
    return f"{name_of(node)} ({node.kind})"


def _mermaid_text(text: str) -> str:
    """Return a text that neither ends the label nor is read as Markdown, HTML or a reference."""
    return "".join(each if each in _PLAIN else f"#{ord(each)};" for each in text)


def _dot_text(text: str) -> str:
    """Return a quoted text: a backslash begins what Graphviz replaces, and a NUL ends the file."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n")
    return f'"{escaped.replace(chr(0), "")}"'
