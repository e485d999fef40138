"""The graph of a project, put together from what its DAGs, its catalog and its dbt projects say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from airflow_provider_phlo.lineage.datasets import source_field
from airflow_provider_phlo.lineage.dbt_project import DbtProject, ProjectNodes, graph_id, record
from airflow_provider_phlo.lineage.graph import CHECKING, ColumnLineage, Graph, Kind, Node
from airflow_provider_phlo.lineage.kept import KeptAnalyses
from airflow_provider_phlo.lineage.sql.relations import How, Relation, table_relation, unknown_relation
from airflow_provider_phlo.sql import quote
from airflow_provider_phlo.task_facts import CheckFacts, Facts, IngestionFacts, MartFacts, TaskFacts, TaskLineage
from airflow_provider_phlo.terms import METADATA_COLUMNS, QUARANTINE_SUFFIX

# the owner of a task whose author names none
_NOBODY = "airflow"


def build(facts: Facts, projects: Sequence[DbtProject], kept_in: Path | None = None) -> Graph:
    """
    Return the graph.

    :param facts: what DAGs and the catalog say.
    :param kept_in: the folder where analyses of SQL are kept for the next time.
    """
    graph = Graph(problems=list(facts.problems))
    _add_tables(graph, facts)
    for task in facts.tasks:
        for ingestion in task.lineage.ingestions:
            _add_ingestion(graph, task, ingestion)
    analyses = KeptAnalyses(kept_in)
    for project in projects:
        ProjectNodes(graph, project, analyses).add()
    _add_tasks_of_models(graph, facts, projects)
    for task in facts.tasks:
        for mart in task.lineage.marts:
            _add_mart(graph, task, mart)
        for number, check in enumerate(task.lineage.checks):
            _add_check(graph, task, check, number, analyses)
    marts = {name: node.id for node in graph.nodes.values() if node.kind is Kind.MART for name in node.names}
    for task in facts.tasks:
        _add_assets(graph, task, marts)
    for dag, names in facts.schedules.items():
        for name in names:
            graph.starts.setdefault(name, []).append(dag)
    analyses.keep()
    _complete(graph)
    return graph


def _run_by(node: Node, task: TaskFacts) -> None:
    name = f"{task.dag_id}.{task.task_id}"
    if name not in node.tasks:
        node.tasks.append(name)
    if task.owner and task.owner != _NOBODY and task.owner not in node.owners:
        node.owners.append(task.owner)


# --- tables, and how they are filled


def _add_tables(graph: Graph, facts: Facts) -> None:
    for name, columns in facts.tables.items():
        table = name.removesuffix(QUARANTINE_SUFFIX)
        node = graph.add(name, Kind.TABLE if table == name else Kind.QUARANTINE)
        node.columns = {column: ColumnLineage() for column in columns}
        node.complete = True
        if table != name:
            graph.add(table, Kind.TABLE)
            node.add_parent(table)
            node.unknown = "it holds whole records"


def _add_ingestion(graph: Graph, task: TaskFacts, facts: IngestionFacts) -> None:
    node = graph.add(facts.table, Kind.TABLE)
    _run_by(node, task)
    # the catalog knows best which metadata columns there are; what a schema declares may be still to come
    declared = [*facts.columns, *(METADATA_COLUMNS if facts.metadata_columns and not node.complete else ())]
    for column in declared:
        node.add_column(str(column))
    for source in facts.sources:
        added = graph.add(f"source:{source}", Kind.SOURCE)
        added.names = [source]
        node.add_parent(added.id)
        _add_fields(added, node, facts)
    if facts.quarantines:
        aside = graph.add(f"{facts.table}{QUARANTINE_SUFFIX}", Kind.QUARANTINE)
        aside.add_parent(facts.table)
        aside.unknown = "it holds whole records"
        _run_by(aside, task)


def _add_fields(source: Node, table: Node, facts: IngestionFacts) -> None:
    """Add the fields of a source, by the names that dlt gives them: those of the columns."""
    metadata = {str(column) for column in METADATA_COLUMNS}
    how = How.COMPUTED if facts.transforms else How.COPIED
    for name, column in table.columns.items():
        if name in metadata:
            continue
        if len(facts.sources) > 1:
            column.unknown = f"it comes from any of {', '.join(facts.sources)}"
            continue
        field = source_field(facts.table, name)
        source.add_column(field)
        column.origins[source.id, field] = how
        if facts.transforms:
            column.unknown = f"transformed by {', '.join(facts.transforms)}, which may use other fields"


# --- what reads tables


def _add_tasks_of_models(graph: Graph, facts: Facts, projects: Iterable[DbtProject]) -> None:
    tests = _tests_of(graph)
    nodes = {str(project.folder): project.manifest["nodes"] for project in projects}
    for task in facts.tasks:
        project = task.lineage.project
        for unique_id in task.lineage.nodes:
            node = nodes.get(project.folder if project else "", {}).get(unique_id)
            if node is None:
                continue
            found = graph.nodes.get(unique_id if node["resource_type"] == "test" else graph_id(node))
            if found is None:
                continue
            _run_by(found, task)
            for test in tests.get(found.id, ()):
                if not test.tasks:
                    _run_by(test, task)


def _tests_of(graph: Graph) -> dict[str, list[Node]]:
    """Return the tests of each table, which run with the model that makes it."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes.values():
        for parent in node.parents if node.kind is Kind.TEST else ():
            found.setdefault(parent, []).append(node)
    return found


