"""PublishOperator and where it publishes to."""

from __future__ import annotations

import json

import duckdb
import psycopg
import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo.assets.postgres import postgres_asset
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.hooks.postgres import postgres_coordinates
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.operators.publish_duckdb import PublishDuckDBOperator
from airflow_provider_phlo.publishing import publish_marts_to_postgres
from airflow_provider_phlo.services.postgres.server import ensure_postgres, stop_postgres
from tests.expect import expect
from tests.lake import open_lake

# one worker starts the server
pytestmark = pytest.mark.xdist_group("publish operator")

ROWS = pa.table({"day": ["2024-01-15", "2024-01-16"], "readings": [288, None]})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    catalog = open_lake(home)
    for namespace in ("marts", "raw"):
        ensure_namespace(catalog, namespace)
        catalog.create_table(f"{namespace}.mrt_daily", ROWS.schema).append(ROWS)
    try:
        yield home
    finally:
        stop_postgres(home)


@pytest.fixture(autouse=True)
def environment(home, monkeypatch):
    monkeypatch.setenv("PHLO_HOME", str(home))


@pytest.fixture
def connection(home):
    with psycopg.connect(ensure_postgres(home).uri, autocommit=True) as connection:
        yield connection
        connection.execute("DROP SCHEMA IF EXISTS marts CASCADE")


@pytest.mark.long
def test_publishes_to_the_bundled_server(connection):
    tables = {"daily": "marts.mrt_daily", "raw_daily": "mrt_daily"}
    task = PublishOperator(task_id="publish", tables=tables)
    found = task.execute({"run_id": "manual"})
    assert json.loads(json.dumps(found)) == found
    assert {name: stats["rows"] for name, stats in found["tables"].items()} == {"daily": 2, "raw_daily": 2}
    assert connection.execute("SELECT * FROM marts.daily").fetchall() == [("2024-01-15", 288), ("2024-01-16", None)]
    task.result["partition_date"] = "2024-01-15"  # as in a run of Airflow's
    outputs = task.get_openlineage_facets_on_complete(None).outputs
    assert [each.name for each in outputs] == ["phlo.marts.daily", "phlo.marts.raw_daily"]
    assert [each.outputFacets["outputStatistics"].rowCount for each in outputs] == [2, 2]


def test_a_missing_source_fails_before_anything_is_written(connection):
    with pytest.raises(AirflowFailException, match=r"marts\.nope does not exist"):
        PublishOperator(task_id="publish", tables={"daily": "marts.mrt_daily", "x": "marts.nope"}).execute({})
    assert connection.execute("SELECT to_regclass('marts.daily')").fetchone() == (None,)


def test_nothing_to_do_is_said(connection):
    operator = PublishOperator(task_id="publish", tables={"daily": "marts.mrt_daily"}, key={"daily": "day"})
    found = operator.execute({})["tables"]["daily"]
    expect(found, mode="full", rows=2, inserted=2, deleted=0, reason="")
    again = operator.execute({})
    assert again["nothing_to_do"] == "every table holds the current snapshot of its source already"
    expect(again["tables"]["daily"], mode="unchanged", rows=2, inserted=0)


