"""Packages of a project: what is installed serves, what is only named is missed, ours stand in for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from airflow.sdk import DAG
from dbt.cli.main import dbtRunner

from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.dbt.adapter.connections import PhloConnectionManager
from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import ConfigurationError, QualityCheckError
from tests.dbt.own_project import make_project

MODEL = "model.phlo.amounts"
FILES = {
    "models/amounts.sql": "{{ config(schema='silver') }} select 5 as amount, '{{ codegen.made() }}' as made",
    "models/s.yml": "models: [{name: amounts, columns: [{name: amount, data_tests: [dbt_utils.accepted_range: {"
    "arguments: {min_value: 0}}, dbt_expectations.expect_column_values_to_be_between: {arguments: {max_value: 9}}]}]}]",
    "macros/codegen.sql": "",
}
NAMES = ("dbt_utils", "dbt_expectations", "codegen")
# as strict as no real package is: it is seen which one serves
THEIRS = {
    "dbt_utils": "{% test accepted_range(model, column_name, min_value=none) %}"
    "select * from {{ model }} where {{ column_name }} > 4{% endtest %}",
    "dbt_expectations": "{% test expect_column_values_to_be_between(model, column_name, max_value=none) %}"
    "select * from {{ model }} where {{ column_name }} > 4{% endtest %}",
    "codegen": "{% macro made() %}theirs{% endmacro %}",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DBT_SEND_ANONYMOUS_USAGE_STATS", "False")
    return tmp_path / "home"


def dbt(project: Path, *command: str) -> tuple[bool, str]:
    """Run dbt's command line in this process; return whether it succeeded, and what it says of an error."""
    PhloConnectionManager.close_all_connections()
    folders = (f"--project-dir={project}", f"--profiles-dir={project}", f"--log-path={project / 'logs'}")
    done = dbtRunner().invoke([*command, *folders, "--log-level=none"])
    return done.success, str(done.exception or "")


def write_packages(folder: Path) -> str:
    """Write packages below a folder; return a ``packages.yml`` that names them."""
    for name, macro in THEIRS.items():
        (folder / name / "macros").mkdir(parents=True)
        (folder / name / "dbt_project.yml").write_text(f"name: {name}\nversion: '9.0'\n")
        (folder / name / "macros" / "all.sql").write_text(macro)
    return "packages:\n" + "".join(f"  - local: {folder / name}\n" for name in THEIRS)


def test_packages_that_are_installed_serve_and_ours_only_where_none_is(tmp_path: Path, home: Path) -> None:
    project = make_project(
        tmp_path, {**FILES, "models/amounts.sql": "{{ config(schema='silver') }} select 5 as amount"}
    )
    done = build_model(project, MODEL, home=home)
    assert (done.rows, done.tests) == (1, 2)
    packages = write_packages(tmp_path / "packages")
    (project / "packages.yml").write_text(packages)
    # ours are in the folder, and are not what the file names
    with DAG("a_dag", schedule=None), pytest.raises(ConfigurationError) as caught:
        phlo_dbt_task_group(project_dir=project)
    assert str(caught.value) == (
        f"{project / 'packages.yml'} names {', '.join(sorted(NAMES))}, which are not installed in "
        f"{project / 'local_packages'}: run `dbt deps --project-dir {project}`."
    )
    assert dbt(project, "deps") == (True, "")
    (project / "models" / "amounts.sql").write_text(FILES["models/amounts.sql"])
    with DAG("another_dag", schedule=None) as dag:
        phlo_dbt_task_group(project_dir=project, group_id="g")
    [task] = dag.tasks
    with pytest.raises(QualityCheckError, match="2 dbt tests failed"):
        build_model(project, MODEL, home=home, tests=task.tests)
    assert dbt(project, "build") == (False, "")  # by hand, the same tests fail
    (project / "models" / "s.yml").unlink()
    assert build_model(project, MODEL, home=home, full_refresh=True).tests == 0


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        ({"packages.yml": "packages: [{package: dbt-labs/dbt_utils, version: 1.3.0}]"}, "dbt_utils, which is"),
        ({"dependencies.yml": "packages: [{package: dbt-labs/codegen, version: 0.13.1}]"}, "codegen, which is"),
        ({"packages.yml": "packages: [{git: 'https://example.com/a.git', revision: main}]"}, "dbt deps"),
    ],
)
def test_a_package_that_is_named_and_not_installed(
    tmp_path: Path, home: Path, content: Mapping[str, str], missing: str
) -> None:
    project = tmp_path / "shop"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (project / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: phlo, schema: shop}}}")
    (project / "models" / "a.sql").write_text("select 1 as a")
    for name, text in content.items():
        (project / name).write_text(text)
    if "git" not in str(content):  # one that is left from before counts for dbt
        (project / "dbt_packages" / "old").mkdir(parents=True)
        (project / "dbt_packages" / "old" / "dbt_project.yml").write_text("name: old")
    with DAG("a_dag", schedule=None), pytest.raises(ConfigurationError, match=missing) as caught:
        phlo_dbt_task_group(project_dir=project)
    assert "dbt deps" in str(caught.value)


def test_a_package_that_is_missing_by_hand(tmp_path: Path) -> None:
    project = make_project(tmp_path, {"models/a.sql": "select 1 as a", "packages.yml": "packages: [{local: ../p}]"})
    settings = project / "dbt_project.yml"
    settings.write_text(settings.read_text().replace("packages-install-path: local_packages", ""))
    success, said = dbt(project, "build")
    assert not success
    assert "dbt deps" in said
