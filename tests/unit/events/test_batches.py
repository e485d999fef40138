"""Batches of events: whole, never changed, never under a name that was used."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import fsspec
import pytest

from airflow_provider_phlo.events.batches import write_batches
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError

NOW = datetime(2024, 1, 15, 10, 5, 7, tzinfo=UTC)


def lines(path: Path) -> list[dict[str, object]]:
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_150_events_a_file_each_with_the_time_of_its_reading(tmp_path):
    events = [{"id": str(number)} for number in range(301)]
    names = write_batches(tmp_path / "raw", events, now=NOW.astimezone(timezone(timedelta(hours=2))))
    assert names == [f"events_20240115_100507_batch_{number:03d}.jsonl" for number in (1, 2, 3)]
    assert sorted(os.listdir(tmp_path / "raw")) == names
    found = [lines(tmp_path / "raw" / name) for name in names]
    assert [len(batch) for batch in found] == [150, 150, 1]
    stamp = {"ingested_at": "2024-01-15T10:05:07Z"}
    assert [event for batch in found for event in batch] == [{**event, **stamp} for event in events]
    assert events[0] == {"id": "0"}
    assert {stat.S_IMODE((tmp_path / "raw" / name).stat().st_mode) for name in names} == {0o400}


def test_nothing_is_written_for_no_events(tmp_path):
    assert write_batches(tmp_path, []) == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_no_size_is_refused(tmp_path, size):
    with pytest.raises(ConfigurationError, match=f"A batch of {size} events cannot be written"):
        write_batches(tmp_path, [{"id": "1"}], size=size)
    assert os.listdir(tmp_path) == []


def test_text_that_is_not_unicode_is_written_as_it_came(tmp_path):
    (name,) = write_batches(tmp_path, [{"id": "1", "title": "cut \ud83d", "nul": "\0"}])
    assert r"cut \ud83d" in (tmp_path / name).read_text(encoding="ascii")
    assert lines(tmp_path / name)[0]["title"] == "cut \ud83d"


def _write(folder: Path, process: int) -> None:
    for _ in range(20):
        write_batches(folder, [{"id": f"{process}"}] * 2, size=1, now=NOW)


def test_processes_that_write_in_the_same_second_share_no_name(tmp_path):
    processes = multiprocessing.get_context("fork")
    started = [processes.Process(target=_write, args=(tmp_path, number)) for number in range(4)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert {process.exitcode for process in started} == {0}
    names = sorted(os.listdir(tmp_path))
    assert names == [f"events_20240115_100507_batch_{number:03d}.jsonl" for number in range(1, 161)]
    assert Counter(lines(tmp_path / name)[0]["id"] for name in names) == {str(number): 40 for number in range(4)}


def test_a_name_that_is_taken_is_left_alone(tmp_path):
    taken = tmp_path / "events_20240115_100507_batch_001.jsonl"
    taken.write_text("mine\n")
    assert write_batches(tmp_path, [{"id": "1"}], now=NOW) == ["events_20240115_100507_batch_002.jsonl"]
    assert taken.read_text() == "mine\n"


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "raw").write_text("")
    with pytest.raises(TransientError, match="raw: File exists"):
        write_batches(tmp_path / "raw", [{"id": "1"}])


def test_batches_in_an_object_store():
    from upath import UPath

    folder = UPath("memory://batches/raw")
    try:
        for _ in range(2):
            write_batches(folder, [{"id": "1"}], now=NOW)
        assert sorted(path.name for path in folder.iterdir()) == [
            "events_20240115_100507_batch_001.jsonl",
            "events_20240115_100507_batch_002.jsonl",
        ]
    finally:
        fsspec.filesystem("memory").rm("/batches", recursive=True)
