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

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.lineage.building import build
from airflow_provider_phlo.lineage.dbt_project import DbtProject, graph_id
from airflow_provider_phlo.lineage.graph import Graph, Node
from airflow_provider_phlo.lineage.sql.relations import How, Origin
from airflow_provider_phlo.schemas.personal import is_pii
from airflow_provider_phlo.task_facts import Facts

_KINDS = ("model", "seed", "snapshot")


@dataclass(frozen=True)
class KnownColumns:
    """
    What is known of the columns of one model.

    :param names: all of them, in the order of the SQL; None if they are not known.
    :param copies: those with the values of a column that is ``pii`` → that column, as ``namespace.table.column``.
    :param computed: those that are computed from such a column, row by row, likewise.
    """

    names: tuple[str, ...] | None = None
    copies: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, str] = field(default_factory=dict)


def known_columns(projects: Sequence[DbtProject], kept_in: Path) -> dict[str, KnownColumns]:
    """
    Return what is known of the columns of each model, by dbt's id.

    :param kept_in: the folder where analyses of SQL are kept for the next time.
    """
    graph = build(Facts(), projects, kept_in)
    personal = {place for project in projects for place in _tagged(project.manifest, graph)}
    found = {}
    for project in projects:
        for unique_id, node in project.manifest["nodes"].items():
            known = graph.nodes.get(graph_id(node)) if node["resource_type"] in _KINDS else None
            if known is not None:
                found[unique_id] = _known(graph, known, personal)
    return found


def _known(graph: Graph, node: Node, personal: set[Origin]) -> KnownColumns:
    copies: dict[str, str] = {}
    computed: dict[str, str] = {}
    for column in node.columns:
        copied = _made_of(graph, (node.id, column), personal, (How.COPIED,))
        made = copied or _made_of(graph, (node.id, column), personal, (How.COPIED, How.COMPUTED))
        if made is not None:
            (computed if copied is None else copies)[column] = ".".join(made)
    return KnownColumns(tuple(node.columns) if node.complete and node.columns else None, copies, computed)


def _tagged(manifest: Mapping[str, Any], graph: Graph) -> Iterator[Origin]:
    """
    Yield the columns that are ``pii``, with their tables.

    :raises ConfigurationError: a model's SQL has no such column: what was meant would be served.
    """
    nodes = [node for node in manifest["nodes"].values() if node["resource_type"] in _KINDS]
    for node in (*nodes, *manifest["sources"].values()):
        tagged = [name for name, column in (node.get("columns") or {}).items() if is_pii(column)]
        known = graph.nodes.get(graph_id(node)) if tagged else None
        # DuckDB, and dbt with it, takes EMAIL for email
        spelled = {name.lower(): name for name in known.columns} if known is not None else {}
        unknown = [name for name in tagged if name.lower() not in spelled]
        if unknown and known is not None and known.complete and node["resource_type"] == "model":
            raise ConfigurationError(
                f"{node['original_file_path']}: {node['name']}: its YAML says that {', '.join(unknown)} is pii, and "
                f"its SQL has no such column. It has {', '.join(known.columns)}."
            )
        yield from ((graph_id(node), spelled.get(name.lower(), name)) for name in tagged)


def _made_of(graph: Graph, place: Origin, personal: set[Origin], ways: Sequence[How]) -> Origin | None:
    """
    Return the personal column that a column is made of, however far up; not the column itself.

    :param ways: what may have been done to its values on the way.
    """
    todo, seen = [place], {place}
    while todo:
        table, column = todo.pop()
        node = graph.nodes.get(table)
        known = node.columns.get(column) if node is not None else None
        for origin, how in known.origins.items() if known is not None else ():
            if how not in ways or origin in seen:
                continue
            if origin in personal:
                return origin
            seen.add(origin)
            todo.append(origin)
    return None
