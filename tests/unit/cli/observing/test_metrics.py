"""``phlo metrics`` on an embedded catalog, where no Airflow answers; with one: tests/integration/test_run_logs.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.cli.observing.metrics import _described
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.metrics.figures import Period, table_figures
from airflow_provider_phlo.metrics.loads import Load, TableLoads
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.unit.cli.pseudo_terminal import shown_by_terminal
from tests.unit.materializing.scheduler import Scheduler, serving

TABLE = "raw.readings"
SCHEMA = pa.schema([("k", pa.int64())])
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAY = Period(NOW - timedelta(days=1), NOW + timedelta(seconds=1), "day")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    monkeypatch.delenv("PHLO_AIRFLOW_URL", raising=False)
    monkeypatch.chdir(tmp_path)


def fill(catalog: Catalog, *runs: int) -> None:
    ensure_table(catalog, TABLE, arrow_to_iceberg(SCHEMA))
    for number, rows in enumerate(runs):
        data = pa.table({"k": range(rows)}, schema=SCHEMA)
        facts = {"phlo.run-id": f"r{number}", "phlo.read": str(rows + 1), "phlo.quarantined": "1"}
        merged = merge(catalog, TABLE, data, MergePlan(key=("k",)), token=f"t{number}", summary=facts)
        branches.move_main(
            catalog, TABLE, branches.branch_name(f"t{number}"), token=f"t{number}", result={}, expected_head=merged.head
        )


def test_figures_of_tables_need_no_airflow_and_that_is_said(catalog: Catalog, run_phlo: Any) -> None:
    fill(catalog, 1000, 1500)
    code, out, err = run_phlo("metrics")
    assert (code, err) == (0, "")
    assert "\nRuns: No Airflow is known here" in out
    assert f"{TABLE}         1,500  ████████████          2     1,500  just now" in out
    found = json.loads(run_phlo("metrics", "summary", "-o", "json")[1])
    assert found["runs"] is None
    assert found["airflow"].startswith("No Airflow is known here")
    [table] = found["tables"]
    assert table["counts"] == {
        "read": 2502, "inserted": 1500, "updated": 0, "deleted": 0,
        "unchanged": 1000, "duplicates": 0, "quarantined": 2,
    }  # fmt: skip


def test_one_table_day_by_day(catalog: Catalog, run_phlo: Any) -> None:
    fill(catalog, 3)
    code, out, _ = run_phlo("metrics", "asset", "readings", "--period", "3d")
    assert code == 0
    assert "  rows        4 read, 3 inserted, 1 quarantined\n" in out
    days = [line for line in out.splitlines() if line.startswith("20")]
    assert len(days) in (4, 3)
    assert days[-1].endswith("████████████████████")
    assert "NULL" not in out


def test_a_short_name_is_a_table_of_whatever_namespace(catalog: Catalog, run_phlo: Any) -> None:
    ensure_table(catalog, "bronze.stg_readings", arrow_to_iceberg(SCHEMA))
    code, out, _ = run_phlo("metrics", "asset", "stg_readings")
    assert code == 0
    assert out.startswith("bronze.stg_readings, the last 24 hours")


def test_outside_of_a_project_it_is_refused(tmp_path: Path) -> None:
    phlo = Path(sys.executable).with_name("phlo")
    environment = {"PATH": os.environ["PATH"], "PHLO_HOME": str(tmp_path / "none"), "HOME": str(tmp_path)}
    done = subprocess.run([phlo, "metrics"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"phlo metrics: {tmp_path / 'none'} does not exist. Change to the project's folder")


def test_what_has_expired_is_said(catalog: Catalog, run_phlo: Any) -> None:
    fill(catalog, 1, 2)
    catalog.load_table(TABLE).append(pa.table({"k": [9]}, schema=SCHEMA))
    table = catalog.load_table(TABLE)
    table.maintenance.expire_snapshots().by_id(table.snapshots()[0].snapshot_id).commit()
    code, _, err = run_phlo("metrics", "--period", "7d")
    assert code == 0
    assert err.startswith(f"{TABLE}: what was written before 20")
    assert "has expired with its snapshots, and is not in these figures of the last 7 days." in err
    [figures] = json.loads(run_phlo("metrics", "--period", "7d", "-o", "json")[1])["tables"]
    assert figures["unknown_before"] is not None


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["asset"], "asset which? Write the name of a table behind it"),
        (["sumary"], "'sumary' is not known here"),
        (["asset", "raw.nope"], "Table raw.nope does not exist, nor an asset of this name."),
        (["asset", "raw.reading"], "Did you mean raw.readings?"),
        (["asset", "readngs"], "Did you mean raw.readings?"),
        (["asset", "twice"], "twice may be bronze.twice or raw.twice: write the whole name."),
        (["--api-url", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ],
)
def test_what_is_refused(catalog: Catalog, run_phlo: Any, arguments: list[str], answer: str) -> None:
    for table in (TABLE, "raw.twice", "bronze.twice"):
        ensure_table(catalog, table, arrow_to_iceberg(SCHEMA))
    code, out, err = run_phlo("metrics", *arguments)
    assert (code, out) == (2, "")
    assert answer in err


def test_an_empty_catalog(catalog: Catalog, run_phlo: Any) -> None:
    assert "The catalog has no tables yet." in run_phlo("metrics")[1]


@pytest.mark.long
def test_a_terminal_of_40_columns(catalog: Catalog) -> None:
    fill(catalog, 1000)
    shown = shown_by_terminal([str(Path(sys.executable).with_name("phlo")), "metrics", "asset", TABLE], 40)
    blocks = shown[shown.index("day") :].splitlines()
    assert all(len(line) <= 40 for line in blocks)
    assert "inserted     1,000" in blocks


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of an Airflow that is somewhere else, and has the asset ``raw.a``."""
    monkeypatch.setenv("PHLO_AIRFLOW_TOKEN", "test")
    with serving(Scheduler()) as api:
        yield api.url


def test_a_remote_airflow_has_figures_without_a_project(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_phlo: Any
) -> None:
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("AIRFLOW_HOME", raising=False)
    code, out, err = run_phlo("metrics", "--api-url", remote)
    assert (code, err) == (0, "")
    assert f"Tables: {tmp_path / 'none'} does not exist. Change to the project's folder" in out
    found = json.loads(run_phlo("metrics", "--api-url", remote, "-o", "json")[1])
    assert (found["tables"], found["airflow"]) == (None, None)
    assert found["catalog"].startswith(str(tmp_path / "none"))
    code, out, _ = run_phlo("metrics", "asset", "a", "--api-url", remote)
    assert code == 0
    assert out.startswith("raw.a, the last 24 hours")
    assert "Counted by its events in Airflow." in out


def test_tables_of_this_machine_beside_runs_of_another_are_said_to_be_so(
    remote: str, catalog: Catalog, tmp_path: Path, run_phlo: Any
) -> None:
    fill(catalog, 3)
    code, _, err = run_phlo("metrics", "--api-url", remote)
    assert code == 0
    assert err == f"Runs are those of {remote}, tables those in {tmp_path}: are they the same lake?\n"


def test_an_asset_whose_events_say_nothing_of_rows_has_none() -> None:
    """Nothing is not 0: a task that counts no rows may have changed any number."""
    figures = table_figures(TableLoads("report", (Load(NOW, "", "r", "", {}),), None, 0, None), DAY)
    lines = list(_described(figures, DAY))
    assert "  rows        what publishes it says nothing of rows" in lines
    assert not any(line.startswith("  rows now") for line in lines)
