"""What DAGs and the catalog say, as plain values: the work of each task on tables, and the columns of tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class IngestionFacts:
    """
    A task that fills a table from a source.

    :param table: ``namespace.table``.
    :param sources: the connections that it reads, else the name of its function.
    :param columns: the columns that its schema declares, and their types as written.
    :param metadata_columns: whether rows carry the metadata columns, too.
    :param quarantines: whether bad rows are set aside.
    :param transforms: what changes rows on their way, by name.
    """

    table: str
    sources: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    metadata_columns: bool = True
    quarantines: bool = False
    transforms: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckFacts:
    """
    A check of a table.

    :param table: the table under check.
    :param columns: the columns of it that the check names.
    :param severity: ``error`` or ``warn``.
    :param expectation: what it declares, as text.
    :param sources: the tables that it is compared with; a check with some is a reconciliation.
    :param source_expressions: columns or SQL expressions of the sources.
    :param query: the SQL of a check that is a query.
    """

    name: str
    table: str
    columns: tuple[str, ...] = ()
    severity: str = "error"
    expectation: str | None = None
    sources: tuple[str, ...] = ()
    source_expressions: tuple[str, ...] = ()
    query: str | None = None


@dataclass(frozen=True)
class ProjectFacts:
    """
    A dbt project.

    :param folder: its absolute path.
    :param target: the target of its profile.
    :param vars: dbt's variables.
    :param env: environment variables that it reads when it is parsed.
    """

    folder: str
    target: str
    vars: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MartFacts:
    """
    A table outside the catalog that is filled from a table of it.

    :param connection: the Airflow connection to its PostgreSQL, or ``duckdb``.
    :param table: ``schema.table``; in a DuckDB file, ``file.schema.table``.
    :param source: ``namespace.table``.
    :param uri: of its asset, if it has one of its own: two connections may lead to one server.
    :param file: the path of a DuckDB file.
    """

    connection: str
    table: str
    source: str
    uri: str = ""
    file: str = ""


@dataclass(frozen=True)
class TaskLineage:
    """
    What an operator says of its work.

    :param project: the dbt project of ``nodes``.
    :param nodes: the models or tests that it builds or runs, by their ids in the manifest.
    """

    ingestions: tuple[IngestionFacts, ...] = ()
    checks: tuple[CheckFacts, ...] = ()
    project: ProjectFacts | None = None
    nodes: tuple[str, ...] = ()
    marts: tuple[MartFacts, ...] = ()


@dataclass(frozen=True)
class TaskFacts:
    """
    A task of a DAG.

    :param owner: as Airflow has it.
    :param reads: the tables and other assets among its inlets.
    :param writes: those among its outlets.
    """

    dag_id: str
    task_id: str
    owner: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    lineage: TaskLineage = field(default_factory=TaskLineage)


@dataclass(frozen=True)
class Facts:
    """
    What DAGs and the catalog say.

    :param schedules: for each DAG, the tables and other assets that start it.
    :param tables: the columns of each table of the catalog.
    :param problems: what could not be read.
    """

    tasks: tuple[TaskFacts, ...] = ()
    schedules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Facts:
        """Return facts from what :meth:`to_json` gave."""
        return cls(
            tuple(_task(each) for each in value["tasks"]),
            {name: tuple(each) for name, each in value["schedules"].items()},
            {name: tuple(each) for name, each in value["tables"].items()},
            tuple(value["problems"]),
        )


def _task(value: Mapping[str, Any]) -> TaskFacts:
    said = value["lineage"]
    project = said["project"]
    lineage = TaskLineage(
        tuple(IngestionFacts(**_tuples(each)) for each in said["ingestions"]),
        tuple(CheckFacts(**_tuples(each)) for each in said["checks"]),
        ProjectFacts(**project) if project else None,
        tuple(said["nodes"]),
        tuple(MartFacts(**each) for each in said["marts"]),
    )
    return TaskFacts(**{**_tuples(value), "lineage": lineage})


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(each) if isinstance(each, list) else each for name, each in value.items()}
