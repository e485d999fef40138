"""What a name means that people give: a table, a column, a model, a source, a mart."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.lineage.graph import CHECKING, Graph, Kind, Node

_QUOTED = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


def find(graph: Graph, text: str) -> tuple[Node, str | None]:
    """
    Return the node that ``text`` names, and its column if it names one.

    ::

        find(graph, "raw.readings")
        find(graph, 'raw.readings."odd.name"')

    :param text: ``namespace.table``, or a bare name that only one table, model, source, mart or dashboard has; and
        ``.column``. Names with dots are quoted.
    :raises ConfigurationError: there is none, or there are several; says what is near.
    """
    nodes = _nodes(graph, text)
    if nodes:
        return _only(nodes, text), None
    for table, column in _splits(text):
        found = [(node, name) for node in _nodes(graph, table) if (name := _column(node, column)) is not None]
        if found:
            return _only([node for node, _ in found], table), found[0][1]
    raise ConfigurationError(_near(graph, text))


def _nodes(graph: Graph, text: str) -> list[Node]:
    """Return the nodes of a name: exactly so written, else in any case; tables before what checks them."""
    if text in graph.nodes:
        return [graph.nodes[text]]
    parts = _parts(text)
    names = {text, ".".join(parts)}
    lower = {name.lower() for name in names}
    for exact in (True, False):
        found = [
            node
            for node in graph.nodes.values()
            if (names & {*_names(node)} if exact else lower & {each.lower() for each in _names(node)})
        ]
        if found:
            return _preferred(found)
    return []


def _preferred(found: Sequence[Node]) -> list[Node]:
    """Return the data rather than what checks it, and the table rather than the mart that is filled from it."""
    data = [node for node in found if node.kind not in CHECKING]
    return [node for node in data if node.kind is not Kind.MART] or data or list(found)


def _names(node: Node) -> Iterator[str]:
    yield node.id
    yield from node.names
    if node.kind not in CHECKING and ":" not in node.id:
        yield node.id.rpartition(".")[2]


def _only(nodes: Sequence[Node], text: str) -> Node:
    if len(nodes) > 1:
        raise ConfigurationError(f"{text} may be {' or '.join(sorted(node.id for node in nodes))}: name one of them.")
    return nodes[0]


def _splits(text: str) -> Iterator[tuple[str, str]]:
    """Yield ``text`` as table and column, for each dot that is not quoted."""
    places = [match.end() for match in _QUOTED.finditer(text)][:-1]
    for place in reversed(places):
        column = text[place + 1 :]
        yield text[:place], ".".join(_parts(column)) if column.startswith('"') else column


def _parts(text: str) -> list[str]:
    return [match[1].replace('""', '"') if match[1] is not None else match[2] for match in _QUOTED.finditer(text)]


def _column(node: Node, text: str) -> str | None:
    """Return the column that is called so, in any case, or as dlt renames it: ``dateString`` is ``date_string``."""
    if text in node.columns:
        return text
    for plain in (str.lower, _as_dlt_compares):
        found = [name for name in node.columns if plain(name) == plain(text)]
        if len(found) == 1:
            return found[0]
    return None


def _as_dlt_compares(name: str) -> str:
    return name.replace("_", "").lower()


def _near(graph: Graph, text: str) -> str:
    for table, column in _splits(text):
        nodes = _nodes(graph, table)
        if len(nodes) == 1:
            near = difflib.get_close_matches(column, nodes[0].columns, 3, 0.5) or list(nodes[0].columns)[:10]
            known = f" Of its columns: {', '.join(near)}." if near else f" {nodes[0].unknown or 'It has no columns.'}"
            return f"{nodes[0].id} has no column {column}.{known}"
    names = sorted({name for node in graph.nodes.values() if node.kind not in CHECKING for name in _names(node)})
    near = difflib.get_close_matches(text, names, 5, 0.5)
    known = f"Near it: {', '.join(near)}." if near else "phlo lineage export lists everything that is."
    return f"{text} is not known here. {known}"
