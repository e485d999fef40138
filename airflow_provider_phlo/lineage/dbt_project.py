"""A dbt project in the graph: its models, seeds, snapshots, tests and exposures, and the columns of their SQL."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_phlo.dbt.compilation import CompiledSql
from airflow_provider_phlo.dbt.manifest import is_ephemeral, table_of
from airflow_provider_phlo.lineage.graph import Graph, Kind, Node
from airflow_provider_phlo.lineage.kept import KeptAnalyses, Read
from airflow_provider_phlo.lineage.sql.relations import Column, How, Relation, Value, table_relation, unknown_relation
from airflow_provider_phlo.sql import bare_identifier

# how dbt calls an ephemeral model in the SQL of those that read it
EPHEMERAL = "__dbt__cte__"
_KINDS = {"model": Kind.MODEL, "seed": Kind.SEED, "snapshot": Kind.SNAPSHOT}
_SNAPSHOT_COLUMNS = ("dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to")
# adapters whose SQL has another name
_DIALECTS = {"phlo": "duckdb"}


@dataclass(frozen=True)
class DbtProject:
    """
    A parsed and compiled project.

    :param folder: the project.
    :param manifest: its ``manifest.json``.
    :param compiled: the SQL of its models, by id.
    """

    folder: Path
    manifest: Mapping[str, Any]
    compiled: Mapping[str, CompiledSql]

    @property
    def dialect(self) -> str:
        """Return the SQL dialect of its target."""
        adapter = str(self.manifest["metadata"].get("adapter_type") or "")
        return _DIALECTS.get(adapter, adapter)


def graph_id(node: Mapping[str, Any]) -> str:
    """Return the id of what a node is in the graph: its table; for an ephemeral model, which has none, dbt's id."""
    return str(node["unique_id"]) if is_ephemeral(node) else table_of(node)


