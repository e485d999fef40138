"""The dbt project itself: built once over small raw tables, its numbers compared with Python's."""

from __future__ import annotations

import datetime as dt
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from dbt.cli.main import dbtRunner
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.dbt.adapter.connections import PhloConnectionManager
from airflow_provider_phlo.dbt.adapter.opening import beyond, catalog_from_environment
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.dbt.runner import load_manifest
from airflow_provider_phlo.iceberg.duckdb.views import all_tables, connect
from tests.expect import expect
from tests.lake import open_lake
from tests.unit import raw_tables

# one worker builds the project
pytestmark = pytest.mark.xdist_group("dbt project")

UTC = dt.UTC


def build(home: Path, *options: str, command: str = "run") -> list[str]:
    """Run dbt in process, as a person would on the command line; return what failed."""
    PhloConnectionManager.close_all_connections()
    folders = ["--project-dir", raw_tables.PROJECT, "--profiles-dir", raw_tables.PROJECT]
    parsed = Project(raw_tables.PROJECT, home).folder
    folders += ["--target-path", parsed, "--log-path", home, "--log-level", "none"]
    done = dbtRunner(manifest=load_manifest(parsed)).invoke([command, *map(str, folders), "--no-write-json", *options])
    assert done.result is not None, done.exception
    return [f"{one.node.name}: {one.message}" for one in done.result.results if one.status not in ("success", "pass")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    raw_tables.fill(raw_tables.make_home(home))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHLO_HOME", str(home))
        assert build(home, command="build") == []
        yield home


@pytest.fixture(scope="module")
def catalog(home: Path) -> Catalog:
    return catalog_from_environment({"PHLO_HOME": str(home)})


def table(catalog: Catalog, name: str, key: str) -> dict[object, dict[str, object]]:
    rows = connect(catalog, tables=[name]).sql(f"SELECT * FROM {name}").to_arrow_table().to_pylist()
    assert len({row[key] for row in rows}) == len(rows)
    return {row[key]: row for row in rows}


def snapshots(catalog: Catalog) -> dict[str, list[int]]:
    tables = {name: catalog.load_table(name) for name in all_tables(catalog)}
    return {name: [snapshot.snapshot_id for snapshot in found.metadata.snapshots] for name, found in tables.items()}


def by_day(zone: str = "UTC") -> dict[dt.date, list[int]]:
    days = defaultdict(list)
    for row in raw_tables.glucose():
        days[dt.datetime.fromtimestamp(row["date"] / 1000, ZoneInfo(zone)).date()].append(row["sgv"])
    return days


def test_every_layer_is_a_namespace(catalog: Catalog) -> None:
    assert [name for name in all_tables(catalog) if not name.startswith("raw.")] == [
        "bronze.github_events",
        "bronze.github_profile",
        "bronze.github_repos",
        "bronze.public_events",
        "bronze.pull_request_repositories",
        "bronze.pull_request_reviews",
        "bronze.pull_requests",
        "bronze.stg_glucose_entries",
        "gold.fct_daily_github_activity",
        "gold.fct_daily_glucose_metrics",
        "gold.fct_github_events",
        "gold.fct_github_repo_stats",
        "gold.fct_public_user_sessions",
        "gold.fct_pull_request_weeks",
        "marts.mrt_github_activity",
        "marts.mrt_github_repos",
        "marts.mrt_glucose_hourly_patterns",
        "marts.mrt_glucose_overview",
        "marts.mrt_public_active_users",
        "marts.mrt_public_events_by_hour",
        "marts.mrt_public_events_by_type",
        "marts.mrt_public_top_repos",
        "marts.mrt_pull_request_throughput",
        "marts.mrt_review_turnaround",
        "marts.mrt_stale_pull_requests",
        "silver.fct_glucose_readings",
        "silver.stg_github_events",
        "silver.stg_github_profile",
        "silver.stg_github_repos",
        "silver.stg_public_events",
        "silver.stg_pull_request_reviews",
        "silver.stg_pull_requests",
    ]


def test_each_reading_once_with_its_instant(catalog: Catalog) -> None:
    readings = table(catalog, "silver.fct_glucose_readings", "entry_id")
    expected = {row["_id"]: row for row in raw_tables.glucose()}
    assert readings.keys() == expected.keys()
    for key, row in expected.items():
        instant = dt.datetime.fromtimestamp(row["date"] / 1000, UTC)
        found = readings[key]
        expect(found, reading_timestamp=instant, hour_of_day=instant.hour)
        expect(found, reading_date=instant.date(), glucose_mg_dl=row["sgv"])


@pytest.mark.parametrize(
    ("sgv", "category", "in_range"),
    [
        (69, "hypoglycemia", 0),
        (70, "in_range", 1),
        (180, "in_range", 1),
        (181, "hyperglycemia_mild", 0),
        (250, "hyperglycemia_mild", 0),
        (251, "hyperglycemia_severe", 0),
    ],
)
def test_categories_at_their_borders(catalog: Catalog, sgv: int, category: str, in_range: int) -> None:
    reading = table(catalog, "silver.fct_glucose_readings", "entry_id")[f"b{sgv}"]
    expect(reading, glucose_category=category, is_in_range=in_range)


def test_the_overview_of_each_day(catalog: Catalog) -> None:
    overview = table(catalog, "marts.mrt_glucose_overview", "reading_date")
    days = by_day()
    assert overview.keys() == {*days, dt.date(2024, 3, 5)}
    a1c = {day: (statistics.fmean(values) + 46.7) / 28.7 for day, values in days.items()}
    for day, values in days.items():
        mean, row = statistics.fmean(values), overview[day]
        week = [a1c[other] for other in days if day - dt.timedelta(days=6) <= other <= day]
        expected = {
            "reading_count": len(values),
            "avg_glucose_mg_dl": mean,
            "min_glucose_mg_dl": min(values),
            "max_glucose_mg_dl": max(values),
            "time_in_range_pct": 100 * sum(70 <= value <= 180 for value in values) / len(values),
            "time_below_range_pct": 100 * sum(value < 70 for value in values) / len(values),
            "time_above_range_pct": 100 * sum(value > 180 for value in values) / len(values),
            "time_very_low_pct": 100 * sum(value < 54 for value in values) / len(values),
            "time_very_high_pct": 100 * sum(value > 250 for value in values) / len(values),
            "estimated_a1c_pct": a1c[day],
            "estimated_a1c_7d_avg": statistics.fmean(week),
            "gmi_pct": 3.31 + 0.02392 * mean,
        }
        for column, value in expected.items():
            assert row[column] == pytest.approx(value, rel=1e-12), (day, column)
        if len(values) > 1:
            deviation = statistics.stdev(values)
            assert row["stddev_glucose_mg_dl"] == pytest.approx(deviation, rel=1e-12)
            assert row["cv_pct"] == pytest.approx(100 * deviation / mean, rel=1e-12)


def test_case_29_states_of_the_sensor_are_kept_and_counted_and_are_not_glucose(catalog: Catalog) -> None:
    states = {row["_id"] for row in raw_tables.sensor_states()}
    assert states <= table(catalog, "bronze.stg_glucose_entries", "entry_id").keys()
    assert not states & table(catalog, "silver.fct_glucose_readings", "entry_id").keys()
    overview = table(catalog, "marts.mrt_glucose_overview", "reading_date")
    counts = {day.day: row["sensor_state_count"] for day, row in overview.items()}
    assert counts == {1: 0, 2: 6, 3: 0, 5: 1, 7: 0, 8: 0, 9: 0, 10: 0, 11: 0}
    nothing_else = overview[dt.date(2024, 3, 5)]
    expect(nothing_else, reading_count=0, avg_glucose_mg_dl=None, min_glucose_mg_dl=None, time_below_range_pct=None)
    week = [overview[dt.date(2024, 3, day)]["estimated_a1c_pct"] for day in (1, 2, 3)]
    assert nothing_else["estimated_a1c_7d_avg"] == pytest.approx(statistics.fmean(week))


def test_a_single_reading_has_no_deviation(catalog: Catalog) -> None:
    row = table(catalog, "marts.mrt_glucose_overview", "reading_date")[dt.date(2024, 3, 11)]
    expect(row, reading_count=1, stddev_glucose_mg_dl=None, cv_pct=None)
    assert row["time_in_range_pct"] == 100


def test_the_week_is_one_of_calendar_days(catalog: Catalog) -> None:
    overview = table(catalog, "marts.mrt_glucose_overview", "reading_date")
    # the 4th to the 6th have no readings: on the 9th the week holds the 3rd, the 7th, the 8th and the 9th
    within = [overview[dt.date(2024, 3, day)]["estimated_a1c_pct"] for day in (3, 7, 8, 9)]
    assert overview[dt.date(2024, 3, 9)]["estimated_a1c_7d_avg"] == pytest.approx(statistics.fmean(within))


def nearest_rank(values: list[int], percent: int) -> int:
    """Return the smallest value that ``percent`` of the values do not exceed."""
    return sorted(values)[-(-percent * len(values) // 100) - 1]


def test_hourly_patterns(catalog: Catalog) -> None:
    patterns = table(catalog, "marts.mrt_glucose_hourly_patterns", "hour_of_day")
    hours = defaultdict(list)
    for row in raw_tables.glucose():
        instant = dt.datetime.fromtimestamp(row["date"] / 1000, UTC)
        hours[instant.hour].append((instant.date(), row["sgv"]))
    assert patterns.keys() == hours.keys()
    for hour, found in hours.items():
        values = [value for _, value in found]
        row = patterns[hour]
        expect(row, reading_count=len(values), day_count=len({day for day, _ in found}))
        assert row["avg_glucose_mg_dl"] == pytest.approx(statistics.fmean(values), rel=1e-12)
        assert row["stddev_glucose_mg_dl"] == pytest.approx(statistics.stdev(values), rel=1e-12)
        assert row["median_glucose_mg_dl"] == statistics.median(values)
        for percent in (5, 25, 75, 95):
            assert row[f"p{percent:02}_glucose_mg_dl"] == nearest_rank(values, percent)


def test_numbers_are_doubles_and_counts_are_longs(catalog: Catalog) -> None:
    """Exact decimals and 128-bit sums would change with the engine."""
    allowed = {"long", "int", "double", "string", "boolean", "date", "timestamptz"}
    kinds = {
        f"{name}.{field.name}": str(field.field_type)
        for name in all_tables(catalog)
        if not name.startswith("raw.")
        for field in catalog.load_table(name).schema().fields
    }
    assert {name: kind for name, kind in kinds.items() if kind not in allowed} == {}
    assert all(kind == "double" for name, kind in kinds.items() if name.endswith("_pct"))


def test_github_activity(catalog: Catalog) -> None:
    activity = table(catalog, "marts.mrt_github_activity", "activity_date")
    days = defaultdict(list)
    for event in raw_tables.events():
        days[event["created_at"].date()].append(event)
    assert activity.keys() == days.keys()
    for day, found in days.items():
        row = activity[day]
        assert row["total_events"] == len(found)
        assert row["push_events"] == sum(event["type"] == "PushEvent" for event in found)
        assert row["review_events"] == sum(event["type"] == "PullRequestReviewEvent" for event in found)
        assert row["other_events"] == sum(event["type"] == "GollumEvent" for event in found)
        assert row["distinct_repos"] == len({event["repo"] for event in found})
        week = sum(len(days[other]) for other in days if day - dt.timedelta(days=6) <= other <= day)
        assert row["total_events_7d"] == week
        assert row["total_events_to_date"] == sum(len(days[other]) for other in days if other <= day)


def test_github_events_are_flattened(catalog: Catalog) -> None:
    event = table(catalog, "gold.fct_github_events", "event_id")["1"]
    named = ("actor_id", "actor_login", "repo_id", "repo_name", "org_login", "action", "distinct_commits", "event_kind")
    assert [event[name] for name in named] == [5, "octo", 1, "octo/r1", "org", "opened", 1, "star"]
    assert len(table(catalog, "gold.fct_github_events", "event_id")) == 40


def test_case_26_a_text_that_is_not_json_is_null_and_fails_no_model(catalog: Catalog) -> None:
    event = table(catalog, "gold.fct_github_events", "event_id")["39"]
    named = ("actor_id", "actor_login", "repo_name", "org_login", "action", "distinct_commits")
    assert [event[name] for name in named] == [None, None, "octo/r0", None, None, None]
    owners = {
        row["repo_id"]: row["owner_login"] for row in table(catalog, "marts.mrt_github_repos", "repo_id").values()
    }
    assert owners == {0: None, 1: "octo", 2: "octo", 3: "octo"}


def test_github_repositories(catalog: Catalog) -> None:
    repos = table(catalog, "marts.mrt_github_repos", "repo_id")
    assert [(repos[key]["stargazers_count"], repos[key]["star_rank"]) for key in range(4)] == [
        (3, 3),
        (0, 4),
        (9, 1),
        (9, 2),
    ]
    assert [repos[key]["topic_count"] for key in range(4)] == [0, 1, 2, 3]
    assert [repos[key]["license"] for key in range(2)] == [None, "MIT"]
    happened = [sum(f'"id": {key},' in event["repo"] for event in raw_tables.events()) for key in range(4)]
    assert [repos[key]["event_count"] for key in range(4)] == happened
    assert happened[3] == 0


def counted(catalog: Catalog, name: str, *columns: str) -> list[tuple[object, ...]]:
    return connect(catalog, tables=[name]).sql(f"SELECT {', '.join(columns)} FROM {name} ORDER BY ALL").fetchall()


def test_public_events_are_counted_by_type_hour_and_repository(catalog: Catalog) -> None:
    events = [event for event in raw_tables.public_events() if event["created_at"]]
    types = Counter(event["event_type"] for event in events)
    assert dict(counted(catalog, "marts.mrt_public_events_by_type", "event_type", "total_events")) == types
    hours = Counter((event["created_at"].date(), event["created_at"].hour) for event in events)
    found = counted(catalog, "marts.mrt_public_events_by_hour", "activity_date", "hour_of_day", "total_events")
    assert {(day, hour): count for day, hour, count in found} == hours
    by_repo = defaultdict(list)
    for event in events:
        by_repo[event["repo_name"]].append(event)
    del by_repo[None]
    ranked = sorted(by_repo, key=lambda name: (-len(by_repo[name]), name))
    repos = table(catalog, "marts.mrt_public_top_repos", "repo_name")
    assert repos.keys() == by_repo.keys()
    for name, found_there in by_repo.items():
        expect(repos[name], total_events=len(found_there), event_rank=ranked.index(name) + 1)
        expect(repos[name], unique_users=len({event["actor_login"] for event in found_there}))
        expect(repos[name], push_events=sum(event["event_type"] == "PushEvent" for event in found_there))
        expect(repos[name], first_event_at=min(event["created_at"] for event in found_there))
        expect(repos[name], last_event_at=max(event["created_at"] for event in found_there))


def test_more_than_thirty_minutes_without_an_event_end_a_session(catalog: Catalog) -> None:
    moments = defaultdict(list)
    for event in raw_tables.public_events():
        if event["actor_login"] and event["created_at"]:
            moments[event["actor_login"]].append(event["created_at"])
    expected = []
    for login, found in moments.items():
        sessions: list[list[dt.datetime]] = []
        for moment in sorted(found):
            if not sessions or moment - sessions[-1][-1] > dt.timedelta(minutes=30):
                sessions.append([])
            sessions[-1].append(moment)
        expected += [(login, number, one[0], one[-1], len(one)) for number, one in enumerate(sessions, 1)]
    columns = ("actor_login", "session_number", "session_start_at", "session_end_at", "events_in_session")
    assert counted(catalog, "gold.fct_public_user_sessions", *columns) == sorted(expected)
    assert [row for row in expected if row[0] == "ann"] == [
        ("ann", 1, *moments["ann"][:2], 2),
        ("ann", 2, *moments["ann"][2:], 2),
    ]
    users = counted(catalog, "marts.mrt_public_active_users", "actor_login", "total_events", "session_count")
    sessions_of = Counter(row[0] for row in expected)
    assert users == sorted((login, len(found), sessions_of[login]) for login, found in moments.items())


def last_pulls() -> list[dict[str, Any]]:
    """Return the pull requests as they were read last, with the names that their repositories have now."""
    names = {row["repository_id"]: row["repository"] for row in raw_tables.pulls()["raw.pull_request_repositories"]}
    last = {row["row_key"]: row for row in raw_tables.pulls()["raw.pull_requests"]}
    return [{**row, "repository": names[row["repository_id"]]} for row in last.values()]


def week(moment: dt.datetime) -> dt.date:
    return moment.date() - dt.timedelta(days=moment.weekday())


def hours(seconds: list[int]) -> tuple[float | None, float | None]:
    """Return median and 90th percentile (nearest rank) in hours."""
    if not seconds:
        return None, None
    ranked = sorted(seconds)
    return statistics.median(ranked) / 3600, nearest_rank(ranked, 90) / 3600


def test_review_turnaround_by_repository_and_week(catalog: Catalog) -> None:
    groups = defaultdict(list)
    for row in last_pulls():
        if not row["author_is_bot"]:
            groups[row["repository"], week(row["created_at"])].append(row)
    figures = (
        "median_hours_to_first_review",
        "p90_hours_to_first_review",
        "median_hours_to_merge",
        "p90_hours_to_merge",
    )
    found = counted(
        catalog, "marts.mrt_review_turnaround", "repository", "week", "pull_requests", "reviewed", "merged", *figures
    )
    assert len(found) == len(groups) > 20
    for repository, monday, count, reviewed, merged, *times in found:
        rows = groups[repository, monday]
        waits, merges = (
            [row[name] for row in rows if row[name] is not None and row[name] >= 0]
            for name in ("time_to_first_review", "time_to_merge")
        )
        assert (count, reviewed, merged) == (len(rows), len(waits), len(merges))
        assert times == pytest.approx([*hours(waits), *hours(merges)])


def test_throughput_by_repository_and_week(catalog: Catalog) -> None:
    counts: dict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    for row in last_pulls():
        key = row["repository"]
        counts[key, week(row["created_at"])]["opened"] += 1
        if row["merged_at"]:
            ended = counts[key, week(max(row["merged_at"], row["created_at"]))]
            ended["merged"] += 1
            ended["merged_lines"] += row["changed_lines"] or 0
            ended["merged_of_unknown_size"] += row["changed_lines"] is None
        elif row["closed_at"]:
            counts[key, week(max(row["closed_at"], row["created_at"]))]["closed_unmerged"] += 1
    current = {(row["row_key"], row["updated_at"]) for row in last_pulls()}
    names = {row["row_key"]: row["repository"] for row in last_pulls()}
    last = {row["row_key"]: row for row in raw_tables.pulls()["raw.pull_request_reviews"]}
    for row in last.values():
        if row["submitted_at"] and (row["pull_request_key"], row["updated_at"]) in current:
            counts[names[row["pull_request_key"]], week(row["submitted_at"])]["reviews"] += 1
    assert sum(count["merged_of_unknown_size"] for count in counts.values()) > 0
    columns = ("opened", "merged", "closed_unmerged", "reviews", "merged_lines", "merged_of_unknown_size")
    found = counted(catalog, "marts.mrt_pull_request_throughput", "repository", "week", *columns, "open_at_end")
    assert {row[:2]: row[2:8] for row in found} == {
        key: tuple(count[name] for name in columns) for key, count in counts.items()
    }
    still_open: Counter[str] = Counter()
    for repository, _, opened, merged, closed, *_, open_at_end in found:
        still_open[repository] += opened - merged - closed
        assert open_at_end == still_open[repository] >= 0


def test_stale_pull_requests_are_those_that_nothing_has_changed_for_two_weeks(catalog: Catalog) -> None:
    read_on = raw_tables.PULLS_READ_AT.date()
    expected = {
        row["row_key"]: (row["repository"], (read_on - row["updated_at"].date()).days)
        for row in last_pulls()
        if row["state"] == "open"
        and (read_on - row["updated_at"].date()).days >= 14
        and row["repository_id"] != 2**40  # no longer listed: nobody knows
    }
    assert {name for name, _ in expected.values()} == {"repo-7", "renamed"}
    stale = table(catalog, "marts.mrt_stale_pull_requests", "pull_request_key")
    assert {key: (row["repository"], row["days_without_change"]) for key, row in stale.items()} == expected
    assert 0 < len(expected) < sum(row["state"] == "open" for row in last_pulls())


def test_a_run_with_no_new_data_writes_nothing(home: Path, catalog: Catalog) -> None:
    before = snapshots(catalog)
    assert build(home) == []
    assert snapshots(catalog) == before


def test_an_edited_reading_reaches_the_marts_and_nothing_else_changes(home: Path, catalog: Catalog) -> None:
    before = snapshots(catalog)
    rows = raw_tables.glucose()
    edited = [*rows[:-1], rows[-1] | {"sgv": 222}, *raw_tables.sensor_states()]
    raw_tables.write(catalog, "raw.glucose_entries", edited)
    try:
        assert build(home, "--select", "path:models/glucose", "path:models/github/silver") == []
        row = table(catalog, "marts.mrt_glucose_overview", "reading_date")[dt.date(2024, 3, 11)]
        assert row["avg_glucose_mg_dl"] == 222
        after = snapshots(catalog)
        written = {name: len(after[name]) - len(before[name]) for name in before if after[name] != before[name]}
        assert {name for name in written if not name.startswith("raw.")} == {
            "bronze.stg_glucose_entries",
            "silver.fct_glucose_readings",
            "gold.fct_daily_glucose_metrics",
            "marts.mrt_glucose_overview",
            "marts.mrt_glucose_hourly_patterns",
        }
        assert {count for name, count in written.items() if not name.startswith("raw.")} == {1}
    finally:
        everything = raw_tables.glucose() + raw_tables.repeated() + raw_tables.sensor_states()
        raw_tables.write(catalog, "raw.glucose_entries", everything)
        assert build(home, "--select", "path:models/glucose") == []


def test_days_of_another_zone(home: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLO_DAY_ZONE", "America/New_York")
    monkeypatch.setenv("PHLO_RUN_TOKEN", "zone")
    models = ["fct_glucose_readings", "fct_daily_glucose_metrics"]
    assert build(home, "--select", *models) == []
    branch = connect(catalog, branch="phlo_zone").sql(
        "SELECT reading_date, reading_count FROM gold.fct_daily_glucose_metrics"
    )
    assert dict(branch.fetchall()) == {day: len(values) for day, values in by_day("America/New_York").items()}
    # on main the days are UTC's as before
    assert table(catalog, "gold.fct_daily_glucose_metrics", "reading_date").keys() == by_day().keys()


def test_the_snapshot_says_which_run_wrote_it(home: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RUN_TOKEN": "said", "RUN_ID": "manual__1", "PARTITION_DATE": "2024-03-11"}.items():
        monkeypatch.setenv(f"PHLO_{name}", value)
    monkeypatch.setenv("PHLO_DAY_ZONE", "Asia/Tokyo")
    assert build(home, "--select", "fct_glucose_readings") == []
    summary = catalog.load_table("silver.fct_glucose_readings").snapshot_by_name("phlo_said").summary
    assert summary["phlo.run-id"] == "manual__1"
    assert summary["phlo.partition-date"] == "2024-03-11"


def test_a_missing_source_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw_tables.make_home(tmp_path)
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    [failed] = build(tmp_path, "--select", "stg_glucose_entries")
    assert "raw.glucose_entries does not exist" in failed
    assert "ingestion" in failed
    [failed] = build(tmp_path, "--select", "fct_daily_glucose_metrics")
    assert "silver.fct_glucose_readings does not exist" in failed
    assert "dbt run --select fct_glucose_readings" in failed


def test_other_tables_are_opened_once_they_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLO_DBT_TABLES", "raw.user_profile,raw.unknown")
    beyond.clear()
    assert build(home, "--select", "github_profile", "github_repos") == []
    assert beyond & {"raw.user_profile", "raw.user_repos", "raw.glucose_entries"} == {"raw.user_repos"}


def test_a_table_that_cannot_be_read_is_in_nobodys_way(home: Path) -> None:
    catalog = open_lake(home)
    catalog.create_namespace_if_not_exists("broken")
    table = catalog.create_table("broken.table", pa.schema([("id", pa.int64())]))
    Path(table.metadata_location.removeprefix("file://")).unlink()
    try:
        assert build(home, "--select", "github_profile") == []
    finally:
        catalog.drop_table("broken.table")


def test_the_catalog_of_the_environment(tmp_path: Path) -> None:
    properties = (
        f'{{"type": "sql", "uri": "sqlite:///{tmp_path}/other.db", "warehouse": "file://{tmp_path}/elsewhere"}}'
    )
    catalog = catalog_from_environment(
        {"PHLO_HOME": "/nowhere", "PHLO_CATALOG_NAME": "lake", "PHLO_CATALOG_PROPERTIES": properties}
    )
    assert (catalog.name, catalog.properties["warehouse"]) == ("lake", f"file://{tmp_path}/elsewhere")


def test_nothing_is_written_into_the_project(home: Path) -> None:
    found = set(raw_tables.PROJECT.rglob("*"))
    assert build(home, "--select", "github_profile", command="build") == []
    assert set(raw_tables.PROJECT.rglob("*")) == found
