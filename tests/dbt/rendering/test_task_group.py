"""Models as Airflow tasks."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo.dbt.rendering.task_group import DbtModelOperator, phlo_dbt_task_group
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.duckdb.views import connect
from tests.lake import open_lake
from tests.unit import raw_tables

# one worker parses the project
pytestmark = pytest.mark.xdist_group("dbt project")

PHLO = "iceberg://phlo"


@pytest.fixture
def parsed_home(home):
    """Give the test a home in which the project is parsed and the raw tables are filled."""
    raw_tables.fill(raw_tables.make_home(home))
    return home


def render(**arguments):
    with DAG("a_dag", schedule=None) as dag:
        group = phlo_dbt_task_group(**({"select": "path:models/glucose"} | arguments))
    return dag, group


def test_one_task_per_model_grouped_by_layer_in_order(parsed_home):
    dag, group = render()
    assert group.group_id == "glucose_models"
    assert {task.task_id: task.upstream_task_ids for task in dag.tasks} == {
        "glucose_models.bronze.stg_glucose_entries": set(),
        "glucose_models.silver.fct_glucose_readings": {"glucose_models.bronze.stg_glucose_entries"},
        "glucose_models.gold.fct_daily_glucose_metrics": {"glucose_models.silver.fct_glucose_readings"},
        "glucose_models.marts.mrt_glucose_overview": {
            "glucose_models.gold.fct_daily_glucose_metrics",
            "glucose_models.bronze.stg_glucose_entries",
        },
        "glucose_models.marts.mrt_glucose_hourly_patterns": {"glucose_models.silver.fct_glucose_readings"},
    }
    assert {type(task) for task in dag.tasks} == {DbtModelOperator}


def test_outlets_are_tables_and_inlets_what_they_read(parsed_home):
    tasks = {task.model.rpartition(".")[2]: task for task in render()[0].tasks}
    first, second = tasks["stg_glucose_entries"], tasks["fct_glucose_readings"]
    assert [asset.uri for asset in first.outlets] == [f"{PHLO}/bronze/stg_glucose_entries"]
    assert [asset.uri for asset in first.inlets] == [f"{PHLO}/raw/glucose_entries"]
    assert [asset.uri for asset in second.inlets] == [asset.uri for asset in first.outlets]
    assert {asset.group for task in tasks.values() for asset in task.outlets} == {"glucose"}


def test_selection(parsed_home):
    dag, group = render(select="tag:github", exclude=["path:models/github/marts"], group_id="g", retries=3)
    names = {task.table for task in dag.tasks}
    assert group.group_id == "g"
    assert len(names) == 9
    assert {name.partition(".")[0] for name in names} == {"bronze", "silver", "gold"}
    assert {task.retries for task in dag.tasks} == {3}
    with pytest.raises(ConfigurationError, match="matches --select path:models/nothing"):
        render(select="path:models/nothing")


def test_two_groups_in_one_dag(parsed_home):
    with DAG("a_dag", schedule=None) as dag:
        glucose = phlo_dbt_task_group("path:models/glucose/bronze", group_id="one")
        glucose >> phlo_dbt_task_group("path:models/github/bronze")
    first = "one.bronze.stg_glucose_entries"
    assert all(first in task.upstream_task_ids for task in dag.tasks if task.task_id != first)


def test_a_source_without_phlo_asset_is_the_ingestion_of_its_name():
    from airflow_provider_phlo.dbt.manifest import table_of

    source = {"resource_type": "source", "schema": "raw", "meta": {}, "config": {}}
    assert table_of({**source, "identifier": "notes"}) == "raw.notes"
    assert table_of({**source, "identifier": "dlt_notes"}) == "raw.notes"
    assert table_of({**source, "identifier": "notes", "config": {"meta": {"phlo_asset": "raw.x"}}}) == "raw.x"


@pytest.mark.parametrize(
    ("select", "group_id"),
    [
        ("path:models/glucose", "glucose_models"),
        ("path:models/glucose/", "glucose_models"),
        ("+tag:daily+", "daily_models"),
        ("path:models", "dbt_models"),
        ("fct_a fct_b", "fct_a_models"),
    ],
)
def test_the_group_is_named_after_the_folder(select, group_id):
    from airflow_provider_phlo.dbt.rendering.selection import Selection
    from airflow_provider_phlo.dbt.rendering.task_group import _as_list, _group_id

    assert _group_id(Selection(tuple(_as_list(select)))) == group_id


def test_the_project_is_found_from_the_dag_file(tmp_path, monkeypatch):
    from airflow_provider_phlo.dbt.rendering.task_group import _project

    monkeypatch.chdir(tmp_path)
    (tmp_path / "include" / "dbt").mkdir(parents=True)
    (tmp_path / "include" / "dbt" / "dbt_project.yml").touch()
    assert _project(None, str(tmp_path / "dags" / "team" / "a.py")) == tmp_path / "include" / "dbt"
    assert _project(None, "/nowhere/a.py") == tmp_path / "include" / "dbt"
    monkeypatch.setenv("PHLO_DBT_PROJECT", str(tmp_path / "named"))
    assert _project(None, "/nowhere/a.py") == tmp_path / "named"
    assert _project(tmp_path / "given", "/nowhere/a.py") == tmp_path / "given"
    monkeypatch.delenv("PHLO_DBT_PROJECT")
    monkeypatch.chdir("/")
    with pytest.raises(ConfigurationError, match="PHLO_DBT_PROJECT"):
        _project(None, "/nowhere/a.py")


def test_a_task_builds_publishes_and_says_so(parsed_home, make_context):
    dag, _ = render()
    task = dag.get_task("glucose_models.bronze.stg_glucose_entries")
    context = make_context(task, conf={"partition_date": "2024-03-11"})
    done = task.execute(context)
    assert json.loads(json.dumps(done)) == done
    catalog = open_lake(parsed_home)
    snapshot = catalog.load_table("bronze.stg_glucose_entries").current_snapshot()
    assert done == {
        "table": "bronze.stg_glucose_entries",
        "changed": True,
        "rows": len(raw_tables.glucose()) + len(raw_tables.sensor_states()),
        "snapshot_id": snapshot.snapshot_id,
        "partition_date": "2024-03-11",
        "tests": 5,
        "warnings": [],
    }
    assert snapshot.summary["phlo.partition-date"] == "2024-03-11"
    assert snapshot.summary["phlo.run-id"] == context["run_id"]
    assert context["outlet_events"][task.outlets[0]].extra == done


def test_a_model_that_is_not_built_says_that_its_tests_were_not_run(parsed_home, make_context, capsys):
    task = render()[0].get_task("glucose_models.bronze.stg_glucose_entries")
    task.execute(make_context(task, run_id="manual__first"))
    done = task.execute(make_context(task, run_id="manual__second"))
    reason = "it was made of the same tables and settings, and its tests, which passed then, were not run again"
    assert (done["changed"], done["tests"], done["reason"]) == (False, 0, reason)
    assert reason in capsys.readouterr().out


def test_a_failed_test_fails_the_task_for_good(parsed_home, make_context):
    catalog = open_lake(parsed_home)
    raw_tables.write(catalog, "raw.glucose_entries", [raw_tables.entry("x", raw_tables.INGESTED, 1500)])
    task = render()[0].get_task("glucose_models.bronze.stg_glucose_entries")
    with pytest.raises(AirflowFailException, match="1 dbt tests failed, so it was not published"):
        task.execute(make_context(task))
    found = connect(catalog, tables=["bronze.stg_glucose_entries"]).sql("SELECT * FROM bronze.stg_glucose_entries")
    assert found.fetchall() == []


def test_no_secret_of_the_catalog_stays_in_the_task(parsed_home):
    _, group = render()
    for task in group.children.values():
        assert "sqlite" not in repr(vars(task))