class ProjectNodes:
    """Adds a project to the graph, parents before children."""

    def __init__(self, graph: Graph, project: DbtProject, analyses: KeptAnalyses) -> None:
        self._graph = graph
        self._project = project
        self._analyses = analyses
        manifest = project.manifest
        self._nodes: dict[str, Mapping[str, Any]] = {
            **manifest["sources"],
            **{name: node for name, node in manifest["nodes"].items() if node["resource_type"] in _KINDS},
        }
        # by schema and table as SQL has them, and by the names of ephemeral models there
        self._tables = {name: graph_id(self._nodes[node]) for node in self._nodes for name in self._names_in_sql(node)}
        self._ephemeral = frozenset(name[0] for name in self._tables if len(name) == 1)

    def add(self) -> None:
        """Add all nodes."""
        for unique_id, node in self._nodes.items():
            self._declare(unique_id, node)
        for unique_id in _parents_first(self._nodes):
            if self._nodes[unique_id]["resource_type"] != "source":
                self._trace(unique_id)
        for test in self._tests():
            self._add_test(test)
        for exposure in self._project.manifest["exposures"].values():
            self._add_exposure(exposure)

    # --- models, seeds, snapshots, sources

    def _names_in_sql(self, unique_id: str) -> Iterator[tuple[str, ...]]:
        node = self._nodes[unique_id]
        if is_ephemeral(node):
            yield (f"{EPHEMERAL}{node['alias']}".lower(),)
            yield (f"{EPHEMERAL}{node['name']}".lower(),)
        else:
            identifier = node.get("identifier") or node.get("alias")
            yield (str(node["schema"]).lower(), str(identifier).lower())

    def _declare(self, unique_id: str, node: Mapping[str, Any]) -> None:
        source = node["resource_type"] == "source"
        added = self._graph.add(graph_id(node), Kind.TABLE if source else _KINDS[node["resource_type"]])
        name = f"{node['source_name']}.{node['name']}" if source else node["name"]
        added.names += [each for each in (name, unique_id) if each not in added.names]
        if source and not added.complete:
            for column in node.get("columns", {}):
                added.add_column(column)
        if not source:
            added.detail = added.detail or _materialized(node)
        added.owners += [each for each in self._owners(node) if each not in added.owners]
        for parent in node.get("depends_on", {}).get("nodes", ()):
            if parent in self._nodes and graph_id(self._nodes[parent]) != added.id:
                added.add_parent(graph_id(self._nodes[parent]))

    def _owners(self, node: Mapping[str, Any]) -> list[str]:
        meta = {**(node.get("meta") or {}), **((node.get("config") or {}).get("meta") or {})}
        group = self._project.manifest.get("groups", {}).get(f"group.{node.get('package_name')}.{node.get('group')}")
        owner = (group or {}).get("owner") or {}
        return [str(each) for each in (meta.get("owner"), owner.get("name") or owner.get("email")) if each]

    def _trace(self, unique_id: str) -> None:
        node = self._nodes[unique_id]
        added = self._graph.nodes[graph_id(node)]
        if node["resource_type"] == "seed":
            relation = self._seed(node)
        else:
            relation = self._analyse(unique_id, added)
            if node["resource_type"] == "snapshot":
                relation = _with_snapshot_columns(relation, node)
        record(added, relation)

    def _seed(self, node: Mapping[str, Any]) -> Relation:
        path = Path(node.get("root_path") or self._project.folder) / node["original_file_path"]
        try:
            with path.open(newline="", encoding="utf-8-sig") as lines:
                header = next(csv.reader(lines, delimiter=str(node["config"].get("delimiter") or ",")), [])
        except (OSError, ValueError) as error:
            return unknown_relation(f"its file cannot be read ({type(error).__name__})")
        return Relation([Column(name, Value()) for name in header])

    def _analyse(self, unique_id: str, added: Node) -> Relation:
        compiled = self._project.compiled.get(unique_id)
        if compiled is None or compiled.sql is None:
            return unknown_relation(compiled.reason if compiled and compiled.reason else "dbt has not compiled its SQL")
        read = self._read(compiled.sql)
        for parent in read.tables:
            if parent != added.id:
                added.add_parent(parent)
        return read.relation

    def _read(self, sql: str) -> Read:
        return self._analyses.analyse(sql, self._project.dialect, self._table, self.relation, self._ephemeral)

    def _table(self, parts: Sequence[str]) -> str:
        """Return the id of a table that SQL names."""
        names = tuple(part.lower() for part in parts[-2:])
        return self._tables.get(names) or ".".join(parts[-2:])

    def relation(self, table: str) -> Relation:
        """Return what a table is to those that read it."""
        node = self._graph.add(table, Kind.TABLE)
        return table_relation(table, node.columns, complete=node.complete)

    # --- tests and exposures

    def _tests(self) -> Iterator[Mapping[str, Any]]:
        manifest = self._project.manifest
        yield from (node for node in manifest["nodes"].values() if node["resource_type"] == "test")
        yield from manifest.get("unit_tests", {}).values()

    def _add_test(self, test: Mapping[str, Any]) -> None:
        added = self._graph.add(str(test["unique_id"]), Kind.TEST)
        added.names = [test["name"]]
        added.detail = _test_words(test)
        added.complete = True
        parents = [self._nodes[name] for name in test["depends_on"]["nodes"] if name in self._nodes]
        for parent in parents:
            added.add_parent(graph_id(parent))
        seen = added.add_column("*")
        for parent, column in self._tested_columns(test, parents):
            node = self._graph.nodes[graph_id(parent)]
            name = node.exact_name(bare_identifier(column))
            if name in node.columns or not node.complete:  # it may be of an expression
                seen.origins[node.id, name] = How.COMPUTED
        compiled = self._project.compiled.get(added.id)
        if compiled is not None and compiled.sql is not None:
            read = self._read(compiled.sql)
            seen.origins |= dict.fromkeys([*read.relation.whole.origins, *read.relation.effects], How.COMPUTED)
            seen.unknown = read.relation.whole.unknown

    def _tested_columns(
        self, test: Mapping[str, Any], parents: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[Mapping[str, Any], str]]:
        attached = self._nodes.get(str(test.get("attached_node") or ""))
        attached = attached or (parents[0] if len(parents) == 1 else None)
        said = (test.get("test_metadata") or {}).get("kwargs", {})
        if attached is None:
            return
        columns = [test.get("column_name"), *(said.get("combination_of_columns") or ())]
        yield from ((attached, column) for column in columns if column)
        others = [parent for parent in parents if parent is not attached]
        if said.get("field") and len(others) == 1:  # relationships
            yield others[0], str(said["field"])

    def _add_exposure(self, exposure: Mapping[str, Any]) -> None:
        added = self._graph.add(f"exposure:{exposure['name']}", Kind.DASHBOARD)
        added.names = [exposure["name"], exposure["unique_id"], *([exposure["label"]] if exposure.get("label") else [])]
        owner = exposure.get("owner") or {}
        added.owners = [str(each) for each in (owner.get("name") or owner.get("email"),) if each]
        added.detail = " ".join(str(each) for each in (exposure.get("type"), exposure.get("url")) if each)
        added.unknown = "dbt does not say which columns it shows"
        for parent in exposure["depends_on"]["nodes"]:
            if parent in self._nodes:
                added.add_parent(graph_id(self._nodes[parent]))


