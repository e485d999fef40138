"""What goes wrong in a model's SQL is reported by kind, model and column, never with a value."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, TransientError
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.library_errors import without_values
from tests.canary import CANARY, files_with_canary, has_canary, told
from tests.dbt.own_project import make_project
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("dbt project")

NOTES = "{{ source('raw', 'notes') }}"
# model: its SQL, and what its error says
MODELS = {
    "parsed": (f"select strptime(note, '%Y') as at from {NOTES}", "Invalid Input Error", "column note"),
    "cast_int": (f"select cast(note as int) as n from {NOTES}", "Conversion Error", "column note"),
    "literal": ('select \'{"name":"Brien","x":bad}\'::json as j', "Conversion Error"),
    "json": (f"select note::json as j from {NOTES}", "Conversion Error", "column note"),
    "json_path": (f"select json_extract(note, '$.a') as j from {NOTES}", "Invalid Input Error", "column note"),
    "date": (f"select id, note::date as d from {NOTES}", "Conversion Error", "column note"),
    "times": (f"select date_trunc(note, date '2024-01-01') as d from {NOTES}", "Conversion Error", "column note"),
    "zone": (f"select timestamp '2024-01-01' at time zone note as d from {NOTES}", "Not implemented Error"),
    "decimal": (f"select note::decimal(4, 2) as d from {NOTES}", "Conversion Error", "column note"),
    "nested": (f"select [note]::int[] as d from {NOTES}", "Conversion Error"),
    "regex": (f"select regexp_matches('a', note || '(') as d from {NOTES}", "Invalid Input Error", "column note"),
    "raised": (f"select error(note) as d from {NOTES}", "Invalid Input Error"),
    "overflow": (f"select length(note)::tinyint * 100 * 100 as d from {NOTES}", "Out of Range Error"),
    "pivoted": (f"select nothing from (pivot {NOTES} on note using sum(id))", "Binder Error", '"nothing" not found'),
    "file": (f"select * from read_csv((select note from {NOTES}))", "Binder Error"),
    "quoted": ("select 'O''Brien 77' + nothing", "Binder Error"),
    "half": ("select 'O''Brien 77 from nothing", "Error"),
    "second_line": (
        "select 1 as a,\n  nothing as b",
        "Binder Error",
        "line 2 of",
        "compiled/phlo/models/m_second_line.sql",
    ),
}
# model: its code, its error, and whether a retry may help
PYTHON = {
    "attribute": ("x = dbt.source('raw', 'notes')\n    return x.nothing(1)", "AttributeError (line 4 of", False),
    "value": ("int('Smith 77')\n    return None", "ValueError (line 3 of", False),
    "server": (
        "__import__('socket').create_connection(('127.0.0.1', 1))\n    return None",
        "ConnectionRefusedError",
        True,
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small project with the real one's macros."""
    files = {f"models/m_{name}.sql": sql for name, (sql, *_) in MODELS.items()}
    for name, (code, *_) in PYTHON.items():
        head = "def model(dbt, session):\n    dbt.config(materialized='table')\n"
        files[f"models/p_{name}.py"] = f"{head}    {code}\n"
    files["models/tested.sql"] = f"select * from {NOTES}"
    files["models/s.yml"] = (
        "sources: [{name: raw, tables: [{name: notes}]}]\n"
        "models: [{name: tested, columns: [{name: note, data_tests: [accepted_values: {arguments: {values: [a]}}, "
        "unique]}]}]\n"
    )
    return make_project(tmp_path_factory.mktemp("dbt"), files)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    catalog = open_lake(home)
    overwrite_if_changed(catalog, "raw.notes", pa.table({"id": [1, 2], "note": [CANARY, CANARY]}))
    return home


@pytest.mark.parametrize("name", PYTHON)
def test_case_34_an_error_of_a_python_model_names_line_and_kind(project: Path, home: Path, name: str) -> None:
    _, wanted, may_pass = PYTHON[name]
    with pytest.raises(TransientError if may_pass else ConfigurationError) as raised:
        build_model(project, f"model.phlo.p_{name}", home=home, environment={"PHLO_RUN_TOKEN": name})
    assert f"p_{name}: the Python model raised {wanted}" in str(raised.value)
    assert "Smith" not in str(raised.value)


@pytest.mark.parametrize("name", MODELS)
def test_case_34_an_error_of_sql_names_kind_model_and_column_and_no_value(
    project: Path, home: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    _, *wanted = MODELS[name]
    with pytest.raises((TransientError, ConfigurationError)) as raised:
        build_model(project, f"model.phlo.m_{name}", home=home, environment={"PHLO_RUN_TOKEN": name})
    said = str(raised.value)
    assert all(words in said for words in (f"m_{name}", *wanted)), said
    assert not has_canary(said)
    assert not has_canary(told(without_values(raised.value)))
    assert not has_canary("".join(capfd.readouterr()))
    # models that name the canary themselves stand in dbt's own files
    written = [file for file in files_with_canary(home) if not file.startswith("dbt/")]
    assert written == []


def test_case_34_no_file_of_dbt_holds_a_value(project: Path, home: Path) -> None:
    build = Project(project, home).folder
    assert (build / "manifest.json").exists()
    named = {f"m_{name}.sql" for name, (sql, *_) in MODELS.items() if has_canary(sql)}
    own_words = {"manifest.json", "partial_parse.msgpack", "render.json"} | named
    results = {file for file in files_with_canary(home) if Path(file).name == "run_results.json"}
    assert {file for file in files_with_canary(home) if Path(file).name not in own_words} == results
    for file in results:  # which have the SQL, and no value of the data beside it
        content = json.loads((home / file).read_text())
        assert [result.pop("compiled_code") for result in content["results"]]
        assert not has_canary(json.dumps(content))


def test_a_failing_test_of_dbt_names_no_value(project: Path, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PhloError) as raised:
        build_model(project, "model.phlo.tested", home=home, environment={"PHLO_RUN_TOKEN": "tested"})
    assert "accepted_values" in str(raised.value)
    assert not has_canary(told(raised.value) + "".join(capfd.readouterr()))
