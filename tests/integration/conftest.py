"""One real Airflow for the tests of this folder, on the folder ``dags`` beside this file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.real_airflow import running_airflow

DAGS = {
    "cron_daily",
    "by_hand",
    "elsewhere",
    "failing_tasks",
    "github_events",
    "github_events_load",
    "half_selected",
    "ingested",
    "late_runs",
    "with_checks_behind",
    "operators_alone",
    "replayed_platform",
    "talkative",
    "versions_maintained",
    "watched",
}


@pytest.fixture(scope="package")
def airflow(tmp_path_factory):
    home = tmp_path_factory.mktemp("phlo")
    (home / "sources").mkdir()
    (home / "sources" / "limit").write_text("100")
    events = {"type": "file", "log_file_path": str(home / "openlineage.jsonl"), "append": True}
    variables = {"TEST_SOURCES": str(home / "sources"), "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(events)}
    with running_airflow(home, Path(__file__).parent, DAGS, variables) as running:
        yield running
