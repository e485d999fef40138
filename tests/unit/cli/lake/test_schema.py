"""``phlo schema list|show|diff``, in the folder of this repository as a project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_phlo.cli import main as cli
from airflow_provider_phlo.cli.terminal.errors import FAILED, REFUSED
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.iceberg.tables.evolution import evolve
from airflow_provider_phlo.schemas import pandera_to_iceberg
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from airflow_provider_phlo.schemas.project import load_reference
from tests.expect import expect
from tests.lake import open_lake
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[4]
ENTRIES = "include.schemas.glucose:RawGlucoseEntries"
YAML = "include/dbt/models/glucose/glucose.yml"


def fill(home: Path) -> None:
    import pyarrow as pa

    catalog = open_lake(home)
    for name, model in (
        ("raw.glucose_entries", ENTRIES),
        ("silver.fct_glucose_readings", f"{YAML}:fct_glucose_readings"),
        ("raw.user_events", "include.schemas.github:UserEvents"),
    ):
        ensure_table(catalog, name, pandera_to_iceberg(load_reference(model, ROOT)))
    ensure_table(catalog, "raw.unknown", pandera_to_iceberg(load_reference("include.schemas.github:UserRepos", ROOT)))
    # the model's id is a number
    ensure_table(catalog, "raw.user_repos", arrow_to_iceberg([pa.field("id", pa.string())]))
    # a column that the model does not have
    evolve(catalog, "raw.user_events", pa.schema([("more", pa.struct([("x", pa.int32())]))]))


@pytest.fixture
def phlo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_phlo: Any) -> Any:
    fill(tmp_path)
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    return partial(run_phlo, "schema")


def listed(phlo: Any, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    ended, out, err = phlo(*arguments, "-o", "json")
    assert ended == code, err
    return json.loads(out)


def test_list(phlo: Any) -> None:
    rows = {row["table"] or row["model"]: row for row in listed(phlo, "list")}
    assert rows["raw.glucose_entries"] == {
        "table": "raw.glucose_entries",
        "columns": 16,
        "model": ENTRIES,
        "difference": "same",
    }
    assert rows["silver.fct_glucose_readings"]["model"] == f"{YAML}:fct_glucose_readings"
    assert rows["raw.user_events"]["difference"] == "compatible"
    assert rows["raw.user_repos"]["difference"] == "breaking"
    expect(rows["raw.unknown"], model=None, difference=None)
    assert rows["include.schemas.github:UserProfile"]["table"] is None
    assert rows["include.schemas.glucose:FactDailyGlucoseMetrics"]["table"] is None
    assert ENTRIES not in rows


def test_list_of_one_namespace(phlo: Any) -> None:
    assert [row["table"] for row in listed(phlo, "list", "--schema", "silver")] == ["silver.fct_glucose_readings"]
    code, out, _ = phlo("list", "--schema", "raw")
    assert code == 0
    assert "raw.glucose_entries" in out
    assert "UserProfile" not in out


def test_show_a_model(phlo: Any) -> None:
    rows = {row["column"]: row for row in listed(phlo, "show", ENTRIES)}
    assert list(rows)[:3] == ["_id", "sgv", "date"]
    assert rows["_id"]["unique"] is True
    assert rows["sgv"] == {
        "column": "sgv", "type": "long", "pandera": "int", "nullable": False, "unique": False, "range": "1 ≤ x ≤ 1000",
        "allowed": None, "rules": None, "warnings": None, "default": None, "pii": True,
        "description": "glucose, mg/dL; outside 20-600 a state of the sensor",
    }  # fmt: skip
    expect(rows["date_string"], type="string", pandera="str")
    assert rows["date_string"]["nullable"] is True


def test_show_a_dbt_model(phlo: Any) -> None:
    rows = {row["column"]: row for row in listed(phlo, "show", f"{YAML}:fct_glucose_readings")}
    assert rows["glucose_category"]["allowed"] == [
        "hypoglycemia", "in_range", "hyperglycemia_mild", "hyperglycemia_severe",
    ]  # fmt: skip
    assert rows["hour_of_day"]["range"] == "0 ≤ x ≤ 23"
    _, out, _ = phlo("show", f"{YAML}:fct_glucose_readings")
    assert "glucose_category allows: hypoglycemia, in_range, hyperglycemia_mild, hyperglycemia_severe\n" in out


def test_show_a_table_with_its_model_and_its_own_columns(phlo: Any) -> None:
    rows = {row["column"]: row for row in listed(phlo, "show", "glucose_entries")}
    assert rows["sgv"]["range"] == "1 ≤ x ≤ 1000"
    assert rows["_phlo_row_hash"]["range"] is None
    code, out, _ = phlo("show", "raw.glucose_entries")
    assert code == 0
    assert "Rules of the model RawGlucoseEntries." in out
    assert "Undeclared columns are kept." in out
    assert "warnings" not in out.splitlines()[0]


def test_show_members_of_nested_columns(phlo: Any) -> None:
    rows = {row["column"]: row for row in listed(phlo, "show", "raw.user_events")}
    assert rows["more"]["type"] == "struct<x: optional int>"
    assert rows["more.x"]["pandera"] == "Annotated[pd.ArrowDtype, int32]"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with a DAG file that defines models, and a dbt YAML."""
    (tmp_path / "models.yml").write_text(
        """
models:
  - name: readings
    columns:
      - {name: id, data_type: varchar, tests: [not_null, unique, is_nice]}
      - {name: value, data_type: bigint, tests: [not_null, {dbt_utils.accepted_range: {min_value: 1, severity: warn}}]}
"""
    )
    (tmp_path / "a_dag.py").write_text(
        """
from __future__ import annotations
from pandera.pandas import Field
from airflow_provider_phlo.schemas import PhloSchema

class Reading(PhloSchema):
    id: str = Field(unique=True)
    value: int

class Later(Reading):
    note: str | None = Field(nullable=True)

class Tighter(Reading):
    value: int = Field(ge=20)
"""
    )
    return tmp_path


