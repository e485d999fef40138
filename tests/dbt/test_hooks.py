"""Hooks that change the table of their model, before and after dbt has committed it: what they leave is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dbt.cli.main import dbtRunner

from airflow_provider_phlo.dbt.adapter.connections import PhloConnectionManager
from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.duckdb.views import connect
from tests.dbt.own_project import write_project
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("hooks of models")

ROWS = "select unnest([1, 2, 3]) as id, {% if is_incremental() %}5{% else %}0{% endif %} as v"
HOOKS = {
    "delete": ("delete from {{ this }} where id = 2", [(1, 0), (3, 0)]),
    "update": ("update {{ this }} set v = 9 where id = 1", [(1, 9), (2, 0), (3, 0)]),
    "insert": ("insert into {{ this }} values (4, 4)", [(1, 0), (2, 0), (3, 0), (4, 4)]),
    "replace": ("create or replace table {{ this }} as select id, 7 as v from {{ this }}", [(1, 7), (2, 7), (3, 7)]),
    "nothing": ("delete from {{ this }} where id = 99", [(1, 0), (2, 0), (3, 0)]),
}
CASES = [
    (materialized, hook, inside)
    for materialized in ("table", "incremental", "view")
    for hook in HOOKS
    for inside in (True, False)
    # the catalog's table is DuckDB's view until it is committed
    if materialized != "view" or not inside
]


def name_of(materialized: str, hook: str, inside: bool) -> str:
    return f"{materialized}_{hook}_{'inside' if inside else 'outside'}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {
        f"models/{name_of(materialized, hook, inside)}.sql": "{{ config("
        f"materialized={materialized!r}, unique_key='id', post_hook=[{{'sql': \"{HOOKS[hook][0]}\", "
        f"'transaction': {inside}}}]) }}}} {ROWS}"
        for materialized, hook, inside in CASES
    }
    models |= {
        f"models/reads_nothing_{materialized}.sql": f"{{{{ config(materialized={materialized!r}) }}}} "
        "select * from {{ source('nowhere', 'rows') }}"
        for materialized in ("table", "incremental", "view")
    }
    settings = "name: shop\nprofile: shop\non-run-end: [\"{{ var('at_the_end', '') }}{% do adapter.commit() %}\"]\n"
    return write_project(
        tmp_path_factory.mktemp("dbt") / "shop",
        {
            "dbt_project.yml": settings,
            "models/plain.sql": "{{ config(materialized='table') }} " + ROWS,
            "models/sources.yml": "sources: [{name: nowhere, tables: [{name: rows}]}]",
            **models,
        },
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def built(project: Path, home: Path, model: str, token: str, **options: Any) -> list[tuple[int, int]]:
    done = build_model(project, f"model.shop.{model}", home=home, environment={"PHLO_RUN_TOKEN": token}, **options)
    table = open_lake(home).load_table(done.table)
    assert list(table.refs()) == ["main"]
    return connect(open_lake(home), tables=[done.table]).sql(f"FROM {done.table} ORDER BY ALL").fetchall()


@pytest.mark.parametrize(("materialized", "hook", "inside"), CASES)
def test_what_a_hook_leaves_is_published(project: Path, home: Path, materialized: str, hook: str, inside: bool) -> None:
    model, expected = name_of(materialized, hook, inside), HOOKS[hook][1]
    assert built(project, home, model, "first") == expected
    assert built(project, home, model, "full", full_refresh=True) == expected


def test_a_hook_at_the_end_of_a_run_finds_what_the_run_has_built(project: Path, home: Path) -> None:
    for token, left in (("one", 2), ("two", 1)):
        end = {"at_the_end": f"delete from shop.plain where id > {left}"}
        assert built(project, home, "plain", token, vars=end) == [(number, 0) for number in range(1, left + 1)]


@pytest.mark.parametrize("materialized", ["view", "table", "incremental"])
def test_what_is_refused_is_not_stored_by_the_hook_at_the_end(project: Path, home: Path, materialized: str) -> None:
    end = {"at_the_end": f"create or replace table shop.log_{materialized} as select 1 as runs"}
    with pytest.raises(ConfigurationError, match=r"Table nowhere\.rows does not exist, and reads_nothing"):
        built(project, home, f"reads_nothing_{materialized}", "one", vars=end)
    assert open_lake(home).load_table(f"shop.log_{materialized}").scan().to_arrow().to_pylist() == [{"runs": 1}]


def test_hooks_of_models_that_are_built_at_once_change_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction that loaded the table was in the way of all others."""
    log = (
        "+pre-hook: create table if not exists shop.log (model varchar, moment varchar)\n"
        "  +post-hook: [\"insert into shop.log values ('{{ this.name }}', 'in')\", "
        "{sql: \"insert into shop.log values ('{{ this.name }}', 'after')\", transaction: false}]\n"
    )
    files = {
        "dbt_project.yml": f"name: shop\nprofile: shop\nmodels:\n  +materialized: table\n  {log}",
        "profiles.yml": "shop: {outputs: {default: {type: phlo, schema: shop, threads: 4}}}\n",
        **{f"models/model_{number}.sql": "select unnest(range(1000)) as id" for number in range(8)},
    }
    project, home = write_project(tmp_path / "shop", files), tmp_path / "home"
    monkeypatch.setenv("PHLO_HOME", str(home))
    folders = [f"--project-dir={project}", f"--profiles-dir={project}", "--log-level=none", f"--log-path={tmp_path}"]
    for runs in (1, 2):
        PhloConnectionManager.close_all_connections()
        done = dbtRunner().invoke(["run", *folders, f"--target-path={tmp_path}/target"])
        assert [str(result.message) for result in done.result if str(result.status) != "success"] == []  # type: ignore[union-attr]
        found = connect(open_lake(home)).sql("SELECT model, moment, count(*) FROM shop.log GROUP BY ALL").fetchall()
        assert sorted(found) == [(f"model_{number}", at, runs) for number in range(8) for at in ("after", "in")]


