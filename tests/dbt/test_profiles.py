"""Which output of which ``profiles.yml`` a project runs with, under which name: SQL asks for ``target.name``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_phlo.dbt.profiles import profile_of
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.dbt.own_project import write_project

PLAIN = {"type": "duckdb", "path": "shop.duckdb", "schema": "analytics", "threads": 4}
OURS = {"type": "phlo", "schema": "lake"}
OTHER = {"type": "snowflake", "schema": "s"}
BY_VARIABLE = "{{ env_var('WHERE', 'dev') }}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.delenv("DBT_PROFILES_DIR", raising=False)
    return write_project(tmp_path / "shop", {"dbt_project.yml": "name: shop\nprofile: p\n"})


def profiles(target: str | None, **outputs: Any) -> str:
    return yaml.safe_dump({"p": {**({"target": target} if target else {}), "outputs": outputs}})


@pytest.mark.parametrize(
    ("outputs", "default", "asked", "where", "expected"),
    [
        # a profile for plain DuckDB: its output is taken over under its own name
        ({"dev": PLAIN, "prod": {**PLAIN, "schema": "live"}}, "dev", "duckdb", None, ("dev", "analytics")),
        ({"dev": PLAIN, "prod": {**PLAIN, "schema": "live"}}, "dev", "prod", None, ("prod", "live")),
        ({"dev": PLAIN, "prod": {**PLAIN, "schema": "live"}}, BY_VARIABLE, "duckdb", "prod", ("prod", "live")),
        ({"only": PLAIN}, None, "duckdb", None, ("only", "analytics")),
        ({"dev": {**PLAIN, "type": "{{ env_var('KIND', 'duckdb') }}"}}, "dev", "duckdb", None, ("dev", "analytics")),
        # one of ours
        ({"dev": OURS, "prod": {**OURS, "schema": "live"}}, BY_VARIABLE, "duckdb", None, ("dev", "lake")),
        ({"dev": OURS, "prod": {**OURS, "schema": "live"}}, BY_VARIABLE, "duckdb", "prod", ("prod", "live")),
        ({"dev": OURS, "duckdb": PLAIN}, "dev", "duckdb", None, ("dev", "lake")),
        # made
        ({"trino": {"type": "trino"}}, "trino", "duckdb", None, ("duckdb", "shop")),
    ],
)
def test_the_output_that_the_profile_means(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    outputs: dict[str, Any],
    default: str | None,
    asked: str,
    where: str | None,
    expected: tuple[str, str],
) -> None:
    write_project(project, {"profiles.yml": profiles(default, **outputs)})
    if where:
        monkeypatch.setenv("WHERE", where)
    found = profile_of(project, asked)
    assert (found.target, found.content["p"]["outputs"][found.target]["schema"]) == expected
    assert found.is_embedded


@pytest.mark.parametrize(
    ("outputs", "default", "asked", "said"),
    [
        ({"dev": OTHER}, "dev", "duckdb", "is for snowflake"),
        ({"dev": PLAIN, "prod": OTHER}, "dev", "prod", "no output 'prod' of type phlo, duckdb or trino"),
        ({"dev": PLAIN}, "prd", "duckdb", r"no output 'prd', which is its target \(outputs: dev\)"),
        ({"dev": PLAIN}, "{{ env_var('NOT_SET') }}", "duckdb", "reads the environment variable NOT_SET, which is not"),
        ({"dev": PLAIN}, "{{ var('x') }}", "duckdb", "profiles.yml: .* 'var' is undefined"),
    ],
)
def test_what_cannot_be_is_said(project: Path, outputs: dict[str, Any], default: str, asked: str, said: str) -> None:
    write_project(project, {"profiles.yml": profiles(default, **outputs)})
    with pytest.raises(ConfigurationError, match=said):
        profile_of(project, asked)


def test_it_is_looked_for_where_dbt_does(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file that knows the profile: a folder of a whole deployment need not know each project's."""
    home, deployed = tmp_path / "person" / ".dbt", tmp_path / "deployed"
    for folder in (home, deployed):
        folder.mkdir(parents=True)
    assert profile_of(project).target == "duckdb"
    (home / "profiles.yml").write_text(profiles("at_home", at_home=PLAIN))
    assert profile_of(project).target == "at_home"
    (project / "profiles.yml").write_text(profiles("own", own=PLAIN))
    assert profile_of(project).target == "own"
    monkeypatch.setenv("DBT_PROFILES_DIR", str(deployed))
    (deployed / "profiles.yml").write_text("another: {outputs: {x: {type: duckdb}}}\n")
    assert profile_of(project).target == "own"
    (deployed / "profiles.yml").write_text(profiles("deployed", deployed=OURS))
    assert profile_of(project).target == "deployed"


def test_a_group_reads_its_own_variables(project: Path, tmp_path: Path) -> None:
    outputs = {"dev": OURS, "prod": {**OURS, "schema": "{{ env_var('LAYER', 'live') }}"}}
    write_project(project, {"profiles.yml": profiles(BY_VARIABLE, **outputs)})
    assert Project(project, tmp_path / "home").profile.target == "dev"
    assert Project(project, tmp_path / "home", env={"WHERE": "prod"}).profile.target == "prod"
