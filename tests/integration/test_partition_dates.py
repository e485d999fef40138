"""The partition date under a real scheduler, for runs started in every way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

pytestmark = pytest.mark.xdist_group("airflow")


@pytest.fixture
def noted(airflow):
    """Return the day that a run noted, in its XCom and in its table."""

    def find(dag_id, run_id, table=None):
        table = table or dag_id
        states = airflow.finished(dag_id, run_id)
        assert set(states.values()) == {"success"}, (states, airflow.log(dag_id, run_id, f"{table}.ingest"))
        rows = airflow.catalog.load_table(f"raw.{table}").scan().to_arrow().to_pylist()
        (day,) = [row["day"] for row in rows if row["id"] == run_id]
        assert str(next(row["_phlo_partition_date"] for row in rows if row["id"] == run_id)) == day
        assert airflow.xcom(dag_id, run_id, f"{table}.ingest")["partition_date"] == day
        return day

    return find


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def only_run(airflow, dag_id, run_type):
    return airflow.wait(lambda: airflow.runs(dag_id, run_type))[0]


@pytest.mark.parametrize(
    ("dag_id", "table", "period"),
    [
        ("cron_daily", None, timedelta(days=1)),
        ("by_hand", "hand_written", timedelta(days=1)),
        ("cron_hourly", None, timedelta(hours=1)),
        ("every_day", None, timedelta(days=1)),
    ],
)
def test_scheduled_runs_are_for_the_day_their_interval_starts(airflow, noted, dag_id, table, period):
    run = only_run(airflow, dag_id, "scheduled")
    tick = moment(run["logical_date"])
    assert noted(dag_id, run["dag_run_id"], table) == (tick - period).astimezone(UTC).date().isoformat()


def test_a_trigger_names_its_date(airflow, noted):
    run_id = airflow.trigger("cron_daily", conf={"partition_date": "2024-01-15"})
    assert noted("cron_daily", run_id) == "2024-01-15"


def test_a_trigger_without_date_is_for_today(airflow, noted):
    before = datetime.now(UTC).date().isoformat()
    assert before <= noted("cron_daily", airflow.trigger("cron_daily")) <= datetime.now(UTC).date().isoformat()


def test_a_trigger_with_a_logical_date_is_for_its_day(airflow, noted):
    run_id = airflow.trigger("cron_daily", logical_date="2024-02-03T04:05:06Z")
    assert noted("cron_daily", run_id) == "2024-02-03"


@pytest.mark.parametrize("day", ["15.1.2024", "2999-01-01"])
def test_a_bad_date_fails_at_once_and_says_what_to_do(airflow, day):
    run_id = airflow.trigger("cron_daily", conf={"partition_date": day})
    states = airflow.finished("cron_daily", run_id)
    assert states["cron_daily.ingest"] == "failed"  # no retry
    assert states["cron_daily.publish"] == "upstream_failed"
    assert "trigger with --conf" in airflow.log("cron_daily", run_id, "cron_daily.ingest")


def test_partition_keys_scheduled_and_given_and_handed_on(airflow, noted):
    run = only_run(airflow, "keyed", "scheduled")
    assert noted("keyed", run["dag_run_id"]) == run["partition_key"]
    run_id = airflow.trigger("keyed", partition_key="2024-01-15")
    assert noted("keyed", run_id) == "2024-01-15"
    following = airflow.wait(
        lambda: [run for run in airflow.runs("after_key", "asset_triggered") if run["partition_key"] == "2024-01-15"]
    )
    assert noted("after_key", following[0]["dag_run_id"]) == "2024-01-15"


def test_an_asset_event_hands_its_partition_on(airflow, noted):
    run_id = airflow.trigger("untimed", conf={"partition_date": "2024-03-01"})
    assert noted("untimed", run_id) == "2024-03-01"
    assert noted("after_asset", only_run(airflow, "after_asset", "asset_triggered")["dag_run_id"]) == "2024-03-01"


def test_case_48_and_57_the_asset_stays_its_producers(airflow, noted):
    """The consumer's file is parsed every few seconds, as the producer's is; each plain consumer runs once."""
    before = len(airflow.runs("elsewhere", "asset_triggered"))
    run_id = airflow.trigger("untimed", conf={"partition_date": "2024-03-03"})
    assert noted("untimed", run_id) == "2024-03-03"
    runs = airflow.wait(lambda: len(found := airflow.runs("elsewhere", "asset_triggered")) > before and found)
    assert airflow.finished("elsewhere", runs[-1]["dag_run_id"]) == {"look": "success"}
    assert len(airflow.runs("elsewhere", "asset_triggered")) == before + 1
    (asset,) = airflow.api.call("GET", "/assets?name_pattern=raw.untimed")["assets"]
    assert asset["group"] == "test"
    assert (asset["extra"]["key"], asset["extra"]["strategy"]) == ("id", "merge")
    assert {dag["dag_id"] for dag in asset["scheduled_dags"]} >= {"after_asset", "elsewhere"}
    (event,) = airflow.events("untimed", run_id)
    assert (event["partition_date"], event["inserted"]) == ("2024-03-03", 1)
    assert "***" not in event.values()


def test_case_44_an_asset_event_has_the_day_as_its_partition_key(airflow, noted):
    airflow.trigger("untimed", conf={"partition_date": "2024-03-02"})
    following = airflow.wait(
        lambda: [
            run for run in airflow.runs("after_untimed", "asset_triggered") if run["partition_key"] == "2024-03-02"
        ]
    )
    assert noted("after_untimed", following[0]["dag_run_id"]) == "2024-03-02"


def test_a_backfill_is_for_the_same_days_as_the_schedule(airflow, noted):
    body = {"dag_id": "by_hand", "from_date": "2024-01-15T00:00:00Z", "to_date": "2024-01-16T23:00:00Z"}
    airflow.api.call("POST", "/backfills", {**body, "max_active_runs": 2, "run_backwards": False, "dag_run_conf": {}})
    runs = airflow.wait(lambda: len(found := airflow.runs("by_hand", "backfill")) == 2 and found)
    ticks = {run["logical_date"][:10]: noted("by_hand", run["dag_run_id"], "hand_written") for run in runs}
    assert ticks == {"2024-01-15": "2024-01-14", "2024-01-16": "2024-01-15"}
