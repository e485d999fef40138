"""The watch DAG on a real Airflow: no worker takes it; and Airflow's own deadlines, for runs that are late."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from airflow_provider_phlo.cli.lake.query import run as query
from airflow_provider_phlo.quality.freshness import POLICY_PROPERTY, FreshnessPolicy, TablePolicy
from tests.lake import create_table


@pytest.fixture(scope="module")
def triggerer(airflow):
    airflow.start("triggerer", "--skip-serve-logs")


@pytest.mark.usefixtures("triggerer")
def test_a_round_needs_no_worker(airflow):
    table = create_table(airflow.catalog, "raw.grows_old", pa.table({"at": [datetime.now(UTC)]}))
    with table.transaction() as change:
        change.set_properties({POLICY_PROPERTY: TablePolicy(FreshnessPolicy(1e-6, 2e-6)).to_json()})
    run = airflow.trigger("watched")
    assert airflow.finished("watched", run) == {"watch": "success"}
    [instance] = airflow.api.task_instances("watched", run)
    assert (instance["pid"], instance["executor_config"]) == (None, "{}")  # no process of a worker was it
    found = airflow.xcom("watched", run, "watch")
    assert "freshness raw.grows_old" in found["wrong"]
    assert found["problems"] == []
    assert found["seconds"] < 60
    recorded = "SELECT run_id, task_id, severity, passed FROM phlo.check_results WHERE table_name = 'raw.grows_old'"
    assert query(airflow.catalog, recorded).rows == [(run, "phlo_watch", "error", False)]
    again = airflow.trigger("watched")
    assert airflow.finished("watched", again) == {"watch": "success"}
    # nothing new about this table; of others there may be, while their Dags are still being parsed
    assert query(airflow.catalog, recorded).rows == [(run, "phlo_watch", "error", False)]
    assert "raw.grows_old: published" in airflow.log("watched", again, "watch")


@pytest.mark.usefixtures("triggerer")
def test_a_run_that_is_late_is_said_while_it_runs(airflow):
    run = airflow.trigger("late_runs")
    assert airflow.finished("late_runs", run) == {"wait_for_the_alert": "success"}
    assert (airflow.home / "sources" / "late.txt").read_text() == f"late_runs {run}"
