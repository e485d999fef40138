"""What a model is after a second and a third run: untyped NULLs, keys in SQL, a view that becomes incremental."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.duckdb.views import connect
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("second runs")

INCREMENTAL = (
    "{{ config(materialized='incremental', OPTIONS) }} {% if is_incremental() %}LATER{% else %}FIRST{% endif %}"
)
MODES = ("ignore", "append_new_columns", "sync_all_columns", "fail")
FIRST_TYPED = "select 1 as id, 5 as n, [7::bigint] as l, {'a': 1.5, 'B': 'x'} as s, map{'k': date '2024-01-15'} as m"
UNTYPED = (
    "select 2 as id, null as n, [] as l, {'a': null, 'B': null} as s, map{'k': null} as m "
    "union all select 3, null, [null], null, null"
)
FIRST, LATER = (
    f"select * from (values {rows}) as t(id, k, v)"
    for rows in ("(1, 'a', 1), (2, 'b', 2), (3, null, 3)", "(2, 'b', 20), (3, null, 30), (4, 'd', 40)")
)
KEYS = {
    "expression": "unique_key=\"id || '-' || coalesce(k, '')\"",
    "pair": "unique_key='id, k'",
    "listed": "unique_key=['id', 'upper(k)']",
    "predicated": "unique_key='(id + 0)', incremental_predicates=['DBT_INCREMENTAL_TARGET.id < 100']",
}


def model(options: str, first: str, later: str) -> str:
    return INCREMENTAL.replace("OPTIONS", options).replace("FIRST", first).replace("LATER", later)


FILES = {
    "dbt_project.yml": "name: s\nprofile: s\n",
    **{
        f"models/untyped_{mode}.sql": model(f"unique_key='id', on_schema_change='{mode}'", FIRST_TYPED, UNTYPED)
        for mode in MODES
    },
    "models/untyped_merge.sql": model("unique_key='id', incremental_strategy='merge'", FIRST_TYPED, UNTYPED),
    **{f"models/key_{name}.sql": model(options, FIRST, LATER) for name, options in KEYS.items()},
    "models/key_merge.sql": model("unique_key='id || k', incremental_strategy='merge'", FIRST, LATER),
    "models/narrow.sql": model(
        "incremental_strategy='append'",
        "select 1.5::float as v, [1.5::float] as l, {'a': 1.5::float} as s",
        "select {{ var('v', 2.5) }}::double as v, [{{ var('l', 2.5) }}::double] as l, "
        "{'a': {{ var('s', 2.5) }}::double} as s",
    ),
    "models/was_view.sql": "{{ config(materialized='incremental' if var('later', false) else 'view') }}"
    "{% if is_incremental() %} select 3 as id {% elif var('later', false) %} select 2 as id {% else %} select 1 as id "
    "{% endif %}",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def build(project: Path, home: Path, name: str, token: str, **options: Any) -> None:
    build_model(project, f"model.s.{name}", home=home, environment={"PHLO_RUN_TOKEN": token}, **options)


def rows(home: Path, name: str) -> list[tuple[Any, ...]]:
    return connect(open_lake(home), tables=[f"s.{name}"]).execute(f"SELECT * FROM s.{name} ORDER BY ALL").fetchall()


@pytest.mark.parametrize("mode", [*MODES, "merge"])
def test_null_without_a_type_fits_every_column(project: Path, home: Path, mode: str) -> None:
    """It was taken for text, and refused as a change of type."""
    name = f"untyped_{mode}"
    build(project, home, name, "one")
    before = open_lake(home).load_table(f"s.{name}").schema()
    build(project, home, name, "two")
    assert open_lake(home).load_table(f"s.{name}").schema().as_struct() == before.as_struct()
    assert rows(home, name)[1:] == [
        (2, None, [], {"a": None, "B": None}, {"k": None}),
        (3, None, [None], None, None),
    ]


@pytest.mark.parametrize("name", KEYS)
def test_a_key_may_be_sql(project: Path, home: Path, name: str) -> None:
    """As in dbt's own delete+insert; NULL is a value of the key, as it is in columns."""
    for token in ("one", "two"):
        build(project, home, f"key_{name}", token)
    assert rows(home, f"key_{name}") == [(1, "a", 1), (2, "b", 20), (3, None, 30), (4, "d", 40)]


def test_a_merge_takes_columns(project: Path, home: Path) -> None:
    build(project, home, "key_merge", "one")
    with pytest.raises(ConfigurationError, match=r"has no column 'id \|\| k', which unique_key names"):
        build(project, home, "key_merge", "two")


def test_what_was_a_view_has_no_rows_to_add_to(project: Path, home: Path) -> None:
    build(project, home, "was_view", "one")
    assert rows(home, "was_view") == [(1,)]
    build(project, home, "was_view", "two", vars={"later": True})
    assert rows(home, "was_view") == [(2,)]
    build(project, home, "was_view", "three", vars={"later": True})
    assert rows(home, "was_view") == [(2,), (3,)]


@pytest.mark.parametrize("column", ["v", "l", "s"])
def test_a_number_that_a_column_cannot_hold_is_an_error(project: Path, tmp_path: Path, column: str) -> None:
    """It became infinite."""
    build(project, tmp_path, "narrow", "one")
    with pytest.raises(SchemaError, match=rf"s.narrow: column '{column}' has values of .*double.* that do not fit"):
        build(project, tmp_path, "narrow", "two", vars={column: "1e300"})
    build(project, tmp_path, "narrow", "three", vars={"v": "'inf'"})
    assert [row[0] for row in rows(tmp_path, "narrow")] == [1.5, float("inf")]
