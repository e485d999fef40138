"""The partition date of a run, however it was started, and its token."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronPartitionTimetable, MultipleCronTriggerTimetable
from airflow.sdk.definitions.timetables.interval import CronDataIntervalTimetable
from airflow.sdk.definitions.timetables.trigger import CronTriggerTimetable
from airflow.timetables.trigger import CronTriggerTimetable as CoreCronTriggerTimetable
from airflow.timetables.trigger import DeltaTriggerTimetable as CoreDeltaTriggerTimetable
from airflow.timetables.trigger import MultipleCronTriggerTimetable as CoreMultipleCronTriggerTimetable
from dateutil.relativedelta import relativedelta
from pendulum import timezone

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.runs import cron_and_zone, partition_date, token


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def event(*, extra=None, partition_key=None, name="raw.upstream"):
    return {
        "asset": {"name": name, "uri": f"iceberg://phlo/{name.replace('.', '/')}", "extra": {}},
        "extra": extra or {},
        "source_task_id": None,
        "source_dag_id": None,
        "source_run_id": None,
        "source_map_index": None,
        "source_aliases": [],
        "timestamp": at("2025-03-04T04:00"),
        "partition_key": partition_key,
    }


@pytest.fixture
def day_of(make_context):
    """Return the partition date of a run described by the fields that Airflow gives it."""

    def find(given=None, **run):
        return partition_date(make_context(**run), given)

    return find


@pytest.fixture
def scheduled_day(day_of):
    """Return the partition date of a scheduled run of ``schedule`` at its tick ``moment``."""

    def find(schedule, moment, run_type="scheduled", start=None, **dag_arguments):
        dag = DAG("a_dag", schedule=schedule, start_date=at("2020-01-01"), **dag_arguments)
        tick = at(moment)
        interval = {"data_interval_start": at(start) if start else tick, "data_interval_end": tick}
        return day_of(dag=dag, run_type=run_type, logical_date=tick, run_after=tick, **interval)

    return find


# --- conf ---------------------------------------------------------------------------------------------------


def test_conf_comes_first(day_of):
    run = {"logical_date": at("2025-02-02"), "partition_key": "2025-02-03", "partition_date": at("2025-02-03")}
    assert day_of(conf={"partition_date": "2024-01-15"}, **run) == "2024-01-15"


@pytest.mark.parametrize("conf", [None, {}, {"partition_date": None}, {"other": "2024-01-15"}])
def test_a_conf_without_a_date_does_not_count(day_of, conf):
    assert day_of(conf=conf) == "2025-03-04"


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "yesterday", "2024-1-15", "2024-02-30", "2024-13-01", "15-01-2024", "2024/01/15", "20240115",
        "2024-W03-1", "2024-015", "2024-01-15T00:00:00", " 2024-01-15", "2024-01-15\n", "\uff12024-01-15", "0000-01-01",
        20240115, 0, True, False, ["2024-01-15"], {"day": "2024-01-15"}, "{{ ds }}",
    ],
)  # fmt: skip
def test_a_malformed_date_is_refused(day_of, value):
    with pytest.raises(ConfigurationError, match=r"in the run's conf is not a date YYYY-MM-DD: trigger with --conf"):
        day_of(conf={"partition_date": value})


def test_a_day_in_the_future_is_refused(day_of):
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    with pytest.raises(ConfigurationError, match=f"{tomorrow} lies in the future"):
        day_of(conf={"partition_date": tomorrow})
    today = datetime.now(UTC).date().isoformat()
    assert day_of(conf={"partition_date": today}) in (today, tomorrow)


def test_what_the_task_is_given_comes_before_the_conf(day_of):
    assert day_of("2024-02-29", conf={"partition_date": "2024-01-15"}) == "2024-02-29"
    with pytest.raises(ConfigurationError, match="'None' in the task's arguments is not a date"):
        day_of("None")


# --- partition keys -----------------------------------------------------------------------------------------


def test_a_partition_key_that_is_a_day(day_of):
    assert day_of(partition_key="2024-01-15", partition_date=at("2024-01-15")) == "2024-01-15"
    assert day_of(partition_key="2024-01-15") == "2024-01-15"


def test_a_day_keeps_its_name_in_every_zone(day_of):
    """Midnight of the 15th in Taipei is the 14th in UTC; who asks for the 15th gets the 15th."""
    assert day_of(partition_key="2024-01-15", partition_date=at("2024-01-14T16:00")) == "2024-01-15"


def test_a_day_that_has_begun_in_its_zone_is_not_the_future(day_of):
    now = datetime.now(UTC)
    tomorrow = (now + timedelta(days=1)).date().isoformat()
    assert day_of(partition_key=tomorrow, partition_date=now - timedelta(minutes=1)) == tomorrow
    with pytest.raises(ConfigurationError, match="future"):
        day_of(partition_key=tomorrow, partition_date=now + timedelta(hours=1))
    with pytest.raises(ConfigurationError, match="future"):
        day_of(partition_key=tomorrow)


@pytest.mark.parametrize(
    ("key", "moment", "day"),
    [
        ("2024-01-15T06:00:00", "2024-01-15T06:00", "2024-01-15"),
        ("2024-01-15T03:00:00", "2024-01-14T19:00", "2024-01-14"),  # an hour of Taipei's 15th: the UTC day
        ("2024-01", "2024-01-01T00:00", "2024-01-01"),
        ("15.01.2024", "2024-01-15T00:00", "2024-01-15"),
        ("2024-01-15T06:00:00", None, "2024-01-15"),
        ("2024-01-15T23:00:00-05:00", None, "2024-01-16"),
        ("20240115", None, "2024-01-15"),
    ],
)
def test_other_partition_keys_mean_a_moment(day_of, key, moment, day):
    assert day_of(partition_key=key, partition_date=at(moment) if moment else None) == day


@pytest.mark.parametrize("key", ["us", "2024-01", "us|2024-01-15", "2024-02-30"])
def test_a_partition_key_without_date_is_refused(day_of, key):
    with pytest.raises(ConfigurationError, match="partition key"):
        day_of(partition_key=key)


def test_a_scheduled_run_of_a_partitioned_dag(day_of):
    schedule = CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")
    dag = DAG("a_dag", schedule=schedule)
    run = {"partition_key": "2025-03-03", "partition_date": at("2025-03-03"), "run_after": at("2025-03-04")}
    assert day_of(dag=dag, run_type="scheduled", **run) == "2025-03-03"


# --- asset events -------------------------------------------------------------------------------------------


def test_the_partition_of_the_asset_event(day_of):
    given = event(extra={"partition_date": "2024-01-15", "snapshot_id": 1})
    assert day_of(run_type="asset_triggered", events=[given]) == "2024-01-15"


def test_the_partition_key_of_the_asset_event(day_of):
    assert day_of(run_type="asset_triggered", events=[event(partition_key="2024-01-15T06:00:00")]) == "2024-01-15"


def test_case_44_a_run_for_several_days_names_them_all(day_of):
    days = ("2024-01-14", "2024-01-16", "2024-01-15", "2024-01-14")
    events = [event(extra={"partition_date": day}, name=f"raw.t{number % 2}") for number, day in enumerate(days)]
    events.append(event(partition_key="2024-01-17"))
    with pytest.raises(
        ConfigurationError, match=r"of 4 days.*2024-01-14, 2024-01-15, 2024-01-16, 2024-01-17"
    ) as caught:
        day_of(run_type="asset_triggered", events=[*events, event()])
    assert 'airflow dags trigger a_dag --conf \'{"partition_date": "2024-01-14"}\'' in str(caught.value)
    # a person who names the day decides
    assert day_of(run_type="asset_triggered", events=events, conf={"partition_date": "2024-01-15"}) == "2024-01-15"


def test_case_44_several_events_of_one_day_are_that_day(day_of):
    events = [event(extra={"partition_date": "2024-01-15"}, name=f"raw.t{number}") for number in range(3)]
    keyed = event(extra={"partition_date": "2024-01-15"}, partition_key="2024-01-15")
    assert day_of(run_type="asset_triggered", events=[*events, keyed, event()]) == "2024-01-15"


def test_the_key_that_airflow_hands_on_comes_before_the_events(day_of):
    """``PartitionedAssetTimetable`` gives the run the key."""
    events = [event(extra={"partition_date": "2024-01-20"})]
    assert day_of(run_type="asset_triggered", partition_key="2024-01-15", events=events) == "2024-01-15"


@pytest.mark.parametrize("given", [event(), event(partition_key="us"), event(extra={"partition_date": ""})])
def test_events_without_partition_mean_today(day_of, given):
    assert day_of(run_type="asset_triggered", events=[given]) == "2025-03-04"


def test_an_event_with_a_malformed_date_is_refused(day_of):
    with pytest.raises(ConfigurationError, match=r"the event of asset iceberg://phlo/raw/upstream is not a date"):
        day_of(run_type="asset_triggered", events=[event(extra={"partition_date": "15.1.2024"})])


# --- schedules ----------------------------------------------------------------------------------------------

CRONS = [
    ("0 6 * * *", "2025-03-04T06:00", "2025-03-03"),
    ("0 * * * *", "2025-03-04T13:00", "2025-03-04"),
    ("0 * * * *", "2025-03-04T00:00", "2025-03-03"),
    ("*/15 * * * *", "2025-03-04T00:15", "2025-03-04"),
    ("@daily", "2025-03-01T00:00", "2025-02-28"),
    ("@hourly", "2025-03-04T01:00", "2025-03-04"),
    ("0 0 * * 0", "2025-03-02T00:00", "2025-02-23"),
    ("0 6 * * 1-5", "2025-03-03T06:00", "2025-02-28"),
    ("0 0 1 * *", "2025-03-01T00:00", "2025-02-01"),
    ("0 0 29 2 *", "2024-02-29T00:00", "2020-02-29"),
    ("0 0 1 1 *", "2025-01-01T00:00", "2024-01-01"),
]


@pytest.mark.parametrize(("cron", "tick", "day"), CRONS)
@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_cron_run_is_for_the_day_its_interval_starts(scheduled_day, cron, tick, day, run_type):
    assert scheduled_day(cron, tick, run_type) == day


@pytest.mark.parametrize(("cron", "tick", "day"), CRONS)
def test_all_kinds_of_cron_schedule_agree(scheduled_day, cron, tick, day):
    assert scheduled_day(CronTriggerTimetable(cron, timezone="UTC"), tick) == day
    assert scheduled_day(CoreCronTriggerTimetable(cron, timezone="UTC"), tick) == day
    for timetable in (MultipleCronTriggerTimetable, CoreMultipleCronTriggerTimetable):
        assert scheduled_day(timetable(cron, cron, timezone="UTC"), tick) == day
    either = AssetOrTimeSchedule(assets=[Asset("a")], timetable=CronTriggerTimetable(cron, timezone="UTC"))
    assert scheduled_day(either, tick) == day


def test_the_nearest_of_several_crons(scheduled_day):
    schedule = MultipleCronTriggerTimetable("0 6 * * *", "0 18 * * *", timezone="UTC")
    assert scheduled_day(schedule, "2025-03-04T06:00") == "2025-03-03"
    assert scheduled_day(schedule, "2025-03-04T18:00") == "2025-03-04"


@pytest.mark.parametrize(
    ("zone", "cron", "tick", "day"),
    [
        ("Asia/Tokyo", "0 6 * * *", "2025-03-03T21:00", "2025-03-02"),
        ("America/New_York", "0 20 * * *", "2025-03-05T01:00", "2025-03-04"),
        ("America/New_York", "0 6 * * *", "2025-03-10T10:00", "2025-03-09"),  # clocks went forward on the 9th
        ("Europe/Berlin", "0 0 * * *", "2025-03-30T22:00", "2025-03-29"),  # the 30th, 23 hours long, begins at 23:00
        ("Europe/Berlin", "0 0 * * *", "2025-10-26T23:00", "2025-10-25"),  # the 26th, 25 hours long, begins at 22:00
        ("Europe/Berlin", "0 * * * *", "2025-10-26T01:00", "2025-10-26"),
    ],
)
def test_schedules_of_other_zones_count_utc_days(scheduled_day, zone, cron, tick, day):
    assert scheduled_day(CronTriggerTimetable(cron, timezone=zone), tick) == day
    assert scheduled_day(CoreCronTriggerTimetable(cron, timezone=zone), tick) == day
    local_start = datetime(2020, 1, 1, tzinfo=timezone(zone))  # where Airflow finds the zone of a cron string
    dag = DAG("zoned", schedule=cron, start_date=local_start)
    assert scheduled_day(dag.timetable, tick) == day


def test_data_intervals_are_taken_as_they_are(scheduled_day, monkeypatch):
    interval = {"moment": "2025-03-04T06:00", "start": "2025-03-02T06:00"}
    assert scheduled_day(CronTriggerTimetable("0 6 * * *", timezone="UTC", interval=timedelta(2)), **interval) == (
        "2025-03-02"
    )


@pytest.mark.parametrize("schedule", ["0 6 * * *", timedelta(days=1)])
def test_schedules_with_data_intervals(day_of, monkeypatch, schedule):
    """There the logical date is the start of the interval, and a run comes at its end."""
    monkeypatch.setenv("AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS", "True")
    dag = DAG("a_dag", schedule=schedule, start_date=at("2020-01-01"))
    start, end = at("2025-03-03T06:00"), at("2025-03-04T06:00")
    run = {"logical_date": start, "data_interval_start": start, "data_interval_end": end, "run_after": end}
    assert day_of(dag=dag, run_type="scheduled", **run) == "2025-03-03"
    assert day_of(dag=DAG("b", schedule=CronDataIntervalTimetable("0 6 * * *", "UTC")), run_type="backfill", **run) == (
        "2025-03-03"
    )


@pytest.mark.parametrize(
    ("delta", "day"),
    [
        (timedelta(days=1), "2025-03-30"),
        (timedelta(hours=1), "2025-03-31"),
        (timedelta(hours=13), "2025-03-30"),
        (relativedelta(months=1), "2025-02-28"),
    ],
)
def test_schedules_by_time_delta(scheduled_day, delta, day):
    assert scheduled_day(delta, "2025-03-31T12:00") == day
    assert scheduled_day(CoreDeltaTriggerTimetable(delta), "2025-03-31T12:00") == day


def test_a_dag_made_of_one_table_agrees_with_one_written_by_hand(scheduled_day):
    from airflow_provider_phlo import phlo_ingestion

    @phlo_ingestion("readings", "id", None, "demo", cron="0 6 * * *")
    def readings(): ...

    assert scheduled_day(readings.dag().timetable, "2025-03-04T06:00") == "2025-03-03"


# --- other runs ---------------------------------------------------------------------------------------------


def test_a_manual_run_with_a_logical_date_is_for_its_day(day_of):
    dag = DAG("a_dag", schedule="0 6 * * *", start_date=at("2020-01-01"))
    moment = at("2024-01-15")
    for run_type in ("manual", "operator_triggered"):
        run = {"logical_date": moment, "data_interval_start": moment, "data_interval_end": moment}
        assert day_of(dag=dag, run_type=run_type, **run) == "2024-01-15"


@pytest.mark.parametrize("run_type", ["manual", "operator_triggered", "asset_triggered", "asset_materialization"])
def test_a_run_without_any_date_is_for_the_day_it_was_asked_for(day_of, run_type):
    assert day_of(run_type=run_type) == "2025-03-04"
    assert day_of(run_type=run_type, run_after=datetime.fromisoformat("2025-03-04T23:30:00-05:00")) == "2025-03-05"


# --- tokens -------------------------------------------------------------------------------------------------


def test_retries_share_a_token_and_other_runs_do_not(make_context):
    def of(table="raw.readings", **run):
        return token(make_context(**run), table)

    first = of()
    assert of(try_number=3) == first
    others = [
        of(table="raw.others"),
        of(run_id="manual__two"),
        of(clear_number=1),
        of(start_date=at("2025-03-05")),
        of(map_index=0),
        of(dag=DAG("another_dag", schedule=None)),
    ]
    assert len({first, *others}) == 7
    assert len(first) == 16
    assert set(first) <= set("0123456789abcdef")


# --- when runs are due --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 6 * * 1-5", ("0 6 * * 1-5", "Europe/Berlin")),
        ("@daily", ("0 0 * * *", "Europe/Berlin")),
        (CronTriggerTimetable("30 2 * * *", timezone="America/New_York"), ("30 2 * * *", "America/New_York")),
        (CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=-1), ("0 0 * * *", "UTC")),
        (
            AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 1 * * *", timezone="UTC"), assets=[Asset("a")]),
            ("0 1 * * *", "UTC"),
        ),
        (MultipleCronTriggerTimetable("0 1 * * *", "0 5 * * *", timezone="UTC"), None),
        (None, None),
        ("@once", None),
        ("@continuous", None),
        ([Asset("a")], None),
        (timedelta(hours=3), None),
    ],
)
def test_the_cron_of_a_dag_and_its_zone(make_context, schedule, expected):
    start = datetime(2020, 1, 1, tzinfo=timezone("Europe/Berlin"))
    dag = DAG("a_dag", schedule=schedule, start_date=start, max_active_runs=1)
    assert cron_and_zone(make_context(dag=dag)) == expected
