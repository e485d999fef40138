"""Files of JSON that do not have one document on each line, and files that are something else."""

from __future__ import annotations

import gzip
import json

import pytest

from airflow_provider_phlo.exceptions import FilesFailedError
from airflow_provider_phlo.files import lines
from tests.samples import sample
from tests.unit.files.conftest import event, text

BAD = {"type": "PushEvent"}
ITEMS = [event(1), event(2, payload={"title": '],[ } " ž \U0001f389'}), BAD, event(3)]
PARTS = [json.dumps(item) for item in ITEMS]
#: how programs write several documents
WRITTEN = {
    "an answer of the API": json.dumps(ITEMS),
    "an answer without blanks": json.dumps(ITEMS, separators=(",", ":"), ensure_ascii=False),
    "json.tool": json.dumps(ITEMS, indent=4) + "\n",
    "jq": "".join(f"{json.dumps(item, indent=2)}\n" for item in ITEMS),
    "gh api --paginate": json.dumps(ITEMS[:2]) + json.dumps([]) + json.dumps(ITEMS[2:]),
    "gh api --slurp of one": json.dumps(ITEMS, indent=1).replace("\n", "\r\n"),
    "the archive of 2012": "".join(PARTS),
    "line ends of old": "\r".join(PARTS),
    "with a byte order mark": "\ufeff" + json.dumps(ITEMS, ensure_ascii=False),
    "an array of lines": "[\n" + ",\n".join(PARTS) + "\n]\n",
}


@pytest.mark.long
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("kind", WRITTEN)
def test_documents_are_rows_however_they_are_written(lake, counts, kind, packed):
    data = WRITTEN[kind].encode()
    lake.write("a.json.gz" if packed else "a.json", gzip.compress(data) if packed else data)
    assert counts(lake.load()) == (1, 1, 0, 3, 1)
    titles = lake.query("SELECT event_id, payload ->> 'title' FROM events ORDER BY 1")
    assert titles == [("1", None), ("2", ITEMS[1]["payload"]["title"]), ("3", None)]
    ((number, offset, reason, raw),) = lake.rejected()
    assert (number, reason, json.loads(raw)) == (3, "has no id", BAD)
    assert data[offset:].startswith(raw.splitlines()[0].encode())


@pytest.mark.parametrize(("content", "inserted", "rejected"), [("[]", 0, 0), ("[\n]\n", 0, 0), ("{\n}", 0, 1)])
def test_an_answer_with_nothing(lake, counts, content, inserted, rejected):
    lake.write("a.json", content.encode())
    assert counts(lake.load()) == (1, 1, 0, inserted, rejected)


def test_real_events_as_they_were_saved(lake, counts):
    events = sample("github/events_sample.json")
    lake.write("events_sample.json", json.dumps(events, indent=1).encode())
    expected = len({each["id"] for each in events})
    assert counts(lake.load()) == (1, 1, 0, expected, 0)


def test_a_file_of_lines_keeps_its_lines(lake, counts):
    """A line that two documents share, or that an array is alone on, is one bad line where others are documents."""
    lake.write("a.jsonl", text(event(1), "".join(PARTS[:2]), "[]", event(4)))
    lake.write("b.jsonl", text("[]", event(5)))
    lake.write("c.jsonl", text('{"id": "9", "payload": [', event(6)))
    lake.write("d.jsonl", b" \n" + text("[2024-01-15 10:00] begun", event(7)))
    lake.write("e.jsonl", text("", '{"id": "cut', '  {"id": "10", "payload": NaN}', '{"id": "11", "payload": NaN}'))
    lake.write("f.jsonl", b'{"id": "cut')
    assert counts(lake.load()) == (6, 6, 0, 5, 9)