def test_lineage_begins_at_the_sources_and_ends_at_the_tables(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_POSTGRES_DEFAULT", raising=False)
    operator = PublishOperator(task_id="publish", tables={"daily": "marts.mrt_daily", "raw": "{{ x }}", "o dd": "x"})
    assert [inlet.uri for inlet in operator.inlets] == ["iceberg://phlo/marts/mrt_daily", "iceberg://phlo/raw/x"]
    assert [outlet.uri for outlet in operator.outlets] == [
        "postgres://postgres_default:5432/phlo/marts/daily",
        "postgres://postgres_default:5432/phlo/marts/o%20dd",
    ]
    assert PublishOperator(task_id="publish", tables="{{ tables }}").outlets == []
    assert PublishOperator(task_id="publish", tables={"a": "b"}, schema="{{ s }}").outlets == []


@pytest.mark.parametrize(
    ("defined", "address"),
    [
        ("postgresql://me:p%40ss@db.example:6432/app?sslmode=require", "db.example:6432/app"),
        ("postgresql://me:secret@db.example/", "db.example:5432/phlo"),
        (
            '{"conn_type": "postgres", "host": "db.example", "schema": "app", "password": "secret"}',
            "db.example:5432/app",
        ),
        ("postgresql://%2Fvar%2Frun/app", "warehouse:5432/app"),
        ("postgresql://me:secret@h:port/app", "warehouse:5432/phlo"),
        ("{", "warehouse:5432/phlo"),
    ],
)
def test_the_asset_of_a_table_has_no_credentials(monkeypatch, defined, address):
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", defined)
    assert postgres_asset("daily", "marts", "warehouse").uri == f"postgres://{address}/marts/daily"


def test_templates():
    operator = PublishOperator(task_id="publish", tables={"daily": "marts.{{ name }}"}, schema="{{ name }}_v2")
    operator.render_template_fields({"name": "m"})
    expect(operator, tables={"daily": "marts.m"}, schema="m_v2")


def test_a_connection_wins_over_the_bundled_server(monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_POSTGRES_DEFAULT", "postgresql://me:p%40ss@db.example:6432/app?sslmode=require&options=-cx%3D1"
    )
    assert postgres_coordinates() == {
        "host": "db.example",
        "port": 6432,
        "user": "me",
        "password": "p@ss",
        "dbname": "app",
        "sslmode": "require",
    }


def test_another_unset_connection_is_an_error():
    with pytest.raises(ConfigurationError, match="Connection 'warehouse' is not set"):
        postgres_coordinates("warehouse")


class Hook:
    """Has what the function needs of Airflow's PostgresHook."""

    def __init__(self, connection):
        self.get_conn = lambda: connection


def test_the_function_takes_every_kind_of_target(connection, home):
    server = ensure_postgres(home)
    hooked = psycopg.connect(server.uri)
    for target in (connection, server.uri, postgres_coordinates(), Hook(hooked)):
        results = publish_marts_to_postgres(None, None, target, {"daily": "marts.mrt_daily"}, "demo", schema="marts")
        assert results["daily"].rows == 2
    assert hooked.closed
    assert not connection.closed
    with pytest.raises(ConfigurationError, match="postgres is a int"):
        publish_marts_to_postgres(None, None, 5, {"daily": "marts.mrt_daily"})


def test_marts_are_published_to_a_duckdb_file(tmp_path):
    path = tmp_path / "marts.duckdb"
    operator = PublishDuckDBOperator(task_id="export", path=str(path), tables={"daily": "marts.mrt_daily"})
    found = operator.execute({})
    assert json.loads(json.dumps(found)) == found
    assert found["tables"]["daily"]["rows"] == 2
    assert [outlet.uri for outlet in operator.outlets] == [f"file://{path}"]
    assert [inlet.uri for inlet in operator.inlets] == ["iceberg://phlo/marts/mrt_daily"]
    assert operator.lineage().marts[0].table == "marts.duckdb.main.daily"
    with duckdb.connect(path, read_only=True) as reader:
        assert reader.execute("SELECT * FROM daily").fetchall() == [("2024-01-15", 288), ("2024-01-16", None)]
    for wrong in ({"path": "marts.duckdb"}, {"tables": {}}, {"tables": {"x": "marts.nope"}}):
        arguments = {"path": str(path), "tables": {"daily": "marts.mrt_daily"}, **wrong}
        with pytest.raises(AirflowFailException, match=r"is relative|publishes nothing|marts\.nope does not exist"):
            PublishDuckDBOperator(task_id="export", **arguments).execute({})
    assert PublishDuckDBOperator(task_id="x", path="{{ p }}", tables={}).outlets == []
