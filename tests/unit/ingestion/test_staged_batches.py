"""Staged batches: whole or not there, found by a retry, kept for a while."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.ingestion import staged_batches, staged_files
from tests.patience import PATIENCE

TABLE, DAY, TOKEN = "raw.readings", "2024-01-15", "abc123"
ROWS = pa.table({"id": [1, 2, 3], "name": ["a", None, "c"]})


def batch(writer: staged_batches.BatchWriter, **values: Any) -> staged_batches.StagedBatch:
    return staged_batches.StagedBatch(
        table=TABLE,
        token=TOKEN,
        partition_date=DAY,
        run_id="manual__1",
        attempt=writer.attempt,
        files=tuple(writer.files),
        rejected_files=tuple(writer.rejected_files),
        **values,
    )


def staged(root: Path, rows: pa.Table = ROWS, **values: Any) -> staged_batches.StagedBatch:
    writer = staged_batches.BatchWriter(root, TABLE, DAY, TOKEN)
    writer.write(rows)
    return writer.finish(batch(writer, read=len(rows), rows=len(rows), **values))


def test_manifests_of_other_versions(tmp_path: Path) -> None:
    written = staged(tmp_path)
    manifest = tmp_path / written.folder / staged_batches.MANIFEST
    content = json.loads(manifest.read_text())
    assert content.pop("version") == 1
    del content["checksum"]  # which the first ones did not have
    manifest.write_text(json.dumps({**content, "format": 1}))  # as written before the field was called version
    assert staged_batches.load(tmp_path, written.folder) == written
    manifest.write_text(json.dumps({**content, "version": 2, "new": "field"}))
    with pytest.raises(ConfigurationError, match=r"staged for raw\.readings has format version 2, .* up to 1: upgrade"):
        staged_batches.load(tmp_path, written.folder)


def test_case_41_a_flipped_bit_in_a_manifest(tmp_path: Path) -> None:
    """Without its checksum, the cursors in dlt's state and the column of deletes would be others, or left out."""
    written = staged(tmp_path, state=json.dumps({"cursor": "2024-01-15"}), hard_delete="gone")
    manifest = tmp_path / written.folder / staged_batches.MANIFEST
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        flipped = whole[position] ^ (1 << position % 8)
        manifest.write_bytes(whole[:position] + bytes([flipped]) + whole[position + 1 :])
        with suppress(ConfigurationError):
            assert staged_batches.load(tmp_path, written.folder) == written, position
    manifest.write_bytes(whole.replace(b'2024-01-15\\"', b'2024-01-95\\"'))
    with pytest.raises(ConfigurationError, match=r"manifest\.json is damaged, nothing was merged"):
        staged_batches.load(tmp_path, written.folder)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    writer = staged_batches.BatchWriter(tmp_path, TABLE, DAY, TOKEN)
    writer.write(ROWS)
    writer.write(ROWS.slice(1))
    writer.reject(pa.table({"record": ["{}"]}))
    assert staged_batches.find(tmp_path, TABLE, DAY, TOKEN) is None
    finished = writer.finish(batch(writer, read=6, rows=5, quarantined=1, state="{}"))
    assert staged_batches.find(tmp_path, TABLE, DAY, TOKEN) == finished
    assert staged_batches.load(tmp_path, finished.folder) == finished
    assert staged_batches.read_rows(tmp_path, finished).to_pydict() == {
        "id": [1, 2, 3, 2, 3],
        "name": ["a", None, "c", None, "c"],
    }
    assert staged_batches.read_rejected(tmp_path, finished).to_pydict() == {"record": ["{}"]}
    assert json.dumps(finished.folder) == '"raw.readings/2024-01-15/abc123"'


def test_a_batch_without_rows(tmp_path: Path) -> None:
    writer = staged_batches.BatchWriter(tmp_path, TABLE, DAY, TOKEN)
    finished = writer.finish(batch(writer))
    assert staged_batches.find(tmp_path, TABLE, DAY, TOKEN) == finished
    assert staged_batches.read_rows(tmp_path, finished).num_columns == 0


def test_files_with_different_columns(tmp_path: Path) -> None:
    writer = staged_batches.BatchWriter(tmp_path, TABLE, DAY, TOKEN)
    for rows in ({"a": [1.0], "b": [True]}, {"c": ["x"], "a": [1.5]}, {"b": [False]}):
        writer.write(pa.table(rows))
    found = staged_batches.read_rows(tmp_path, writer.finish(batch(writer)))
    assert found.to_pydict() == {"a": [1.0, 1.5, None], "b": [True, None, False], "c": [None, "x", None]}