DAMAGED = "is a JSON array that is damaged, cut off, of something else than objects, or too large to be loaded as one"
SEPARATED = "has objects with commas between them"
BROKEN = "is JSON whose documents are not one on each line, and that is damaged, cut off or too large"
NO_LINES = "is not JSON: none of its lines is an object"
ELSE = {
    "an array that is cut off": ("a.json", json.dumps(ITEMS, indent=1).encode()[:-9], DAMAGED),
    "an array of numbers": ("a.json", b"[1, 2]", DAMAGED),
    "a comma too many": ("a.json", b"[\n{},\n]", DAMAGED),
    "an array of lines that is cut off": ("a.json", ("[\n" + ",\n".join(PARTS))[:-9].encode(), DAMAGED),
    "an array of lines that is damaged": ("a.json", f"[\n{PARTS[0]},\n{{,\n{PARTS[3]}\n]".encode(), DAMAGED),
    "lines with commas": ("a.jsonl", ",\n".join(PARTS).encode(), SEPARATED),
    "lines with commas, also at the end": ("a.jsonl", ",\r\n".join([*PARTS, ""]).encode(), SEPARATED),
    "documents that are cut off": ("a.json", WRITTEN["jq"][:-9].encode(), BROKEN),
    "documents that are damaged": ("a.json", b"\n" + WRITTEN["jq"].replace('"id"', "id", 1).encode(), BROKEN),
    "an indented document with a compact part": ("a.json", b'  {\n    "a": [\n    {"id": "1"}\n  ]\n', BROKEN),
    "lines without an end": ("a.jsonl", b'{"id": "1"\n{"id": "2"\n', BROKEN),
    "a page": ("a.jsonl", b"<html>\n<body>\n</body></html>\n", NO_LINES),
    "CSV": ("a.jsonl", b"id,type\n1,PushEvent\n", NO_LINES),
    "an error of a store": ("a.json", b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", NO_LINES),
    "other bytes": ("a.jsonl", b"\xe9\n\xe9\n5\n", NO_LINES),
    "what a power cut leaves": ("a.jsonl", bytes(4096), "has only NUL bytes"),
    "gzip without its name": ("a.json", gzip.compress(text(event(1))), "is compressed by gzip"),
    "gzip in gzip": ("a.json.gz", gzip.compress(gzip.compress(text(event(1)))), "is compressed by gzip"),
    "a zip": ("a.json", b"PK\x03\x04\0\0", "is a zip archive"),
    "zstd": ("a.jsonl", b"\x28\xb5\x2f\xfd\0\0", "is compressed by zstd"),
    "Parquet": ("a.json", b"PAR1\0\0", "is Parquet"),
    "what PowerShell writes": ("a.jsonl", text(event(1)).decode().encode("utf-16"), "is UTF-16"),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", ELSE)
def test_what_is_something_else_is_named_and_stops_no_other(lake, counts, kind):
    name, content, reason = ELSE[kind]
    bad = lake.write(name, content)
    lake.write("z.jsonl", text(event(7)))
    with pytest.raises(FilesFailedError) as caught:
        lake.load()
    assert str(caught.value.failures[0]).startswith(f"{bad}: {reason}")
    assert counts(caught.value.result) == (2, 1, 0, 1, 0)
    assert lake.rejected() == []


def test_a_large_array_is_named_and_large_files_of_lines_are_loaded(lake, counts, monkeypatch):
    monkeypatch.setattr(lines, "CHUNK_BYTES", 2000)
    many = [event(number) for number in range(30)]
    lake.write("a.json", json.dumps(many, indent=1).encode())
    lake.write("b.jsonl", text('{"id": "cut', *many))
    lake.write("c.json", "\n".join(json.dumps(each, indent=1) for each in many).encode())
    lake.write("d.json", json.dumps(many).encode())
    lake.write("e.json", ("[\n" + ",\n".join(map(json.dumps, many)) + "\n]").encode())
    with pytest.raises(FilesFailedError, match="4 of 5 files") as caught:
        lake.load()
    assert [str(failure).count("too large to be") for failure in caught.value.failures] == [1, 1, 1, 1]
    assert lake.query("SELECT count(*) FROM events") == [(30,)]
    assert len(lake.rejected()) == 1


def test_a_document_is_no_longer_than_a_line(lake, counts, monkeypatch):
    monkeypatch.setattr(lines, "LINE_BYTES", 600)
    long = event(1, payload={"title": "é" * 200})
    lake.write("a.jsonl", text(long))
    lake.write(
        "b.jsonl", text(json.dumps(long, indent=1, ensure_ascii=False).replace("\n", " ") + json.dumps(event(2)))
    )
    lake.write("c.json", json.dumps([long], indent=1).encode())
    with pytest.raises(FilesFailedError, match=r"(?s)1 of 3 files.*c.json: is a JSON array that is damaged") as caught:
        lake.load()
    assert counts(caught.value.result) == (3, 2, 0, 0, 2)
    assert {reason.partition(";")[0] for _, _, reason, _ in lake.rejected()} == {"is longer than 0 MiB"}
