"""What a run leaves for other tools."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from dbt.artifacts.schemas.manifest import WritableManifest
from dbt.artifacts.schemas.run import RunResultsArtifact

from airflow_provider_phlo.dbt.artifacts import DAYS
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.dbt.runner import build_model
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.dbt.own_project import make_project
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("dbt project")

FILES = {
    "models/notes.sql": "select id, cast(body as int) as body from {{ source('raw', 'notes') }}",
    "models/models.yml": "sources: [{name: raw, tables: [{name: notes}]}]\n"
    "models: [{name: notes, columns: [{name: id, data_tests: [not_null]}]}]",
}


def test_results_and_manifest_of_each_run_are_kept(tmp_path: Path) -> None:
    project, home = make_project(tmp_path, FILES), tmp_path / "home"

    def build(run: str, body: str) -> Path:
        overwrite_if_changed(open_lake(home), "raw.notes", pa.table({"id": [1], "body": [body]}))
        environment = {"PHLO_RUN_TOKEN": run, "PHLO_RUN_ID": f"manual__2024-01-15T00:00:00+00:00/{run}"}
        try:
            build_model(project, "model.phlo.notes", home=home, environment=environment)
        except ConfigurationError:
            assert run == "bad"
        name = f"manual__2024-01-15T00_00_00+00_00_{run}"
        return Project(project, home).folder / "runs" / name / "model.phlo.notes"

    good = build("good", "1")
    assert good.stat().st_mode & 0o077 == 0 or (home.stat().st_mode & 0o077) == 0
    results = RunResultsArtifact.read_and_check_versions(str(good / "run_results.json"))
    found = {result.unique_id.rpartition(".")[0] or result.unique_id: str(result.status) for result in results.results}
    assert sorted(found.values()) == ["pass", "success"]
    manifest = WritableManifest.read_and_check_versions(str(good / "manifest.json"))
    assert {result.unique_id for result in results.results} <= set(manifest.nodes)
    assert (good / "compiled").is_dir()

    os.utime(good.parent, (0, 0))
    bad = build("bad", "secret")
    assert not good.exists(), f"older than {DAYS} days"
    results = json.loads((bad / "run_results.json").read_text())["results"]
    assert [result["status"] for result in results] == ["error", "skipped"]
    assert not [path for path in bad.rglob("*") if path.is_file() and "secret" in path.read_text()]
