"""What ``dbt_project.yml`` may say beside models: other folders, comments on queries, hooks of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.dbt.manifest import ensure_manifest
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.duckdb.views import connect
from tests.dbt.own_project import write_project
from tests.lake import open_lake

# one worker parses projects
pytestmark = pytest.mark.xdist_group("any dbt project")

FILES = {
    "dbt_project.yml": """
name: shop
version: "1.0"
model-paths: [transformations, more models]
target-path: build/out
seed-paths: [csv]
query-comment: {comment: "of {{ target.name }}; insert into public.nothing", append: true}
on-run-start: ["create table if not exists {{ target.schema }}.runs (moment timestamp)"]
on-run-end: ["insert into {{ target.schema }}.runs values (now()::timestamp)"]
models:
  shop: {+schema: "{{ env_var('LAYER', 'marts') }}", +persist_docs: {relation: true, columns: true}}
seeds: {+schema: seeds}
""",
    "csv/orders.csv": "id,amount\n1,10\n",
    "transformations/totals.sql": "select sum(amount) as amount from {{ ref('orders') }}",
    "transformations/s.yml": "models: [{name: totals, description: one, columns: [{name: amount, description: d}]}]",
    "more models/a part/doubled.sql": "{{ config(materialized='table') }} "
    "select amount * 2 as a from {{ ref('totals') }}",
    # called like the group of tests that no model's task runs
    "more models/tests/tested.sql": "select 1 as a",
    "tests/of_nothing.sql": "select 1 as a where false",
}


def render(project: Path) -> DAG:
    with DAG("a_dag", schedule=None) as dag:
        phlo_dbt_task_group(project_dir=project, group_id="g")
    return dag


def test_settings_of_a_project_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, home = write_project(tmp_path / "shop", FILES), tmp_path / "home"
    monkeypatch.setenv("PHLO_HOME", str(home))
    tasks = {task.task_id: task for task in render(project).topological_sort()}
    assert "g.tests.tested" in tasks
    assert "g.tests_.nothing" in tasks
    assert "g.a_part.doubled" in tasks
    built = [task.model for task in tasks.values() if hasattr(task, "model") and task.task_id != "g.tests.tested"]
    assert built == ["seed.shop.orders", "model.shop.totals", "model.shop.doubled"]
    for unique_id in built:
        build_model(project, unique_id, home=home, environment={"PHLO_RUN_TOKEN": "t"})
    catalog = open_lake(home)
    schema = next(name for (name,) in catalog.list_namespaces() if not name.endswith(("_marts", "_seeds")))
    connection = connect(catalog)
    assert connection.execute(f"SELECT a FROM {schema}_marts.doubled").fetchall() == [(20,)]
    assert connection.execute(f"SELECT count(*) FROM {schema}.runs").fetchall() == [(3,)]  # one per task
    table = catalog.load_table(f"{schema}_marts.totals")
    assert (table.properties["comment"], table.schema().find_field("amount").doc) == ("one", "d")

    # what somebody compiles by hand does not change the project; a variable that its settings read does
    parsed = sorted(home.glob("dbt/*/*/manifest.json"))
    write_project(project, {"build/out/compiled/totals.sql": "select 1"})
    monkeypatch.setenv("LAYER", "gold")
    monkeypatch.setenv("AIRFLOW_CTX_TRY_NUMBER", "2")
    assert render(project).get_task("g.a_part.doubled").table == f"{schema}_gold.doubled"
    [of_gold] = set(home.glob("dbt/*/*/manifest.json")) - set(parsed)
    monkeypatch.delenv("LAYER")
    assert render(project).get_task("g.a_part.doubled").table == f"{schema}_marts.doubled"
    assert sorted(home.glob("dbt/*/*/manifest.json")) == sorted([*parsed, of_gold])


def test_files_that_are_not_text_are_named(tmp_path: Path) -> None:
    """Dbt itself ends with a traceback that names none."""
    project = write_project(tmp_path / "shop", {"dbt_project.yml": "name: s\nprofile: s\n"})
    (project / "seeds").mkdir()
    (project / "seeds" / "latin.csv").write_bytes("id\nMünchen\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"exit code 2\):\nseeds/latin.csv is not UTF-8 \(byte 4\)"):
        ensure_manifest(Project(project, tmp_path / "home"))
