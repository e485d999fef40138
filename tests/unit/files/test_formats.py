"""What a file may be: lines of JSON, packed or not, CSV, Parquet; on disk, or in an object store."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach

from airflow_provider_phlo.arrow_files import ArrowFiles
from airflow_provider_phlo.exceptions import ConfigurationError, FilesFailedError, TransientError
from airflow_provider_phlo.files import lines, scanning
from tests.unit.files.conftest import event, text

EVENTS = [event(1), event(2**53 + 1, type="WatchEvent"), event(2**70, actor=None, org={"login": "o"})]
VALUES = (
    "SELECT event_id, event_type, created_at, actor_id, actor_login, repo_id, repo_name, payload FROM events ORDER BY 1"
)


@pytest.fixture
def expected(lake, tmp_path):
    lake.write("a.jsonl", text(*EVENTS))
    lake.load()
    rows = lake.query(VALUES)
    assert [row[0] for row in rows] == ["1", str(2**70), str(2**53 + 1)]
    lake.database.unlink()
    (lake.folder / "a.jsonl").unlink()
    return rows


def written(rows):
    out = io.StringIO(newline="")
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def texts(document):
    return {name: json.dumps(value) if isinstance(value, dict) else value for name, value in document.items()}


FLAT = [
    {
        "event_id": document["id"],
        "event_type": document["type"],
        "created_at": document["created_at"],
        "actor_id": (document["actor"] or {}).get("id"),
        "actor_login": (document["actor"] or {}).get("login"),
        "repo_id": document["repo"]["id"],
        "repo_name": document["repo"]["name"],
        "payload": json.dumps(document["payload"]),
    }
    for document in EVENTS
]


def parquet(rows):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


FORMATS = {
    "packed.jsonl.gz": gzip.compress(text(*EVENTS), mtime=0),
    "bom.jsonl": b"\xef\xbb\xbf" + text(*EVENTS),
    "windows.jsonl": text(*EVENTS).replace(b"\n", b"\r\n"),
    "blank.jsonl": b"\n \n" + text(*EVENTS).replace(b"\n", b"\n\n\t\r\n"),
    "unfinished.jsonl": text(*EVENTS)[:-1],
    "nested.csv": written([texts(document) for document in EVENTS]),
    "flat.csv": written(FLAT),
    "nested.parquet": parquet(EVENTS),
    "texts.parquet": parquet([texts(document) for document in EVENTS]),
    "flat.parquet": parquet([{**row, "created_at": datetime(2024, 1, 15, 10, tzinfo=UTC)} for row in FLAT]),
    "raw.parquet": parquet([{"event_id": "?", "raw": json.dumps(document)} for document in EVENTS]),
}


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
def test_the_same_events_in_any_format_are_the_same_rows(lake, counts, expected, name):
    lake.write(name, FORMATS[name])
    assert counts(lake.load()) == (1, 1, 0, 3, 0)
    assert lake.query(VALUES) == expected
    assert counts(lake.load(verify=True)) == (1, 0, 1, 0, 0)


def test_bad_rows_of_a_csv_are_isolated(lake, counts):
    rows = (
        b'id,type,note\n1,PushEvent,"two\nlines"\n2,PushEvent\n3,"x"y,z\n\xff,PushEvent,\n,PushEvent,\n5,WatchEvent,\n'
    )
    lake.write("a.csv", rows + b'6,"never closed,\n')
    assert counts(lake.load()) == (1, 1, 0, 2, 5)
    assert lake.query("SELECT event_id FROM events ORDER BY 1") == [("1",), ("5",)]
    assert lake.rejected() == [
        (4, None, "has 2 fields, and the header has 3", "2,PushEvent"),
        (5, None, "is not CSV: ',' expected after '\"'", '3,"x"y,z'),
        (6, None, "is not UTF-8", r"\xff,PushEvent,"),
        (7, None, "has no id", '{"type": "PushEvent"}'),
        (9, None, "is not CSV: unexpected end of data", '6,"never closed,'),
    ]


PACKED = gzip.compress(text(event(1)) * 9, mtime=0)
BROKEN = {
    "gzip of nothing": ("a.jsonl.gz", b"", "the compressed file is empty, as one is that was not written to its end"),
    "no gzip": ("a.jsonl.gz", b"not gzip", "the compressed file is not gzip, or damaged"),
    "gzip that is cut off": ("a.jsonl.gz", PACKED[:-9], "the compressed file is cut off"),
    "gzip with another checksum": (
        "a.jsonl.gz",
        PACKED[:-8] + b"\0" * 8,
        "the compressed file is not gzip, or damaged",
    ),
    "no Parquet": ("a.parquet", b"PAR1 and nothing", "is not Parquet, or damaged, or encrypted"),
    "Parquet that is cut off": ("a.parquet", parquet(EVENTS)[:-50], "is not Parquet, or damaged, or encrypted"),
    "Parquet of something else": ("a.parquet", parquet([{"x": 1}]), "has no column id or event_id or raw"),
    "CSV of something else": ("a.csv", b"x,y\n1,2\n", "has no column id or event_id or raw"),
    "CSV without a header": ("a.csv", b"", "has no column id or event_id or raw"),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", BROKEN)
def test_a_bad_file_is_named_and_stops_no_other(lake, counts, kind):
    name, content, reason = BROKEN[kind]
    lake.write("0.jsonl", text(event(1)))
    bad = lake.write(name, content)
    lake.write("z.jsonl", text(event(2)))
    for loaded in (2, 0):
        seen = []
        with pytest.raises(FilesFailedError) as caught:
            lake.load(after_load=seen.append)
        assert [str(failure) for failure in caught.value.failures] == [f"{bad}: {reason}"]
        assert counts(caught.value.result) == (3, loaded, 2 - loaded, loaded, 0)
        assert f"1 of 3 files could not be loaded; {loaded} were" in str(caught.value)
        assert len(seen) == 1
    assert lake.query("SELECT event_id FROM events ORDER BY 1") == [("1",), ("2",)]
    bad.write_bytes(text(event(3)))
    bad.rename(bad.with_name("a.jsonl"))
    assert counts(lake.load()) == (3, 1, 2, 1, 0)


@pytest.mark.long
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_gzip_bomb_is_stopped_at_a_limit(lake, monkeypatch, end):
    monkeypatch.setattr(lines, "_RATIO_FROM", 1 << 20)
    lake.write("a.jsonl.gz", gzip.compress(text(event(1)) + b" " * (64 << 20) + end))
    with pytest.raises(FilesFailedError, match="unpacks to more than 8 GiB or 200 times its size"):
        lake.load()
    assert lake.query("SELECT count(*) FROM events") == [(0,)]


def test_lines_that_are_longer_than_what_is_read_at_a_time(lake, counts, monkeypatch):
    monkeypatch.setattr(lines, "CHUNK_BYTES", 700)
    monkeypatch.setattr(lines, "LINE_BYTES", 2000)
    fits, long = event(1, payload={"x": "y" * 1200}), json.dumps(event(2, payload={"x": "y" * 5000}))
    lake.write("a.jsonl", text(fits, long, event(3), "{", long + "\n" + long, event(4)))
    assert counts(lake.load()) == (1, 1, 0, 3, 4)
    reason = "is longer than 0 MiB; its first 64 KiB are kept"
    found = [(number, why) for number, _, why, _ in lake.rejected()]
    assert found == [(2, reason), (4, "is not valid JSON"), (5, reason), (6, reason)]
    data = (lake.folder / "a.jsonl").read_bytes()
    for number, offset, _, raw in lake.rejected():
        assert data.split(b"\n")[number - 1].startswith(raw[:500].encode())
        assert data[offset:].startswith(raw[:500].encode())


def test_an_object_store(lake, counts):
    from upath import UPath

    lake.folder = UPath("memory://raw/events")
    lake.folder.mkdir(parents=True)
    try:
        for name in ("packed.jsonl.gz", "flat.csv", "raw.parquet"):
            (lake.folder / name).write_bytes(FORMATS[name])
        assert counts(lake.load()) == (3, 3, 0, 3, 0)
        assert counts(lake.load(verify=True)) == (3, 0, 3, 0, 0)
        assert lake.query("SELECT DISTINCT source_file FROM events") == [("memory://raw/events/flat.csv",)]
    finally:
        fsspec.filesystem("memory").rm("/raw", recursive=True)


def test_an_object_store_over_pyarrow(lake, counts):
    """As S3 and Google Cloud Storage are read where no provider is installed: a time is not a number there."""
    lake.write("day=1/a.jsonl", text(event(1)))
    changing = lake.write("b%20 #?.JSON", text(event(2)))
    root = pa.fs.SubTreeFileSystem(str(lake.folder.parent), pa.fs.LocalFileSystem())
    attach("s3", "files_test", fs=ArrowFiles(root))
    lake.folder = ObjectStoragePath("s3://files_test@raw")
    assert counts(lake.load()) == (2, 2, 0, 2, 0)
    assert counts(lake.load()) == (2, 0, 2, 0, 0)
    changing.write_bytes(text(event(2), event(3)))
    assert counts(lake.load()) == (2, 1, 1, 1, 0)
    assert lake.query("SELECT count(*) FROM loaded_files WHERE file_mtime > now() - INTERVAL 1 DAY") == [(2,)]


def test_other_files_hidden_ones_and_folders(lake, counts, caplog):
    for name in ("a.txt", ".b.jsonl", ".parts/c.jsonl", "d.xml", "e.jsonl.part", "README"):
        lake.write(name, text(event(1)))
    lake.write("2024/01/f.jsonl", text(event(2)))
    (lake.folder / "empty.jsonl").touch()
    os.symlink(lake.folder, lake.folder / "round")
    result = lake.load()
    assert counts(result) == (2, 2, 0, 1, 0)
    assert result.other_files == 5
    others = ", ".join(str(lake.folder / name) for name in ("README", "a.txt", "d.xml", "e.jsonl.part", "round"))
    assert "5 files are left alone, as names that are loaded end in .jsonl, .ndjson, .json, " in caplog.text
    assert caplog.text.count(f": {others}\n") == 1
    assert counts(lake.load()) == (2, 0, 2, 0, 0)


def test_names_that_say_how_they_are_packed_are_named(lake, counts):
    """Whoever puts such a file there means it to be loaded."""
    names = ("a.CSV.gz", "b.jsonl.zst", "c.json.bz2", "d.parquet.gz", "e.ndjson.zip")
    named = [lake.write(name, b"") for name in names]
    lake.write("z.jsonl", text(event(1)))
    with pytest.raises(FilesFailedError, match="is compressed as is not read: unpack it") as caught:
        lake.load()
    assert sorted(failure.file for failure in caught.value.failures) == sorted(map(str, named))
    assert counts(caught.value.result) == (6, 1, 0, 1, 0)


def test_a_folder_of_nothing_but_other_names_is_refused(lake, counts):
    """It would be green, and nothing be done: Firehose's objects and Hadoop's parts have no ending."""
    lake.write("_SUCCESS", b"")
    assert counts(lake.load()) == (0, 0, 0, 0, 0)
    other = lake.write("part-00000", text(event(1)))
    with pytest.raises(ConfigurationError, match=rf"Nothing in {lake.folder} has a name that is loaded.*{other}\. Ren"):
        lake.load()
    other.rename(other.with_suffix(".jsonl"))
    assert counts(lake.load()) == (1, 1, 0, 1, 0)


NAMES = ("a.ndjson", "2015-01-01-15.json.gz", "c.json", "d.JSONL", "e.jsonl.GZ", "f.Csv", "g.PARQUET", "h.ndjson.gz")


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lines_and_tables_have_elsewhere(lake, counts, name):
    of = {".csv": "flat.csv", "rquet": "flat.parquet", "on.gz": "packed.jsonl.gz", "nl.gz": "packed.jsonl.gz"}
    lake.write(name, FORMATS[next((of[end] for end in of if name.lower().endswith(end)), "bom.jsonl")])
    assert counts(lake.load()) == (1, 1, 0, 3, 0)


def test_what_is_not_a_file_is_named_and_stops_no_other(lake, counts):
    lake.write("z.jsonl", text(event(1)))
    os.mkfifo(lake.folder / "a.jsonl")
    os.symlink("nowhere", lake.folder / "b.jsonl")
    os.symlink("c.jsonl", lake.folder / "c.jsonl")
    os.symlink("/dev/zero", lake.folder / "d.csv")
    for loaded in (1, 0):
        with pytest.raises(FilesFailedError) as caught:
            lake.load()
        assert sorted(str(failure).removeprefix(f"{lake.folder}/") for failure in caught.value.failures) == [
            "a.jsonl: is not a regular file",
            "b.jsonl: is a link to a file that does not exist",
            "c.jsonl: cannot be read: Too many levels of symbolic links",
            "d.csv: is not a regular file",
        ]
        assert counts(caught.value.result) == (5, loaded, 1 - loaded, loaded, 0)


def test_a_file_that_becomes_a_pipe_is_not_waited_for(lake, monkeypatch):
    path = lake.write("a.jsonl", text(event(1)))
    found = scanning.scan(lake.folder)
    monkeypatch.setattr("airflow_provider_phlo.files.loading.scan", lambda folder: found)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(TransientError, match="was written to, or replaced"):
        lake.load()


@pytest.mark.parametrize("root", [False, True])
def test_a_folder_that_may_not_be_read_is_named(lake, counts, monkeypatch, root):
    """The tests may run as a user who may read everything."""
    lake.write("a.jsonl", text(event(1)))
    closed = lake.folder if root else lake.write("closed/b.jsonl", text(event(2))).parent
    scandir = os.scandir

    def refuse(path):
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigurationError if root else FilesFailedError) as caught:
        lake.load()
    if root:
        assert str(caught.value) == f"The folder of files to load cannot be read: Permission denied: {closed}."
    else:
        assert [str(failure) for failure in caught.value.failures] == [f"{closed}: cannot be read: Permission denied"]
        assert counts(caught.value.result) == (2, 1, 0, 1, 0)


def test_a_name_that_is_not_unicode(lake, counts):
    path = os.fsencode(lake.folder) + b"/\xff.jsonl"
    Path(os.fsdecode(path)).write_bytes(text(event(1)))
    assert counts(lake.load()) == (1, 1, 0, 1, 0)
    assert lake.query("SELECT source_file FROM events") == [(f"{lake.folder}/\\xff.jsonl",)]
    assert counts(lake.load(verify=True)) == (1, 0, 1, 0, 0)
