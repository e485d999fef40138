"""Days that failed: by their tasks, not by Airflow's word on a run, and in whatever run that was."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_phlo.airflow_api import client
from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.exceptions import AirflowUnavailableError
from airflow_provider_phlo.materializing import backfilling, following, running
from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.attempts import failed_days
from airflow_provider_phlo.materializing.backfilling import Backfill
from airflow_provider_phlo.materializing.following import follow
from airflow_provider_phlo.materializing.planning import plan_runs
from airflow_provider_phlo.materializing.run_days import RunDays
from airflow_provider_phlo.materializing.running import Asked, start_run
from tests.unit.materializing.scheduler import Scheduler, serving

MOMENTS = ("logical_date", "data_interval_start", "data_interval_end", "run_after")
DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (following, backfilling):
        monkeypatch.setattr(module, "_PAUSE", 0.02)
    monkeypatch.setattr(running, "_HEAD_STARTS", (0.3, 0.4, 0.5))
    monkeypatch.setattr(client, "_PAUSE", 0.001)


def nothing(line: str) -> None:
    raise AssertionError(line)


def done(work: Backfill) -> list[str]:
    *_, last = work.run(nothing)
    return [day.state for day in last.values()]


def test_a_selected_task_that_fails_fails_its_day_though_airflow_calls_the_run_a_success() -> None:
    """``a >> b``: ``b`` is left out, that is marked as done, and Airflow judges a run by its last tasks."""
    with serving(scheduler := Scheduler(broken=((DAYS[1], "a"),))) as api:
        assets = AssetMap(api)
        plans = plan_runs(assets, ["raw.a"])
        work = Backfill(assets, plans, DAYS, Asked(), 3)
        assert done(work) == ["success", "failed", "success"]
        assert {run["state"] for run in scheduler.runs.values()} == {"success"}
        assert work.days[DAYS[1]].reason.startswith("raw.a: a: ")
        assert failed_days(assets, plans, DAYS) == [DAYS[1]]
        resumed = Backfill(assets, plans, DAYS, Asked(), 3)
        resumed.resume()
        assert [day.state for day in resumed.days.values()] == ["before", "waiting", "before"]
        scheduler.broken = ()
        assert done(resumed) == ["before", "success", "before"]
        assert failed_days(assets, plans, DAYS) == []


def test_a_later_run_for_something_else_does_not_hide_that_a_task_failed() -> None:
    with serving(scheduler := Scheduler(broken=((DAYS[0], "b"),))) as api:
        assets = AssetMap(api)
        for names in (["raw.a", "raw.b"], ["raw.a"]):
            [plan] = plan_runs(assets, names)
            list(follow(api, [start_run(assets, plan, Asked(DAYS[0]))], nothing))
        assert [run["state"] for run in scheduler.runs.values()] == ["failed", "success"]
        assert failed_days(assets, plan_runs(assets, ["raw.a", "raw.b"]), DAYS) == [DAYS[0]]
        assert failed_days(assets, plan_runs(assets, ["raw.b"]), DAYS) == [DAYS[0]]
        assert failed_days(assets, plan_runs(assets, ["raw.a"]), DAYS) == []


def run(scheduler: Scheduler, run_id: str, state: str = "failed", **fields: Any) -> dict[str, Any]:
    """Add a run that has ended, as the API has it."""
    at = fields.get("run_after", "2024-01-02T06:00:00+00:00")
    tasks = {
        name: {
            "dag_run_id": run_id, "task_id": name, "map_index": -1, "state": state, "try_number": 1, "pid": 1,
            "start_date": at, "end_date": at, "duration": 1.0,
        }
        for name in ("a", "b")
    }  # fmt: skip
    scheduler.runs[run_id] = {
        "dag_id": "shop", "dag_run_id": run_id, "state": state, "run_type": "scheduled", "conf": {}, "tasks": tasks,
        "partition_key": None, "logical_date": at, "data_interval_start": at, "data_interval_end": at, "run_after": at,
        **fields,
    }  # fmt: skip
    return scheduler.runs[run_id]


@pytest.mark.parametrize(
    ("schedule", "fields", "day"),
    [
        # Airflow's cron schedules give an empty interval at the tick: the day before it
        ("0 6 * * *", {}, "2024-01-01"),
        ("0 6 * * *, 0 18 * * *", {}, "2024-01-01"),
        ("1 day, 0:00:00", {}, "2024-01-01"),
        ("Asset or 0 6 * * 1", {}, "2024-01-01"),
        ("0 6 * * *", {"data_interval_start": "2024-01-03T00:00:00+00:00", "run_type": "backfill"}, "2024-01-03"),
        ("0 6 * * *", {"run_type": "manual"}, "2024-01-02"),
        ("0 6 * * *", {"run_type": "manual", "logical_date": None}, "2024-01-02"),
        ("0 6 * * *", {"conf": {"partition_date": "2024-01-03"}}, "2024-01-03"),
        ("0 6 * * *", {"partition_key": "2024-01-03"}, "2024-01-03"),
        (
            "Asset",
            {"run_type": "asset_triggered", "events": [{"uri": "x", "extra": {"partition_date": "2024-01-03"}}]},
            "2024-01-03",
        ),
        (
            "Asset",
            {
                "run_type": "asset_triggered",
                "events": [{"uri": "x", "extra": {"partition_date": day}} for day in DAYS[:2]],
            },
            None,
        ),
        ("0 6 * * *", {"conf": {"partition_date": "soon"}}, None),
    ],
)
def test_a_run_is_for_the_day_that_its_tasks_say(schedule: str, fields: dict[str, Any], day: str | None) -> None:
    scheduler = Scheduler(timezone="UTC")
    scheduler.dag["timetable_summary"] = schedule
    found = run(scheduler, "r", **fields)
    with serving(scheduler) as api:
        assets = AssetMap(api)
        assert RunDays(assets, "shop").of(found) == day
        assert failed_days(assets, plan_runs(assets, ["raw.b"]), DAYS) == ([day] if day else [])


def test_a_tick_is_the_one_of_the_zone_of_the_schedule() -> None:
    """6:00 in Tokyo is 21:00 in UTC, of the day before: the tick before that one was on the day before that."""
    scheduler = Scheduler(timezone="Asia/Tokyo")
    found = run(scheduler, "r", **dict.fromkeys(MOMENTS, "2024-01-02T21:00:00+00:00"))
    with serving(scheduler) as api:
        assert RunDays(AssetMap(api), "shop").of(found) == "2024-01-01"


def test_what_was_tried_last_counts_whenever_it_was_due() -> None:
    """A run that is cleared and runs again is newer than one that was due later."""
    scheduler = Scheduler(timezone="UTC")
    again = run(scheduler, "scheduled", "success")
    run(scheduler, "manual", conf={"partition_date": DAYS[0]}, run_after="2024-01-05T06:00:00+00:00")
    with serving(scheduler) as api:
        assets = AssetMap(api)
        plans = plan_runs(assets, ["raw.b"])
        assert failed_days(assets, plans, DAYS) == [DAYS[0]]
        for task in again["tasks"].values():
            task["end_date"] = "2024-01-06T06:00:00+00:00"
        assert failed_days(assets, plans, DAYS) == []


def test_a_run_that_somebody_ended_has_failed() -> None:
    scheduler = Scheduler(timezone="UTC")
    ended = run(scheduler, "scheduled")
    for task in ended["tasks"].values():
        task.update(state="skipped", try_number=0)
    with serving(scheduler) as api:
        assets = AssetMap(api)
        plans = plan_runs(assets, ["raw.b"])
        assert failed_days(assets, plans, DAYS) == [DAYS[0]]
        # a task that its run had no need of was not tried
        ended["state"] = "success"
        assert failed_days(assets, plans, DAYS) == []


@pytest.mark.parametrize("status", [400, 500])
def test_a_day_that_cannot_be_started_fails_and_the_others_go_on(status: int) -> None:
    with serving(scheduler := Scheduler()) as api:
        scheduler.refused = {DAYS[1]: status}
        assets = AssetMap(api)
        work = Backfill(assets, plan_runs(assets, ["raw.a", "raw.b"]), DAYS, Asked(), 1)
        assert done(work) == ["success", "failed", "success"]
        assert "not this day" in work.days[DAYS[1]].reason


def test_a_run_that_was_deleted_fails_its_day_only() -> None:
    with serving(scheduler := Scheduler(seconds=0.2)) as api:
        assets = AssetMap(api)
        work = Backfill(assets, plan_runs(assets, ["raw.a", "raw.b"]), DAYS, Asked(), 1)
        for days in work.run(nothing):
            if days[DAYS[0]].state == "running":
                scheduler.runs.clear()
        assert [day.state for day in work.days.values()] == ["failed", "success", "success"]


def test_an_airflow_that_is_gone_ends_all_days(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Scheduler(seconds=60)) as api:
        assets = AssetMap(api)
        work = Backfill(assets, plan_runs(assets, ["raw.a", "raw.b"]), DAYS, Asked(), 1)
        steps = work.run(nothing)
        next(steps)
        next(steps)
        gone = AirflowApi("http://127.0.0.1:9", token="test")
        assets.api = gone
        with pytest.raises(AirflowUnavailableError):
            next(steps)
    assert work.days[DAYS[0]].state == "running"
