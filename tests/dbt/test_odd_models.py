"""Models with columns, keys and values that are rarely thought of: what is kept, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.dbt.runner import ModelRun, build_model
from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.duckdb.views import connect
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("odd models")

COLUMNS = 5000
NAMES = ["Order Id", 'sel"ect', "Straße.x", "group", "%(a)s", "{{ b }}", "c'd"]


def incremental(key: str) -> str:
    return f"{{{{ config(materialized='incremental', unique_key={key!r}) }}}} "


QUOTED = ", ".join(f'{at} as "{name.replace(chr(34), chr(34) * 2)}"' for at, name in enumerate(NAMES))
FILES = {
    "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {+materialized: table}\n",
    "models/wide.sql": f"select {{% for n in range({COLUMNS}) %}}{{{{ n }}}} as c{{{{ n }}}}, {{% endfor %}} 1 as last",
    "models/quoted.sql": "{% raw %}select " + QUOTED + "{% endraw %}",
    "models/keyed.sql": incremental('"Order Id"') + 'select 1 as "Order Id", 2 as v',
    "models/keyed_twice.sql": incremental('"sel""ect"') + 'select 1 as "sel""ect", 2 as v',
    "models/missing_key.sql": incremental('"no ""such"') + "select 1 as a",
    "models/twice.sql": "select 1 as a, 2 as a",
    "models/in_two_cases.sql": 'select 1 as a, 2 as "A"',
    "models/none.sql": "select * exclude (a) from (select 1 as a)",
    "models/large.sql": "select 18446744073709551615::ubigint as large",
    # dbt does not see that this is a circle
    "models/circle/s.yml": "sources: [{name: late, schema: shop, tables: [{name: second}]}]",
    "models/circle/first.sql": "select * from {{ source('late', 'second') }}",
    "models/circle/second.sql": "select * from {{ ref('first') }}",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def build(project: Path, home: Path, model: str, token: str = "one") -> ModelRun:
    return build_model(project, f"model.shop.{model}", home=home, environment={"PHLO_RUN_TOKEN": token})


def row(home: Path, model: str) -> dict[str, Any]:
    [found] = connect(open_lake(home)).sql(f"SELECT * FROM shop.{model}").to_arrow_table().to_pylist()
    return dict(found)


def test_five_thousand_columns(project: Path, home: Path) -> None:
    build(project, home, "wide")
    assert row(home, "wide") == {**{f"c{at}": at for at in range(COLUMNS)}, "last": 1}


def test_names_that_need_quotes(project: Path, home: Path) -> None:
    build(project, home, "quoted")
    assert row(home, "quoted") == {name: at for at, name in enumerate(NAMES)}


@pytest.mark.parametrize(("model", "names"), [("twice", ["a", "a_1"]), ("in_two_cases", ["a", "A_1"])])
def test_a_second_column_of_a_name_is_called_as_duckdb_calls_it(
    project: Path, home: Path, model: str, names: list[str]
) -> None:
    build(project, home, model)
    assert row(home, model) == {name: at for at, name in enumerate(names, start=1)}


@pytest.mark.parametrize(("model", "key"), [("keyed", "Order Id"), ("keyed_twice", 'sel"ect')])
def test_keys_that_need_quotes(project: Path, home: Path, model: str, key: str) -> None:
    assert build(project, home, model).changed
    assert build(project, home, model, "two").changed is False
    assert row(home, model) == {key: 1, "v": 2}


def test_a_key_that_does_not_exist_is_named_without_its_quotes(project: Path, home: Path) -> None:
    build(project, home, "missing_key")
    with pytest.raises(
        ConfigurationError, match=r"""shop\.missing_key has no column 'no "such', which unique_key names"""
    ):
        build(project, home, "missing_key", "two")


@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        ("none", ConfigurationError, "shop.none was not built. none: Binder Error: SELECT list is empty"),
        ("large", SchemaError, "Column large of shop.large has values of uint64 that do not fit int64"),
    ],
)
def test_what_cannot_be_a_table_is_said_of_the_table(
    project: Path, home: Path, model: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        build(project, home, model)
    assert "18446744073709551615" not in str(caught.value)
    assert not open_lake(home).table_exists(f"shop.{model}")


def test_a_circle_through_a_source_says_what_is_not_there(
    project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHLO_HOME", str(home))
    with DAG("a_dag", schedule=None) as dag:
        phlo_dbt_task_group("path:models/circle", project_dir=project)
    assert [task.task_id.rpartition(".")[2] for task in dag.topological_sort()] == ["first", "second"]
    with pytest.raises(ConfigurationError, match=r"Table shop\.second does not exist, and first reads it"):
        build(project, home, "first")
