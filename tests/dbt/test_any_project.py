"""A dbt project that knows nothing of this provider: no profile, no macro of ours, what dbt has to offer."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import ConfigurationError, QualityCheckError
from airflow_provider_phlo.iceberg.duckdb.views import connect
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("any dbt project")

# dbt makes a batch for each day until now: there are not to be a thousand
_TODAY = dt.datetime.now(dt.UTC).date()
DAYS = [_TODAY - dt.timedelta(days) for days in (3, 2, 1)]

FILES = {
    "dbt_project.yml": """
name: jaffle_shop
version: "1.0"
profile: jaffle_shop
vars: {greeting: hello}
models:
  jaffle_shop:
    staging: {+materialized: view}
    marts: {+materialized: "{{ 'table' if target.type == 'duckdb' else 'ephemeral' }}", +schema: marts}
""",
    "seeds/raw_orders.csv": "id,customer,ordered_at,amount\n"
    f"1,ann,{DAYS[0]},10\n2,bob,{DAYS[1]},20\n3,ann,{DAYS[2]},30\n",
    "models/staging/stg_orders.sql": "select * from {{ ref('raw_orders') }}",
    "models/marts/customers.sql": "select customer, sum(amount) as amount from {{ ref('stg_orders') }} group by 1",
    "models/marts/greeting.sql": "select '{{ var('greeting') }}' as said, '{{ env_var('WHO', 'nobody') }}' as who",
    "models/marts/dialect.sql": "{{ config(enabled=target.type == 'duckdb') }} "
    "select '{{ target.type }}' as of_target, '{{ adapter.type() }}' as of_adapter",
    "models/marts/by_day.sql": "{{ config(partition_by='month(ordered_at)', sort_by='amount desc', "
    "table_properties={'write.parquet.row-group-limit': '1000'}) }} select * from {{ ref('stg_orders') }}",
    "models/marts/contracted.sql": "select id, amount from {{ ref('stg_orders') }}",
    "models/marts/in_python.py": "def model(dbt, session):\n    dbt.config(materialized='table')\n"
    "    return dbt.ref('stg_orders').aggregate('count(*) as orders')\n",
    "models/marts/batches.sql": "{{ config(materialized='incremental', incremental_strategy='microbatch', "
    f"event_time='ordered_at', begin='{DAYS[0]}', batch_size='day') }}}}"
    " select * from {{ ref('stg_orders') }}",
    "models/marts/logged.sql": "{{ config(pre_hook=['create schema if not exists audit_log', "
    "'create table if not exists audit_log.runs (run varchar)'], "
    "post_hook=\"insert into audit_log.runs values ('{{ env_var('PHLO_RUN_TOKEN', '') }}')\") }} select 1 as a",
    "models/marts/named_v1.sql": "select 1 as a",
    "models/marts/named_v2.sql": "select 2 as a",
    "models/marts/s.yml": """
models:
  - name: customers
    columns: [{name: customer, data_tests: [unique, {accepted_values: {arguments: {values: [ann]},
      config: {severity: warn, store_failures: true}}}]}]
  - name: contracted
    config: {contract: {enforced: true}}
    columns:
      - {name: id, data_type: integer, constraints: [{type: not_null}, {type: primary_key}]}
      - {name: amount, data_type: integer, constraints: [{type: check, expression: amount < 25}]}
  - name: named
    latest_version: 2
    versions: [{v: 1}, {v: 2}]
unit_tests:
  - name: amounts_are_added
    model: customers
    given: [{input: ref('stg_orders'), rows: [{customer: x, amount: 1}, {customer: x, amount: 2}]}]
    expect: {rows: [{customer: x, amount: 3}]}
