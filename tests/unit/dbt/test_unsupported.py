"""What would have no effect is refused when the DAG file is parsed, and the refusal names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.unit.dbt.own_project import make_project

INCREMENTAL = "materialized='incremental', unique_key='id', on_schema_change='append_new_columns'"
REFUSED = {
    "a_view": ("materialized='view'", r"materialized='view' \(choose one of table, incremental, ephemeral\)"),
    "microbatch": (
        "materialized='incremental', incremental_strategy='microbatch', event_time='at', begin='2024-01-01', "
        "batch_size='day'",
        "incremental_strategy='microbatch'",
    ),
    "by_partition": (f"{INCREMENTAL}, incremental_strategy='insert_overwrite'", "incremental_strategy='insert_over"),
    "appended": (f"{INCREMENTAL}, incremental_strategy='append'", "incremental_strategy='append' with unique_key='id'"),
    "excluding": (f"{INCREMENTAL}, merge_exclude_columns=['a']", "merge_exclude_columns"),
    "updating": (f"{INCREMENTAL}, merge_update_columns=['a']", "merge_update_columns"),
    "predicated": (f"{INCREMENTAL}, incremental_predicates=['true']", "incremental_predicates"),
    "synced": (
        "materialized='incremental', unique_key='id', on_schema_change='sync_all_columns'",
        "on_schema_change='sync_all_columns'",
    ),
    "failing": ("materialized='incremental', on_schema_change='fail'", "on_schema_change='fail'"),
    "laid_out": ("partition_by='id', indexes=[{'columns': ['id']}]", "indexes; partition_by"),
    "granted": ("grants={'select': ['somebody']}", "grants"),
}
HONOURED = {
    "merged": f"{INCREMENTAL}, incremental_strategy='merge'",
    "deleted_and_inserted": f"{INCREMENTAL}, incremental_strategy='delete+insert'",
    "only_appended": "materialized='incremental', incremental_strategy='append'",
    "a_table": "materialized='table'",
}


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
            "models/in_python.py": "def model(dbt, session):\n    return session.sql('select 1 as id')\n",
            "models/stored.sql": "select 1 as id",
            "models/contracted.sql": "select 1 as id",
            "models/s.yml": "models: [{name: stored, columns: [{name: id, data_tests: [unique: {config: "
            "{store_failures: true}}]}]}, {name: contracted, config: {contract: {enforced: true}}, "
            "columns: [{name: id, data_type: integer}]}]\n",
            "seeds/seeded.csv": "id\n1\n",
            "snapshots/snapped.yml": "snapshots: [{name: snapped, relation: ref('a_table'), config: {schema: silver, "
            "unique_key: id, strategy: check, check_cols: all}}]\n",
        },
    )


def render(project: Path, select: str) -> list[str]:
    with DAG("a_dag", schedule=None) as dag:
        phlo_dbt_task_group(select, project_dir=project)
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
        render(project, name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("in_python", "python models"),
        ("contracted", "contract"),
        ("stored", "test unique_stored_id .*store_failures"),
    ],
)
def test_case_45_so_are_others(project: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        render(project, name)


@pytest.mark.parametrize("name", HONOURED)
def test_case_45_what_has_its_effect_is_rendered(project: Path, name: str) -> None:
    assert [task.rpartition(".")[2] for task in render(project, name)] == [name]


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("seeded", r"dbt seed seeded \(seeds/seeded.csv\)"),
        ("snapped", r"dbt snapshot snapped \(snapshots/snapped.yml\)"),
    ],
)
def test_case_43_seeds_and_snapshots_are_refused(project: Path, select: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{said} is selected, .* leave it out"):
        render(project, select)
