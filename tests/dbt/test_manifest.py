from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from dbt.adapters.factory import FACTORY

from airflow_provider_phlo.dbt import manifest, phlo_dbt_task_group
from airflow_provider_phlo.dbt.manifest import ensure_manifest, fingerprint, read_manifest, rendered_path
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.patience import until

PROFILE = """
phlo:
  target: duckdb
  outputs:
    duckdb: {type: duckdb, path: ":memory:", schema: bronze}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "a project"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text("name: tiny\nprofile: phlo\n")
    (project / "profiles.yml").write_text(PROFILE)
    (project / "models" / "one.sql").write_text("select 1 as a")
    return project


def test_the_manifest_is_made_once_for_each_change(project: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    two = project / "models" / "two.sql"
    two.write_text("select * from {{ ref('nobody') }}")
    with pytest.raises(ConfigurationError, match="nobody"):
        ensure_manifest(Project(project, home))
    assert [path.name for path in Project(project, home).folder.iterdir()] == ["lock"]

    two.write_text("select * from {{ ref('one') }}")
    with ThreadPoolExecutor(2) as both:  # as two processes that parse a DAG at once
        first, other = both.map(lambda _: ensure_manifest(Project(project, home)), range(2))
    assert first == other == Project(project, home).folder / "manifest.json"
    assert {"model.tiny.one", "model.tiny.two"} == set(read_manifest(first)["nodes"])
    made = first.stat().st_mtime_ns
    assert ensure_manifest(Project(project, home)).stat().st_mtime_ns == made

    slim = json.loads(rendered_path(first).read_text())
    assert slim["nodes"]["model.tiny.two"]["depends_on"]["nodes"] == ["model.tiny.one"]
    assert rendered_path(first).stat().st_size < first.stat().st_size / 10
    # nothing beside the project, nothing half made
    assert sorted(path.name for path in project.iterdir()) == ["dbt_project.yml", "models", "profiles.yml"]
    assert not any(path.is_dir() for path in Project(project, home).folder.iterdir())


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a dbt project"):
        ensure_manifest(Project(tmp_path, tmp_path / "home"))


def test_the_fingerprint_follows_content_not_time(project: Path) -> None:
    before = fingerprint(Project(project, project))
    os.utime(project / "models" / "one.sql", (time.time(), time.time()))
    for written_by_hand in ("target", "logs", ".user"):
        (project / written_by_hand).mkdir()
        (project / written_by_hand / "x.sql").write_text("select 1")
    assert fingerprint(Project(project, project)) == before
    (project / "models" / "one.sql").write_text("select 2 as a")
    changed = fingerprint(Project(project, project))
    assert changed != before
    (project / "models" / "one.sql").rename(project / "models" / "other.sql")
    assert fingerprint(Project(project, project)) not in (before, changed)


def test_case_53_projects_and_targets_are_kept_apart(project: Path, tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "beside" / project.name
    shutil.copytree(project, other)
    (other / "models" / "two.sql").write_text("select 2 as b")
    first, second = ensure_manifest(Project(project, home)), ensure_manifest(Project(other, home))
    made = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    assert [*read_manifest(first)["nodes"]] == ["model.tiny.one"]
    assert sorted(read_manifest(second)["nodes"]) == ["model.tiny.one", "model.tiny.two"]
    # the one does not make the other be parsed again
    assert ensure_manifest(Project(project, home)) == first
    assert ensure_manifest(Project(other, home)) == second
    assert (first.stat().st_mtime_ns, second.stat().st_mtime_ns) == made
    assert Project(project, home, "trino").folder.parent == Project(project, home).folder.parent == first.parents[1]


def test_the_command_says_what_is_wrong_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "airflow_provider_phlo.dbt.manifest", str(tmp_path / "nothing")]
    done = subprocess.run(command, env={**os.environ, "PHLO_HOME": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("phlo: ")
    assert "Traceback" not in done.stderr
    assert "airflow" not in done.stdout


def test_a_process_of_its_own_finds_the_same(project: Path, tmp_path: Path) -> None:
    """dbt is asked in this process if it is in memory, and leaves nothing there."""
    for name in ("dbt.cli.main", "airflow_provider_phlo.dbt.adapter.lakehouse"):
        importlib.import_module(name)
    (project / "models" / "two.sql").write_text(
        "select '{{ env_var('PHLO_PARTITION_DATE') }}' as day, '{{ var('said') }}' as said from {{ ref('one') }}"
    )
    (project / "dbt_project.yml").write_text("name: tiny\nprofile: phlo\nvars: {said: hello}\n")
    before, folder = dict(os.environ), Path.cwd()
    here = read_manifest(ensure_manifest(Project(project, tmp_path / "here")))
    assert set(os.environ.items()) ^ set(before.items()) == set()
    assert (Path.cwd(), FACTORY.adapters) == (folder, {})
    command = [sys.executable, "-m", "airflow_provider_phlo.dbt.manifest", str(project)]
    subprocess.run(command, env={**os.environ, "PHLO_HOME": str(tmp_path / "elsewhere")}, check=True)
    elsewhere = read_manifest(ensure_manifest(Project(project, tmp_path / "elsewhere")))
    assert _without_times(here) == _without_times(elsewhere)


def _without_times(manifest: Any) -> Any:
    if isinstance(manifest, dict):
        return {key: _without_times(value) for key, value in manifest.items() if key not in ("created_at", "metadata")}
    return [_without_times(each) for each in manifest] if isinstance(manifest, list) else manifest


def test_edits_count_wherever_they_are_made(project: Path, tmp_path: Path) -> None:
    """Below folders that are called as dbt's own, and in local packages, which ``dbt deps`` installs as links."""
    shared = tmp_path / "shared"
    (shared / "macros").mkdir(parents=True)
    (project / "dbt_packages").mkdir()
    (project / "dbt_packages" / "shared").symlink_to(shared)
    (shared / "circle").symlink_to(project)
    (project / "models" / "logs").mkdir()
    seen = [fingerprint(Project(project, project))]
    for place in (shared / "macros" / "m.sql", project / "models" / "logs" / "a.sql"):
        place.write_text("select 1")
        seen.append(fingerprint(Project(project, project)))
        place.write_text("select 2")
        seen.append(fingerprint(Project(project, project)))
    assert len(set(seen)) == 5


