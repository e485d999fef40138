"""``phlo init``: what it writes, and that it replaces nothing that somebody else has written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.scaffolding import writing
from airflow_provider_phlo.scaffolding.contents import project_files
from airflow_provider_phlo.scaffolding.examples import EXAMPLES
from airflow_provider_phlo.scaffolding.writing import MANIFEST, plan_project, write_project
from airflow_provider_phlo.services.environment.projects import find_project

ROOT = Path(__file__).parents[3]
DAG = "dags/readings.py"


def make(folder: Path, example: str | None = "empty", *, force: bool = False) -> writing.Plan:
    plan = plan_project(folder, example, force=force)
    write_project(plan)
    return plan


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_project_has_all_that_its_example_needs_and_nothing_of_others(tmp_path: Path, example: str) -> None:
    project = tmp_path / "lake"
    plan = make(project, example)
    files = content(project)
    assert files.keys() == {*plan.files, MANIFEST}
    assert find_project(project / "dags").root == project
    models = {path.split("/")[3] for path in files if path.startswith("include/dbt/models/")}
    assert models == ({EXAMPLES[example].models} - {""})
    settings = files.get("include/dbt/dbt_project.yml", b"").decode()
    assert set(re.findall(r"(?m)^ {4}(\w+):$", settings)) == models
    dags = "\n".join(text.decode() for path, text in files.items() if path.startswith("dags/"))
    for module in re.findall(r"include\.([\w.]+):", dags):
        assert f"include/{module.replace('.', '/')}.py" in files


def test_each_dashboard_is_in_the_project_of_its_marts_with_all_that_it_shows() -> None:
    seen = set()
    for example in EXAMPLES.values():
        files = {path: text.decode() for path, text in project_files(example, "lake").items() if "/superset/" in path}
        made = set(re.findall(r"(?m)^uuid: (\S+)$", "\n".join(files.values())))
        named = set(re.findall(r"(?m)^ *(?:- )?(?:\w*_uuid|datasetUuid|uuid): (\S+)$", "\n".join(files.values())))
        assert named <= made
        tables = {Path(path).stem for path in files if "/datasets/" in path}
        models = {Path(path).stem for path in project_files(example, "lake") if "/models/" in path}
        assert tables <= models
        seen |= set(files)
    assert seen == {path.relative_to(ROOT).as_posix() for path in (ROOT / "include/superset").rglob("*.yaml")}


@pytest.mark.parametrize("example", [name for name, each in EXAMPLES.items() if each.models])
def test_a_project_has_the_macros_and_tests_that_its_models_use_and_no_others(example: str) -> None:
    files = {path: text.decode() for path, text in project_files(EXAMPLES[example], "lake").items()}
    folder = "include/dbt/macros/"
    defined = {path: set(re.findall(r"macro (\w+)\(", text)) for path, text in files.items() if path.startswith(folder)}
    models = "\n".join(text for path, text in files.items() if path.startswith("include/dbt/models/"))
    called = set(re.findall(r"(?<![\w.])(\w+)\(", models))
    every = set(re.findall(r"macro (\w+)\(", "".join(path.read_text() for path in (ROOT / folder).glob("*.sql"))))
    assert called & every <= set().union(*defined.values())
    unused = {path for path, names in defined.items() if not names & called}
    assert unused == {f"{folder}generate_schema_name.sql"}
    packages = {path.split("/")[3] for path in files if path.startswith("include/dbt/local_packages/dbt")}
    assert packages == {name for name in ("dbt_utils", "dbt_expectations") if f"{name}." in models}


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path / "lake", "glucose")
    before = content(tmp_path / "lake"), (tmp_path / "lake" / MANIFEST).stat().st_mtime_ns
    again = make(tmp_path / "lake", None)
    assert (again.example, again.new, again.updated, again.kept) == ("glucose", (), (), ())
    assert (content(tmp_path / "lake"), (tmp_path / "lake" / MANIFEST).stat().st_mtime_ns) == before


def test_what_somebody_has_changed_stays_until_it_is_forced(tmp_path: Path) -> None:
    make(tmp_path)
    ours = (tmp_path / DAG).read_bytes()
    (tmp_path / DAG).write_text("# mine")
    kept = make(tmp_path)
    assert (kept.kept, kept.overwritten) == ((DAG,), ())
    assert make(tmp_path).kept == (DAG,)
    assert (tmp_path / DAG).read_text() == "# mine"
    assert make(tmp_path, force=True).overwritten == (DAG,)
    assert (tmp_path / DAG).read_bytes() == ours


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    assert make(tmp_path).kept == ("README.md",)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert json.loads((tmp_path / MANIFEST).read_text())["files"].keys().isdisjoint({"README.md", "notes.txt"})
    make(tmp_path, force=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_link_stays_and_what_it_points_to_is_never_written(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.md"
    elsewhere.write_text("mine")
    project = tmp_path / "lake"
    project.mkdir()
    (project / "README.md").symlink_to(elsewhere)
    (project / "pytest.ini").symlink_to("nowhere")
    assert make(project).kept == ("README.md", "pytest.ini")
    assert (project / "pytest.ini").is_symlink()
    assert make(project, force=True).overwritten == ("README.md", "pytest.ini")
    assert elsewhere.read_text() == "mine"
    assert not (project / "README.md").is_symlink()


def test_what_an_earlier_version_wrote_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = project_files
    monkeypatch.setattr(writing, "project_files", lambda *given: {**now(*given), DAG: b"# of an earlier version"})
    make(tmp_path)
    monkeypatch.undo()
    assert make(tmp_path).updated == (DAG,)
    assert (tmp_path / DAG).read_bytes() == now(EXAMPLES["empty"], tmp_path.name)[DAG]


def test_a_file_that_is_gone_comes_back(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / DAG).unlink()
    assert make(tmp_path).new == (DAG,)


def test_another_example_needs_another_folder(tmp_path: Path) -> None:
    make(tmp_path, "glucose")
    with pytest.raises(ConfigurationError, match="is a project of the example glucose"):
        plan_project(tmp_path, "github", force=True)


def _file(folder: Path) -> Path:
    folder.write_text("")
    return folder


def _below_a_file(folder: Path) -> Path:
    folder.write_text("")
    return folder / "lake"


def _dags_is_a_file(folder: Path) -> Path:
    folder.mkdir()
    (folder / "dags").write_text("")
    return folder


def _dag_is_a_folder(folder: Path) -> Path:
    (folder / DAG).mkdir(parents=True)
    return folder


def _dags_is_elsewhere(folder: Path) -> Path:
    folder.mkdir()
    (folder / "dags").symlink_to("nowhere")
    return folder


def _in_a_project(folder: Path) -> Path:
    make(folder)
    return folder / "dags" / "inner"


def _bad_manifest(folder: Path) -> Path:
    folder.mkdir()
    (folder / MANIFEST).write_text("[]")
    return folder


@pytest.mark.parametrize(
    ("arrange", "reason"),
    [
        (_file, "is not a folder"),
        (_below_a_file, "is not a folder"),
        (_dags_is_a_file, "dags is not a folder"),
        (_dags_is_elsewhere, "dags is not a folder"),
        (_dag_is_a_folder, "readings.py is not a file"),
        (_in_a_project, "inside the project"),
        (_bad_manifest, "was not written by this version"),
        (lambda folder: folder / "a:b", "Choose another"),
        (lambda folder: folder / "a\nb", "Choose another"),
        (lambda folder: folder / "a$HOME", "Choose another"),
        (lambda folder: folder / ("a" * 300), "File name too long"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, arrange: Callable[[Path], Path], reason: str
) -> None:
    folder = arrange(tmp_path / "place")
    before = content(tmp_path)
    with pytest.raises(ConfigurationError, match=reason) as refused:
        make(folder, force=True)
    assert "\n" not in str(refused.value)
    assert content(tmp_path) == before


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:  # root may write everywhere: only the answer of the system is replaced
        monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)
    else:
        tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="cannot be written to"):
        make(tmp_path / "lake")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**9, 10**9, 4096))
    with pytest.raises(ConfigurationError, match="the disk has no"):
        make(tmp_path / "lake")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_meanwhile_leaves_whole_files_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = Path.write_bytes, []

    def fill(path: Path, data: bytes) -> int:
        calls.append(path)
        if len(calls) < 5:
            return whole(path, data)
        whole(path, data[:10])
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        make(tmp_path)
    files = project_files(EXAMPLES["empty"], tmp_path.name)
    written = content(tmp_path)
    assert len(written) == 4
    assert written.items() <= files.items()
    monkeypatch.undo()
    assert make(tmp_path).kept == ()
    assert content(tmp_path).keys() == {*files, MANIFEST}


@pytest.mark.long
@pytest.mark.parametrize("name", ["my lake", "Ana's “lake”", "größe", "-p", "100%", "a.b", "~"])
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    program = Path(sys.executable).with_name("phlo")
    done = subprocess.run([program, "init", "--", name], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "README.md").read_text().startswith(f"# {name}\n")
    (next_step,) = re.findall(r"(?m)^Next: (cd .*), then", done.stdout)
    there = subprocess.run(["sh", "-c", f"{next_step} && pwd"], cwd=tmp_path, capture_output=True, text=True)
    assert there.stdout == f"{tmp_path / name}\n"


def test_the_program_says_what_it_kept_and_what_it_overwrites(tmp_path: Path, run_phlo) -> None:
    make(tmp_path)
    (tmp_path / DAG).write_text("# mine")
    code, out, _ = run_phlo("init", str(tmp_path))
    assert code == 0
    assert f"--force overwrites them):\n  {DAG}" in out
    code, out, _ = run_phlo("init", str(tmp_path), "--force")
    assert out.startswith(f"Overwriting:\n  {DAG}\n")
    code, out, err = run_phlo("init", str(tmp_path / "dags"), "--output", "json")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("phlo init: ")