STRATEGIES = ("append", "delete+insert", "merge")


@pytest.mark.parametrize("token", [False, True], ids=["command line", "run"])
def test_an_increment_follows_a_pre_hook_that_changes_its_table(tmp_path: Path, token: bool) -> None:
    """DuckDB could not put a view in the place of the table that the hook had changed, and said so."""
    hook = "{% if is_incremental() %}delete from {{ this }} where id = 1{% endif %}"
    sql = "select unnest([2, 3]) as id, {% if is_incremental() %}5{% else %}0{% endif %} as v"
    options = "materialized='incremental', unique_key='id', incremental_strategy="
    python = (
        "def model(dbt, session):\n    dbt.config(materialized='incremental', unique_key='id')\n"
        "    return session.sql(f'select unnest([2, 3]) as id, {5 if dbt.is_incremental else 0} as v')\n"
    )
    names = {each: f"by_{each.partition('+')[0]}" for each in STRATEGIES}
    first = "select 1 as id, 0 as v union all "
    project = write_project(
        tmp_path / "shop",
        {
            "dbt_project.yml": 'name: shop\nprofile: shop\nmodels: {+pre_hook: "' + hook + '"}\n',
            "models/python.py": python,
            **{
                f"models/{name}.sql": f"{{{{ config({options}{each!r}) }}}}"
                f" {{% if not is_incremental() %}}{first}{{% endif %}} {sql}"
                for each, name in names.items()
            },
        },
    )

    def rows(name: str) -> list[tuple[Any, ...]]:
        for run in ("one", "two"):
            environment = {"PHLO_RUN_TOKEN": run if token else ""}
            build_model(project, f"model.shop.{name}", home=tmp_path / "home", environment=environment)
        return connect(open_lake(tmp_path / "home")).sql(f"SELECT * FROM shop.{name} ORDER BY ALL").fetchall()

    replaced = [(2, 5), (3, 5)]
    assert rows("python") == rows(names["merge"]) == rows(names["delete+insert"]) == replaced
    assert rows(names["append"]) == [(2, 0), (2, 5), (3, 0), (3, 5)]


AUDITED = {
    "dbt_project.yml": """
name: s
profile: s
on-run-start:
  - "create table if not exists s.audit (n integer primary key, event varchar not null, src varchar default 'it''s',
    made timestamp default current_timestamp, size integer check (size > 0))"
  - "{{ var('first', 'select 1') }}"
on-run-end: ["create or replace view s.summary as select count(*) as n from s.audit"]
""",
    "profiles.yml": "s: {target: a, outputs: {a: {type: phlo, schema: s}}}",
    "models/m.sql": "{{ config(materialized='incremental', post_hook=var('hook', 'select 1')) }} select 1 as a",
}


def test_what_a_hook_makes_is_kept_as_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults and constraints were gone once the table was stored, and views with the process."""
    project = write_project(tmp_path / "shop", AUDITED)
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "home"))

    def build(**variables: str) -> str:
        PhloConnectionManager.close_all_connections()
        folders = [f"--project-dir={project}", f"--profiles-dir={project}", f"--target-path={tmp_path}/target"]
        done = dbtRunner().invoke(["build", f"--vars={variables!r}", *folders, "--log-level=none"])
        failed = [each.message for each in done.result.results if each.status == "error"]  # type: ignore[union-attr]
        return str(failed[0]) if failed else ""

    def audit() -> list[tuple[Any, ...]]:
        sql = "SELECT n, event, src, made IS NOT NULL, (SELECT n FROM s.summary) FROM s.audit ORDER BY n"
        return connect(open_lake(tmp_path / "home")).sql(sql).fetchall()

    assert not build(first="insert into s.audit (n, event) values (1, 'start')")
    assert not build(first="insert into s.audit (n, event) values (2, 'again')")
    assert audit() == [(1, "start", "it's", True, 2), (2, "again", "it's", True, 2)]
    for wrong, said in {
        "insert into s.audit (n) values (3)": "NOT NULL constraint",
        "insert into s.audit (n, event) values (2, 'x')": "Duplicate key",
        "insert into s.audit (n, event, size) values (3, 'x', 0)": "CHECK constraint",
        "create sequence if not exists s.numbers": "Sequence s.numbers would begin again with every dbt command",
        "create table s.g (a integer, b integer generated always as (a + 1))": "s.g has a generated column",
    }.items():
        assert said in build(first=wrong)
    assert "have a DEFAULT" in build(hook="alter table {{ this }} add column b integer default 5")
    assert not build(first="insert or replace into s.audit (n, event) values (2, 'anew')")
    assert audit() == [(1, "start", "it's", True, 2), (2, "anew", "it's", True, 2)]
