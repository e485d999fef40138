"""
Which columns models have, by their SQL, and which of them are copies of personal data.

A model's YAML seldom documents all of its columns, and who tags a column ``pii`` where it comes in does not always do
so again where it goes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_phlo.lineage.building import build
from airflow_provider_phlo.lineage.dbt_project import DbtProject, graph_id
from airflow_provider_phlo.lineage.graph import Graph
from airflow_provider_phlo.lineage.sql.relations import How
from airflow_provider_phlo.schemas.personal import is_pii
from airflow_provider_phlo.task_facts import Facts

_KINDS = ("model", "seed", "snapshot")


@dataclass(frozen=True)
class KnownColumns:
    """
    What is known of the columns of one model.

    :param names: all of them, in the order of the SQL; None if they are not known.
    :param copies: those with the values of a column that is ``pii`` → that column, as ``namespace.table.column``.
    """

    names: tuple[str, ...] | None = None
    copies: Mapping[str, str] = field(default_factory=dict)


def known_columns(projects: Sequence[DbtProject], kept_in: Path) -> dict[str, KnownColumns]:
    """
    Return what is known of the columns of each model, by dbt's id.

    :param kept_in: the folder where analyses of SQL are kept for the next time.
    """
    graph = build(Facts(), projects, kept_in)
    personal = {place for project in projects for place in _tagged(project.manifest)}
    found = {}
    for project in projects:
        for unique_id, node in project.manifest["nodes"].items():
            known = graph.nodes.get(graph_id(node)) if node["resource_type"] in _KINDS else None
            if known is None:
                continue
            copies = {
                column: ".".join(source)
                for column in known.columns
                if (source := _copied_from(graph, (known.id, column), personal)) is not None
            }
            names = tuple(known.columns) if known.complete and known.columns else None
            found[unique_id] = KnownColumns(names, copies)
    return found


def _tagged(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the columns that are ``pii``, with their tables."""
    nodes = [node for node in manifest["nodes"].values() if node["resource_type"] in _KINDS]
    for node in (*nodes, *manifest["sources"].values()):
        for name, column in (node.get("columns") or {}).items():
            if is_pii(column):
                yield graph_id(node), name


def _copied_from(graph: Graph, place: tuple[str, str], personal: set[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the personal column that a column has the values of, however far up; not the column itself."""
    todo, seen = [place], {place}
    while todo:
        table, column = todo.pop()
        node = graph.nodes.get(table)
        known = node.columns.get(column) if node is not None else None
        for origin, how in known.origins.items() if known is not None else ():
            if how is not How.COPIED or origin in seen:
                continue
            if origin in personal:
                return origin
            seen.add(origin)
            todo.append(origin)
    return None
