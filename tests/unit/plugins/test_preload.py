"""Warm tasks: what is imported, where, and that it is safe to fork after it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_phlo.plugins import preload
from airflow_provider_phlo.plugins.phlo import PhloPlugin

ROOT = Path(__file__).parents[3]


class Job:
    """Airflow calls the listener with a job that has no type yet."""

    job_type = None


@pytest.fixture
def start(monkeypatch):
    """Return a function that starts a component by its ``airflow`` command."""

    def run(command, component=None):
        monkeypatch.setattr(sys, "argv", ["airflow", *command.split()])
        preload.on_starting(component or Job())

    return run


@pytest.fixture
def imported(monkeypatch):
    """Return what the preload attempts; nothing is imported really."""
    names = []
    monkeypatch.setattr(preload, "_attempt", lambda name, action: names.append(name) or True)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    return names


def test_the_plugin_listens():
    assert preload in PhloPlugin.listeners
    assert PhloPlugin.name == "phlo"


def test_the_scheduler_gets_what_tasks_need(start, imported):
    start("scheduler --skip-serve-logs")
    assert {"airflow_provider_phlo.ingestion.staging", "pyiceberg.catalog.sql", "pandera.pandas", "duckdb"} <= set(
        imported
    )
    assert imported == [
        *preload.modules(for_tasks=True),
        "what Dag files do first",
        "the plugins of packages",
        "the tables of SQL catalogs",
        "dbt",
    ]


def test_all_modules_of_tasks_are_there_but_what_few_use():
    names = set(preload.modules(for_tasks=True))
    for folder in ("operators", "dbt/rendering", "alerts/incidents"):
        for file in (ROOT / "airflow_provider_phlo" / folder).glob("[a-z]*.py"):
            assert ".".join(file.relative_to(ROOT).with_suffix("").parts) in names
    assert preload.NOT_PRELOADED
    assert not preload.NOT_PRELOADED & names


def test_the_dag_processor_gets_what_dag_files_need(start, imported):
    start("dag-processor")
    assert imported == [*preload.PARSE_MODULES, "what Dag files do first"]


@pytest.mark.parametrize("command", ["triggerer", "api-server", "dags list", "", "--help", "tasks scheduler"])
def test_nobody_else_gets_anything(start, imported, command):
    start(command)
    assert imported == []


def test_a_task_gets_nothing(start, imported):
    start("scheduler", component="the marker of a task")
    assert imported == []


def test_it_can_be_switched_off(start, imported, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PHLO__PRELOAD", "False")
    start("scheduler --skip-serve-logs")
    assert imported == []


def test_a_scheduler_that_forks_no_tasks_is_left_alone(start, imported, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    start("scheduler --skip-serve-logs")
    assert imported == []
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor,LocalExecutor")
    start("scheduler --skip-serve-logs")
    assert "duckdb" in imported


def test_what_is_not_installed_is_left_out(start, monkeypatch, caplog):
    monkeypatch.setattr(preload, "PARSE_MODULES", ("no_such_module", "json"))
    caplog.set_level("INFO")
    start("dag-processor")
    assert "preloaded 1 modules" in caplog.text
    assert "no_such_module is not preloaded" in caplog.text


CODE = """
import json, os, sys, threading
sys.argv = ["airflow", "scheduler"]
from airflow.jobs.job import Job
from airflow_provider_phlo.plugins import preload
loaded = set(sys.modules)
Job()  # as the command does; Airflow calls its listeners
links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
opened = [os.readlink(link) for link in links if os.path.islink(link)]
report = {
    "missing": [name for name in (*preload.modules(for_tasks=True), "dlt") if name not in sys.modules],
    "early": sorted({"dlt", "pandera", "pyiceberg", "duckdb"} & loaded),
    "threads": threading.active_count(),
    "open": [name for name in opened if name.startswith("socket:") or name.endswith((".db", ".duckdb"))],
    "written": os.listdir(os.environ["PHLO_HOME"]),
}
if (child := os.fork()) == 0:
    import duckdb, pyarrow as pa, pyarrow.compute as pc
    values = pa.table({"a": list(range(100_000))})
    total = duckdb.sql("select sum(a) from values").fetchall()[0][0] + pc.sum(values["a"]).as_py()
    os._exit(0 if total == 2 * sum(range(100_000)) else 1)
report["child"] = os.waitpid(child, 0)[1]
print(json.dumps(report))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_importing_is_all_that_happens_and_children_work(tmp_path):
    """No thread, no connection, no state: and what was imported works in a forked child."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "PHLO_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path),
    }
    (tmp_path / "state").mkdir()
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report == {"missing": [], "early": [], "threads": 1, "open": [], "written": [], "child": 0}
