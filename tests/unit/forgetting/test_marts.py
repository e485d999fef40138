"""What is made from a table: found by copies of the key, in tables, marts of PostgreSQL and DuckDB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.forgetting.downstream import downstream
from airflow_provider_phlo.forgetting.everywhere import forget, look
from airflow_provider_phlo.forgetting.gathering import Gathered, Lake, gather
from airflow_provider_phlo.forgetting.keys import Key
from airflow_provider_phlo.lineage.building import build
from airflow_provider_phlo.lineage.graph import Graph, Kind
from airflow_provider_phlo.lineage.sql.relations import How
from airflow_provider_phlo.publishing.duckdb_file import DuckDBPublisher
from airflow_provider_phlo.publishing.lakehouse import open_catalog_tables
from airflow_provider_phlo.publishing.marts import publish_marts_to_postgres
from airflow_provider_phlo.task_facts import Facts, MartFacts, TaskFacts, TaskLineage
from tests.lake import create_table
from tests.unit.forgetting.remains import remains

THEIRS, MAIL = "person-4711-of-many", "ann@example.org.uk"
KEY = Key({"id": THEIRS})


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder / "marts.duckdb"


@pytest.fixture
def tables(catalog: Catalog) -> Catalog:
    people = {"id": ["a", THEIRS, "b"], "mail": ["x", MAIL, "y"], "visits": [1, 2, 3]}
    create_table(catalog, "raw.people", pa.table(people))
    create_table(catalog, "marts.people", pa.table({"person": people["id"], "mail": people["mail"]}))
    create_table(catalog, "marts_dbt_test__audit.unique_people", pa.table({"person": [THEIRS, "c"], "n": [2, 2]}))
    create_table(catalog, "marts.figures", pa.table({"visits": [6]}))
    return catalog


@pytest.fixture
def graph(export: Path) -> Graph:
    """The lineage: raw.people → marts.people → a mart and an export; raw.people → figures, and what nobody knows."""
    marts = (
        MartFacts("postgres_default", "marts.people", "marts.people", "postgresql://host/db/marts/people"),
        MartFacts("duckdb", "marts.duckdb.main.people", "marts.people", file=str(export)),
        MartFacts("my_publisher", "somewhere", "marts.people"),
    )
    columns = {"raw.people": ("id", "mail", "visits"), "marts.people": ("person", "mail"), "marts.figures": ("visits",)}
    graph = build(Facts((TaskFacts("d", "t", "o", lineage=TaskLineage(marts=marts)),), tables=columns), [])
    models = {"marts.people": ("person", How.COPIED), "marts.figures": ("visits", How.AGGREGATED)}
    for name, (column, how) in models.items():
        graph.nodes[name].add_parent("raw.people")
        graph.nodes[name].add_column(column).origins["raw.people", "id"] = how
    hidden = graph.add("marts.python", Kind.MODEL)
    hidden.add_parent("raw.people")
    hidden.unknown = "it is Python"
    return graph


def publish(catalog: Catalog, server: Any, export: Path) -> dict[str, Any]:
    source = {"people": "marts.people"}
    coordinates = {name: getattr(server, name) for name in ("host", "port", "user", "password", "dbname")}
    with open_catalog_tables(catalog, ["marts.people"]) as sources:
        DuckDBPublisher(export).publish({"people": sources["marts.people"]})
    return publish_marts_to_postgres(None, None, coordinates, source, "test", catalog=catalog)  # type: ignore[return-value]


@pytest.fixture
def gathered(
    home: Path, tables: Catalog, graph: Graph, server: Any, export: Path, connection: psycopg.Connection
) -> Gathered:
    publish(tables, server, export)
    connection.execute("CREATE MATERIALIZED VIEW marts.seen AS SELECT * FROM marts.people")
    connection.execute("CREATE VIEW marts.names AS SELECT person FROM marts.people")
    with duckdb.connect(export) as file:
        file.execute("CREATE TABLE notes AS SELECT 1 AS mine")
    lake = Lake(tables, home / "staging")
    return gather(lake, "raw.people", KEY, graph, lambda name: lambda: psycopg.connect(server.uri, autocommit=True))


def test_everything_with_a_copy_is_cleaned(
    gathered: Gathered, tables: Catalog, server: Any, export: Path, connection: psycopg.Connection
) -> None:
    assert remains(export.parent, MAIL)
    found = {each.name: each.found.amounts.get("rows") for each in look(gathered.places) if each.found}
    assert found == {
        "raw.people": 1,
        "marts.people": 1,
        "marts_dbt_test__audit.unique_people": 1,
        "postgres_default:marts.people": 1,
        f"{export}:main.people": 1,
    }
    assert not any(each.found for each in forget(gathered.places))
    for name in ("people", "seen"):
        assert connection.execute(f"SELECT person FROM marts.{name} ORDER BY 1").fetchall() == [("a",), ("b",)]
    with duckdb.connect(export, read_only=True) as file:
        assert file.execute("SELECT person FROM people ORDER BY 1").fetchall() == [("a",), ("b",)]
        assert file.execute("FROM notes").fetchall() == [(1,)]
    assert remains(export.parent, THEIRS, MAIL) == []
    # statistics of columns are values of rows
    bounds = "concat(most_common_vals::text, histogram_bounds::text)"
    assert connection.execute(f"SELECT FROM pg_stats WHERE {bounds} ~ %s", [MAIL]).rowcount == 0


def test_the_next_publication_is_right(
    gathered: Gathered, tables: Catalog, server: Any, export: Path, connection: psycopg.Connection
) -> None:
    forget(gathered.places)
    tables.load_table("marts.people").append(pa.table({"person": ["c"], "mail": ["z"]}))
    publish(tables, server, export)
    assert connection.execute("SELECT person FROM marts.people ORDER BY 1").fetchall() == [("a",), ("b",), ("c",)]
    publish(tables, server, export)
    assert not any(each.found for each in look(gathered.places))


def test_what_cannot_be_searched_is_named(gathered: Gathered) -> None:
    beyond = dict(gathered.beyond)
    assert "build it again" in beyond["marts.figures"]
    assert "it is Python" in beyond["marts.python"]
    assert "plugin" in beyond["my_publisher:somewhere"]


def test_without_lineage_that_is_said(home: Path, tables: Catalog) -> None:
    lake = Lake(tables, home / "staging")
    gathered = gather(lake, "raw.people", KEY, None, lambda name: pytest.fail(name))
    assert [name for name, _ in gathered.beyond] == ["what is made from it"]
    assert downstream(Graph(), "raw.people", ["id"]).copies == ()


def test_a_key_of_two_columns_needs_both(graph: Graph) -> None:
    found = downstream(graph, "raw.people", ["id", "mail"])
    assert found.copies == ()
    assert {"marts.people", "marts.figures"} <= {*found.figures}


def test_files_of_a_running_writer_are_left(home: Path, tables: Catalog) -> None:
    with pytest.raises(ConfigurationError, match="less than 1 hour"):
        Lake(tables, home / "staging", writer_days=0)
