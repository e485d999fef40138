"""The lineage of a project: tables and what reads, writes and checks them, down to their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from typing import Any

from airflow_provider_phlo.lineage.sql.relations import Effect, How, Origin


class Kind(StrEnum):
    """What a node is."""

    SOURCE = "source"
    TABLE = "table"
    QUARANTINE = "quarantine"
    SEED = "seed"
    SNAPSHOT = "snapshot"
    MODEL = "model"
    TEST = "test"
    CHECK = "check"
    RECONCILIATION = "reconciliation"
    MART = "mart"
    DASHBOARD = "dashboard"


#: What looks at data and makes none.
CHECKING = frozenset({Kind.TEST, Kind.CHECK, Kind.RECONCILIATION})


@dataclass
class ColumnLineage:
    """
    Where the values of a column come from.

    :param unknown: why ``origins`` are not all; None if they are.
    """

    origins: dict[Origin, How] = field(default_factory=dict)
    unknown: str | None = None


@dataclass
class Node:
    """
    One table, check, mart, source or dashboard.

    :param id: of a table ``namespace.table``; other ids begin with what they are: ``postgres:marts.daily``.
    :param names: other names it may be looked up by, such as that of its dbt model.
    :param parents: the ids of what it reads.
    :param columns: its columns; of what checks, the columns of others that it looks at, as origins of one column ``*``.
    :param complete: whether these are all columns.
    :param effects: the columns that decide which rows there are.
    :param unknown: why its columns are not known; None if they are.
    :param tasks: the tasks that write or run it, as ``dag.task``.
    :param detail: what people want to know besides: a check's expectation and severity, a dashboard's address, an
        export's file.
    """

    id: str
    kind: Kind
    names: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    columns: dict[str, ColumnLineage] = field(default_factory=dict)
    complete: bool = False
    effects: dict[Origin, Effect] = field(default_factory=dict)
    unknown: str | None = None
    tasks: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    detail: str = ""
    _exact: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def exact_name(self, column: str) -> str:
        """Return a column's name as the table has it, where it is written in another case; else as it is written."""
        if column in self.columns:
            return column
        if not self._exact:
            self._exact = {name.lower(): name for name in self.columns}
        return self._exact.get(column.lower(), column)

    def add_column(self, name: str) -> ColumnLineage:
        """Return what is known of a column, which is added if the table does not have it yet."""
        exact = self.exact_name(name)
        if exact not in self.columns:
            self.columns[exact] = ColumnLineage()
            self._exact[exact.lower()] = exact
        return self.columns[exact]

    @property
    def dags(self) -> list[str]:
        """Return the DAGs of its tasks."""
        return list(dict.fromkeys(task.partition(".")[0] for task in self.tasks))

    def add_parent(self, parent: str) -> None:
        """Record that it reads ``parent``."""
        if parent not in self.parents:
            self.parents.append(parent)


@dataclass
class Graph:
    """
    Nodes by id.

    :param starts: the DAGs that a table starts, by its id.
    :param problems: what could not be read, for people.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    starts: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, node_id: str, kind: Kind) -> Node:
        """Return the node of that id, made if there is none: a table that is just a table may become a model."""
        node = self.nodes.setdefault(node_id, Node(node_id, kind))
        if node.kind is Kind.TABLE:
            node.kind = kind
        return node

    @cached_property
    def children(self) -> Mapping[str, list[str]]:
        """Return the ids of what reads each node."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for parent in node.parents:
                found[parent].append(node.id)
        return found

    @cached_property
    def made_from(self) -> Mapping[Origin, list[tuple[Origin, How]]]:
        """Return the columns that are made from each column."""
        found: dict[Origin, list[tuple[Origin, How]]] = {}
        for node in self.nodes.values():
            for name, column in node.columns.items():
                for origin, how in column.origins.items():
                    found.setdefault(origin, []).append(((node.id, name), how))
        return found

    @cached_property
    def decided_by(self) -> Mapping[Origin, list[tuple[str, Effect]]]:
        """Return the tables whose rows depend on each column."""
        found: dict[Origin, list[tuple[str, Effect]]] = {}
        for node in self.nodes.values():
            for origin, effect in node.effects.items():
                found.setdefault(origin, []).append((node.id, effect))
        return found

    @cached_property
    def uncertain(self) -> frozenset[str]:
        """Return the nodes that may use columns of what they read in ways that are not known."""
        return frozenset(
            node.id
            for node in self.nodes.values()
            if node.unknown is not None or any(column.unknown for column in node.columns.values())
        )

    def to_json(self) -> dict[str, Any]:
        """Return the graph as JSON has it."""
        nodes = [_node_to_json(node) for node in self.nodes.values()]
        return {"nodes": nodes, "starts": self.starts, "problems": self.problems}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Graph:
        """Return the graph from what :meth:`to_json` gave."""
        nodes = (_node_from_json(each) for each in value["nodes"])
        return cls({node.id: node for node in nodes}, dict(value["starts"]), list(value["problems"]))


def _node_to_json(node: Node) -> dict[str, Any]:
    columns = {
        name: [[*_pairs(column.origins)], column.unknown] if column.unknown else [[*_pairs(column.origins)]]
        for name, column in node.columns.items()
    }
    said = {each.name: getattr(node, each.name) for each in fields(node) if each.init}
    return {**said, "columns": columns, "effects": [*_pairs(node.effects)]}


def _pairs(origins: Mapping[Origin, Any]) -> Iterator[list[str]]:
    for (node, column), how in origins.items():
        yield [node, column, how]


def _node_from_json(value: Mapping[str, Any]) -> Node:
    columns = {
        name: ColumnLineage(_origins(pairs, How), unknown[0] if unknown else None)
        for name, (pairs, *unknown) in value["columns"].items()
    }
    return Node(
        **{**value, "kind": Kind(value["kind"]), "columns": columns, "effects": _origins(value["effects"], Effect)}
    )


def _origins(pairs: Iterable[Iterable[str]], kind: type[Any]) -> dict[Origin, Any]:
    members = {member.value: member for member in kind}
    return {(node, column): members[how] for node, column, how in pairs}
