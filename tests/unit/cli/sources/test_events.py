from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

import pytest

NOW = datetime.now(UTC)


def write_batch(home, name, lines):
    folder = home / "events" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))


def event(number):
    return {
        "id": str(number),
        "type": "PushEvent",
        "created_at": f"{NOW - timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ}",
        "actor": {"id": 1, "login": "octocat"},
        "repo": {"id": 2, "name": "octocat/hello"},
    }


@pytest.fixture
def batches(home):
    write_batch(home, "events_20260101_000000_batch_001.jsonl", [event(number) for number in range(3)])
    return home


def test_load_and_ask(batches, run_phlo):
    code, out, err = run_phlo("events", "top-repos")
    assert (code, "(0 rows)" in out) == (0, True)
    assert err == "No load has published events yet: run a load (phlo events load).\n"
    code, out, _ = run_phlo("events", "load", "-o", "json")
    (counts,) = json.loads(out)
    assert (code, counts["loaded_files"], counts["inserted_events"]) == (0, 1, 3)
    assert counts["db_path"] == str(batches / "events" / "github_events.duckdb")
    code, out, _ = run_phlo("events", "load", "-o", "json", "--verify")
    assert json.loads(out)[0]["skipped_files"] == 1
    code, out, err = run_phlo("events", "top-repos", "--days", "1", "-o", "json")
    (repo,) = json.loads(out)
    assert (code, err, repo["repo_name"], repo["total_events"]) == (0, "", "octocat/hello", 3)
    code, out, _ = run_phlo("events", "sessions", "--limit", "1", "-o", "csv")
    (session,) = csv.DictReader(out.splitlines())
    assert (session["actor_login"], session["events_in_session"]) == ("octocat", "3")


def test_a_file_that_cannot_be_loaded_is_said_after_the_counts(batches, run_phlo):
    write_batch(batches, "events_20260101_000000_batch_000.jsonl.gz", ["this is not gzip"])
    code, out, err = run_phlo("events", "load")
    assert code == 1
    assert "inserted events" in out
    assert "events_20260101_000000_batch_000.jsonl.gz" in err
    assert len(json.loads(run_phlo("events", "top-repos", "-o", "json")[1])) == 1


@pytest.mark.parametrize("value", ["0", "-1", "1e9", "99999999999", "x", ""])
@pytest.mark.parametrize("option", ["--days", "--limit"])
def test_numbers_out_of_bounds_are_refused(home, run_phlo, option, value):
    code, _, err = run_phlo("events", "sessions", f"{option}={value}")
    assert code == 2
    assert "is not a whole number from 1 to" in err


def test_a_relative_path_is_refused(home, run_phlo, monkeypatch):
    monkeypatch.setenv("DUCKDB_PATH", "events.duckdb")
    code, _, err = run_phlo("events", "top-repos")
    assert code == 2
    assert "DUCKDB_PATH is events.duckdb" in err


def test_serve_is_refused_where_others_could_ask(home, run_phlo, monkeypatch):
    monkeypatch.delenv("PHLO_SERVE_TOKEN", raising=False)
    code, _, err = run_phlo("serve", "--host", "0.0.0.0")
    assert code == 2
    assert "set PHLO_SERVE_TOKEN" in err
