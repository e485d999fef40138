"""Service levels by facts: what was published when, and what a column says; what nothing says is not judged."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.contracts import read_contract
from airflow_provider_phlo.contracts.enforcement import check_contract
from airflow_provider_phlo.contracts.service_levels import judge_service_levels
from tests.lake import create_table, open_lake

HEAD = """
apiVersion: v3.1.0
kind: DataContract
id: sales-contract
name: sales
version: 1.0.0
status: active
team: [{username: ada, role: Owner}]
schema:
  - name: orders
    physicalName: raw.sold
    properties:
      - {name: id, logicalType: string}
      - {name: sold, physicalName: sold_at, logicalType: timestamp}
      - {name: day, logicalType: date}
slaProperties:
"""
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def lake(tmp_path: Path) -> Catalog:
    catalog = open_lake(tmp_path)
    hours = [1, 30, 24 * 400]
    rows = {
        "id": ["1", "2", "3"],
        "sold_at": pa.array([NOW - timedelta(hours=each) for each in hours], pa.timestamp("us", "UTC")),
        "day": [(NOW - timedelta(hours=each)).date() for each in hours],
    }
    create_table(catalog, "raw.sold", pa.table(rows))
    return catalog


def judged(folder: Path, lake: Catalog, levels: Iterable[str], **options: Any) -> list[tuple[str, bool | None]]:
    path = folder / "sales.yaml"
    path.write_text(HEAD + "".join(f"  - {{{level}}}\n" for level in levels))
    now = options.pop("now", datetime.now(UTC))
    return [(each.rule, each.passed) for each in judge_service_levels(lake, read_contract(path), now, **options)]


def test_by_what_was_published(tmp_path: Path, lake: Catalog) -> None:
    levels = ["property: freshness, value: 2, unit: h", "property: LATENCY, value: 1, unit: d"]
    assert judged(tmp_path, lake, levels) == [("freshness", True), ("LATENCY", True)]
    later = datetime.now(UTC) + timedelta(hours=3)
    assert judged(tmp_path, lake, levels, now=later) == [("freshness", False), ("LATENCY", True)]


@pytest.mark.parametrize(
    ("level", "passed"),
    [
        ("property: latency, value: 2, unit: hours, element: orders.sold", True),
        ("property: latency, value: 30, unit: min, element: orders.sold", False),
        ("property: freshness, value: '25', unit: h, element: day", True),
        ("property: retention, value: 2, unit: y, element: orders.sold", True),
        ("property: retention, value: 1, unit: year, element: sold", False),
        ("property: retention, value: 1, unit: y, element: orders.slod", False),
        ("property: retention, value: 1, unit: y", None),
        ("property: retention, value: 3, unit: fortnights, element: sold", None),
        ("property: latency, value: 4, unit: d, element: id", False),
        ("property: frequency, value: 1, unit: d", True),
        ("property: endOfLife, value: 2999-01-01", True),
        ("property: endOfSupport, value: 2020-05-12T09:30:10-08:00", False),
        ("property: availability, value: 99.9, unit: percent", None),
        ("property: timeOfAvailability, value: 09:00-08:00, element: sold", None),
        ("property: freshness, value: soon, unit: h", None),
        ("property: freshness, value: 0, unit: h", None),
    ],
)
def test_one_level(tmp_path: Path, lake: Catalog, level: str, passed: bool | None) -> None:
    ((_, found),) = judged(tmp_path, lake, [level])
    assert found is passed


def test_columns_are_not_read_where_that_is_asked(tmp_path: Path, lake: Catalog) -> None:
    levels = ["property: latency, value: 2, unit: h, element: sold", "property: freshness, value: 2, unit: h"]
    found = judged(tmp_path, lake, levels, rows=False)
    assert found == [("latency of sold_at", None), ("freshness", True)]


def test_what_is_not_judged_is_said(tmp_path: Path, lake: Catalog) -> None:
    path = tmp_path / "sales.yaml"
    path.write_text(HEAD + "  - {property: availability, value: 99.9}\n  - {property: freshness, value: 1, unit: m}\n")
    report = check_contract(lake, read_contract(path), now=datetime.now(UTC) + timedelta(hours=1))
    assert report.not_judged == ("availability of raw.sold: no fact of a table says anything about availability",)
    (breach,) = report.breaches
    assert (breach.rule, breach.line, breach.table) == ("freshness", 18, "raw.sold")
    assert "at most 1 min are expected" in breach.message
    assert check_contract(lake, read_contract(path), sla=False).not_judged == ()


@pytest.mark.parametrize(("end", "passed"), [("2020-05-12", False), ("2999-01-01", True)])
def test_the_clock_goes_on_without_a_table(tmp_path: Path, lake: Catalog, end: str, passed: bool) -> None:
    lake.drop_table("raw.sold")
    levels = [f"property: endOfSupport, value: {end}", "property: freshness, value: 2, unit: h"]
    assert judged(tmp_path, lake, levels) == [("endOfSupport", passed), ("freshness", None)]