""",
    "models/staging/s.yml": "models: [{name: stg_orders, config: {event_time: ordered_at}}]\n",
    "snapshots/orders.yml": "snapshots: [{name: orders_history, relation: ref('raw_orders'), config: {schema: history, "
    "unique_key: id, strategy: check, check_cols: [amount]}}]\n",
    "tests/no_negative.sql": "select * from {{ ref('customers') }} where amount < 0",
}


@pytest.fixture(scope="module")
def lake_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def catalog(lake_home: Path) -> Catalog:
    return open_lake(lake_home)


@pytest.fixture(autouse=True)
def one_home(lake_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLO_HOME", str(lake_home))


def render(project: Path, *select: str, **options: Any) -> DAG:
    with DAG("a_dag", schedule=None) as dag:
        phlo_dbt_task_group(select or None, project_dir=project, group_id="g", **options)
    return dag


def build(project: Path, home: Path, unique_id: str, token: str = "t", **options: Any) -> Any:
    return build_model(project, unique_id, home=home, environment={"PHLO_RUN_TOKEN": token}, **options)


def rows(catalog: Catalog, table: str) -> list[tuple[Any, ...]]:
    return connect(catalog, tables=[table]).execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()


def test_case_42_case_43_all_of_it_is_rendered_and_built(project: Path, lake_home: Path, catalog: Catalog) -> None:
    before = sorted(path for path in project.rglob("*"))
    dag = render(project, exclude=["contracted", "batches"])
    tasks = {task.task_id.removeprefix("g."): task for task in dag.tasks}
    assert {name for name in tasks if "." in name} == {
        "staging.stg_orders",
        *(
            f"marts.{name}"
            for name in ("customers", "greeting", "dialect", "by_day", "in_python", "logged", "named_v1", "named_v2")
        ),
        "jaffle_shop.raw_orders",
        "jaffle_shop_history.orders_history",
    }
    assert tasks["marts.customers"].upstream_task_ids == {"g.staging.stg_orders"}
    assert len(tasks["marts.customers"].tests) == 4  # unit, unique, accepted values, singular
    for task in dag.topological_sort():
        done = build(project, lake_home, task.model, tests=task.tests)
        assert done.table == task.table
        assert done.rows == len(rows(catalog, task.table)) > 0
    assert rows(catalog, "jaffle_shop_marts.customers") == [("ann", 40), ("bob", 20)]
    assert rows(catalog, "jaffle_shop_marts.in_python") == [(3,)]
    assert rows(catalog, "jaffle_shop_marts.greeting") == [("hello", "nobody")]
    assert rows(catalog, "jaffle_shop_marts.dialect") == [("duckdb", "duckdb")]
    # what a test stored is there for all to see, though it only warns
    [failures] = [name for name in catalog.list_tables("jaffle_shop_dbt_test__audit") if "accepted" in name[1]]
    assert rows(catalog, ".".join(failures)) == [("bob", 1)]
    assert sorted(path for path in project.rglob("*")) == before


def test_a_layout_is_given_and_changed(project: Path, lake_home: Path, catalog: Catalog) -> None:
    table = catalog.load_table("jaffle_shop_marts.by_day")
    assert [str(item.transform) for item in table.spec().fields] == ["month"]
    assert [item.direction.name for item in table.sort_order().fields] == ["DESC"]
    assert table.properties["write.parquet.row-group-limit"] == "1000"


def test_case_43_a_snapshot_keeps_what_was(project: Path, lake_home: Path, catalog: Catalog) -> None:
    seed = project / "seeds" / "raw_orders.csv"
    content = seed.read_text()
    history = "snapshot.jaffle_shop.orders_history"
    assert build(project, lake_home, history, "again").changed is False
    try:
        seed.write_text(content.replace(f"3,ann,{DAYS[2]},30", f"3,ann,{DAYS[2]},31"))
        assert build(project, lake_home, "seed.jaffle_shop.raw_orders", "u").changed is True
        assert build(project, lake_home, history, "u").rows == 4
    finally:
        seed.write_text(content)
    found = connect(catalog).execute(
        "SELECT amount, dbt_valid_to IS NULL FROM jaffle_shop_history.orders_history WHERE id = 3 ORDER BY amount"
    )
    assert found.fetchall() == [(30, False), (31, True)]
    build(project, lake_home, "seed.jaffle_shop.raw_orders", "v")


def test_a_contract_is_enforced(project: Path, lake_home: Path, catalog: Catalog) -> None:
    with pytest.raises(ConfigurationError, match="contracted: Constraint Error"):
        build(project, lake_home, "model.jaffle_shop.contracted")
    assert not catalog.table_exists("jaffle_shop_marts.contracted")


def test_a_failed_unit_test_stops_its_model(project: Path, lake_home: Path) -> None:
    yaml = project / "models" / "marts" / "s.yml"
    content = yaml.read_text()
    try:
        yaml.write_text(content.replace("amount: 3}]", "amount: 4}]"))
        with pytest.raises(QualityCheckError, match="amounts_are_added"):
            build(project, lake_home, "model.jaffle_shop.customers", "w")
    finally:
        yaml.write_text(content)


def test_variables_of_a_group_and_of_a_run(project: Path, lake_home: Path, catalog: Catalog) -> None:
    done = build(
        project, lake_home, "model.jaffle_shop.greeting", "x", vars={"greeting": "hullo"}, env={"WHO": "the world"}
    )
    assert (done.changed, rows(catalog, done.table)) == (True, [("hullo", "the world")])


def test_batches_of_a_day(project: Path, lake_home: Path, catalog: Catalog) -> None:
    batches = "model.jaffle_shop.batches"
    assert build(project, lake_home, batches, "b1").rows == 3
    assert build(project, lake_home, batches, "b2").changed is False
    assert [row[2] for row in rows(catalog, "jaffle_shop_marts.batches")] == DAYS


def test_tables_of_hooks_keep_their_rows(project: Path, lake_home: Path, catalog: Catalog) -> None:
    """A run writes what it builds to its branch; what its hooks write is main's, and not the table's only rows."""
    before = rows(catalog, "audit_log.runs") if catalog.table_exists("audit_log.runs") else []
    for token in ("h1", "h2"):
        build(project, lake_home, "model.jaffle_shop.logged", token, full_refresh=True)
    assert rows(catalog, "audit_log.runs") == sorted([*before, ("h1",), ("h2",)])
    assert list(catalog.load_table("audit_log.runs").refs()) == ["main"]


def test_what_dbt_selects_is_what_is_rendered(project: Path) -> None:
    expected = {
        "+customers": 3,
        "stg_orders+1": 6,
        "path:models/marts": 10,
        "config.materialized:view": 1,
        "named.v2": 1,
        "stg_orders+,config.materialized:table": 4,
    }
    for select, count in expected.items():
        assert len([task for task in render(project, select).tasks if hasattr(task, "model")]) == count, select
    assert [len(task.tests) for task in render(project, "test_type:singular").tasks] == [1]
    with pytest.raises(ConfigurationError, match="customers has none here: leave out amounts_are_added"):
        render(project, "greeting", "unit_test:amounts_are_added")
    with pytest.raises(ConfigurationError, match="matches --select tag:none"):
        render(project, "tag:none")
    with pytest.raises(ConfigurationError, match="cannot select"):
        render(project, "nonsense:method")
