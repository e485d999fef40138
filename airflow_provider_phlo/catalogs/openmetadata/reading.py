"""All that there is to say of a catalog: tables, and as far as wanted, lineage, checks and contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_phlo.catalogs.openmetadata.described import CatalogFacts, Origins, Promise
from airflow_provider_phlo.catalogs.openmetadata.sync import Wanted
from airflow_provider_phlo.catalogs.openmetadata.tables import read_checks, read_tables
from airflow_provider_phlo.exceptions import PhloError
from airflow_provider_phlo.lineage.graph import CHECKING, Graph

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.contracts import Contract
    from airflow_provider_phlo.dbt.project import Project


def read_catalog(
    catalog: Catalog,
    names: Sequence[str],
    wanted: Wanted,
    problems: list[str],
    *,
    graph: Callable[[], Graph],
    contracts: Path,
    namespace: str,
) -> CatalogFacts:
    """
    Return what there is to say.

    :param names: the tables.
    :param problems: is given what could not be read.
    :param graph: return the lineage, if that is wanted.
    :param contracts: the folder of the contracts.
    :param namespace: that of tables without one in contracts.
    """
    tables = tuple(read_tables(catalog, names, problems))
    parents: Mapping[str, tuple[str, ...]] = {}
    origins: Mapping[str, Origins] = {}
    if wanted.lineage:
        found = graph()
        problems += found.problems
        parents, origins = lineage_of(found, [each.id for each in tables])
    checks = read_checks(catalog, names) if wanted.quality else {}
    promises = read_promises(catalog, contracts, namespace, problems) if wanted.contracts else {}
    return CatalogFacts(tables, parents, origins, checks, promises)


def lineage_of(graph: Graph, tables: Sequence[str]) -> tuple[dict[str, tuple[str, ...]], dict[str, Origins]]:
    """
    Return the tables that each table is made from, and the columns that each column is made from.

    Sources outside the catalog, marts and ephemeral models are left out: OpenMetadata does not have them from here.
    """
    known = set(tables)
    parents: dict[str, tuple[str, ...]] = {}
    origins: dict[str, Origins] = {}
    for name in tables:
        node = graph.nodes.get(name)
        if node is None or node.kind in CHECKING:
            continue
        read = tuple(dict.fromkeys(each for parent in node.parents for each in _tables(graph, parent, known)))
        if not read:
            continue
        parents[name] = read
        origins[name] = {
            column: tuple(origin for origin in lineage.origins if origin[0] in known)
            for column, lineage in node.columns.items()
            if any(origin[0] in known for origin in lineage.origins)
        }
    return parents, origins


def _tables(graph: Graph, name: str, known: set[str]) -> list[str]:
    """Return the table of that name, or those that an ephemeral model of that name reads."""
    if name in known:
        return [name]
    node = graph.nodes.get(name)
    if node is None or not name.startswith("model."):
        return []
    return [each for parent in node.parents for each in _tables(graph, parent, known)]


def project_graph(projects: Sequence[Project], tables: Mapping[str, Sequence[str]]) -> Graph:
    """
    Return the lineage of dbt projects alone: what other tasks do is in DAG files.

    :param tables: the columns of each table of the catalog.
    """
    from airflow_provider_phlo.dbt.compilation import compiled_sql
    from airflow_provider_phlo.dbt.manifest import ensure_manifest, read_manifest
    from airflow_provider_phlo.lineage.building import build
    from airflow_provider_phlo.lineage.dbt_project import DbtProject
    from airflow_provider_phlo.task_facts import Facts

    found, problems = [], []
    for project in projects:
        try:
            manifest = read_manifest(ensure_manifest(project))
            found.append(DbtProject(project.directory, manifest, compiled_sql(project)))
        except PhloError as error:
            problems.append(str(error))
    known = {name: tuple(columns) for name, columns in tables.items()}
    return build(Facts(tables=known, problems=tuple(problems)), found)


def read_promises(
    catalog: Catalog, folder: Path, namespace: str, problems: list[str]
) -> dict[str, tuple[Promise, ...]]:
    """Return what the contracts of a folder say of each table."""
    from airflow_provider_phlo.contracts import find_contracts, read_contract
    from airflow_provider_phlo.contracts.tables import table_name

    found: dict[str, tuple[Promise, ...]] = {}
    for path in find_contracts(folder):
        try:
            contract = read_contract(path)
            for promise in contract.promises:
                table = table_name(promise, catalog, namespace)
                columns = tuple(column.name for column in promise.columns)
                said = _promise(contract, promise.description or contract.description, columns)
                found[table] = (*found.get(table, ()), said)
        except PhloError as error:
            problems.append(str(error))
    return found


def _promise(contract: Contract, description: str, columns: tuple[str, ...]) -> Promise:
    return Promise(
        contract.name,
        contract.version,
        contract.owner or None,
        description,
        columns,
        tuple(consumer.name for consumer in contract.consumers),
        _freshness_hours(contract),
    )


def _freshness_hours(contract: Contract) -> float | None:
    from airflow_provider_phlo.contracts.model.durations import in_hours

    for level in contract.service_levels:
        hours = in_hours(level)
        if level.property == "freshness" and level.element is None and hours is not None:
            return float(hours)
    return None
