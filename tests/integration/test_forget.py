"""``phlo forget`` over the glucose pipeline: raw, its dbt layers, a mart in PostgreSQL, a DuckDB export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from airflow_provider_phlo.hooks.postgres import postgres_coordinates
from airflow_provider_phlo.iceberg.branches.declared import declare_columns
from airflow_provider_phlo.publishing.duckdb_file import DuckDBPublisher
from airflow_provider_phlo.publishing.lakehouse import open_catalog_tables
from airflow_provider_phlo.publishing.marts import publish_marts_to_postgres
from airflow_provider_phlo.services.postgres.server import stop_postgres
from tests.dbt.test_example_project import build
from tests.lake import open_lake
from tests.unit import raw_tables
from tests.unit.forgetting.remains import remains

ROOT = Path(__file__).parents[2]
RAW, READINGS = "raw.glucose_entries", "silver.fct_glucose_readings"
# unlike any other text of a project
THEIRS = "entry-4711-of-ann"
MODELS = ("--select", "+fct_daily_glucose_metrics")
DAG = """
from airflow.sdk import DAG
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.operators.publish_duckdb import PublishDuckDBOperator

with DAG("readings"):
    PublishOperator(task_id="publish", tables={{"readings": "{readings}"}})
    PublishDuckDBOperator(task_id="export", path="{export}", tables={{"readings": "{readings}"}})
"""


def entries() -> list[dict[str, Any]]:
    rows = raw_tables.glucose()
    return [*rows[:20], rows[20] | {"_id": THEIRS}, *rows[21:60]]


def publish(home: Path, export: Path) -> None:
    catalog = open_lake(home)
    with open_catalog_tables(catalog, [READINGS]) as sources:
        DuckDBPublisher(export).publish({"readings": sources[READINGS]})
    publish_marts_to_postgres(None, None, postgres_coordinates(), {"readings": READINGS}, "test", catalog=catalog)


def mart() -> set[str]:
    with psycopg.connect(**postgres_coordinates()) as connection:
        return {name for (name,) in connection.execute("SELECT entry_id FROM marts.readings")}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home, dags = tmp_path / "home", tmp_path / "dags"
    dags.mkdir()
    shutil.copy(ROOT / "dags" / "glucose_platform.py", dags)
    (dags / "readings.py").write_text(DAG.format(readings=READINGS, export=tmp_path / "export" / "readings.duckdb"))
    variables = {
        "PHLO_HOME": home, "AIRFLOW__CORE__DAGS_FOLDER": dags, "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PHLO_DBT_PROJECT": raw_tables.PROJECT, "PYTHONPATH": ROOT,
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(ROOT)
    catalog = raw_tables.make_home(home)
    raw_tables.write(catalog, RAW, entries())
    declare_columns(catalog, catalog.load_table(RAW), ["_id"], None)
    assert build(home, *MODELS) == []
    try:
        publish(home, tmp_path / "export" / "readings.duckdb")
        yield home
    finally:
        stop_postgres(home)


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("lineage")
def test_nothing_is_left_in_the_whole_pipeline(home: Path, tmp_path: Path, run_phlo: Any) -> None:
    export = tmp_path / "export" / "readings.duckdb"
    assert THEIRS in mart()
    code, out, err = run_phlo("forget", "--table", RAW, "--key", THEIRS, "--yes", "--output", "json")
    assert code == 0, err
    assert THEIRS not in out + err
    found = json.loads(out)
    forgotten = {each["place"] for each in found if each["state"] == "forgotten"}
    places = {RAW, "bronze.stg_glucose_entries", READINGS, "postgres_default:marts.readings", f"{export}:main.readings"}
    assert forgotten == places
    beyond = {each["place"]: each["notes"] for each in found if each["kind"] == "beyond"}
    assert "build it again" in beyond["gold.fct_daily_glucose_metrics"][0]
    assert remains(home / "warehouse", THEIRS) == []
    assert remains(export.parent, THEIRS) == []
    assert THEIRS not in mart()

    # the next day's run: models and marts are what the raw table says, and nobody came back
    assert build(home, *MODELS) == []
    publish(home, export)
    expected = {row["_id"] for row in entries()} - {THEIRS}
    assert mart() == expected
    with duckdb.connect(export, read_only=True) as file:
        assert {name for (name,) in file.execute("SELECT entry_id FROM readings").fetchall()} == expected
    code, out, err = run_phlo("forget", "--table", RAW, "--key", THEIRS, "--output", "json")
    assert (code, {each["state"] for each in json.loads(out)}) == (0, {"free", "not searched"})
