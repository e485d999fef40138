"""``include/superset`` in a real Superset: what its dashboards show, in a browser, is what Python counts."""

from __future__ import annotations

import datetime as dt
import os
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_provider_phlo.serving.superset.assets import read_folder
from tests.bi import marts as made
from tests.bi.commands import phlo
from tests.bi.marts import Marts
from tests.bi.superset import ROOT, RunningSuperset

FOLDER = ROOT / "include" / "superset"
# what the labels have between two numbers
TO = "\N{EN DASH}"
VALUES = [entry["sgv"] for entry in made.entries()]


@pytest.fixture(scope="module")
def imported(superset: RunningSuperset, marts: Marts) -> RunningSuperset:
    """Return a Superset that has the dashboards."""
    done = phlo(superset, marts, "import")
    assert done.code == 0, done.err
    assert done.out.count("created") == len(list(FOLDER.rglob("*.yaml")))
    return superset


@pytest.fixture(scope="module")
def seen(imported: RunningSuperset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what a browser saw; PHLO_SCREENSHOTS names a folder for the pictures."""
    given = os.environ.get("PHLO_SCREENSHOTS")
    folder = Path(given).resolve() if given else tmp_path_factory.mktemp("pictures")
    return imported.look(["glucose", "github-activity"], folder)


@pytest.fixture(scope="module")
def rows(imported: RunningSuperset, seen: dict[str, Any]) -> dict[str, list[list[dict[str, Any]]]]:
    """Return the rows that each chart drew, by its name: a list for each of its queries."""
    names = {number: name for name, number in imported.numbers("chart", "slice_name").items()}
    return {names[each["chart"]]: each["rows"] for board in seen.values() for each in board["answers"]}


def only(rows: Any, chart: str) -> dict[str, Any]:
    [[row]] = rows[chart]
    assert isinstance(row, dict)
    return row


@pytest.mark.parametrize(("dashboard", "charts", "drawn"), [("glucose", 12, 4), ("github-activity", 9, 4)])
def test_every_chart_is_drawn(seen: dict[str, Any], dashboard: str, charts: int, drawn: int) -> None:
    board = seen[dashboard]
    assert board["charts"] == charts
    assert [each for each in board["answers"] if each["status"] != 200] == []
    assert len({each["chart"] for each in board["answers"]}) == charts
    assert board["drawn"] == drawn
    assert "error" not in board["text"].lower()


def test_datasets_have_the_columns_of_the_marts(marts: Marts) -> None:
    with duckdb.connect(str(marts.duckdb), read_only=True) as connection:
        for dataset in (asset for asset in read_folder(FOLDER).values() if asset.kind == "dataset"):
            real = {column["column_name"] for column in dataset.content["columns"] if not column["expression"]}
            table = connection.table(dataset.content["table_name"])
            assert real == set(table.columns), dataset.path


def test_the_figures_are_those_of_all_readings(rows: Any, seen: dict[str, Any]) -> None:
    mean = statistics.fmean(VALUES)
    variation = 100 * statistics.stdev(VALUES) / mean
    in_range = 100 * sum(70 <= value <= 180 for value in VALUES) / len(VALUES)
    shown = seen["glucose"]["text"].split()
    for chart, metric, value, text in (
        ("Mean glucose", "mean_glucose", mean, f"{mean:.0f}"),
        ("GMI", "gmi", 3.31 + 0.02392 * mean, f"{3.31 + 0.02392 * mean:.1f}"),
        ("Variability (CV)", "cv", variation, f"{variation:.1f}"),
        ("Time in range", "time_in_range", in_range, f"{in_range:.0f}"),
        ("Readings", "readings", len(VALUES), f"{len(VALUES):,}"),
        ("Days", "days", len(made.DAYS), str(len(made.DAYS))),
    ):
        assert only(rows, chart)[metric] == pytest.approx(value, rel=1e-9), chart
        assert text in shown, chart


def test_time_in_ranges(rows: Any) -> None:
    def share(low: int, high: int) -> float:
        return 100 * sum(low <= value <= high for value in VALUES) / len(VALUES)

    expected = {
        f"0{TO}53 very low": share(0, 53),
        f"54{TO}69 low": share(54, 69),
        f"70{TO}180 in range": share(70, 180),
        f"181{TO}250 high": share(181, 250),
        "251 up: very high": share(251, 1000),
    }
    metrics = ["very_low", "low", "in_range", "high", "very_high"]
    for chart in ("Time in ranges (%)", "Time in ranges (% of readings, mg/dL)"):
        row = only(rows, chart)
        assert [row[name] for name in metrics] == pytest.approx(list(expected.values()), rel=1e-9)
    assert sum(expected.values()) == pytest.approx(100)


def test_the_profile_of_the_day(rows: Any) -> None:
    hours = defaultdict(list)
    for entry in made.entries():
        hours[dt.datetime.fromtimestamp(entry["date"] / 1000, dt.UTC).hour].append(entry["sgv"])
    bands, lines = rows[f"Glucose by hour of day: median, 25{TO}75 % and 5{TO}95 %"]
    assert [row["hour_of_day"] for row in bands] == [row["hour_of_day"] for row in lines] == list(range(24))
    for band, line in zip(bands, lines, strict=True):
        values = sorted(hours[band["hour_of_day"]])
        for percent in (5, 25, 75, 95):
            assert band[f"p{percent:02}"] == values[-(-percent * len(values) // 100) - 1]
        assert (line["median"], line["target_low"], line["target_high"]) == (statistics.median(values), 70, 180)


def test_days_are_not_shifted_by_a_time_zone(rows: Any) -> None:
    def days(found: list[dict[str, Any]], name: str) -> list[dt.date]:
        return sorted(dt.datetime.fromtimestamp(row[name] / 1000, dt.UTC).date() for row in found)

    assert days(rows["Lowest, mean and highest by day"][0], "reading_date") == made.DAYS
    assert days(rows["Time in ranges by day"][0], "reading_date") == made.DAYS
    active = sorted({event["created_at"].date() for event in made.events()})
    assert days(rows["Events by day and kind"][0], "activity_date") == active


def test_github_activity(rows: Any) -> None:
    events = made.events()
    assert only(rows, "Active days") == {"active_days": len({event["created_at"].date() for event in events})}
    assert only(rows, "Stars") == {"stars": sum(each["stargazers_count"] for each in made.repositories())}
    kinds = Counter(event["type"] for event in events)
    by_day = rows["Events by day and kind"][0]
    assert sum(row["push_count"] for row in by_day) == kinds["PushEvent"]
    assert sum(value for row in by_day for name, value in row.items() if name != "activity_date") == len(events)
