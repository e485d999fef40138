"""Odd values of public APIs, from the record to the staged row: what raw holds, dbt can read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import dlt
import duckdb
import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_phlo.ingestion import staged_batches
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.schemas.columns import model_columns
from include.schemas.github import UserEvents
from include.schemas.glucose import LATEST_DATE, RawGlucoseEntries
from tests.unit.objects import OBJECTS

MOMENT = 1_705_276_800_081


@pytest.mark.parametrize(
    "options", [{"transforms": (lambda rows: rows,)}, {"batch_rows": 1}], ids=["transform", "chunks"]
)
def test_case_15_objects_are_the_same_whichever_way_they_go(tmp_path: Path, options: dict[str, Any]) -> None:
    """Through a transform, which sees their columns, and a row at a time."""
    record = {f"c{number}": value for number, (value, _, _) in enumerate(OBJECTS.values())}
    records = [{"k": 1, **record}, {"k": 2, "n": record}, {"k": 3}]

    def rows(folder: Path, **plan: Any) -> list[dict[str, Any]]:
        batch = stage(
            lambda: iter(records),
            StagingPlan("raw.x", key=("k",), identity=("k",), metadata_columns=False, **plan),
            root=folder / "staging",
            token="t",
            partition_date="2024-01-15",
            run_id="manual__1",
            pipelines_dir=folder / "dlt",
        )
        assert batch is not None
        found = staged_batches.read_rows(folder / "staging", batch).to_pylist()
        return [{name: value for name, value in row.items() if value is not None} for row in found]

    assert rows(tmp_path / "other", **options) == rows(tmp_path / "one")


def staged(folder: Path, model: Any, key: str, records: list[Any]) -> tuple[list[dict[str, Any]], int]:
    """Return the rows that pass, and how many are set aside."""
    plan = StagingPlan("raw.x", key=(key,), declared=model_columns(model), identity=(key,), strict=False)
    batch = stage(
        lambda: dlt.resource(records, name="x"),
        plan,
        root=folder / "staging",
        token="t",
        partition_date="2024-01-15",
        run_id="manual__1",
        pipelines_dir=folder / "dlt",
    )
    assert batch is not None
    return staged_batches.read_rows(folder / "staging", batch).to_pylist(), batch.quarantined


@pytest.mark.parametrize(
    ("value", "login"),
    [
        ({"login": "octo"}, "octo"),
        ({"login": "cut \ud83d"}, "cut \\ud83d"),
        ({"login": "octo", "title": "cut \ud83d", "\udc00": [None, 2**70]}, "octo"),
        ('{"login": "octo"}', "octo"),
        *((text, None) for text in ("ghost", "", "{", "NaN", "5", "null", '{"login": "cut \\ud83d"}', "\ud83d")),
        *((other, None) for other in (5, True, 1.5, ["a", "\ud83d"], {}, [])),
    ],
)
def test_case_26_what_a_json_column_holds_is_json(tmp_path: Path, value: Any, login: str | None) -> None:
    """Whatever comes where an object is declared: DuckDB reads it, without ``try``."""
    event = {"id": "1", "type": "PushEvent", "created_at": "2024-01-15T00:00:00Z", "actor": value}
    [row], quarantined = staged(tmp_path, UserEvents, "id", [event])
    assert quarantined == 0
    json.loads(row["actor"])
    found = duckdb.execute("SELECT json_extract_string(?, '$.login')", [row["actor"]]).fetchone()
    assert found == (login,)


INEXPRESSIBLE = [
    [float("nan")],
    {"a": {"b": [1, float("inf")]}},
    [-math.inf, 2**70, "cut \ud83d"],
    {"a": b"\x00it's"},
    [memoryview(b"x")],
    {float("inf"): 1},
    {b"a": 1},
    [np.float32("inf")],
    np.array([1.0, np.nan]),
]


@pytest.mark.parametrize("value", INEXPRESSIBLE, ids=range(len(INEXPRESSIBLE)))
@pytest.mark.parametrize("name", ["actor", "undeclared", "type"])
def test_nested_values_that_json_cannot_express_are_set_aside(tmp_path: Path, name: str, value: Any) -> None:
    """Neither null nor Python's own text of bytes, under a declared object, a declared text or no declaration."""
    event = {"id": "1", "type": "PushEvent", "created_at": "2024-01-15T00:00:00Z", name: value}
    rows, quarantined = staged(tmp_path, UserEvents, "id", [event, {**event, "id": "2", name: "{}"}])
    assert (len(rows), quarantined) == (1, 1)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[0.5, math.inf], [1.0, None]]),
        pa.array([[0.5, math.nan], [1.0, None]]),
        pa.array([{"b": b"\xff"}, {"b": None}]),
    ],
    ids=str,
)
def test_nested_arrow_values_that_json_cannot_express_are_set_aside(tmp_path: Path, values: pa.Array) -> None:
    event = {"id": ["1", "2"], "type": ["a", "b"], "created_at": ["2024-01-15T00:00:00Z"] * 2}
    rows, quarantined = staged(tmp_path, UserEvents, "id", [pa.table({**event, "undeclared": values})])
    assert ([row["id"] for row in rows], quarantined) == (["2"], 1)


@pytest.mark.parametrize("name", ["dateString", "sysTime"])
@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ("Mon Jan 15 01:05:00 GMT+01:00 2024", "Mon Jan 15 01:05:00 GMT+01:00 2024"),
        ("2024-01-15T00:05:00.000Z", "2024-01-15T00:05:00.000Z"),
        ("Invalid date", "Invalid date"),
        ("", ""),
        (None, None),
        (MOMENT, str(MOMENT)),
        (True, "true"),
        ({"iso": "2024"}, '{"iso":"2024"}'),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_case_28_what_an_uploader_wrote_down_sets_no_reading_aside(
    tmp_path: Path, name: str, stated: Any, kept: str | None
) -> None:
    entry = {"_id": "1", "sgv": 100, "date": MOMENT, "type": "sgv", name: stated}
    [row], quarantined = staged(tmp_path, RawGlucoseEntries, "_id", [entry])
    assert quarantined == 0
    assert row["date_string" if name == "dateString" else "sys_time"] == kept


def test_case_13_what_no_date_can_be_is_set_aside_and_others_go_on(tmp_path: Path) -> None:
    dates = [MOMENT, "9" * 5000, 10**400, 10**17, LATEST_DATE, LATEST_DATE + 1, -1, 1e300, None, "soon", float(MOMENT)]
    entries = [{"_id": str(number), "sgv": 100, "date": date, "type": "sgv"} for number, date in enumerate(dates)]
    rows, quarantined = staged(tmp_path, RawGlucoseEntries, "_id", entries)
    assert {row["_id"]: row["date"] for row in rows} == {"0": MOMENT, "4": LATEST_DATE, "10": MOMENT}
    assert quarantined == 8


def test_case_29_states_of_the_sensor_are_kept_in_raw(tmp_path: Path) -> None:
    values = [0, 1, 9, 38, 601, 1000, 1001]
    entries = [{"_id": str(value), "sgv": value, "date": MOMENT, "type": "sgv"} for value in values]
    rows, _ = staged(tmp_path, RawGlucoseEntries, "_id", entries)
    assert sorted(row["sgv"] for row in rows) == [1, 9, 38, 601, 1000]