def test_show_what_warns_and_what_constrains_nothing(phlo: Any, files: Path) -> None:
    (_, value) = listed(phlo, "show", f"{files}/models.yml:readings")
    expect(value, range=None, warnings=["greater_than_or_equal_to(1)"])
    _, out, _ = phlo("show", f"{files}/models.yml:readings")
    assert "Not turned into a constraint: id: is_nice (unknown test)." in out


def test_diff(phlo: Any, files: Path) -> None:
    reading, later, tighter = (f"{files}/a_dag.py:{name}" for name in ("Reading", "Later", "Tighter"))
    assert phlo("diff", reading, reading)[:2] == (0, phlo("diff", later, later)[1])
    assert listed(phlo, "diff", reading, later) == [
        {
            "column": "note", "change": "added", "old": None, "new": "string", "breaks": None,
            "reason": "optional in the table, NULL in its existing rows",
        }
    ]  # fmt: skip
    (row,) = listed(phlo, "diff", reading, tighter, code=FAILED)
    expect(row, column="value", change="range", new="≥ 20", breaks="producers")
    assert phlo("diff", reading, f"{files}/models.yml:readings")[0] == 0
    assert phlo("diff", reading, tighter)[1].endswith("Breaking: for producers.\n")
    assert phlo("diff", reading, later)[1].endswith("Compatible.\n")
    assert phlo("diff", reading, reading)[1].endswith("No difference.\n")


