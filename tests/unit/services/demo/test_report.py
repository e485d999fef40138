from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.events.loading import load_events
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.services.demo import report
from airflow_provider_phlo.services.postgres.server import PostgresServer, ensure_postgres, stop_postgres


def event(level: str, text: str, **more: object) -> str:
    return json.dumps({"level": level, "event": text, **more})


FAILED = event(
    "error",
    "Task failed with exception",
    error_detail=[
        {
            "exc_type": "ValueError",
            "exc_value": "boom",
            "frames": [{"filename": f"f{number}.py", "lineno": number, "name": "go"} for number in range(9)],
        }
    ],
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    log = tmp_path / "attempt=1.log"
    log.write_text(
        "\n".join(
            [
                event("info", "::group::Pre Execute"),
                event("info", "started"),
                "not JSON",
                FAILED,
                event("info", "::group::Post Execute"),
                event("info", "after"),
            ]
        )
    )
    return log


def test_tail_ends_with_the_error(log: Path) -> None:
    assert report.log_tail(log).splitlines() == [
        "    info: started",
        "    : not JSON",
        "    error: Task failed with exception",
        "      f6.py:6 go",
        "      f7.py:7 go",
        "      f8.py:8 go",
        "      ValueError: boom",
    ]


def test_tail_is_short(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    log.write_text("\n".join(event("info", str(number)) for number in range(100)))
    assert report.log_tail(log, 3).splitlines() == ["    info: 97", "    info: 98", "    info: 99"]


def test_no_log_is_said(tmp_path: Path) -> None:
    assert "no log" in report.log_tail(tmp_path / "missing")


@pytest.mark.parametrize(("state", "tries", "attempt"), [("failed", 1, 1), ("up_for_retry", 2, 1), ("failed", 4, 4)])
def test_failure_names_the_task_and_reads_its_last_attempt(
    tmp_path: Path, state: str, tries: int, attempt: int
) -> None:
    log = report.task_log(tmp_path, "d", "r", "t", -1, attempt)
    log.parent.mkdir(parents=True)
    log.write_text(FAILED)
    good = {"task_id": "good", "state": "success", "try_number": 1, "map_index": -1}
    text = report.failure_report(
        tmp_path, "d", "r", [good, {"task_id": "t", "state": state, "try_number": tries, "map_index": -1}]
    )
    assert text.startswith("d.t failed.")
    assert "ValueError: boom" in text
    assert "good" not in text


def test_failure_of_a_run_without_a_failed_task(tmp_path: Path) -> None:
    assert "see its run r in the UI" in report.failure_report(tmp_path, "d", "r", [])


def test_mapped_tasks_have_a_folder_each(tmp_path: Path) -> None:
    assert report.task_log(tmp_path, "d", "r", "t", 3, 2).parts[-2:] == ("map_index=3", "attempt=2.log")


def test_reads_the_lake(catalog: Catalog) -> None:
    ensure_namespace(catalog, "marts")
    days = pa.table(
        {"reading_date": ["2024-01-14", "2024-01-15"], "avg_glucose_mg_dl": [140.0, 120.25], "_transformed_at": [1, 2]}
    )
    catalog.create_table("marts.mrt_glucose_overview", schema=days.schema).append(days)
    catalog.create_table("marts.odd name", schema=days.schema)
    assert report.lake_counts(catalog) == {"marts.mrt_glucose_overview": 2, "marts.odd name": 0}
    assert report.glucose_overview(catalog) == {"reading_date": "2024-01-15", "avg_glucose_mg_dl": 120.25}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    yield ensure_postgres(tmp_path)
    stop_postgres(tmp_path)


def test_reads_postgres(server: PostgresServer) -> None:
    with psycopg.connect(server.uri) as connection:
        connection.execute('create schema marts; create table marts."daily x" as select generate_series(1, 4)')
    assert report.postgres_counts(server) == {"marts.daily x": 4}


def test_summary_says_what_the_second_run_brought() -> None:
    text = report.summary(
        {"raw.a": 1203, "raw.b": 5},
        {"raw.a": 1200, "raw.b": 5},
        {("raw.a__quarantine", "x: not_nullable"): 4},
        {"reading_date": "2024-01-15", "gmi": 6.849},
        {"m": 1},
        {"events": 4},
    )
    assert "raw.a     1,203  +3 from the second run" in text
    assert "raw.b         5\n" in text
    assert "raw.a__quarantine         4  x: not_nullable\n" in text
    assert "gmi           6.8\n" in text
    assert "Public events (DuckDB)\n  events         4\n" in text


def test_summary_of_nothing() -> None:
    assert "no day" in report.summary({}, {}, {}, {}, {}, {})


def test_counts_the_public_events(tmp_path: Path) -> None:
    assert report.event_counts(tmp_path / "nothing.duckdb") == {}
    (tmp_path / "a.jsonl").write_text('{"id": "1"}\n{\n')
    load_events(tmp_path, tmp_path / "events.duckdb")
    assert report.event_counts(tmp_path / "events.duckdb") == {"events": 1, "loaded_files": 1, "rejected_lines": 1}


def test_where_to_look_shows_no_postgres_password(server: PostgresServer) -> None:
    text = report.where_to_look("http://127.0.0.1:1", "admin", "ui-password", server)
    assert "ui-password" in text
    assert server.password not in text


def test_says_what_was_set_aside_and_why(catalog: Catalog) -> None:
    ensure_namespace(catalog, "raw")
    rows = pa.table({"reason": ["sgv: not_nullable", "sgv: integer", "sgv: integer"]})
    catalog.create_table("raw.a__quarantine", schema=rows.schema).append(rows)
    catalog.create_table("raw.a", schema=rows.schema)
    assert report.quarantine_counts(catalog) == {
        ("raw.a__quarantine", "sgv: integer"): 2,
        ("raw.a__quarantine", "sgv: not_nullable"): 1,
    }