def test_a_file_is_replaced(tmp_path: Path) -> None:
    writer = staged_batches.BatchWriter(tmp_path, TABLE, DAY, TOKEN)
    writer.write(ROWS)
    writer.write(ROWS)
    writer.rewrite(0, ROWS.slice(0, 1))
    assert [len(writer.read(number)) for number in range(2)] == [1, 3]
    assert writer.read(1, ["id"]).column_names == ["id"]


def test_what_is_not_there(tmp_path: Path) -> None:
    assert staged_batches.find(tmp_path, TABLE, DAY, TOKEN) is None
    with pytest.raises(ConfigurationError, match="clear the ingest task too"):
        staged_batches.load(tmp_path, staged_batches.batch_folder(TABLE, DAY, TOKEN))


def test_the_last_of_two_attempts_counts_and_its_files_are_its_own(tmp_path: Path) -> None:
    one = staged_batches.BatchWriter(tmp_path, TABLE, DAY, TOKEN)
    other = staged_batches.BatchWriter(tmp_path, TABLE, DAY, TOKEN)
    one.write(ROWS)
    other.write(ROWS.slice(0, 1))
    assert not set(one.files) & set(other.files)
    one.finish(batch(one, rows=3))
    other.finish(batch(other, rows=1))
    found = staged_batches.find(tmp_path, TABLE, DAY, TOKEN)
    assert found is not None
    assert (found.rows, len(staged_batches.read_rows(tmp_path, found))) == (1, 1)


def test_attempts_at_once_leave_one_whole_batch(tmp_path: Path) -> None:
    def attempt(number: int) -> None:
        for _ in range(10):
            staged(tmp_path, ROWS.slice(0, number), seconds=float(number))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = staged_batches.find(tmp_path, TABLE, DAY, TOKEN)
        if found:
            assert len(staged_batches.read_rows(tmp_path, found)) == found.rows == found.seconds
    for thread in threads:
        thread.join()


def _stage_and_be_killed(root: Path, ready: Any) -> None:
    writer = staged_batches.BatchWriter(root, TABLE, DAY, TOKEN)
    writer.write(ROWS)
    ready.set()
    time.sleep(60)


def test_a_killed_attempt_leaves_no_batch_and_hinders_no_retry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_stage_and_be_killed, args=(tmp_path, ready))
    process.start()
    assert ready.wait(PATIENCE)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert list(tmp_path.rglob("*.parquet"))
    assert staged_batches.find(tmp_path, TABLE, DAY, TOKEN) is None
    finished = staged(tmp_path)
    assert staged_batches.read_rows(tmp_path, finished).equals(ROWS)


# --- retention


def test_retention(tmp_path: Path) -> None:
    old = staged(tmp_path, staged_at=1_000.0)
    killed = staged_batches.BatchWriter(tmp_path, TABLE, "2024-01-16", "killed")
    killed.write(ROWS)
    os.utime(killed.folder, (2_000, 2_000))
    recent = staged_batches.BatchWriter(tmp_path, TABLE, "2024-01-16", "recent")
    recent.finish(batch(recent))
    elsewhere = staged_batches.BatchWriter(tmp_path, "raw.other", DAY, TOKEN)
    assert staged_batches.remove_expired(tmp_path, TABLE, 500) == 0
    assert staged_batches.remove_expired(tmp_path, TABLE, 3_000) == 2
    assert not (tmp_path / old.folder).exists()
    assert not killed.folder.exists()
    assert recent.folder.exists()
    assert elsewhere.folder.exists()
    assert staged_batches.remove_expired(tmp_path, "raw.unknown", 3_000) == 0


def test_processes_that_clean_up_together(tmp_path: Path) -> None:
    for number in range(30):
        writer = staged_batches.BatchWriter(tmp_path, TABLE, DAY, f"t{number}")
        writer.write(ROWS)
    with ThreadPoolExecutor(4) as pool:
        cleaning = [pool.submit(staged_batches.remove_expired, tmp_path, TABLE, time.time() + 10) for _ in range(4)]
    assert [future.exception() for future in cleaning] == [None] * 4
    assert not list(tmp_path.rglob("*.parquet"))


# --- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def noise(rows: int) -> pa.Table:
    return pa.table({"x": [os.urandom(50).hex() for _ in range(rows)]})