def test_diff_of_a_table_and_its_model(phlo: Any) -> None:
    assert listed(phlo, "diff", "glucose_entries", ENTRIES) == []
    (row,) = listed(phlo, "diff", "raw.user_events", "include.schemas.github:UserEvents", code=FAILED)
    expect(row, column="more", change="removed", breaks="consumers")
    assert listed(phlo, "diff", "include.schemas.github:UserEvents", "raw.user_events")[0]["breaks"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "raw.nope"), "raw.nope does not exist"),
        (("show", "raw.x y."), "not a table name"),
        (("show", "include.schemas.github:Nobody"), "write 'package.module:Class'"),
        (("show", "include.schemas.github:annotations"), "is not a Pandera model"),
        (("show", "nope.yml:x"), "nope.yml cannot be read"),
        (("show", f"{YAML}:nope"), "does not have a model 'nope'"),
        (("show", "nope.py:X"), "There is no file"),
        (("diff", ENTRIES, "raw.nope"), "raw.nope does not exist"),
    ],
)
def test_errors_end_with_2(phlo: Any, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = phlo(*arguments)
    assert (code, out) == (REFUSED, "")
    assert message in err


def test_a_file_that_fails_is_reported(phlo: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    code, _, err = phlo("show", f"{tmp_path}/broken.py:X")
    assert code == REFUSED
    assert "ZeroDivisionError" in err


# --- the installed programs, in a project of their own ---------------------------------------------------------------


def program(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    environment = {**clean, "PHLO_HOME": str(project / ".phlo"), "HOME": str(project / "nobody")}
    path = Path(sys.executable).parent / command[0]
    return subprocess.run(
        [path, *command[1:]], env=environment, cwd=project, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.fixture
def project(tmp_path: Path, files: Path) -> Path:
    for folder in (".phlo", "dags", "include/schemas"):
        (tmp_path / folder).mkdir(parents=True)
    for package in ("include", "include/schemas"):
        (tmp_path / package / "__init__.py").touch()
    reading = (files / "a_dag.py").read_text()
    (tmp_path / "include/schemas/readings.py").write_text(reading)
    (tmp_path / "include/schemas/broken.py").write_text("import nothing_of_that_name")
    calls = """
from include.schemas.readings import Later as Imported
@phlo_ingestion(table_name="one", validation_schema=Reading)
def one(): ...
@phlo_ingestion(table_name="other.two", validation_schema=Imported)
def two(): ...
three = IngestOperator(table="three", validation_schema="include.schemas.readings:Tighter")
"""
    (tmp_path / "dags/a_dag.py").write_text(reading + calls)
    catalog = open_lake(tmp_path / ".phlo")
    for name in ("raw.one", "other.two", "raw.three"):
        ensure_table(catalog, name, pandera_to_iceberg(load_reference(f"{files}/a_dag.py:Reading", ROOT)))
    return tmp_path


@pytest.mark.long
def test_as_airflow_runs_it(project: Path) -> None:
    done = program(project, "airflow", "phlo", "schema", "list", "-o", "json")
    rows = {row["table"]: (row["model"], row["difference"]) for row in json.loads(done.stdout) if row["table"]}
    assert rows["other.two"] == ("include.schemas.readings:Later", "compatible")
    assert rows["raw.three"] == ("include.schemas.readings:Tighter", "same")
    # found by its text; what it says can only be known by running the file
    assert rows["raw.one"] == ("dags/a_dag.py:Reading", None)
    assert "nothing_of_that_name" in done.stderr
    assert "dags/a_dag.py cannot be imported" in done.stderr
    reading = "include.schemas.readings:Reading"
    assert program(project, "phlo", "schema", "diff", reading, "include.schemas.readings:Tighter").returncode == FAILED


def test_the_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["schema", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("list", "show", "diff"))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("RawGlucoseEntries", "include.schemas.glucose:RawGlucoseEntries"),
        ("rawglucoseentries", "include.schemas.glucose:RawGlucoseEntries"),
        ("FactGlucoseReadings", "include/dbt/models/glucose/glucose.yml:fct_glucose_readings"),
        ("fct_glucose_readings", "include/dbt/models/glucose/glucose.yml:fct_glucose_readings"),
    ],
)
def test_case_63_models_go_by_the_names_of_their_authors(phlo: Any, name: str, reference: str) -> None:
    assert listed(phlo, "show", name) == listed(phlo, "show", reference)
