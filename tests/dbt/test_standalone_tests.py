"""No test is lost: those that no model's task can run have tasks of their own, in their place."""

from __future__ import annotations

import graphlib
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk import DAG, TaskGroup
from dbt.cli.main import dbtRunner

from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.dbt.manifest import ensure_manifest
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.dbt.rendering.operators import DbtModelOperator, DbtTestOperator
from airflow_provider_phlo.dbt.rendering.task_group import groups_in_a_circle
from airflow_provider_phlo.dbt.runner import PassedTests, build_model, run_tests
from airflow_provider_phlo.dbt.standalone_tests import assign_tests
from airflow_provider_phlo.exceptions import ConfigurationError, QualityCheckError
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.dbt.own_project import make_project
from tests.lake import open_lake

MODELS = {
    "customers": "select id from {{ source('raw', 'people') }}",
    "orders": "select id, person from {{ source('raw', 'orders') }}",
    "early": "{{ config(materialized='ephemeral') }} select * from {{ ref('orders') }} where id < 3",
    "report": "select count(*) as n from {{ ref('customers') }}, {{ ref('orders') }}",
    "first_orders": "select count(*) as n from {{ ref('early') }}",
}
RELATED = "relationships: {arguments: {to: ref('customers'), field: id}}"
YAML = f"""
sources:
  - name: raw
    tables:
      - name: people
        columns: [{{name: id, data_tests: [unique, not_null]}}]
      - name: orders
models:
  - {{name: customers, columns: [{{name: id, data_tests: [unique]}}]}}
  - {{name: orders, columns: [{{name: person, data_tests: [{RELATED}]}}]}}
  - {{name: early, columns: [{{name: id, data_tests: [unique]}}]}}
unit_tests:
  - name: early_ones
    model: early
    given: [{{input: ref('orders'), rows: [{{id: 2}}, {{id: 3}}]}}]
    expect: {{rows: [{{id: 2}}]}}
"""
SINGULAR = "select o.id from {{ ref('orders') }} as o join {{ ref('customers') }} as c on o.id = c.id where o.id > 7"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {f"models/{name}.sql": sql for name, sql in MODELS.items()}
    files |= {"models/s.yml": YAML, "tests/no_order_after_seven.sql": SINGULAR}
    return make_project(tmp_path_factory.mktemp("dbt"), files)


