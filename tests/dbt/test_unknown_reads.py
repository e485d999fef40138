"""What a project reads though dbt does not know it: tables without ref, tables that macros look for, other names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk import DAG
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.dbt.runner import ModelRun, build_model, run_tests
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.duckdb.views import connect
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("unknown reads")

LISTED = (
    "{% set query %}select table_name from LISTING where table_schema = 'lake' order by 1{% endset %}\n"
    "select '{% for row in (run_query(query).rows if execute else []) %}{{ row[0] }} {% endfor %}' as names"
)
RELATION = "adapter.get_relation(database=target.database, schema='lake', identifier='NAME')"
FILES = {
    "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {+materialized: table}\n",
    "models/named.sql": "select count(*) as n from lake.events",
    "models/quoted.sql": 'select count(*) as n from "memory"."Lake" . "Odd-Name"',
    "models/in_a_macro.sql": "{% set largest = run_query('select max(id) from lake.events') %} "
    "select {{ largest.columns[0].values()[0] if execute }} as n",
    "models/in_python.py": "def model(dbt, session):\n    dbt.config(materialized='table')\n"
    "    return session.sql('select count(*) as n from lake.events')\n",
    "models/in_a_hook.sql": "{{ config(pre_hook='create temp table picked as select * from lake.events') }} "
    "select count(*) as n from picked",
    "models/looked_for.sql": f"select {{{{ 1 if {RELATION.replace('NAME', 'events')} else 0 }}}} as there, "
    f"{{{{ 1 if {RELATION.replace('NAME', 'nowhere')} else 0 }}}} as other",
    "models/by_information_schema.sql": LISTED.replace("LISTING", "information_schema.tables"),
    "models/by_duckdb.sql": LISTED.replace(
        "LISTING", "(select schema_name as table_schema, view_name as table_name from duckdb_views())"
    ),
    "models/from_dlt.sql": "select * from {{ source('ingested', 'dlt_notes') }}",
    "models/from_an_asset.sql": "select * from {{ source('ingested', 'people') }}",
    "models/from_a_source.sql": "select * from {{ source('elsewhere', 'orders') }}",
    "models/s.yml": """
sources:
  - {name: elsewhere, database: raw_db, schema: lake, tables: [{name: orders}]}
  - name: ingested
    schema: lake
    tables:
      - {name: dlt_notes, columns: [{name: id, data_tests: [not_null]}]}
      - {name: people, config: {meta: {phlo_asset: crm.contacts}}}
""",
    "selectors.yml": "selectors: [{name: notes, definition: {method: fqn, value: from_dlt}}]\n",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def catalog(home: Path) -> Catalog:
    catalog = open_lake(home)
    for table in ("lake.events", "lake.Odd-Name", "lake.notes", "crm.contacts"):
        catalog.create_namespace_if_not_exists(table.partition(".")[0])
        append(catalog, table, [1, 2])
    return catalog


def append(catalog: Catalog, table: str, ids: list[int]) -> None:
    rows = pa.table({"id": ids})
    catalog.create_table_if_not_exists(tuple(table.split(".")), rows.schema).append(rows)


def build(project: Path, home: Path, model: str, token: str = "one") -> ModelRun:
    return build_model(project, f"model.shop.{model}", home=home, environment={"PHLO_RUN_TOKEN": token})


def rows(catalog: Catalog, model: str) -> list[tuple[Any, ...]]:
    return connect(catalog, tables=[f"shop.{model}"]).sql(f"SELECT * FROM shop.{model}").fetchall()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        *((model, [(2,)]) for model in ("named", "quoted", "in_a_macro", "in_python", "in_a_hook")),
        ("looked_for", [(1, 0)]),
        ("by_information_schema", [("Odd-Name events notes ",)]),
        ("by_duckdb", [("Odd-Name events notes ",)]),
        ("from_dlt", [(1,), (2,)]),
        ("from_an_asset", [(1,), (2,)]),
    ],
)
def test_it_is_there_and_is_read_again_when_it_changes(
    project: Path, home: Path, catalog: Catalog, model: str, expected: list[tuple[Any, ...]]
) -> None:
    assert build(project, home, model).changed
    assert rows(catalog, model) == expected
    assert not build(project, home, model, "two").nothing_new


def render(project: Path, *select: str, **options: Any) -> dict[str, list[str]]:
    with DAG("a_dag", schedule=None) as dag:
        phlo_dbt_task_group(select or None, project_dir=project, group_id="g", **options)
    return {task.task_id: task.tests for task in dag.tasks}


@pytest.fixture
def one_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLO_HOME", str(home))


@pytest.mark.usefixtures("one_home")
def test_a_source_that_is_nowhere_is_refused_when_the_dag_is_parsed(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"source elsewhere\.orders \(models/s\.yml\) is .*database='raw_db'"):
        render(project, "from_a_source")


@pytest.mark.usefixtures("one_home")
def test_a_selector_brings_the_tests_of_sources(project: Path, home: Path, catalog: Catalog) -> None:
    tests = render(project, "from_dlt")["g.tests.ingested_dlt_notes"]
    assert render(project, selector="notes")["g.tests.ingested_dlt_notes"] == tests
    assert run_tests(project, tests, home=home).passed == 1
    with pytest.raises(ConfigurationError, match="`selector` 'notes' stands alone"):
        render(project, selector="notes", exclude="named")
