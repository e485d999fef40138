"""What Airflow imports all day stays light, and the wheel says where Airflow finds it."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"cosmos", "dbt", "dlt", "duckdb", "pandas", "pandera", "polars", "psycopg", "pyarrow", "pyiceberg"}
HEAVY |= {"sqlglot", "trino"}
PACKAGE = ROOT / "airflow_provider_phlo"
PARSED = [
    "airflow_provider_phlo",
    "airflow_provider_phlo.get_provider_info",
    "airflow_provider_phlo.decorators",
    *(
        f"airflow_provider_phlo.{folder}.{path.stem}"
        for folder in ("operators", "sensors", "assets", "plugins")
        for path in sorted((PACKAGE / folder).glob("[a-z]*.py"))
    ),
    "airflow_provider_phlo.quality",
    "airflow_provider_phlo.dbt.rendering.task_group",
    "airflow_provider_phlo.cli.definition",
    "airflow_provider_phlo.schemas",
    "airflow_provider_phlo.publishing",
]

# what a Dag file does with them
USE = """
from airflow_provider_phlo import phlo_ingestion, phlo_quality
from airflow_provider_phlo.quality import NullCheck
checks = [NullCheck(columns=["_id"])]
@phlo_ingestion("readings", "_id", "include.schemas.glucose:RawGlucoseEntries", "demo", audit=checks)
def readings(partition_date): ...
@phlo_quality("readings", checks)
def readings_quality(): ...
with airflow.sdk.DAG("a", schedule=None):
    readings() >> readings_quality()
found["a Dag file"] = sorted({name.partition(".")[0] for name in set(sys.modules) - seen} & heavy)
"""


def run(code: str, **environment: str) -> str:
    """Run ``code`` in a fresh interpreter that sees no configuration but its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "NO_COLOR": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.long
def test_nothing_that_airflow_parses_imports_a_heavy_library(tmp_path):
    """One interpreter takes the modules one after the other; a library is charged to the module that brings it."""
    code = f"""
import importlib, json, sys
import airflow.sdk, airflow.sdk.bases.decorator, airflow.plugins_manager, airflow.listeners, airflow.cli.cli_config
heavy, seen, found = {HEAVY}, set(sys.modules), {{}}
for module in {PARSED}:
    importlib.import_module(module)
    found[module] = sorted({{name.partition(".")[0] for name in set(sys.modules) - seen}} & heavy)
    seen = set(sys.modules)
{USE}
print(json.dumps({{module: names for module, names in found.items() if names}}))
"""
    assert json.loads(run(code, AIRFLOW_HOME=str(tmp_path))) == {}


@pytest.mark.parametrize(
    "use", ["", "; get_provider_info.get_provider_info()", "; import airflow_provider_phlo.exceptions"]
)
def test_discovery_reads_no_configuration(tmp_path, use):
    """Airflow imports the package root and its provider info while its own configuration is being read."""
    code = (
        "import sys, airflow_provider_phlo; from airflow_provider_phlo import get_provider_info; "
        f"airflow_provider_phlo.__version__ {use}; "
        "print([name for name in sys.modules if name.partition('.')[0] == 'airflow'])"
    )
    assert run(code, AIRFLOW_HOME=str(tmp_path / "airflow")) == "[]"
    assert not (tmp_path / "airflow").exists()


def test_the_root_has_no_other_names():
    import airflow_provider_phlo

    with pytest.raises(AttributeError, match="has no attribute 'phlo_nothing'"):
        airflow_provider_phlo.phlo_nothing  # noqa: B018
    assert callable(airflow_provider_phlo.phlo_ingestion)
    assert set(airflow_provider_phlo.__all__) == {"__version__", "phlo_ingestion", "phlo_quality", "phlo_watch_dag"}


@pytest.mark.long
def test_the_wheel_carries_the_package_and_its_entry_points(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = configparser.ConfigParser()
        entry_points.optionxform = str
        (path,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        entry_points.read_string(archive.read(path).decode())
    assert dict(entry_points["apache_airflow_provider"]) == {
        "provider_info": "airflow_provider_phlo.get_provider_info:get_provider_info"
    }
    assert dict(entry_points["airflow.plugins"]) == {"phlo": "airflow_provider_phlo.plugins.phlo:PhloPlugin"}
    assert dict(entry_points["console_scripts"]) == {"phlo": "airflow_provider_phlo.cli.main:main"}
    # names are for packages of others: see plugins/phlo-plugin-example
    assert not [group for group in entry_points if group.startswith("phlo.")]
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "airflow_provider_phlo").rglob("*.py")}
    assert sources <= names
    # where dbt looks for the adapter, and nothing else of dbt's
    adapter = {"dbt/adapters/phlo/__init__.py", "dbt/adapters/phlo/__version__.py"}
    assert {name for name in names if not name.startswith("airflow_provider_phlo")} == adapter
    macros = {path.relative_to(ROOT).as_posix() for path in (ROOT / "airflow_provider_phlo/dbt/adapter").rglob("*.sql")}
    assert {*macros, "airflow_provider_phlo/dbt/adapter/dbt_project.yml"} <= names