def test_two_projects_of_one_name_are_parsed_once_each(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / project.name
    shutil.copytree(project, other)
    (other / "models" / "one.sql").write_text("select 2 as b")
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "home"))
    parsed, parse = tmp_path / "parsed", manifest.parse

    def counted(project: Project, fresh: Path) -> list[str]:
        with parsed.open("a") as file:
            print(project.directory, file=file)
        return parse(project, fresh)

    monkeypatch.setattr(manifest, "parse", counted)
    for _ in range(2):  # as a dag-processor parses the file again and again
        with DAG("a_dag", schedule=None) as dag:
            for folder in (project, other):
                phlo_dbt_task_group(project_dir=folder, group_id=f"in_{folder.parent.name.replace('-', '_')}")
        assert len({task.task_id for task in dag.tasks}) == 2
    assert sorted(parsed.read_text().splitlines()) == sorted(map(str, [project, other]))


IMPORT = """
import sys
from pathlib import Path
from airflow.sdk.execution_time.timeout import timeout
from airflow_provider_phlo.dbt.manifest import ensure_manifest
from airflow_provider_phlo.dbt.project import Project

with timeout(float(sys.argv[3])):
    print(ensure_manifest(Project(*map(Path, sys.argv[1:3]))))
"""


def importing(project: Path, home: Path, seconds: float) -> subprocess.Popen[str]:
    """Begin what an import of a Dag file does, with Airflow's own limit."""
    command = [sys.executable, "-c", IMPORT, str(project), str(home), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("end", ["interrupted", "killed"])
def test_case_53_what_an_import_began_is_there_for_the_next_one(project: Path, tmp_path: Path, end: str) -> None:
    """A large project takes longer to parse than Airflow gives an import, which it kills some time later."""
    home = tmp_path / "home"
    folder = Project(project, home).folder
    with importing(project, home, 0.2 if end == "interrupted" else 600) as first:
        if end == "killed":
            until(lambda: [*folder.glob("parse-*")])
            first.kill()
        said, _ = first.communicate()
    assert first.returncode
    assert ("AirflowTaskTimeout" in said) == (end == "interrupted")
    assert until(lambda: manifest.stamp_of(folder)) == fingerprint(Project(project, home))
    with importing(project, home, 600) as second:
        assert second.communicate()[0].splitlines()[-1] == str(folder / "manifest.json")


def test_an_import_says_what_is_wrong_with_a_project(project: Path, tmp_path: Path) -> None:
    (project / "models" / "two.sql").write_text("select * from {{ ref('nobody') }}")
    with importing(project, tmp_path / "home", 600) as parsing:
        said, _ = parsing.communicate()
    assert "ConfigurationError: dbt cannot parse" in said
    assert "depends on a node named 'nobody' which was not found" in said
