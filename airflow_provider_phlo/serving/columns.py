"""Which columns models have, by their SQL: a model's YAML seldom documents all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airflow_provider_phlo.lineage.building import build
from airflow_provider_phlo.lineage.dbt_project import DbtProject, graph_id
from airflow_provider_phlo.task_facts import Facts


def columns_by_model(projects: Sequence[DbtProject], kept_in: Path) -> dict[str, tuple[str, ...]]:
    """
    Return dbt's id of each model whose SQL says all of its columns → their names, in the order of the SQL.

    :param kept_in: the folder where analyses of SQL are kept for the next time.
    """
    graph = build(Facts(), projects, kept_in)
    found = {}
    for project in projects:
        for unique_id, node in project.manifest["nodes"].items():
            known = graph.nodes.get(graph_id(node)) if node["resource_type"] in ("model", "seed", "snapshot") else None
            if known is not None and known.complete and known.columns:
                found[unique_id] = tuple(known.columns)
    return found
