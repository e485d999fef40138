"""Files that change, that are written to while they are read, and others who hold the database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, FilesFailedError, TransientError
from airflow_provider_phlo.files import scanning
from airflow_provider_phlo.files.database import open_database
from tests.patience import PATIENCE
from tests.unit.files.conftest import event, text

OLD = datetime(2024, 1, 1, tzinfo=UTC).timestamp()


def test_a_changed_file_is_loaded_as_a_new_version_and_reported(lake, counts, caplog):
    path = lake.write("a.jsonl", text(event(1, type="first"), event(2)))
    lake.load()
    before = lake.query("FROM loaded_files")
    lake.write("a.jsonl", text(event(1, type="changed"), event(3)))
    assert counts(lake.load()) == (1, 1, 0, 1, 0)
    assert f"{path} has changed since it was loaded: loaded as a new version." in caplog.text
    assert lake.query("SELECT event_id, event_type FROM events ORDER BY 1") == [
        ("1", "first"),
        ("2", "PushEvent"),
        ("3", "PushEvent"),
    ]
    assert lake.query("SELECT * EXCLUDE replaced_at FROM replaced_files") == before
    ((sha256, loaded_at),) = lake.query("SELECT file_sha256, loaded_at FROM loaded_files")
    assert sha256 != before[0][3]
    assert loaded_at > before[0][4]
    # what was loaded once is known, also under its old content
    lake.write("a.jsonl", text(event(1, type="first"), event(2)))
    assert counts(lake.load(verify=True)) == (1, 0, 1, 0, 0)


def test_a_file_that_kept_its_size_and_time_is_seen_on_demand(lake, counts):
    path = lake.write("a.jsonl", text(event(1)))
    os.utime(path, (OLD, OLD))
    lake.load()
    path.write_bytes(text(event(2)))
    os.utime(path, (OLD, OLD))
    assert counts(lake.load()) == (1, 0, 1, 0, 0)
    assert counts(lake.load(verify=True)) == (1, 1, 0, 1, 0)


def test_a_file_that_changed_just_before_it_was_loaded_is_hashed_again(lake, counts):
    path = lake.write("a.jsonl", text(event(1)))
    lake.load()
    modified = path.stat().st_mtime_ns
    path.write_bytes(text(event(2)))
    os.utime(path, ns=(modified, modified))
    assert counts(lake.load()) == (1, 1, 0, 1, 0)


def test_the_same_bytes_in_another_format_are_another_file(lake, counts):
    """A wrong name was given: nothing of it is known when it has the right one."""
    header = b'"id"\n'
    named = lake.write("a.json", header)
    assert counts(lake.load()) == (1, 1, 0, 0, 1)
    named.rename(named.with_suffix(".csv"))
    assert counts(lake.load()) == (1, 1, 0, 0, 0)
    lake.write("b.csv", header)
    assert counts(lake.load()) == (2, 0, 2, 0, 0)


def test_an_empty_file_hides_none_that_may_not_be_empty(lake, counts):
    lake.write("a.jsonl", b"")
    lake.write("b.json.gz", b"")
    lake.write("c.csv", b"")
    lake.write("d.JSONL", b"")
    for skipped in (1, 2):
        with pytest.raises(FilesFailedError, match="2 of 4 files could not be loaded") as caught:
            lake.load()
        assert caught.value.result.skipped_files == skipped


def test_loaded_files_are_not_read_again(lake, monkeypatch):
    for number in range(3):
        os.utime(lake.write(f"{number}.jsonl", text(event(number))), (OLD, OLD))
    lake.load()
    read = []
    monkeypatch.setattr("airflow_provider_phlo.files.loading.read", read.append)
    lake.load()
    assert read == []


@pytest.mark.parametrize("size", [10_000, 10])
def test_a_file_that_is_written_to_while_it_is_read_is_left_for_the_next_load(lake, counts, monkeypatch, size):
    """Also one that is too large for memory, which is read twice."""
    monkeypatch.setattr(scanning, "SMALL_BYTES", size)
    lake.write("a.jsonl", text(event(1)))
    path = lake.write("b.jsonl", text(event(2)))
    right = scanning._require_unchanged

    def append(before, after):
        if before.path == path and len(path.read_bytes().splitlines()) == 1:
            with path.open("ab") as out:
                out.write(text(event(3)))
            after = scanning.File(path, after.name, path.stat().st_size, after.modified)
        right(before, after)

    monkeypatch.setattr(scanning, "_require_unchanged", append)
    with pytest.raises(TransientError, match=r"(?s)1 of 2 files .*b\.jsonl: was written to, or replaced"):
        lake.load()
    assert lake.query("SELECT event_id FROM events") == [("1",)]
    assert counts(lake.load()) == (2, 1, 1, 2, 0)


def test_a_large_file_that_is_replaced_between_its_two_readings(lake, counts, monkeypatch):
    monkeypatch.setattr(scanning, "SMALL_BYTES", 10)
    path = lake.write("a.jsonl", text(event(1)))
    opened = scanning.Content.open

    def replace(content):
        if path.read_bytes() == text(event(1)):
            path.unlink()
            path.write_bytes(text(event(2)))
        return opened(content)

    monkeypatch.setattr(scanning.Content, "open", replace)
    with pytest.raises(TransientError, match="was written to, or replaced"):
        lake.load()
    assert lake.query("SELECT count(*) FROM events") == [(0,)]
    assert counts(lake.load()) == (1, 1, 0, 1, 0)
    assert lake.query("SELECT event_id FROM events") == [("2",)]


def test_a_file_that_is_gone_again_and_one_that_may_not_be_read(lake, counts, monkeypatch):
    lake.write("a.jsonl", text(event(1)))
    lake.write("b.jsonl", text(event(2)))
    listed = scanning.scan(lake.folder)
    monkeypatch.setattr("airflow_provider_phlo.files.loading.scan", lambda folder: listed)
    (lake.folder / "b.jsonl").unlink()
    with pytest.raises(TransientError, match=r"b\.jsonl: cannot be read: No such file or directory"):
        lake.load()
    assert lake.query("SELECT event_id FROM events") == [("1",)]


def test_times_of_loading_grow_also_when_the_clock_is_set_back(lake, monkeypatch):
    lake.write("a.jsonl", text(event(1)))
    lake.load()
    ((before,),) = lake.query("SELECT loaded_at FROM loaded_files")

    class Clock(datetime):
        @classmethod
        def now(cls, zone=None):
            return before - timedelta(days=400)

    monkeypatch.setattr("airflow_provider_phlo.files.loading.datetime", Clock)
    for name in "bc":
        lake.write(f"{name}.jsonl", text(event(name)))
    lake.load()
    times = [moment for (moment,) in lake.query("SELECT loaded_at FROM loaded_files ORDER BY file_path")]
    assert times == sorted(set(times))
    assert times[0] == before


# --- others have the database

HOLD = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("ready", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(lake, seconds):
    lake.database.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-c", HOLD, str(lake.database), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_locked_database_is_waited_for_and_its_holder_named(lake, counts):
    lake.write("a.jsonl", text(event(1)))
    process = hold(lake, 60)
    try:
        with pytest.raises(TransientError, match=rf"is held by .*python.*, process {process.pid}, and was for 0 s"):
            lake.load(wait_seconds=0.3)
    finally:
        process.kill()
        process.wait()
    process = hold(lake, 0.5)
    assert counts(lake.load()) == (1, 1, 0, 1, 0)
    process.wait()


def test_loaders_take_turns_and_name_each_other(lake, counts):
    lake.write("a.jsonl", text(event(1)))
    entered, leave = threading.Event(), threading.Event()

    def wait(connection):
        entered.set()
        leave.wait(PATIENCE)

    first = threading.Thread(target=lambda: lake.load(after_load=wait))
    first.start()
    entered.wait(PATIENCE)
    with pytest.raises(TransientError, match=f"another loader, process {os.getpid()}"):
        lake.load(wait_seconds=0.2)
    threading.Timer(0.3, leave.set).start()
    assert counts(lake.load()) == (1, 0, 1, 0, 0)
    first.join()


def test_a_file_that_is_not_a_database(lake):
    lake.database.parent.mkdir()
    lake.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(ConfigurationError, match=re.escape(f"{lake.database} is not a DuckDB file")):
        lake.load()
    assert lake.database.read_bytes() == b"not a database" * 1000


def checksum(block):
    """Return what DuckDB writes before a block, so that a test can say a database is from the future."""
    result = 5381
    for at in range(0, len(block), 8):
        result ^= int.from_bytes(block[at : at + 8], "little") * 0xBF58476D1CE4E5B9 & (2**64 - 1)
    return result.to_bytes(8, "little")


@pytest.mark.parametrize("version", [1, 9_000])
def test_a_database_of_another_version(lake, version):
    lake.load()
    content = bytearray(lake.database.read_bytes())
    assert content[:8] == checksum(content[8:4096])
    assert content[8:12] == b"DUCK"
    content[12:20] = version.to_bytes(8, "little")
    content[:8] = checksum(content[8:4096])
    lake.database.write_bytes(content)
    with pytest.raises(ConfigurationError, match="was written by another version of DuckDB, which this one"):
        lake.load()
    assert lake.database.read_bytes() == content


@pytest.mark.parametrize("damage", [slice(5000, None), slice(4096, 4200), slice(20, 24), slice(12_300, 12_400)])
def test_a_database_that_is_damaged(lake, damage):
    lake.write("a.jsonl", text(event(1)))
    lake.load()
    content = bytearray(lake.database.read_bytes())
    content[damage] = b"" if damage.stop is None else b"\7" * (damage.stop - damage.start)
    lake.database.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"is damaged\. Put a copy of it back, or move it away"):
        lake.load()
    assert lake.database.read_bytes() == content


def test_the_database_is_its_owners_only(lake):
    before = os.umask(0o022)
    try:
        lake.load()
    finally:
        os.umask(before)
    assert lake.database.stat().st_mode & 0o077 == 0
    assert lake.database.parent.stat().st_mode & 0o077 == 0


def test_a_reader_in_this_process_is_in_the_way_and_named(lake):
    lake.load()
    with duckdb.connect(lake.database, read_only=True), pytest.raises(TransientError, match="open in this process"):
        lake.load()
    started = time.monotonic()
    with open_database(lake.database, 5):
        pass
    assert time.monotonic() - started < 5
