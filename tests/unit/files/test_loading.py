"""A folder of files becomes rows, each file exactly once."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from airflow_provider_phlo.events.loading import target
from airflow_provider_phlo.exceptions import ConfigurationError, FilesFailedError, TransientError
from airflow_provider_phlo.files import database, load_files
from tests.unit.files.conftest import event, text

TABLES = {
    "events": [
        *("event_id", "event_type", "created_at", "ingested_at", "actor_id", "actor_login", "repo_id", "repo_name"),
        *("payload", "raw", "source_file", "loaded_at"),
    ],
    "loaded_files": ["file_path", "file_size", "file_mtime", "file_sha256", "loaded_at"],
}


def test_an_event_becomes_a_row(lake, counts):
    line = event(12345, created_at="2024-01-15T01:05:00+01:00")
    path = lake.write("events_20240115_100000_batch_001.jsonl", text(line))
    result = lake.load()
    assert counts(result) == (1, 1, 0, 1, 0)
    assert result.db_path == str(lake.database)
    assert isinstance(result.duration_ms, int)
    ((*values, payload, raw, source, loaded_at),) = lake.query("FROM events")
    assert values == [
        *("12345", "PushEvent", datetime(2024, 1, 15, 0, 5, tzinfo=UTC), datetime(2024, 1, 15, 10, 5, tzinfo=UTC)),
        *(583231, "octocat", 1296269, "octocat/hello"),
    ]
    assert json.loads(payload) == line["payload"]
    assert raw == json.dumps(line)
    assert source == str(path)
    assert lake.query("SELECT file_path, file_size, file_sha256, loaded_at FROM loaded_files") == [
        (str(path), path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), loaded_at)
    ]


def test_the_tables_are_those_that_are_promised(lake):
    lake.load()
    for table, columns in TABLES.items():
        found = lake.query(
            "SELECT column_name FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index", [table]
        )
        assert [name for (name,) in found] == columns
    assert lake.query("SELECT index_name FROM duckdb_indexes() ORDER BY 1") == [
        ("idx_events_created_at",),
        ("idx_events_type",),
        ("idx_loaded_files_sha256",),
    ]
    keys = "SELECT table_name, constraint_column_names FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
    assert dict(lake.query(keys)) == {
        "events": ["event_id"],
        "loaded_files": ["file_path"],
        "rejected_lines": ["file_sha256", "line_number"],
    }


def test_what_is_loaded_is_skipped_by_its_content(lake, counts):
    first = lake.write("a.jsonl", text(event(1), event(2)))
    assert counts(lake.load()) == (1, 1, 0, 2, 0)
    first.rename(lake.folder / "renamed.jsonl")
    lake.write("copy.jsonl", (lake.folder / "renamed.jsonl").read_bytes())
    assert counts(lake.load()) == (2, 0, 2, 0, 0)
    assert counts(lake.load(verify=True)) == (2, 0, 2, 0, 0)


def test_the_first_of_an_id_stays(lake, counts):
    lake.write("b.jsonl", text(event(1, type="second"), event(3)))
    lake.write("a.jsonl", text(event(1, type="first"), event(2), event(2, type="again")))
    assert counts(lake.load()) == (2, 2, 0, 3, 0)
    lake.write("0.jsonl", text(event(1, type="late"), event(4)))
    assert counts(lake.load()) == (3, 1, 2, 1, 0)
    assert lake.query("SELECT event_id, event_type FROM events ORDER BY 1") == [
        ("1", "first"),
        ("2", "PushEvent"),
        ("3", "PushEvent"),
        ("4", "PushEvent"),
    ]


def test_after_the_load_the_database_is_still_open(lake):
    seen = []
    lake.write("a.jsonl", text(event(1)))
    for _ in range(2):
        lake.load(
            after_load=lambda connection: seen.append(connection.execute("SELECT count(*) FROM events").fetchall())
        )
    assert seen == [[(1,)], [(1,)]]


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_is_not_there(lake, there):
    if there:
        (lake.folder.parent / "nothing").write_text("")
    lake.folder = lake.folder.parent / "nothing"
    with pytest.raises(ConfigurationError, match=f"{'is not a folder' if there else 'does not exist'}: {lake.folder}"):
        lake.load()
    assert not lake.database.exists()


def test_what_the_database_refuses_of_one_file_stops_no_other(lake, counts):
    """Also where the SQL of a table of one's own fails for a value."""
    careless = replace(target(), rows=target().rows.replace("try_cast(event.actor.id", "cast(event.actor.id"))
    for name in "abc":
        lake.write(f"{name}.jsonl", text(event(name)))
    lake.write("b.jsonl", text(event("b", actor={"id": "secret"})))
    for loaded in (2, 0):
        with pytest.raises(FilesFailedError, match=r"(?s)1 of 3 .*b\.jsonl: cannot be loaded: Conversion") as caught:
            load_files(lake.folder, careless, lake.database)
        assert counts(caught.value.result) == (3, loaded, 2 - loaded, loaded, 0)
        assert "secret" not in str(caught.value)
    assert counts(lake.load()) == (3, 1, 2, 0, 1)


def test_of_two_files_with_the_same_bytes_both_are_named_when_they_fail(lake, counts):
    lake.write("a.jsonl.gz", b"damaged")
    lake.write("b.jsonl.gz", b"damaged")
    lake.write("c.jsonl", text(event(1)))
    lake.write("d.jsonl", text(event(1)))
    with pytest.raises(FilesFailedError) as caught:
        lake.load()
    assert [failure.file[-10:] for failure in caught.value.failures] == ["a.jsonl.gz", "b.jsonl.gz"]
    assert counts(caught.value.result) == (4, 1, 1, 1, 0)


@pytest.mark.long
def test_too_little_memory_stops_the_load_and_the_next_goes_on(lake, counts, monkeypatch):
    noise = random.Random(1).randbytes(10_000_000).hex()
    lines = [event(number, payload=noise[number * 10_000 : (number + 1) * 10_000]) for number in range(2000)]
    lake.write("a.jsonl", text(event("first")))
    lake.write("b.jsonl", text(*lines))
    monkeypatch.setattr(database, "_MEMORY", "12MB")
    with pytest.raises(TransientError, match=r"(?s)Loading stopped.*Out of Memory.*Free memory, or room") as caught:
        lake.load()
    assert noise[:20] not in str(caught.value)
    monkeypatch.undo()
    assert lake.query("SELECT event_id FROM events") == [("first",)]
    assert counts(lake.load()) == (2, 1, 1, 2000, 0)
