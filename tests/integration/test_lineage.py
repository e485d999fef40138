"""``phlo lineage`` over this repository's DAG files, one that is broken, and two dbt projects."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from airflow.dag_processing.dagbag import DagBag

from airflow_provider_phlo.cli.lake import lineage_graph
from airflow_provider_phlo.cli.terminal.errors import REFUSED
from tests.dbt.own_project import make_project
from tests.lake import create_table, open_lake
from tests.openmetadata_server import TOKEN, running_openmetadata
from tests.unit import raw_tables

ROOT = Path(__file__).parents[2]
PROJECT = str(ROOT / "include" / "dbt")
# what comes after a reading in another project, which knows it as a source
OTHER = {
    "models/sources.yml": (
        "sources: [{name: lake, schema: silver, tables: [{name: fct_glucose_readings}]}]\n"
        "exposures: [{name: board, type: dashboard, owner: {name: Bea, email: b@example.com}, "
        "depends_on: [ref('alarms')]}]\n"
    ),
    "models/alarms.sql": (
        "select entry_id, glucose_mg_dl < 55 as is_low from {{ source('lake', 'fct_glucose_readings') }}"
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lineage")
    for part in ("dags", "include/contracts"):
        shutil.copytree(ROOT / part, folder / part)
    (folder / "dags" / "broken.py").write_text("from airflow.sdk import DAG\n\nraise KeyError('dag')\n")
    make_project(folder, OTHER)
    catalog = open_lake(folder / "home")
    raw_tables.write(catalog, "raw.glucose_entries", raw_tables.glucose())
    with pytest.MonkeyPatch.context() as patch:
        # dbt is in memory here: what reads the DAG files next finds its project parsed, as where Airflow runs
        patch.setenv("PHLO_HOME", str(folder / "home"))
        patch.setenv("PHLO_DBT_PROJECT", PROJECT)
        importlib.import_module("dbt.cli.main")
        DagBag(str(folder / "dags"))
    return folder


@pytest.fixture
def lineage(place, monkeypatch, run_phlo):
    """Return a function that runs ``phlo lineage`` for the project and the other one."""
    monkeypatch.setenv("PHLO_HOME", str(place / "home"))
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(place / "dags"))
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    monkeypatch.setenv("PHLO_DBT_PROJECT", PROJECT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(ROOT)
    return lambda command, *arguments: run_phlo("lineage", command, *arguments, "--project", str(place / "project"))


def rows(lineage, *arguments):
    code, out, err = lineage(*arguments, "-o", "json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.timeout(900)
@pytest.mark.xdist_group("lineage")
class TestLineage:
    """In one process, as the first command reads what the others use."""

    def test_a_column_goes_down_to_the_columns_in_postgres(self, lineage):
        code, out, err = lineage("show", "raw.glucose_entries.sgv", "--downstream")
        assert code == 0, err
        lines = out.splitlines()
        assert lines[0] == "raw.glucose_entries.sgv  table · glucose_platform"
        assert "├── bronze.stg_glucose_entries.glucose_mg_dl  model · copied" in lines
        ends = [line for line in lines if "postgres_default:marts.mrt_glucose_overview.avg_glucose_mg_dl" in line]
        assert ends == [
            "│   │   │   │   └── postgres_default:marts.mrt_glucose_overview.avg_glucose_mg_dl  mart · copied"
        ]
        assert "│   ├── silver.fct_glucose_readings.is_in_range  model · computed" in lines
        assert "├── RangeCheck(sgv)  check · 1 <= sgv <= 1000" in lines
        assert "\033" not in out
        # of the broken file, its error is shown, and nothing else is lost
        assert "broken.py cannot be imported: KeyError: 'dag'" in err

    def test_steps_for_programs(self, lineage):
        steps = rows(lineage, "show", "silver.fct_glucose_readings.glucose_mg_dl", "--upstream")
        assert [(step["depth"], step["node"], step["column"], step["how"]) for step in steps] == [
            (1, "bronze.stg_glucose_entries", "glucose_mg_dl", "copied"),
            (2, "raw.glucose_entries", "sgv", "copied"),
            (3, "source:nightscout_default", "raw.glucose_entries.sgv", "copied"),
        ]
        assert steps[1]["dags"] == ["glucose_platform"]

    def test_another_project_goes_on_with_a_table_of_the_first(self, lineage):
        steps = rows(lineage, "show", "fct_glucose_readings.glucose_mg_dl", "--downstream", "--depth", "1")
        assert ("silver.alarms", "is_low") in {(step["node"], step["column"]) for step in steps}
        (board,) = [row for row in rows(lineage, "impact", "raw.glucose_entries") if row["kind"] == "dashboard"]
        assert (board["name"], board["owners"]) == ("exposure:board", ["Bea"])

    def test_impact(self, lineage):
        found = rows(lineage, "impact", "raw.glucose_entries.direction")
        named = {row["name"]: row for row in found}
        assert named["silver.fct_glucose_readings"]["columns"] == ["direction"]
        assert named["raw.glucose_entries__quarantine"]["how"] == ["unknown"]
        assert "marts.mrt_glucose_overview" not in named
        code, out, _ = lineage("impact", "raw.glucose_entries.sgv")
        assert code == 0
        assert "DAGs: glucose_platform. Owners: Bea." in out

    def test_reconciliations_see_both_sides(self, lineage):
        steps = rows(lineage, "show", "raw.glucose_entries._phlo_partition_date", "--downstream", "--depth", "1")
        assert "reconciliation" in {step["kind"] for step in steps}

    def test_the_name_that_a_source_has(self, lineage):
        """dlt calls dateString date_string."""
        code, out, _ = lineage("show", "glucose_entries.dateString", "--upstream")
        assert (code, out.splitlines()[-1]) == (0, "└── nightscout_default date_string  source · copied")

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("raw.glucose_entry", "Near it: raw.glucose_entries"),
            ("raw.glucose_entries.svg", "raw.glucose_entries has no column svg. Of its columns: sgv."),
            ("marts.mrt_glucose_overview.nope", "marts.mrt_glucose_overview has no column nope."),
        ],
    )
    def test_what_is_not_known_is_refused_with_what_is_near(self, lineage, name, said):
        code, out, err = lineage("show", name)
        assert (code, out) == (REFUSED, "")
        assert said in err

    def test_a_folder_without_a_project_is_refused(self, run_phlo, lineage):
        code, _, err = run_phlo("lineage", "show", "x", "--project", "docs")
        assert code == REFUSED
        assert "docs is not a dbt project" in err

    def test_nothing_is_read_again_that_has_not_changed(self, lineage, monkeypatch):
        def refuse(*_, **__):
            raise AssertionError("a process was started")

        monkeypatch.setattr(subprocess, "Popen", refuse)
        monkeypatch.setattr(lineage_graph, "_build", refuse)
        assert lineage("show", "raw.user_events")[0] == 0

    def test_a_catalog_that_has_changed_is_read_again(self, lineage, place):
        raw_tables.write(open_lake(place / "home"), "raw.user_profile", [])
        code, out, err = lineage("show", "raw.user_profile.login", "--downstream", "--depth", "1")
        assert code == 0, err
        assert "bronze.github_profile.login" in out

    @pytest.mark.parametrize("form", ["mermaid", "dot", "json", "openlineage"])
    def test_export(self, lineage, tmp_path, form):
        target = tmp_path / "lineage.out"
        code, out, err = lineage("export", "--format", form, "--output", str(target))
        assert (code, out) == (0, ""), err
        assert "mrt_glucose_overview" in target.read_text()
        assert [path.name for path in tmp_path.iterdir()] == ["lineage.out"]
        code, out, _ = lineage("export", "mrt_github_repos", "--format", form)
        assert code == 0
        assert "user_repos" in out
        assert "glucose" not in out

    def test_a_file_that_cannot_be_written_is_refused(self, lineage, tmp_path):
        code, _, err = lineage("export", "--format", "dot", "--output", str(tmp_path / "none" / "x.dot"))
        assert code == REFUSED
        assert "cannot be written: No such file or directory" in err
        code, _, err = lineage("export", "--format", "dot", "--output", "/")
        assert code == REFUSED
        assert "phlo lineage export: / cannot be written: it is a folder." in err

    def test_openmetadata_gets_it(self, lineage, run_phlo, place, monkeypatch):
        create_table(open_lake(place / "home"), "bronze.stg_glucose_entries", pa.table({"glucose_mg_dl": [100.0]}))
        with running_openmetadata() as server:
            monkeypatch.setenv("OPENMETADATA_HOST", server.url)
            connection = json.dumps({"conn_type": "http", "password": TOKEN})
            monkeypatch.setenv("AIRFLOW_CONN_OPENMETADATA_DEFAULT", connection)
            code, _, err = run_phlo("catalog", "sync", "--lineage", "--tables", "raw.glucose_entries", "bronze.*")
            assert code == 1
            assert "broken.py cannot be imported" in err  # what is not known of lineage is named
            (edge,) = server.lineage.values()
            assert {
                "fromColumns": ["phlo.default.raw.glucose_entries.sgv"],
                "toColumn": "phlo.default.bronze.stg_glucose_entries.glucose_mg_dl",
            } in edge["lineageDetails"]["columnsLineage"]


def test_what_is_kept_is_old_when_a_file_or_setting_has_changed(tmp_path, monkeypatch):
    first = tmp_path / "dag.py"
    first.write_text("a")
    kept = {"read": [str(first)]}
    before = lineage_graph._state(kept)
    assert lineage_graph._state(kept) == before
    first.write_text("ab")
    changed = lineage_graph._state(kept)
    (tmp_path / "new.py").write_text("")
    with_another = lineage_graph._state(kept)
    monkeypatch.setenv("AIRFLOW_CONN_ICEBERG_DEFAULT", "iceberg://")
    elsewhere = lineage_graph._state(kept)
    first.unlink()
    assert len({before, changed, with_another, elsewhere, lineage_graph._state(kept)}) == 5
    # a server's tables may change unseen
    assert lineage_graph._state({"read": None}) != lineage_graph._state({"read": None})