@pytest.fixture(scope="module")
def lake_home(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    catalog = open_lake(home)
    overwrite_if_changed(catalog, "raw.people", pa.table({"id": [1, 2, 2]}))
    overwrite_if_changed(catalog, "raw.orders", pa.table({"id": [1, 2, 9], "person": [1, 2, 3]}))
    return home


@pytest.fixture(autouse=True)
def one_home(lake_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse the project once for all tests."""
    monkeypatch.setenv("PHLO_HOME", str(lake_home))


def render(project: Path, select: str = "path:models") -> DAG:
    with DAG("a_dag", schedule=None) as dag:
        phlo_dbt_task_group(select, project_dir=project, group_id="g")
    return dag


def listed(project: Path, home: Path) -> set[str]:
    """Return the ids of the tests that dbt itself selects."""
    folder = ensure_manifest(Project(project, home)).parent
    options = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(folder / "ls")]
    command = ["--quiet", "ls", *options, "--select", "path:models", "--output", "json"]
    command += [f"--resource-type={kind}" for kind in ("test", "unit_test")]
    done = dbtRunner().invoke([*command, "--output-keys", "unique_id", "--log-path", str(folder / "ls")])
    assert isinstance(done.result, list)
    return {line.partition('"unique_id": "')[2].rstrip('"}') for line in done.result}


def test_case_46_tests_have_tasks_in_their_place(project: Path) -> None:
    tasks = {task.task_id.removeprefix("g."): task for task in render(project).tasks}
    found = {
        name: (
            {up.removeprefix("g.") for up in task.upstream_task_ids},
            {down[2:] for down in task.downstream_task_ids},
        )
        for name, task in tasks.items()
        if isinstance(task, DbtTestOperator)
    }
    assert found == {
        "raw_people_tests": (set(), {"customers"}),
        "customers_and_orders_tests": ({"customers", "orders"}, {"report"}),
        "early_tests": ({"orders"}, {"first_orders"}),
    }
    assert "early" not in tasks
    assert tasks["first_orders"].upstream_task_ids == {"g.orders", "g.early_tests"}
    assert len(tasks["customers_and_orders_tests"].tests) == 2


def test_groups_that_would_come_before_and_after_each_other_are_left_out(project: Path) -> None:
    """Airflow sorts the children of a group, and shows an error instead of a DAG where that cannot be done."""
    dag = render(project)
    assert len(dag.task_group.topological_sort()) == 1
    [group] = dag.task_group.children.values()
    assert isinstance(group, TaskGroup)
    assert len(group.topological_sort()) == len(group.children)
    assert groups_in_a_circle([("a", "b"), ("b", "c"), ("b", "b")]) == frozenset()
    assert groups_in_a_circle([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]) == {"b", "c"}


def test_case_46_as_many_run_as_dbt_selects(project: Path, lake_home: Path) -> None:
    dag = render(project)
    alone = [test for task in dag.tasks if isinstance(task, DbtTestOperator) for test in task.tests]
    with_models = [test for task in dag.tasks if isinstance(task, DbtModelOperator) for test in task.tests or ()]
    assert sorted([*alone, *with_models]) == sorted(listed(project, lake_home))


def test_case_46_a_failed_test_blocks(project: Path, lake_home: Path) -> None:
    tests = {task.task_id.rpartition(".")[2]: task.tests for task in render(project).tasks if hasattr(task, "tests")}

    def run(name: str) -> PassedTests:
        return run_tests(project, tests[name], home=lake_home)

    with pytest.raises(QualityCheckError, match=r"raw.people: 1 dbt tests failed, so what is built on it is stop"):
        run("raw_people_tests")
    # the model drops the duplicate that its source has, so that its own test passes
    (project / "models" / "customers.sql").write_text("select distinct id from {{ source('raw', 'people') }}")
    for name in ("customers", "orders"):
        assert build_model(project, f"model.phlo.{name}", home=lake_home).rows
    with pytest.raises(QualityCheckError, match=r"silver\.customers, silver\.orders: . dbt tests failed") as caught:
        run("customers_and_orders_tests")
    assert "relationships_orders_person__id__ref_customers_ (1 rows)" in str(caught.value)
    assert run("early_tests").passed == 2


def test_a_unit_test_of_an_ephemeral_model_blocks(project: Path, lake_home: Path) -> None:
    assert build_model(project, "model.phlo.orders", home=lake_home).rows  # dbt asks it for its columns
    yaml = project / "models" / "s.yml"
    yaml.write_text(YAML.replace("expect: {rows: [{id: 2}]}", "expect: {rows: [{id: 3}]}"))
    try:
        [task] = render(project, "test_type:unit").tasks
        assert isinstance(task, DbtTestOperator)
        with pytest.raises(QualityCheckError, match=r"silver\.orders: 1 dbt tests failed.*early_ones"):
            run_tests(project, task.tests, home=lake_home)
    finally:
        yaml.write_text(YAML)


def test_a_test_that_is_gone_is_named(project: Path, lake_home: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no test phlo\.gone: the project has changed"):
        run_tests(project, ["test.phlo.gone"], home=lake_home)


def random_manifest(numbers: random.Random) -> dict[str, Any]:
    """Return a manifest of models that read sources and earlier models, some ephemeral, and tests of any of them."""
    sources = {f"source.p.raw.s{at}": {"config": {}} for at in range(numbers.randint(0, 3))}
    nodes: dict[str, Any] = {}
    for at in range(numbers.randint(1, 8)):
        known = [*sources, *nodes]
        reads = numbers.sample(known, numbers.randint(0, min(3, len(known))))
        kind = "ephemeral" if numbers.random() < 0.25 else "table"
        nodes[f"model.p.m{at}"] = {"config": {"materialized": kind}, "depends_on": {"nodes": reads}}
    known = [*sources, *nodes]
    tests = {
        f"test.p.t{at}": {"depends_on": {"nodes": numbers.sample(known, numbers.randint(1, min(3, len(known))))}}
        for at in range(6)
    }
    unit_tests = {f"unit_test.p.m.u{at}": {"depends_on": {"nodes": [numbers.choice([*nodes])]}} for at in range(2)}
    return {"sources": sources, "nodes": nodes, "tests": tests, "unit_tests": unit_tests}


def reads_of(test: dict[str, Any]) -> list[str]:
    return list(test["depends_on"]["nodes"])


def above(manifest: dict[str, Any], name: str) -> set[str]:
    found: set[str] = set()
    for parent in manifest["nodes"].get(name, {"depends_on": {"nodes": []}})["depends_on"]["nodes"]:
        found |= {parent, *above(manifest, parent)}
    return found


@pytest.mark.parametrize("seed", range(150))
def test_case_46_every_test_runs_once_when_all_it_reads_is_there(seed: int) -> None:
    numbers = random.Random(seed)
    manifest = random_manifest(numbers)
    selected = {name for name in manifest["nodes"] if numbers.random() < 0.7}
    tasks = {name for name in selected if manifest["nodes"][name]["config"]["materialized"] == "table"}
    read_by_selected = set().union(*(manifest["nodes"][name]["depends_on"]["nodes"] for name in selected))
    concerned = {
        name
        for name, test in {**manifest["tests"], **manifest["unit_tests"]}.items()
        if any(
            read in selected or (read in manifest["sources"] and read in read_by_selected) for read in reads_of(test)
        )
    }
    with_models, found = assign_tests(manifest, selected, concerned)
    placed = [test for tests in (*with_models.values(), *(each.tests for each in found)) for test in tests]
    assert sorted(placed) == sorted(concerned)
    alone = [test for tests in found for test in tests.tests]
    assert len(alone) == len(set(alone))
    for name, test in manifest["tests"].items():
        reads = set(test["depends_on"]["nodes"])
        # dbt's `buildable`
        with_a_model = any(reads <= {model, *above(manifest, model), *manifest["sources"]} for model in tasks & reads)
        assert (name in alone) == (name in concerned and not with_a_model)
    for name, test in manifest["unit_tests"].items():
        [model] = test["depends_on"]["nodes"]
        is_ephemeral = manifest["nodes"][model]["config"]["materialized"] == "ephemeral"
        assert (name in alone) == (name in concerned and is_ephemeral)
        assert (name in with_models.get(model, ())) == (name in concerned and not is_ephemeral)
    order = graphlib.TopologicalSorter({name: above(manifest, name) & tasks for name in tasks})
    for tests in found:
        order.add(tests.name, *tests.after)
        # who reads all of it waits
        for model in tests.before:
            order.add(model, tests.name)
        blocked = {model for model in tasks if set(tests.reads) <= above(manifest, model)}
        assert tests.before <= blocked
        assert all(model in tests.before or above(manifest, model) & tests.before for model in blocked)
        needed = {up for read in tests.reads for up in (read, *above(manifest, read)) if read in tasks or up in tasks}
        assert tests.after <= needed
        assert {read for read in tests.reads if read in tasks} <= tests.after
    order.prepare()  # raises for a circle


def test_names_are_short_enough_for_airflow() -> None:
    sources = {f"source.p.raw.{'long_' * 20}{at}": {"config": {}} for at in range(4)}
    reader = {"config": {"materialized": "table"}, "depends_on": {"nodes": [*sources]}}
    manifest = {
        "sources": sources,
        "nodes": {"model.p.m": reader},
        "tests": {"test.p.t": {"depends_on": reader["depends_on"]}},
        "unit_tests": {},
    }
    _, [found] = assign_tests(manifest, ["model.p.m"], manifest["tests"])
    assert len(found.name) == 120


def test_a_test_that_dbt_leaves_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A typo in what a test reads made the test vanish; one of what is disabled is meant to be left out."""
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "home"))
    related = "relationships: {arguments: {to: ref('%s'), field: id}}"
    tests = f"[unique, {related % 'peple'}, {related % 'off'}]"
    project = make_project(
        tmp_path / "shop",
        {
            "models/orders.sql": "select 1 as id",
            "models/off.sql": "{{ config(enabled=false) }} select 1 as id",
            "models/s.yml": f"models: [{{name: orders, columns: [{{name: id, data_tests: {tests}}}]}}]\n",
        },
    )
    for _ in range(2):  # each time that the Dag file is parsed
        caplog.clear()
        [task] = render(project).tasks
        assert [test.split(".")[2] for test in task.tests] == ["unique_orders_id"]
        [said] = [record.getMessage() for record in caplog.records if "leaves out" in record.message]
        assert "relationships_orders_id__id__ref_peple_ (models/s.yml) reads node peple" in said
