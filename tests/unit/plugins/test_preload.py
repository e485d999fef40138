"""Warm tasks: what is imported, where, and that it is safe to fork after it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_phlo.plugins import preload
from airflow_provider_phlo.plugins.phlo import PhloPlugin

ROOT = Path(__file__).parents[3]


@pytest.fixture
def imported(monkeypatch):
    """Return the modules that the preload imports; they are not imported really."""
    names = []
    monkeypatch.setattr(preload.importlib, "import_module", names.append)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    return names


def test_the_plugin_listens():
    assert preload in PhloPlugin.listeners
    assert PhloPlugin.name == "phlo"


def test_the_scheduler_gets_what_tasks_need(imported):
    preload.on_starting(SimpleNamespace(job_type="SchedulerJob"))
    assert {"dlt", "pyiceberg.catalog.sql", "pandera.pandas", "duckdb"} <= set(imported)
    assert imported == [*preload.PARSE_MODULES, *preload.TASK_MODULES]


def test_the_dag_processor_gets_what_dag_files_need(imported):
    preload.on_starting(SimpleNamespace(job_type="DagProcessorJob"))
    assert imported == list(preload.PARSE_MODULES)


@pytest.mark.parametrize("component", [SimpleNamespace(job_type="TriggererJob"), SimpleNamespace(), None, "x"])
def test_nobody_else_gets_anything(imported, component):
    preload.on_starting(component)
    assert imported == []


def test_it_can_be_switched_off(imported, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PHLO__PRELOAD", "False")
    preload.on_starting(SimpleNamespace(job_type="SchedulerJob"))
    assert imported == []


def test_a_scheduler_that_forks_no_tasks_is_left_alone(imported, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    preload.on_starting(SimpleNamespace(job_type="SchedulerJob"))
    assert imported == []
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor,LocalExecutor")
    preload.on_starting(SimpleNamespace(job_type="SchedulerJob"))
    assert "dlt" in imported


def test_what_is_not_installed_is_left_out(monkeypatch, caplog):
    monkeypatch.setattr(preload, "PARSE_MODULES", ("no_such_module", "json"))
    preload.on_starting(SimpleNamespace(job_type="DagProcessorJob"))
    assert "preloaded 1 modules" in caplog.text
    assert "no_such_module is not preloaded" in caplog.text


CODE = """
import json, os, socket, sys, threading, types
from airflow_provider_phlo.plugins import preload
before = set(os.listdir(os.environ["STATE"]))
preload.on_starting(types.SimpleNamespace(job_type="SchedulerJob"))
opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
report = {
    "missing": [name for name in (*preload.PARSE_MODULES, *preload.TASK_MODULES) if name not in sys.modules],
    "threads": threading.active_count(),
    "open": [name for name in opened if name.startswith("socket:") or name.endswith((".db", ".duckdb"))],
    "written": sorted(set(os.listdir(os.environ["STATE"])) - before),
}
if (child := os.fork()) == 0:
    import duckdb, pyarrow as pa, pyarrow.compute as pc
    values = pa.table({"a": list(range(100_000))})
    total = duckdb.sql("select sum(a) from values").fetchone()[0] + pc.sum(values["a"]).as_py()
    os._exit(0 if total == 2 * sum(range(100_000)) else 1)
report["child"] = os.waitpid(child, 0)[1]
print(json.dumps(report))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_importing_is_all_that_happens_and_children_work(tmp_path):
    """No thread, no connection, no state: and what was imported works in a forked child."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "PHLO_HOME": str(tmp_path / "state"),
        "STATE": str(tmp_path / "state"),
        "HOME": str(tmp_path),
    }
    (tmp_path / "state").mkdir()
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report == {"missing": [], "threads": 1, "open": [], "written": [], "child": 0}
