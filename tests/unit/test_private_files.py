from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.private_files import STATE, protect
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine import processes
from tests.lake import open_lake
from tests.other_user import open_to_others, readable_by

ROOT = Path(__file__).parents[2]
# an account, and a number that none has
OTHERS = (65534, 4_321)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture(autouse=True)
def _open_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """Return a folder that every user can enter: it is the home's own modes that count."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == Path.home().owner() and any(part.startswith("pytest-of-") for part in folder.parts):
            folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path


def tree(home: Path) -> list[Path]:
    return [home, *sorted(home.rglob("*"))]


def old_home(home: Path) -> None:
    """Make a home as an earlier version left it under umask 022: one of each kind of file."""
    for name in STATE:
        path = home / name
        if "." in name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("5.4 mmol/l")
            continue
        (path / "deep" / "er").mkdir(parents=True)
        (path / "deep" / "er" / "data.parquet").write_text("5.4 mmol/l")
        (path / "log").write_text("5.4 mmol/l")


def write_with_every_library(home: Path) -> None:
    catalog = open_lake(home)
    ensure_namespace(catalog, "raw")
    rows = pa.table({"id": [1], "note": ["O'Brien"]})
    catalog.create_table("raw.t", schema=rows.schema).append(rows)
    with duckdb.connect(str(home / "dlt.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS id")
    (home / "dlt.duckdb").rename(home / "warehouse" / "x.duckdb")


def test_case_33_new_files_are_their_owners_only(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write_with_every_library(home)
    embedded.prepare(home)
    assert len(tree(home)) > 15
    assert open_to_others(home) == {}


@as_root
@pytest.mark.parametrize("uid", OTHERS)
def test_case_33_another_user_reads_nothing(reachable: Path, uid: int) -> None:
    home = reachable / "home"
    old_home(home)
    home.chmod(0o755)
    assert len(readable_by(uid, tree(home))) == len(tree(home))  # the test would see it
    embedded.prepare(home)
    for database in home.glob("catalog.db*"):
        database.unlink()
    write_with_every_library(home)
    assert readable_by(uid, tree(home)) == []


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o777, 0o711])
def test_case_33_a_home_that_was_there_before_is_mended(tmp_path: Path, mode: int) -> None:
    home = tmp_path / "home"
    old_home(home)
    home.chmod(mode)
    protect(home)
    assert open_to_others(home) == {}
    assert (home / "warehouse" / "deep" / "er" / "data.parquet").stat().st_mode & 0o777 == 0o600
    assert (home / "warehouse" / "deep").stat().st_mode & 0o777 == 0o700


def test_case_33_an_empty_home_that_was_there_before_is_closed(tmp_path: Path) -> None:
    tmp_path.joinpath("home").mkdir()
    protect(tmp_path / "home")
    assert tmp_path.joinpath("home").stat().st_mode & 0o066 == 0


def test_a_folder_with_other_files_keeps_its_mode_and_they_theirs(tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "of somebody else").write_text("x")
    tmp_path.chmod(0o755)
    protect(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "of somebody else").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "warehouse").stat().st_mode & 0o777 == 0o700


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    home = tmp_path / "home"
    home.mkdir()
    (home / "warehouse").symlink_to(outside)
    (home / "logs").mkdir()
    (home / "logs" / "link").symlink_to(outside)
    protect(home)
    assert outside.stat().st_mode & 0o777 == 0o755


def test_programs_keep_their_right_to_run(tmp_path: Path) -> None:
    (tmp_path / "home" / "cosmos").mkdir(parents=True)
    program = tmp_path / "home" / "cosmos" / "program"
    program.write_text("")
    program.chmod(0o755)
    protect(tmp_path / "home")
    assert program.stat().st_mode & 0o777 == 0o700


def test_a_closed_folder_is_not_walked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    old_home(home)
    protect(home)
    walked = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: walked.append(Path(path)) or scandir(path))
    protect(home)
    assert set(walked) == {home, home / "postgres"}


# --- wherever processes of ours start ---------------------------------------------------------------------------

_WRITE = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text('x')"


def started(code: str, home: Path, *arguments: str, **more: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PHLO"))}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**clean, "PHLO_HOME": str(home), **more},
        cwd=ROOT,
        capture_output=True,
        text=True,
        umask=0o022,
    )
    assert done.returncode == 0, done.stderr


def test_case_33_a_process_of_the_demo_writes_private_files(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    processes.start(
        [sys.executable, "-c", _WRITE, str(tmp_path / "written")], mark="m", environment=os.environ, log=log
    ).wait()
    assert (tmp_path / "written").stat().st_mode & 0o777 == 0o600


@pytest.mark.long
@pytest.mark.parametrize(
    "start",
    [
        "from airflow_provider_phlo.cli.main import main; main(['catalog', 'tables'])",
        "from airflow_provider_phlo.services.environment.embedded import prepare; prepare(home)",
        "from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties; embedded_properties(home)",
        "from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook; PhloIcebergHook().catalog",
        "from airflow_provider_phlo.dbt.manifest import ensure_manifest; "
        "from airflow_provider_phlo.dbt.project import Project; ensure_manifest(Project(root / 'include/dbt', home))",
    ],
    ids=["phlo", "embedded", "catalog", "hook", "dbt"],
)
def test_case_33_whatever_starts_first_closes_the_home(tmp_path: Path, start: str) -> None:
    home = tmp_path / "home"
    old_home(home)
    for name in ("airflow", "secrets", "dbt", "catalog.db", "setup.lock", "demo.lock"):  # not what these can read
        (home / name).unlink() if "." in name else subprocess.run(["rm", "-r", home / name], check=True)
    for name in ("catalog.db-journal", "catalog.db-wal", "catalog.db-shm"):
        (home / name).unlink()
    home.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path; home, root = Path(os.environ['PHLO_HOME']), Path.cwd(); "
        f"{start}; open(home / 'dlt' / 'new', 'w').close(); assert os.umask(0) == 0o077"
    )
    started(code, home, AIRFLOW_HOME=str(tmp_path / "airflow")) if "hook" in start else started(code, home)
    assert open_to_others(home) == {}


def test_case_33_make_env_gives_the_shell_the_umask(tmp_path: Path) -> None:
    home = tmp_path / "home"
    embedded.prepare(home)
    (home / "airflow" / "airflow.db").touch()
    (home / "airflow" / "migrated").write_text(importlib.metadata.version("apache-airflow-core"))
    command = f'umask 022; eval "$({sys.executable} -m airflow_provider_phlo.services.environment.embedded env)"; umask'
    environment = {**os.environ, "PHLO_HOME": str(home)}
    try:
        done = subprocess.run(["bash", "-c", command], env=environment, cwd=ROOT, capture_output=True, text=True)
        assert done.stdout == "0077\n", done.stderr
    finally:  # what answers for the recorded sites goes on after the command that started it
        stop = [sys.executable, "-m", "airflow_provider_phlo.services.environment.embedded", "stop"]
        subprocess.run(stop, env=environment, cwd=ROOT, check=True, capture_output=True)
