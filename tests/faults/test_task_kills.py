"""kill -9 of a task at every step under a real scheduler, then Airflow's retry: no row lost, none doubled."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from airflow_provider_phlo.services.postgres.server import ensure_postgres, stop_postgres
from tests.real_airflow import ROOT, running_airflow

# one Airflow for all steps
pytestmark = pytest.mark.xdist_group("airflow")
STEPS = [
    "extraction",
    "before staged",
    "after staged",
    "before commit",
    "after commit",
    "before publish",
    "after publish",
    "before model",
    "after model",
    "before mart",
    "after mart",
]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    home = tmp_path_factory.mktemp("phlo")
    (home / "kills").mkdir()
    variables = {"TEST_KILLS": str(home / "kills"), "TEST_DBT": str(ROOT / "include" / "dbt")}
    try:
        with running_airflow(home, Path(__file__).parent, {"killed"}, variables) as running:
            yield running
    finally:
        stop_postgres(home)


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_task_is_retried_and_nothing_is_lost_or_doubled(airflow, step):
    """Each run changes the five newest readings and brings five new ones, so a lost or doubled step shows."""
    number = STEPS.index(step)
    conf = {"partition_date": "2024-01-15", "first": 5 * number, "last": 5 * number + 10, "value": 100 + number}
    run_id = airflow.trigger("killed", conf={**conf, "kill_at": step})
    states = airflow.finished("killed", run_id)

    assert set(states.values()) == {"success"}, states
    kills = [path.name for path in (airflow.home / "kills").iterdir() if path.name.startswith(run_id)]
    assert kills == [f"{run_id}-{step}"]
    assert max(task["try_number"] for task in airflow.api.task_instances("killed", run_id)) == 2
    expected = {f"{row:024d}": 100 + min(row // 5, number) for row in range(5 * number + 10)}
    assert rows(airflow, "raw.glucose_entries") == sorted(expected.items())
    assert marts(airflow) == len(expected)
    table = airflow.catalog.load_table("raw.glucose_entries")
    assert set(table.metadata.refs) == {"main"}
    published = [s for s in table.snapshots() if s.summary and s.summary.get("phlo.run-id") == run_id]
    in_main = {entry.snapshot_id for entry in table.history()} & {s.snapshot_id for s in published}
    assert len(in_main) == 1


def rows(airflow, identifier: str) -> list[tuple[str, int]]:
    table = airflow.catalog.load_table(identifier).scan(selected_fields=("_id", "sgv")).to_arrow()
    return sorted(zip(table["_id"].to_pylist(), table["sgv"].to_pylist(), strict=True))


def marts(airflow) -> int:
    with psycopg.connect(ensure_postgres(airflow.home).uri) as connection:
        return connection.execute("SELECT count(*) FROM marts.entries").fetchone()[0]
