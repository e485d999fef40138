"""What would have no effect is refused when the DAG file is parsed, and the refusal names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_provider_phlo import settings
from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.dbt.rendering.selection import Selection, ask
from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.dbt.own_project import make_project

INCREMENTAL = "materialized='incremental', unique_key='id', on_schema_change='append_new_columns'"
REFUSED = {
    "elsewhere": ("materialized='external'", r"materialized='external' \(choose table, incremental, view or ephemeral"),
    "unknown": ("materialized='hologram'", "materialized='hologram'"),
    "strange": (f"{INCREMENTAL}, incremental_strategy='magic'", "incremental_strategy='magic'"),
    "appended": (f"{INCREMENTAL}, incremental_strategy='append'", "unique_key='id' with incremental_strategy='append'"),
    "located": ("location='/somewhere'", "location"),
    "granted": ("grants={'select': ['somebody']}", "grants"),
    "do.tted": ("tags='odd'", r"the name 'do.tted' \(a table's name has no dots"),
    "in_another_database": ("database='warehouse'", "database='warehouse'"),
    "laid_out_by_trino": ("properties={'partitioning': \"ARRAY['id']\"}", r"properties \(they are dbt-trino's"),
}
ON_TRINO = {
    "appended": (f"{INCREMENTAL}, incremental_strategy='append'", "unique_key='id' with incremental_strategy='append'"),
    "by_default": (INCREMENTAL, "unique_key='id' with incremental_strategy='append', which is dbt-trino's default"),
    "by_partition": (None, r"partition_by \(dbt-trino takes the layout from `properties`"),
}
HONOURED = {
    "merged": f"{INCREMENTAL}, incremental_strategy='merge', merge_exclude_columns=['a']",
    "deleted_and_inserted": f"{INCREMENTAL}, incremental_strategy='delete+insert', incremental_predicates=['true']",
    "only_appended": "materialized='incremental', incremental_strategy='append', on_schema_change='sync_all_columns'",
    "microbatch": "materialized='incremental', incremental_strategy='microbatch', event_time='at', "
    "begin='2024-01-01', batch_size='day'",
    "by_partition": "materialized='incremental', incremental_strategy='insert_overwrite', partition_by='id'",
    "by_default": INCREMENTAL,
    "for_both": "partition_by='id', properties={'partitioning': \"ARRAY['id']\"}",
    "a_table": "materialized='table'",
    "a_view": "materialized='view'",
    "own": "materialized='own'",
    "in_an_own_way": f"{INCREMENTAL}, incremental_strategy='own+way'",
}
OWN_WAY = """{% macro get_incremental_own_way_sql(arguments) %}
insert into {{ arguments['target_relation'] }} select id + 1, a, at from {{ arguments['temp_relation'] }}
{% endmacro %}"""
OWN = "{% materialization own, default %}{{ return(materialization_table_default()) }}{% endmaterialization %}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {**{name: config for name, (config, _) in REFUSED.items()}, **HONOURED}
    return make_project(
        tmp_path_factory.mktemp("dbt"),
        {
            **{
                f"models/{name}.sql": f"{{{{ config({config}) }}}} select 1 as id, 2 as a, now() as at"
                for name, config in models.items()
            },
            "macros/own.sql": OWN,
            "macros/own_way.sql": OWN_WAY,
            "models/in_python.py": "def model(dbt, session):\n    return session.sql('select 1 as id')\n",
            "models/stored.sql": "select 1 as id",
            "models/upper.sql": "{{ config(alias='A_Table', schema='Fancy', tags='named') }} select 1 as id",
            "models/lower.sql": "{{ config(alias='a_table', schema='fancy', tags='named') }} select 1 as id",
            "models/contracted.sql": "select 1 as id",
            "models/s.yml": "models: [{name: stored, columns: [{name: id, data_tests: [unique: {config: "
            "{store_failures: true}}]}]}, {name: contracted, config: {contract: {enforced: true}}, "
            "columns: [{name: id, data_type: integer}]}]\n",
            "seeds/seeded.csv": "id\n1\n",
            "snapshots/snapped.yml": "snapshots: [{name: snapped, relation: ref('a_table'), config: {schema: silver, "
            "unique_key: id, strategy: check, check_cols: all}}]\n",
        },
    )


def render(project: Path, select: str, target: str = "duckdb") -> list[str]:
    with DAG("a_dag", schedule=None) as dag:
        phlo_dbt_task_group(select, project_dir=project, target=target)
    return [task.task_id for task in dag.tasks]


@pytest.fixture(scope="module")
def parsed_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def one_home(parsed_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse the project once for all tests."""
    monkeypatch.setenv("PHLO_HOME", str(parsed_home))


@pytest.mark.parametrize("name", REFUSED)
def test_case_45_a_configuration_without_effect_is_refused_by_name(project: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"dbt model {name} \(models/{name}.sql\) asks .*{REFUSED[name][1]}"):
        render(project, f"path:models/{name}.sql")


@pytest.mark.parametrize("name", ON_TRINO)
def test_what_has_no_effect_on_trino_is_refused_by_name(project: Path, name: str) -> None:
    """Rows would be doubled on Trino that are replaced on DuckDB, and a table would have another layout."""
    with pytest.raises(ConfigurationError, match=rf"model {name} .* no effect on Trino: {ON_TRINO[name][1]}"):
        render(project, name, "trino")


@pytest.mark.parametrize("name", ["merged", "only_appended", "for_both", "located", "granted"])
def test_what_has_its_effect_on_trino_is_rendered(project: Path, name: str) -> None:
    assert [task.rpartition(".")[2] for task in render(project, name, "trino")] == [name]


def test_names_that_are_one_on_trino(project: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"lower \(models/lower.sql\) and upper .* are both the table fancy.a_table"
    ):
        render(project, "tag:named", "trino")
    with DAG("a_dag", schedule=None) as dag:
        phlo_dbt_task_group("upper", project_dir=project, target="trino")
    (task,) = dag.tasks
    assert task.outlets[0].uri.endswith("fancy/a_table")


@pytest.mark.parametrize("name", ["DBT_EXCLUDE_RESOURCE_TYPES", "DBT_EMPTY", "DBT_SAMPLE", "DBT_DEFER"])
def test_flags_in_the_environment_are_refused(project: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would leave out tests or rows, and what dbt selected with them would be kept."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=f"sets {name}: dbt would build or test something else"):
        render(project, "a_table")
    with pytest.raises(ConfigurationError, match=name):
        build_model(project, "model.phlo.a_table", home=project.parent)
    monkeypatch.setenv(name, "")
    assert render(project, "a_table")


def test_what_dbt_selects_follows_its_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ask(Project(project, settings.home()), Selection(("stored",))).nodes
    monkeypatch.setenv("DBT_INDIRECT_SELECTION", "empty")
    assert before - ask(Project(project, settings.home()), Selection(("stored",))).nodes == {
        name for name in before if name.startswith("test.")
    }
    monkeypatch.delenv("DBT_INDIRECT_SELECTION")
    assert ask(Project(project, settings.home()), Selection(("stored",))).nodes == before


@pytest.mark.parametrize("name", [*HONOURED, "in_python", "stored", "contracted", "seeded", "snapped"])
def test_case_43_case_45_what_has_its_effect_is_rendered(project: Path, name: str) -> None:
    assert [task.rpartition(".")[2] for task in render(project, name)] == [name]


def test_case_61_a_seed_is_rendered_without_a_warning(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cosmos looks for a seed's file beside the manifest, and warned of that in each parse of the Dag file."""
    render(project, "seeded")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []
