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
    assert counts(lake.load()) == (3, 3, 0, 4, 4)


DAMAGED = "is a JSON array that is damaged, cut off, of something else than objects, or too large to be loaded as one"
ELSE = {
    "an array that is cut off": ("a.json", json.dumps(ITEMS, indent=1).encode()[:-9], DAMAGED),
    "an array of numbers": ("a.json", b"[1, 2]", DAMAGED),
    "a comma too many": ("a.json", b"[\n{},\n]", DAMAGED),
    "gzip without its name": ("a.json", gzip.compress(text(event(1))), "is compressed by gzip"),
    "gzip in gzip": ("a.json.gz", gzip.compress(gzip.compress(text(event(1)))), "is compressed by gzip"),
    "a zip": ("a.json", b"PK\x03\x04\0\0", "is a zip archive"),
    "zstd": ("a.jsonl", b"\x28\xb5\x2f\xfd\0\0", "is compressed by zstd"),
    "Parquet": ("a.json", b"PAR1\0\0", "is Parquet"),
    "what PowerShell writes": ("a.jsonl", text(event(1)).decode().encode("utf-16"), "is UTF-16"),
}


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
    with pytest.raises(FilesFailedError, match="too large to be loaded as one"):
        lake.load()
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
