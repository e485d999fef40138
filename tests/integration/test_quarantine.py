"""``phlo quarantine replay`` under a real scheduler: the Dag's own schema, audit and publication."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

pytestmark = pytest.mark.xdist_group("airflow")


@pytest.fixture
def phlo(airflow):
    """Return a function that runs the program as a person would, and gives its exit code and output."""

    def run(*arguments):
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
        done = subprocess.run(
            [Path(sys.executable).with_name("phlo"), *arguments],
            env={**inherited, "PHLO_HOME": str(airflow.home)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def look(airflow, monkeypatch, run_phlo):
    """Return a function that runs a command in this process: those that only read the catalog need no Airflow."""
    monkeypatch.setenv("PHLO_HOME", str(airflow.home))
    return run_phlo


def offer(airflow, rows, limit):
    (airflow.home / "sources" / "replayed.json").write_text(json.dumps(rows))
    (airflow.home / "sources" / "replayed.calls").write_text("")
    (airflow.home / "sources" / "limit").write_text(str(limit))


def values(airflow, table="raw.replayed"):
    rows = airflow.catalog.load_table(table).scan().to_arrow().to_pylist()
    return {row["id"]: (row["value"], str(row["_phlo_partition_date"])) for row in rows}


def test_a_replay_after_a_schema_fix(airflow, phlo, look):
    offer(airflow, [{"id": "a", "value": 50}, {"id": "b", "value": 150}, {"id": "c", "value": "x"}], limit=100)
    for day in ("2024-01-15", "2024-01-16"):
        run_id = airflow.trigger("replayed_platform", conf={"partition_date": day})
        assert set(airflow.finished("replayed_platform", run_id).values()) == {"success"}
        offer(airflow, [{"id": "d", "value": 160}, {"id": "e", "value": 450}], limit=100)
    beside = airflow.catalog.load_table("raw.beside").current_snapshot().snapshot_id

    code, out, err = look("quarantine", "list", "replayed", "--output", "json")
    assert code == 0, err
    assert sorted((row["partition_date"], row["reason"], row["waiting"]) for row in json.loads(out)) == [
        ("2024-01-15", "value: is_number", 1),
        ("2024-01-15", "value: less_than_or_equal_to(100.0)", 1),
        ("2024-01-16", "value: less_than_or_equal_to(100.0)", 2),
    ]
    code, out, _ = look("quarantine", "show", "replayed")
    assert (code, '"value":' in out) == (0, False)  # which is how records are shown

    offer(airflow, "not to be read", limit=1000)
    code, out, err = phlo("quarantine", "replay", "replayed", "--output", "json")
    # of the second day a value is more than the audit takes
    assert (code, "a run failed" in err) == (1, True), err
    found = [(row["partition_date"], row["state"], row["replayed"], row["waiting"]) for row in json.loads(out)]
    assert found == [("2024-01-15", "success", 1, 1), ("2024-01-16", "failed", 0, 2)]
    assert values(airflow) == {"a": (50.0, "2024-01-15"), "b": (150.0, "2024-01-15")}

    ids = json.loads(look("quarantine", "show", "replayed", "--records", "--output", "json")[1])
    [good] = [row["quarantine_id"] for row in ids if json.loads(row["record"])["id"] == "d"]
    code, out, err = phlo("quarantine", "replay", "replayed", "--id", good, "--output", "json")
    assert code == 0, err
    assert values(airflow)["d"] == (160.0, "2024-01-16")
    assert (airflow.home / "sources" / "replayed.calls").read_text() == ""
    # the other table of the Dag was left alone
    assert airflow.catalog.load_table("raw.beside").current_snapshot().snapshot_id == beside
    code, _, err = look("quarantine", "replay", "replayed", "--run", "nobody")
    assert (code, "no such record of raw.replayed waits" in err) == (2, True), err
    code, _, err = phlo("quarantine", "replay", "replayed", "--dag", "nobody")
    assert (code, "Airflow knows no DAG nobody that fills raw.replayed" in err) == (2, True), err
