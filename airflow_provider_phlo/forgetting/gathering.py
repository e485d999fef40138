"""Which places belong to a table: where its rows come through, and where they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.forgetting.downstream import Copy, downstream
from airflow_provider_phlo.forgetting.duckdb_file import DuckDBPlace
from airflow_provider_phlo.forgetting.keys import Key, Wanted
from airflow_provider_phlo.forgetting.mentions import TABLES, Mentions
from airflow_provider_phlo.forgetting.places import Kind, Place
from airflow_provider_phlo.forgetting.postgres import Connect, PostgresPlace
from airflow_provider_phlo.forgetting.records import RecordKey, kinds_of
from airflow_provider_phlo.forgetting.staging import StagingPlace
from airflow_provider_phlo.forgetting.tables import TablePlace
from airflow_provider_phlo.iceberg.maintenance.orphans import MINIMUM_HOURS
from airflow_provider_phlo.iceberg.tables.lookup import STAGING, existing_table, find_table, table_names
from airflow_provider_phlo.ingestion.quarantine import quarantine_table
from airflow_provider_phlo.ingestion.staging import naming_convention
from airflow_provider_phlo.lineage.graph import Graph
from airflow_provider_phlo.lineage.graph import Kind as NodeKind

# how dbt calls the schema of stored failures, behind the target's
_STORED_FAILURES = "dbt_test__audit"


@dataclass(frozen=True)
class Lake:
    """
    Where tables and what comes into them lie.

    :param staging: the staging root.
    :param writer_days: files that nothing names are a running writer's until they are older.
    :param drop_tags: whether tags that lead to such rows are dropped; else their tables are refused.
    :raises ConfigurationError: ``writer_days`` is less than an hour.
    """

    catalog: Catalog
    staging: Any
    writer_days: float = 3
    drop_tags: bool = False

    def __post_init__(self) -> None:
        if self.writer_days * 24 < MINIMUM_HOURS:
            raise ConfigurationError(
                f"writer_days={self.writer_days} is less than {MINIMUM_HOURS} hour. Age is all that protects files "
                "that a running writer has not committed: give more."
            )

    def table(self, identifier: str, wanted: Wanted, kind: Kind = Kind.TABLE) -> TablePlace:
        """Return a table as a place."""
        return TablePlace(self.catalog, identifier, wanted, self.writer_days, self.drop_tags, kind)


def places_of(lake: Lake, identifier: str, key: Key) -> list[Place]:
    """
    Return the places of a table, in the order in which they are cleaned: what could bring rows back comes first.

    :param identifier: ``namespace.table``.
    :raises ConfigurationError: it does not exist.
    """
    table = existing_table(lake.catalog, identifier)
    records = RecordKey(key, kinds_of(table, key), naming_convention())
    found: list[Place] = [StagingPlace(lake.catalog, lake.staging, identifier, records)]
    found += [lake.table(name, key, Kind.STAGING) for name in _staged_for_trino(lake, identifier, key)]
    found.append(lake.table(identifier, key))
    aside = quarantine_table(identifier)
    if find_table(lake.catalog, aside) is not None:
        found.append(lake.table(aside, records, Kind.QUARANTINE))
    return found


def _staged_for_trino(lake: Lake, identifier: str, key: Key) -> Iterator[str]:
    """Yield the tables in which runs have staged what Trino is to merge, those that died too."""
    for name in table_names(lake.catalog):
        match = STAGING.fullmatch(name)
        table = find_table(lake.catalog, name) if match and match["table"] == identifier else None
        if table is not None and key.values.keys() <= {item.name for item in table.schema().fields}:
            yield name


@dataclass(frozen=True)
class Gathered:
    """
    Where rows of a person may be.

    :param places: in the order in which they are cleaned.
    :param beyond: what cannot be searched, and why or what to do.
    """

    places: tuple[Place, ...] = ()
    beyond: tuple[tuple[str, str], ...] = ()


def gather(lake: Lake, identifier: str, key: Key, graph: Graph | None, connect: Callable[[str], Connect]) -> Gathered:
    """
    Return the places of a table and of everything that is made from it.

    :param identifier: ``namespace.table``.
    :param graph: the lineage; None leaves out what is made from the table.
    :param connect: returns what opens the PostgreSQL of an Airflow connection.
    :raises ConfigurationError: the table does not exist.
    """
    places, beyond = places_of(lake, identifier, key), []
    keys: dict[str, list[Key]] = {identifier: [key]}
    if graph is None:
        beyond.append(("what is made from it", "left out, as --only-table asks"))
    else:
        beyond += [("lineage", problem) for problem in graph.problems]
        made = downstream(graph, identifier, list(key.values))
        for copy in made.copies:
            own = key.renamed(copy.columns)
            keys.setdefault(copy.node.id, []).append(own)
            place = _place_of(lake, copy, own, connect)
            if place is not None:
                places.append(place)
            elif copy.node.kind is NodeKind.MART:
                beyond.append((copy.node.id, "a publisher of a plugin, or a file whose path only a run knows"))
        beyond += [(name, "holds figures computed from these rows: build it again") for name in made.figures]
        beyond += [(name, f"whether it has such rows is not known ({reason})") for name, reason in made.unknown]
    places += _stored_failures(lake, [each for own in keys.values() for each in own])
    named = Mentions(keys)
    places += [lake.table(name, named, Kind.RESULTS) for name in TABLES if find_table(lake.catalog, name) is not None]
    return Gathered(tuple(places), tuple(beyond))


def _stored_failures(lake: Lake, keys: Sequence[Key]) -> Iterator[Place]:
    """Yield what dbt's tests have stored of rows that failed: tables with the columns of what they test."""
    for name in table_names(lake.catalog):
        if name.rpartition(".")[0].endswith(_STORED_FAILURES):
            distinct = {tuple(sorted(key.values)): key for key in keys if _has_had(lake.catalog, name, key)}
            yield from (lake.table(name, key) for key in distinct.values())


def _has_had(catalog: Catalog, identifier: str, key: Key) -> bool:
    """Return whether a table is there, and one of its schemas has the columns: a model may not be built yet."""
    table = find_table(catalog, identifier)
    schemas = table.schemas().values() if table is not None else ()
    return any(key.values.keys() <= {item.name for item in schema.fields} for schema in schemas)


def _place_of(lake: Lake, copy: Copy, key: Key, connect: Callable[[str], Connect]) -> Place | None:
    """Return a place; None for what is nowhere, or where nobody can search."""
    node = copy.node
    if node.kind is not NodeKind.MART:
        return lake.table(node.id, key) if _has_had(lake.catalog, node.id, key) else None
    server, _, name = node.id.partition(":")
    schema, _, table = name.rpartition(".")
    if server == "duckdb":
        if not node.detail.startswith("/") or "{{" in node.detail:
            return None
        return DuckDBPlace(Path(node.detail), schema.rpartition(".")[2], table, key)
    # a plugin's publisher calls its tables as it likes, and PostgreSQL's have a URI
    is_postgres = any(each.startswith("postgres") and "://" in each for each in node.names)
    return PostgresPlace(connect(server), server, schema, table, key) if is_postgres else None