def _add_mart(graph: Graph, task: TaskFacts, facts: MartFacts) -> None:
    known = (each for each in graph.nodes.values() if each.kind is Kind.MART and facts.uri in each.names)
    node = next(known, None) or graph.add(f"{facts.connection}:{facts.table}", Kind.MART)
    names = (facts.table, facts.table.rpartition(".")[2], facts.uri)
    node.names += [name for name in names if name and name not in node.names]
    node.detail = node.detail or facts.file
    _run_by(node, task)
    source = graph.add(facts.source, Kind.TABLE)
    node.add_parent(source.id)
    record(node, table_relation(source.id, source.columns, complete=source.complete))
    if not source.complete:
        node.unknown = node.unknown or f"not all columns of {source.id} are known"


def _add_check(graph: Graph, task: TaskFacts, facts: CheckFacts, number: int, analyses: KeptAnalyses) -> None:
    kind = Kind.RECONCILIATION if facts.sources else Kind.CHECK
    node = graph.add(f"{kind}:{task.dag_id}.{task.task_id}.{number}", kind)
    node.names = [facts.name]
    node.detail = ", ".join(
        each for each in (facts.expectation or "", facts.severity if facts.severity != "error" else "") if each
    )
    node.complete = True
    _run_by(node, task)
    seen = node.add_column("*")
    for table in (facts.table, *facts.sources):
        graph.add(table, Kind.TABLE)
        node.add_parent(table)
    checked = graph.nodes[facts.table]
    for column in facts.columns:
        seen.origins[checked.id, checked.exact_name(column)] = How.COMPUTED
    for sql in _source_queries(facts):
        _look_at(graph, node, sql, analyses, facts.table)


def _source_queries(facts: CheckFacts) -> Iterable[str]:
    if facts.query is not None:
        yield facts.query
    for source in facts.sources if facts.source_expressions else ():
        expressions = ", ".join(facts.source_expressions)
        yield f"SELECT {expressions} FROM {quote(source)}"  # noqa: S608 - analysed, never run


def _look_at(graph: Graph, node: Node, sql: str, analyses: KeptAnalyses, under_check: str) -> None:
    """Record the tables and columns that a check's SQL reads."""
    namespace = under_check.rpartition(".")[0]

    def table(parts: Sequence[str]) -> str:
        return (
            ".".join(parts[-2:]) if len(parts) > 1 else under_check if parts[0] == "df" else f"{namespace}.{parts[0]}"
        )

    def relation(name: str) -> Relation:
        found = graph.nodes.get(name)
        if found is None or found.kind in CHECKING:
            return unknown_relation(f"nothing is known of {name}")
        return table_relation(name, found.columns, complete=found.complete)

    read = analyses.analyse(sql, "duckdb", table, relation)
    for name in read.tables:
        graph.add(name, Kind.TABLE)
        node.add_parent(name)
    seen = node.columns["*"]
    seen.origins |= dict.fromkeys([*read.relation.whole.origins, *read.relation.effects], How.COMPUTED)
    seen.unknown = seen.unknown or read.relation.whole.unknown


def _add_assets(graph: Graph, task: TaskFacts, marts: Mapping[str, str]) -> None:
    """Add what the inlets and outlets of a task say whose operator does not say it better."""
    for written in task.writes if task.lineage == TaskLineage() else ():
        node = _asset(graph, written, marts)
        node.kind = Kind.TABLE if node.kind is Kind.SOURCE else node.kind
        _run_by(node, task)
        for read in task.reads:
            if read != written:
                node.add_parent(_asset(graph, read, marts).id)


def _asset(graph: Graph, name: str, marts: Mapping[str, str]) -> Node:
    """Return the node of a table, or of an asset that Airflow knows by its URI."""
    if ":" not in name:
        return graph.add(name, Kind.TABLE)
    if name in marts:
        return graph.nodes[marts[name]]
    known = name in graph.nodes
    node = graph.add(name, Kind.SOURCE) if not known else graph.nodes[name]
    node.unknown = "Airflow knows nothing of its columns"
    return node


# --- what is left open


def _complete(graph: Graph) -> None:
    """Add the columns that others read of a table, and say what is not known."""
    for node in list(graph.nodes.values()):
        for origin in [*(each for column in node.columns.values() for each in column.origins), *node.effects]:
            read = graph.nodes[origin[0]]
            if read.exact_name(origin[1]) not in read.columns:
                read.add_column(origin[1]).unknown = read.unknown or "no catalog, schema or SQL has it"
    for node in graph.nodes.values():
        if node.kind in (Kind.TABLE, Kind.MODEL, Kind.MART) and not node.complete and node.unknown is None:
            node.unknown = "no catalog, schema or SQL has all of its columns"