def record(node: Node, relation: Relation) -> None:
    """
    Record what SQL says of the columns of a table.

    Of a table that several places write, each adds its own.
    """
    named = {node.exact_name(column.name) for column in relation.columns if column.name is not None}
    for column in relation.columns:
        if column.name is not None:
            known = node.add_column(column.name)
            known.origins.update(column.value.origins)
            known.unknown = known.unknown or column.value.unknown
    for origin, effect in relation.effects.items():
        node.effects.setdefault(origin, effect)
    node.unknown = node.unknown or _reason(relation)
    node.complete = node.complete or _reason(relation) is None
    rests = [rest for rest in relation.rests if rest.table is None]
    for name, known in node.columns.items():
        if name in named:
            continue
        for value in (rest.find(name) for rest in rests):
            known.origins.update(value.origins if value is not None else {})
        if not known.origins and known.unknown is None:
            known.unknown = node.unknown or "the SQL does not have it"


def _reason(relation: Relation) -> str | None:
    """Return why not all columns of a relation are known; None if they are."""
    if any(column.name is None for column in relation.columns):
        return "a column has no name: give it an alias"
    for rest in relation.rests:
        if rest.table is not None:
            return f"not all columns of {rest.table} are known"
        return rest.value.unknown or "its SQL takes the names of columns from what it unnests"
    return None


def _with_snapshot_columns(relation: Relation, node: Mapping[str, Any]) -> Relation:
    config = node["config"]
    renamed = config.get("snapshot_meta_column_names") or {}
    names = [*_SNAPSHOT_COLUMNS, *(["dbt_is_deleted"] if config.get("hard_deletes") == "new_record" else [])]
    keys = config.get("unique_key") or ()
    keys = [keys] if isinstance(keys, str) else list(keys)
    changes = [*keys, *([config["updated_at"]] if config.get("updated_at") else []), *_checked(relation, config)]
    found = [value.at_least(How.COMPUTED) for each in changes if (value := relation.find(each)) is not None]
    origins = {origin: how for value in found for origin, how in value.origins.items()}
    unknown = None if len(found) == len(changes) and changes else "dbt makes it when it sees a change"
    added = [Column(renamed.get(name) or name, Value(origins, unknown)) for name in names]
    return Relation([*relation.columns, *added], relation.rests, relation.effects)


def _checked(relation: Relation, config: Mapping[str, Any]) -> list[str]:
    """Return the columns whose change makes a new row of a snapshot."""
    if config.get("strategy") != "check":
        return []
    given = config.get("check_cols") or ()
    if given == "all":
        return [column.name for column in relation.columns if column.name is not None]
    return [given] if isinstance(given, str) else list(given)


def _materialized(node: Mapping[str, Any]) -> str:
    kind = str(node["config"].get("materialized") or "")
    return "" if kind in ("seed", "snapshot", "table") else kind


def _test_words(test: Mapping[str, Any]) -> str:
    said = test.get("test_metadata") or {}
    words = f"{said['name']}({test.get('column_name') or ''})" if said.get("name") else ""
    severity = str((test.get("config") or {}).get("severity") or "error").lower()
    return words if severity == "error" else f"{words or test['name']}, {severity}"


def _parents_first(nodes: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Return the ids in an order in which a model comes after what it reads; without recursion, as chains are long."""
    done: dict[str, None] = {}
    for first in nodes:
        todo = [(first, False)]
        while todo:
            name, parents_are_done = todo.pop()
            if name in done or name not in nodes:
                continue
            if parents_are_done:
                done[name] = None
                continue
            todo.append((name, True))
            parents = nodes[name].get("depends_on", {}).get("nodes", ())
            todo += [(parent, False) for parent in parents if parent not in done]
    return done
