"""Nodes that run without dbt's graph, selection and threads: with the same results as with them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.dbt import execution, invocation, runner
from airflow_provider_phlo.dbt.manifest import ensure_manifest
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.dbt.own_project import make_project
from tests.lake import open_lake

# one worker parses the projects
pytestmark = pytest.mark.xdist_group("dbt project")

FILES = {
    "models/parents.sql": "select 1 as id",
    "models/notes.sql": "select n.* from {{ source('raw', 'notes') }} n left join {{ ref('parents') }} p using (id)",
    "models/broken.sql": "select nothing from {{ ref('parents') }}",
    "models/later.sql": "select * from {{ ref('notes') }}",
    "models/checked.sql": "select id + 1 as next from {{ ref('parents') }}",
    "models/added.sql": "select id + 1 as next from {{ ref('parents') }}",
    "tests/no_long_body.sql": "select * from {{ ref('notes') }} where length(body) > 1 -- the end",
    "tests/wrong.sql": "select nothing from {{ ref('notes') }}",
    "tests/not_jinja.sql": "select * from {{ ref('notes') }} {{ exceptions.raise_compiler_error('never') if execute }}",
    "tests/with_later.sql": "select 1 from {{ ref('notes') }} join {{ ref('later') }} using (id) where false",
    "macros/asked.sql": "{% test asked(model) %}"
    "{% set n = run_query('select count(*) from ' ~ model).columns[0][0] if execute else 0 %}"
    "select 1 where {{ n }} != 4 union all select 2{% endtest %}",
    "models/models.yml": """
sources: [{name: raw, tables: [{name: notes}]}]
models:
  - name: broken
    columns: [{name: id, data_tests: [not_null]}]
  - name: notes
    data_tests: [asked]
    columns:
      - name: id
        data_tests:
          - unique
          - not_null
          - relationships: {arguments: {to: ref('parents'), field: id}, config: {severity: warn}}
          - accepted_values: {arguments: {values: [1, 2], quote: false}, config: {warn_if: '> 0', error_if: '> 5'}}
      - name: body
        data_tests:
          - not_null: {config: {where: id > 2}}
          - accepted_values: {arguments: {values: [a]}, config: {limit: 1}}
          - unique: {config: {fail_calc: 'coalesce(sum(n_records), 0)'}}
          - not_null: {name: kept, config: {store_failures: true, severity: warn}}
unit_tests:
  - name: adds_one
    model: added
    given: [{input: ref('parents'), rows: [{id: 4}]}]
    expect: {rows: [{next: 5}]}
  - name: adds_two
    model: checked
    given: [{input: ref('parents'), rows: [{id: 4}]}]
    expect: {rows: [{next: 6}]}
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("own"), FILES)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    notes = pa.table({"id": [1, 2, 3, 3], "body": ["a", "bb", "a", None]})
    overwrite_if_changed(open_lake(home), "raw.notes", notes)
    ensure_manifest(Project(project, home))
    runner.build_model(project, "model.phlo.parents", home=home)
    return home


def results_of(project: Path, home: Path, model: str, monkeypatch: pytest.MonkeyPatch, way: Any) -> Mapping[str, Any]:
    """Return status, failures and message by node."""
    found: list[Any] = []
    with monkeypatch.context() as patched:
        patched.setattr(invocation, "known_nodes", way)
        patched.setattr(runner, "judge", lambda table, results, outcome: found.extend(results) or (0, ()))
        runner.build_model(project, f"model.phlo.{model}", home=home)
    return {result.node.unique_id: (str(result.status), result.failures, result.message) for result in found}


@pytest.mark.parametrize("model", ["parents", "notes", "broken", "checked", "added"])
def test_all_is_as_dbt_build_has_it(project: Path, home: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_dbt = results_of(project, home, model, monkeypatch, lambda nodes: nullcontext())
    asked: list[int] = []
    answer = execution._answer

    def count(adapter: Any, tests: Any) -> None:
        answer(adapter, tests)
        asked.extend(test.row is not None for test in tests)

    monkeypatch.setattr(execution, "_answer", count)
    ours = results_of(project, home, model, monkeypatch, execution.known_nodes)
    assert ours == by_dbt
    if model == "notes":
        assert {status for status, *_ in ours.values()} == {"success", "pass", "fail", "warn", "error"}
        assert not any(asked)  # one of them fails, so each is asked alone


def test_tests_that_can_be_asked_together_are(project: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests_with = runner._tests_with
    monkeypatch.setattr(runner, "_tests_with", lambda *given: [n for n in tests_with(*given) if ".wrong" not in n])
    together: list[str] = []
    answer = execution._answer

    def look(adapter: Any, tests: Any) -> None:
        answer(adapter, tests)
        together.extend(test.node.name for test in tests if test.row is not None)

    monkeypatch.setattr(execution, "_answer", look)
    ours = results_of(project, home, "notes", monkeypatch, execution.known_nodes)
    # not together: with a limit, another calculation, or rows that are kept, and the one that does not compile
    assert (len(together), len(ours)) == (7, 12)
    assert ours["model.phlo.notes"][0] == "success"
