"""Runs in which exactly the planned tasks run, and backfills of them (system tests do so on a real Airflow)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_phlo.airflow_api.client import run_path
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.materializing import backfilling, following, running
from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.attempts import failed_days
from airflow_provider_phlo.materializing.backfilling import Backfill
from airflow_provider_phlo.materializing.following import RunProgress, TaskProgress, follow
from airflow_provider_phlo.materializing.outcomes import outcomes
from airflow_provider_phlo.materializing.planning import plan_runs
from airflow_provider_phlo.materializing.running import Asked, start_run, unpausing
from tests.unit.materializing.scheduler import LONG_AGO, Scheduler, serving

DAYS = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (following, backfilling):
        monkeypatch.setattr(module, "_PAUSE", 0.02)
    monkeypatch.setattr(running, "_HEAD_STARTS", (0.3, 0.4, 0.5))


def nothing(line: str) -> None:
    raise AssertionError(line)


def test_only_what_is_planned_runs() -> None:
    with serving(scheduler := Scheduler()) as api:
        assets = AssetMap(api)
        [plan] = plan_runs(assets, ["raw.b"])
        run = start_run(assets, plan, Asked("2024-01-15", {"x": 1}))
        *_, [last] = follow(api, [run], nothing)
        [outcome] = outcomes(assets, last)
        assert (outcome.name, outcome.state, outcome.facts["inserted"]) == ("raw.b", "success", 2)
        [made] = scheduler.runs.values()
        assert made["conf"] == {"x": 1, "partition_date": "2024-01-15"}
        assert made["logical_date"].startswith("2024-01-15T")
        assert [each["try_number"] for each in made["tasks"].values()] == [0, 1]


def test_a_run_that_began_too_early_is_ended_and_begun_again() -> None:
    with serving(scheduler := Scheduler(hasty=1)) as api:
        assets = AssetMap(api)
        [plan] = plan_runs(assets, ["raw.a"])
        run = start_run(assets, plan, Asked())
        first, second = scheduler.runs.values()
        assert (first["state"], second["dag_run_id"]) == ("failed", run.run_id)
    with serving(scheduler := Scheduler(hasty=9)) as api:
        assets = AssetMap(api)
        with pytest.raises(TransientError, match="too slow to leave out"):
            start_run(assets, plan, Asked())
        assert {made["state"] for made in scheduler.runs.values()} == {"failed"}


def test_a_new_dag_is_unpaused_and_its_due_tick_is_taken() -> None:
    due = datetime.now(UTC).replace(microsecond=0).isoformat()
    listed = {"is_paused": True, "next_dagrun_run_after": due, "next_dagrun_logical_date": due}
    with serving(scheduler := Scheduler(**listed)) as api:
        assets = AssetMap(api)
        assert "unpaused now; from now on it also runs by its schedule" in unpausing(assets, "shop", allowed=False)
        [plan] = plan_runs(assets, ["raw.a"])
        run = start_run(assets, plan, Asked())
        assert scheduler.dag["is_paused"] is False
        assert scheduler.runs[run.run_id]["logical_date"] == due
        # a second run has a date of its own
        assert scheduler.runs[start_run(assets, plan, Asked()).run_id]["logical_date"] != due


def test_another_day_does_not_use_up_the_tick_that_is_due() -> None:
    due = datetime.now(UTC).replace(microsecond=0).isoformat()
    listed = {"is_paused": True, "next_dagrun_run_after": due, "next_dagrun_logical_date": due}
    with serving(scheduler := Scheduler(**listed)) as api:
        assets = AssetMap(api)
        said = unpausing(assets, "shop", ["2024-01-15"], allowed=False)
        assert said.endswith(f"and at once for {due}, which is due, with all its tasks")
        [plan] = plan_runs(assets, ["raw.a"])
        run = start_run(assets, plan, Asked("2024-01-15"))
        assert scheduler.runs[run.run_id]["logical_date"].startswith("2024-01-15T")


@pytest.mark.parametrize("day", ["2024-01-15", None])
def test_a_new_dag_that_is_scheduled_by_partitions_is_run_with_the_key_of_its_day(day: str | None) -> None:
    """Its ticks have no logical date; without a day, its run is for today, as those of others are."""
    due = datetime.now(UTC).replace(microsecond=0).isoformat()
    listed = {"is_paused": True, "next_dagrun_run_after": due, "next_dagrun_logical_date": None}
    with serving(scheduler := Scheduler(timetable_partitioned=True, **listed)) as api:
        assets = AssetMap(api)
        said = unpausing(assets, "shop", [day], allowed=False, by_conf=True)
        assert said.endswith(f"and at once for {due}, which is due, with all its tasks")
        [plan] = plan_runs(assets, ["raw.a"])
        run = scheduler.runs[start_run(assets, plan, Asked(day)).run_id]
        today = datetime.now(UTC).date().isoformat()
        assert (run["logical_date"], run["partition_key"]) == (None, day or today)


def test_the_day_is_that_of_the_zone_whose_days_count() -> None:
    scheduler = Scheduler()
    scheduler.zone, scheduler.dag["timezone"] = "Asia/Tokyo", "Europe/Berlin"
    with serving(scheduler) as api:
        assets = AssetMap(api)
        [plan] = plan_runs(assets, ["raw.a", "raw.b"])
        made = scheduler.runs[start_run(assets, plan, Asked("2024-03-31")).run_id]
        interval = [made["data_interval_start"], made["data_interval_end"]]
        assert interval == ["2024-03-30T23:00:00+00:00", "2024-03-31T22:00:00+00:00"]
        scheduler.dag["timezone"] = "UTC"
        made = scheduler.runs[start_run(AssetMap(api), plan, Asked("2024-03-31")).run_id]
        assert made["data_interval_start"] == "2024-03-30T15:00:00+00:00"
        # Airflow 3.3 says UTC of every DAG; its ticks say that this one has another zone, and its file which
        scheduler.dag["next_dagrun_run_after"] = "2026-11-28T05:00:00Z"
        scheduler.source = 'start_date=pendulum.datetime(2020, 1, 1, tz="Europe/Berlin"), a = "Asia/Tokyo", b = "x/y"'
        made = scheduler.runs[start_run(AssetMap(api), plan, Asked("2024-03-31")).run_id]
        assert made["data_interval_start"] == "2024-03-30T23:00:00+00:00"


def test_mapped_tasks_are_left_out_with_all_their_instances() -> None:
    scheduler = Scheduler()
    scheduler.instances = [("a", -1), ("b", 0), ("b", 1), ("b", 2)]
    with serving(scheduler) as api:
        assets = AssetMap(api)
        [plan] = plan_runs(assets, ["raw.a"])
        run = start_run(assets, plan, Asked())
        *_, [last] = follow(api, [run], nothing)
        assert [outcome.state for outcome in outcomes(assets, last)] == ["success"]
        made = scheduler.runs[run.run_id]["tasks"].values()
        assert [(each["state"], each["try_number"]) for each in made] == [("success", 1), *[("success", 0)] * 3]


def test_a_run_that_counts_as_done_has_failed_if_a_task_that_was_asked_for_has() -> None:
    """The last tasks of a DAG decide how Airflow calls a run, and they may have been marked as done."""
    with serving(Scheduler()) as api:
        assets = AssetMap(api)
        [plan] = plan_runs(assets, ["raw.a"])
        run = start_run(assets, plan, Asked())
        for state, expected in (("failed", "failed"), ("upstream_failed", "not run"), ("waiting", "not done")):
            task = TaskProgress("a", -1, state, 1, None, None, None)
            [outcome] = outcomes(assets, RunProgress(run, "success", (task,)))
            assert (outcome.state, outcome.is_good) == (expected, False)
        [outcome] = outcomes(assets, RunProgress(run, "success", ()))
        assert (outcome.state, outcome.is_good) == ("not run", False)


@pytest.mark.parametrize(
    ("listed", "ran", "said"),
    [({}, "ui", "somebody has paused it"), ({"catchup": True}, None, "catch up")],
)
def test_a_dag_that_somebody_paused_stays_so(listed: dict[str, Any], ran: str | None, said: str) -> None:
    scheduler = Scheduler(is_paused=True, next_dagrun_run_after=None)
    scheduler.dag |= listed
    with serving(scheduler) as api:
        assets = AssetMap(api)
        if ran:
            scheduler.runs["old"] = {
                "start_date": LONG_AGO, "triggered_by": ran, "state": "success", "run_after": LONG_AGO,
                "logical_date": None, "conf": {}, "partition_key": None, "tasks": {},
            }  # fmt: skip
        with pytest.raises(ConfigurationError, match=said):
            unpausing(assets, "shop", allowed=False)
        assert unpausing(assets, "shop", allowed=True)
        if ran:
            # a run of `airflow dags test` does not show that somebody had unpaused it
            scheduler.runs["old"]["triggered_by"] = "test"
            assert unpausing(assets, "shop", allowed=False)


def test_a_run_that_somebody_ends_has_not_made_its_assets() -> None:
    with serving(scheduler := Scheduler(seconds=60)) as api:
        assets = AssetMap(api)
        [plan] = plan_runs(assets, ["raw.a", "raw.b"])
        run = start_run(assets, plan, Asked())
        ended = False
        for found in follow(api, [run], nothing):
            last = found[0]
            if not ended:
                api.call("PATCH", f"{run_path('shop', run.run_id)}?update_mask=state", {"state": "failed"})
                for task in scheduler.runs[run.run_id]["tasks"].values():
                    task["state"] = "skipped"
                ended = True
        assert [(outcome.name, outcome.state) for outcome in outcomes(assets, last)][:2] == [
            ("raw.a", "not run"),
            ("raw.b", "not run"),
        ]


def test_days_run_beside_each_other_up_to_a_number() -> None:
    with serving(scheduler := Scheduler(fails=(DAYS[1],), seconds=0.2)) as api:
        assets = AssetMap(api)
        plans = plan_runs(assets, ["raw.a", "raw.b"])
        work = Backfill(assets, plans, DAYS, Asked(), 2)
        *_, last = work.run(nothing)
        assert [day.state for day in last.values()] == ["success", "failed", "success", "success"]
        assert [day.rows for day in last.values()] == [4, None, 4, 4]
        assert scheduler.most_at_once == 2
        assert failed_days(assets, plans, DAYS) == [DAYS[1]]
        assert sorted(run["conf"]["partition_date"] for run in scheduler.runs.values()) == DAYS


def test_a_backfill_is_resumed_from_the_runs_that_there_are() -> None:
    with serving(scheduler := Scheduler(fails=(DAYS[1],), seconds=0.2)) as api:
        assets = AssetMap(api)
        plans = plan_runs(assets, ["raw.a", "raw.b"])
        interrupted = Backfill(assets, plans, DAYS[:3], Asked(), 1)
        for days in interrupted.run(nothing):
            if days[DAYS[2]].state == "running":
                break
        assert [run.day for run in interrupted.going_on] == [DAYS[2]]
        scheduler.fails = ()
        before = set(scheduler.runs)
        resumed = Backfill(assets, plans, DAYS, Asked(), 1)
        resumed.resume()
        # done, failed and so to do again, followed, not begun
        assert [day.state for day in resumed.days.values()] == ["before", "waiting", "running", "waiting"]
        *_, last = resumed.run(nothing)
        assert [day.state for day in last.values()] == ["before", "success", "success", "success"]
        new = {run["conf"]["partition_date"] for name, run in scheduler.runs.items() if name not in before}
        assert new == {DAYS[1], DAYS[3]}
        # another backfill, of other tasks or with another conf, has nothing of this one
        for other in (plan_runs(assets, ["raw.a"]), plans):
            fresh = Backfill(assets, other, DAYS, Asked(conf={"y": 1}), 1)
            fresh.resume()
            assert {day.state for day in fresh.days.values()} == {"waiting"}


def test_that_nothing_begins_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENCE", 0.2)
    with serving(scheduler := Scheduler()) as api:
        assets = AssetMap(api)
        [plan] = plan_runs(assets, ["raw.a", "raw.b"])
        run = start_run(assets, plan, Asked())
        scheduler.dag["is_paused"] = True
        said: list[str] = []

        def warn(line: str) -> None:
            said.append(line)
            scheduler.dag["is_paused"] = False

        list(follow(api, [run], warn))
        assert said == [
            f"Nothing starts {run.run_id}: the scheduler does not run (phlo services status; phlo services start)."
        ]


def test_what_a_run_waits_for_that_has_begun_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENCE", 0.2)
    scheduler = Scheduler(seconds=60)
    scheduler.healthy = True
    with serving(scheduler) as api:
        assets = AssetMap(api)
        [plan] = plan_runs(assets, ["raw.a", "raw.b"])
        run = start_run(assets, plan, Asked())
        said: list[str] = []

        def warn(line: str) -> None:
            said.append(line)
            scheduler.seconds = 0

        list(follow(api, [run], warn))
        assert said == [f"No task of {run.run_id} has begun in 0 s; a is waiting: The pool is full."]


@pytest.mark.parametrize("paused", [True, False])
@pytest.mark.parametrize("one", [True, False])
def test_that_a_run_has_stopped_in_the_middle_is_said(paused: bool, one: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task has ended and the next does not begin, since the DAG was paused or the scheduler has gone."""
    monkeypatch.setattr(following, "SILENCE", 0.2)
    scheduler = Scheduler(seconds=60)
    scheduler.healthy = paused
    with serving(scheduler) as api:
        assets = AssetMap(api)
        plans = plan_runs(assets, ["raw.a", "raw.b"])
        said: list[str] = []

        def warn(line: str) -> None:
            said.append(line)
            scheduler.seconds = 0
            scheduler.dag["is_paused"] = False

        if one:
            runs: Any = follow(api, [start_run(assets, plans[0], Asked())], warn)
        else:
            runs = Backfill(assets, plans, DAYS[:1], Asked(), 1).run(warn)
        next(runs)
        while not any(run["state"] == "running" for run in scheduler.runs.values()):
            next(runs, None) if one or not scheduler.runs else api.call("GET", "/version")
        for run in scheduler.runs.values():
            run["tasks"]["a"].update(state="success", try_number=1, start_date=LONG_AGO, end_date=LONG_AGO)
        scheduler.dag["is_paused"] = paused
        list(runs)
        [run_id] = scheduler.runs
        reason = "shop was paused meanwhile" if paused else "the scheduler does not run"
        assert len(said) == 1
        assert said[0].startswith(f"Nothing goes on in {run_id}: {reason}")


def test_a_day_on_which_all_tasks_were_skipped_had_nothing_to_do() -> None:
    with serving(scheduler := Scheduler(seconds=60)) as api:
        assets = AssetMap(api)
        work = Backfill(assets, plan_runs(assets, ["raw.a", "raw.b"]), DAYS[:1], Asked(), 1)
        for _ in work.run(nothing):
            for run in scheduler.runs.values():
                run["state"] = "success"
                for each in run["tasks"].values():
                    each["state"] = "skipped"
        [day] = work.days.values()
        assert (day.state, day.rows, day.has_ended) == ("skipped", None, True)
