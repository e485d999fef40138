"""``phlo backfill`` of some of the tasks of a DAG, on a real Airflow, which calls their runs a success either way."""

from __future__ import annotations

import json

import pytest

from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.attempts import failed_days
from airflow_provider_phlo.materializing.planning import plan_runs

pytestmark = pytest.mark.xdist_group("airflow")
DAYS = ["2024-01-02", "2024-01-03"]


@pytest.fixture
def phlo(airflow, run_phlo, monkeypatch):
    monkeypatch.setenv("PHLO_HOME", str(airflow.home))
    return run_phlo


def test_a_day_is_judged_by_the_tasks_that_were_selected(airflow, phlo):
    given = ["backfill", "half", "--start-date", DAYS[0], "--end-date", DAYS[1], "--parallel", "2", "-o", "json"]
    code, out, _ = phlo(*given)
    assert [(day["day"], day["state"]) for day in json.loads(out)] == [(DAYS[0], "failed"), (DAYS[1], "success")]
    assert (code, json.loads(out)[0]["reason"]) == (1, "half: make: ValueError: this day fails")
    runs = list(airflow.api.pages("/dags/half_selected/dagRuns", "dag_runs"))
    assert [run["state"] for run in runs] == ["success", "success"]

    assets = AssetMap(airflow.api)
    assert failed_days(assets, plan_runs(assets, ["half"]), DAYS) == DAYS[:1]
    planned = [day["state"] for day in json.loads(phlo(*given, "--resume", "--dry-run")[1])]
    assert planned == ["not begun", "done before"]
    dags = json.loads(phlo("metrics", "asset", "half", "--output", "json")[1])["dags"]
    assert [(dag["dag_id"], dag["succeeded"], dag["failed"]) for dag in dags] == [("half_selected", 1, 1)]
