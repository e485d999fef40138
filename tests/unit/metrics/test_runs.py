"""Figures of runs, beside DuckDB's."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from airflow_provider_phlo.materializing import following, running
from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.planning import plan_runs
from airflow_provider_phlo.metrics.figures import Period
from airflow_provider_phlo.metrics.runs import Run, figures_by_dag, percentile, read_runs, run_figures
from tests.unit.materializing.scheduler import Scheduler, serving


def test_percentiles_are_those_of_quantile_cont() -> None:
    chosen = random.Random(3)
    for count in (1, 2, 3, 20, 101):
        values = [chosen.expovariate(1 / 60) for _ in range(count)]
        [(theirs,)] = duckdb.execute("SELECT quantile_cont(v, 0.95) FROM (SELECT unnest(?) AS v)", [values]).fetchall()
        assert percentile(values, 0.95) == pytest.approx(theirs)


def test_only_runs_that_ended_have_a_rate_and_a_time() -> None:
    runs = [
        Run("a", "1", "success", 10.0),
        Run("a", "2", "failed", 30.0),
        Run("a", "3", "running", None),
        Run("a", "4", "failed", None),  # it never started
        Run("b", "1", "queued", None),
    ]
    a, b = figures_by_dag(runs)
    assert (a.succeeded, a.failed, a.unfinished, a.success_rate) == (1, 2, 1, pytest.approx(1 / 3))
    assert (a.average_seconds, a.p95_seconds) == (20.0, pytest.approx(29.0))
    assert (b.unfinished, b.success_rate, b.average_seconds, b.p95_seconds) == (1, None, None, None)
    assert run_figures("", runs).failed == 2


def test_a_run_for_some_tasks_is_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """``a >> b``: Airflow calls a run a success whose ``a`` failed and whose ``b`` was left out."""
    monkeypatch.setattr(running, "_HEAD_STARTS", (0.3, 0.4, 0.5))
    monkeypatch.setattr(following, "_PAUSE", 0.02)
    with serving(scheduler := Scheduler(broken=(("2024-01-02", "a"),))) as api:
        assets = AssetMap(api)
        for name, day in (("raw.a", "2024-01-02"), ("raw.a", "2024-01-03"), ("raw.b", "2024-01-03")):
            [plan] = plan_runs(assets, [name])
            list(following.follow(api, [running.start_run(assets, plan, running.Asked(day))], print))
        assert {run["state"] for run in scheduler.runs.values()} == {"success"}
        until = datetime.now(UTC)
        period = Period(until - timedelta(hours=1), until, "1 hour")
        assert [run.state for run in read_runs(api, period)] == ["failed", "success", "success"]
        # those in which it was left out are not runs of it
        assert [run.state for run in read_runs(api, period, "shop", ["a"])] == ["failed", "success"]
        assert [run.state for run in read_runs(api, period, "shop", ["b"])] == ["success"]
        assert len(read_runs(api, period, "shop", ["a", "b"])) == 3