def test_a_full_disk_is_said_and_room_is_made_for_the_retry(small_disk: Path) -> None:
    before = staged(small_disk, noise(100))
    writer = staged_batches.BatchWriter(small_disk, TABLE, "2024-01-16", TOKEN)
    writer.write(noise(100))
    with pytest.raises(TransientError, match=r"No space left while staging .* free some"):
        writer.write(noise(5_000))
    assert staged_batches.find(small_disk, TABLE, "2024-01-16", TOKEN) is None
    assert not list((small_disk / TABLE / "2024-01-16").rglob("*.parquet"))
    assert len(staged_batches.read_rows(small_disk, before)) == 100
    retry = staged_batches.BatchWriter(small_disk, TABLE, "2024-01-16", TOKEN)
    retry.write(noise(100))
    assert retry.finish(batch(retry)).files


def test_a_disk_that_is_full_when_the_manifest_comes(small_disk: Path) -> None:
    writer = staged_batches.BatchWriter(small_disk, TABLE, DAY, TOKEN)
    writer.write(noise(10))
    _fill(small_disk / "filler")
    with pytest.raises(TransientError, match="No space left"):
        writer.finish(batch(writer))
    assert staged_batches.find(small_disk, TABLE, DAY, TOKEN) is None


def test_a_disk_that_is_full_at_once(small_disk: Path) -> None:
    _fill(small_disk / "filler")
    with pytest.raises(TransientError, match="No space left"):
        staged_batches.BatchWriter(small_disk, TABLE, DAY, TOKEN).write(noise(10))


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), staged_batches.disk_errors(tmp_path):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (
            "AWS Error NO_SUCH_BUCKET during CreateMultipartUpload operation",
            ConfigurationError,
            "Check that the bucket",
        ),
        ("When reading: AWS Error ACCESS_DENIED during HeadObject operation: x", ConfigurationError, "Check that the"),
        ("google::cloud::Status(NOT_FOUND: Permanent error, with a last message of x", ConfigurationError, "NOT_FOUND"),
        ("google::cloud::Status(PERMISSION_DENIED: x", ConfigurationError, "PERMISSION_DENIED"),
        ("AWS Error SLOW_DOWN during PutObject operation", TransientError, "SLOW_DOWN during PutObject operation"),
        ("AWS Error NETWORK_CONNECTION during PutObject operation", TransientError, "A retry may help"),
        ("google::cloud::Status(UNAVAILABLE: x", TransientError, "Google Cloud Storage: UNAVAILABLE"),
    ],
)
def test_what_a_store_answers_says_what_to_do(tmp_path: Path, answer: str, kind: type[Exception], message: str) -> None:
    for work in (staged_batches.disk_errors, staged_files.intact):
        with pytest.raises(kind, match=message) as error, work(tmp_path / "file"):
            raise OSError(answer)
        assert str(tmp_path) in str(error.value)


def test_case_41_a_flipped_bit_anywhere_is_damage(tmp_path: Path) -> None:
    rows = pa.table({"k": [1, 2, 3], "v": ["one", "two", "three"]})
    writer = staged_batches.BatchWriter(tmp_path, TABLE, DAY, TOKEN)
    writer.write(rows)
    writer.reject(rows)
    written = writer.finish(batch(writer, rows=3))
    assert staged_batches.read_rows(tmp_path, written).equals(rows)
    read = {written.files[0]: staged_batches.read_rows, written.rejected_files[0]: staged_batches.read_rejected}
    for name, reader in read.items():
        path = tmp_path / written.folder / name
        content = path.read_bytes()
        for bit in range(0, len(content) * 8, 7):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(bytes(flipped))
            with pytest.raises(ConfigurationError, match="damaged, nothing was merged"):
                reader(tmp_path, written)
        path.write_bytes(content[:-1])
        with pytest.raises(ConfigurationError, match="damaged"):
            reader(tmp_path, written)
        path.write_bytes(content)
        assert reader(tmp_path, written).equals(rows)


def test_case_55_a_staged_part_that_is_missing_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    written = staged(tmp_path)
    (tmp_path / written.folder / written.files[0]).unlink()
    with pytest.raises(ConfigurationError, match=rf"{written.files[0]} is missing, nothing was merged: remove its"):
        staged_batches.read_rows(tmp_path, written)


def test_case_41_a_batch_that_was_staged_without_checksums_is_read(tmp_path: Path) -> None:
    writer = staged_batches.BatchWriter(tmp_path, TABLE, DAY, TOKEN)
    writer.write(pa.table({"k": [1]}))
    content = writer.finish(batch(writer, rows=1)).to_json()
    del content["checksums"]
    assert staged_batches.read_rows(tmp_path, staged_batches.StagedBatch.from_json(content)).num_rows == 1
