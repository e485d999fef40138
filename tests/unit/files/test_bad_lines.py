"""Lines that are not events are isolated: position, reason and text are kept, and the others are loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import duckdb
import pytest

from airflow_provider_phlo.events.batches import write_batches
from airflow_provider_phlo.files.staging import Staging
from tests.unit.files.conftest import event, text

NOT_JSON = "is not valid JSON"
NO_NUMBER = "has NaN or Infinity, which JSON does not have"
TOO_DEEP = "is JSON that is nested too deeply"
BAD = {
    "{": NOT_JSON,
    '{"id": "1"': NOT_JSON,
    '{"id": "1"} {"id": "2"}': NOT_JSON,
    '{"id": "1"}x': NOT_JSON,
    '{"id": "1",}': NOT_JSON,
    '{"id": "1", "payload": NaN}': NO_NUMBER,
    '{"id": "1", "payload": [-Infinity]}': NO_NUMBER,
    '{"id": 01}': NOT_JSON,
    "{'id': 1}": NOT_JSON,
    '{"id": "1", "title": "\x07"}': NOT_JSON,
    "\0\0\0\0": "has NUL bytes",
    '{"id": "1", "title": "a\0b"}': "has NUL bytes",
    "PK\x03\x04": NOT_JSON,
    "[" * 100_000 + "]" * 100_000: TOO_DEEP,
    '{"id": "1", "payload": ' + "[" * 2000 + "]" * 2000 + "}": TOO_DEEP,
    '{"id": "1", "payload": ' + "9" * 5000 + "}": "has a number of thousands of digits",
    '{"id": "1"}\r{"id": "2"}': NOT_JSON,
    "[]": "is not a JSON object",
    "null": "is not a JSON object",
    '"text"': "is not a JSON object",
    "5": "is not a JSON object",
    "{}": "has no id",
    '{"type": "PushEvent"}': "has no id",
    '{"id": null}': "has no id",
    '{"id": ""}': "has no id",
    '{"id": true}': "id is neither text nor a whole number",
    '{"id": 1.5}': "id is neither text nor a whole number",
    '{"id": 1e400}': "id is neither text nor a whole number",
    '{"id": 1e2}': "id is neither text nor a whole number",
    '{"id": {"a": 1}}': "id is neither text nor a whole number",
    '{"id": [1]}': "id is neither text nor a whole number",
    '{"id": "1", "type": {}}': "type is not a single value",
    '{"id": "1", "created_at": []}': "created_at is not a single value",
    '{"id": "1", "created_at": "not-a-date"}': "created_at is not a time of the years 1 to 9999",
    '{"id": "1", "created_at": "2024-02-30T00:00:00Z"}': "created_at is not a time of the years 1 to 9999",
    '{"id": "1", "created_at": "infinity"}': "created_at is not a time of the years 1 to 9999",
    '{"id": "1", "created_at": "10000-01-01T00:00:00Z"}': "created_at is not a time of the years 1 to 9999",
    '{"id": "1", "created_at": "epoch"}': "created_at is not a time of the years 1 to 9999",
    '{"id": "1", "created_at": "-infinity"}': "created_at is not a time of the years 1 to 9999",
    '{"id": "1", "ingested_at": "Epoch"}': "ingested_at is not a time of the years 1 to 9999",
    '{"id": "1", "created_at": 1705276800}': "created_at is not a time of the years 1 to 9999",
    '{"id": "1", "ingested_at": "soon"}': "ingested_at is not a time of the years 1 to 9999",
    '{"id": "1", "actor": "ghost"}': "actor is not an object",
    '{"id": "1", "repo": []}': "repo is not an object",
    '{"id": "1", "actor": {"id": 1.5}}': "actor.id is not a whole number",
    '{"id": "1", "actor": {"id": true}}': "actor.id is not a whole number",
    '{"id": "1", "actor": {"id": "x"}}': "actor.id is not a whole number",
    '{"id": "1", "actor": {"id": 9223372036854775808}}': "actor.id does not fit into 64 bits",
    '{"id": "1", "repo": {"id": 340282366920938463463374607431768211456}}': "repo.id does not fit into 64 bits",
    '{"id": "1", "actor": {"login": {}}}': "actor.login is not a single value",
}


def test_each_bad_line_has_its_reason_and_stops_no_other(lake, counts):
    lines = [line for number, bad in enumerate(BAD) for line in (json.dumps(event(number)), bad)]
    lake.write("a.jsonl", text(*lines))
    assert counts(lake.load()) == (1, 1, 0, len(BAD), len(BAD))
    found = lake.rejected()
    assert [(raw, reason) for _, _, reason, raw in found] == list(BAD.items())
    data = text(*lines)
    for (number, offset, _, raw), index in zip(found, range(1, 2 * len(BAD), 2), strict=True):
        assert number == index + 1
        assert data[offset:].startswith(raw.encode() + b"\n")
    assert len(lake.query("FROM events")) == len(BAD)


@pytest.mark.long
@pytest.mark.parametrize("line", list(BAD)[13:20], ids=range(7))
def test_a_single_bad_line_at_the_end(lake, counts, line):
    lake.write("a.jsonl", text(event(1), line)[:-1])
    assert counts(lake.load()) == (1, 1, 0, 1, 1)


@pytest.mark.parametrize("bytes_", [b"\xff\xfe{", b'{"id": "1", "title": "\xed\xa0\xbd"}', b'{"id": "1", "t": "\xc3'])
def test_bytes_that_are_not_text(lake, counts, bytes_):
    lake.write("a.jsonl", text(event(1), bytes_, event(2)))
    assert counts(lake.load()) == (1, 1, 0, 2, 1)
    assert lake.rejected() == [
        (2, len(text(event(1))), "is not UTF-8", bytes_.decode("utf-8", "backslashreplace")),
    ]


def test_a_file_that_is_cut_off_in_a_line(lake, counts):
    whole = text(event(1), event(2))
    for cut in (len(whole) - 2, len(whole) - 60, len(text(event(1))) + 1):
        lake.write("a.jsonl", whole[:cut])
        lake.load()
        assert lake.rejected()[-1][2:] == (
            "is cut off: the file ends in the middle of it",
            whole[len(text(event(1))) : cut].decode(),
        )
        lake.database.unlink()
    # when it is written to its end, what was missing comes
    lake.write("a.jsonl", whole[:-10])
    assert counts(lake.load()) == (1, 1, 0, 1, 1)
    lake.write("a.jsonl", whole)
    assert counts(lake.load()) == (1, 1, 0, 1, 0)


TIMES = ("2024-01-15t10:00:00z", "2024-01-15T10:00:00Z", " 2024-01-15 11:00:00.000+01", "2024-01-15T10:00:00")


@pytest.mark.parametrize("moment", TIMES)
def test_times_as_rfc_3339_has_them(lake, counts, moment):
    lake.write("a.jsonl", text(event(1, created_at=moment)))
    assert counts(lake.load()) == (1, 1, 0, 1, 0)
    assert lake.query("SELECT created_at = '2024-01-15T10:00:00Z' FROM events") == [(True,)]


def test_an_event_with_nan_is_written_and_set_aside_with_its_text(lake, counts):
    write_batches(lake.folder, [event(1), event(2, payload={"x": float("nan")})])
    assert counts(lake.load()) == (1, 1, 0, 1, 1)
    ((_, _, reason, raw),) = lake.rejected()
    assert reason == NO_NUMBER
    assert '"payload":{"x":NaN}' in raw


def test_half_a_character_is_kept_as_the_text_of_its_escape(lake, counts):
    write_batches(lake.folder, [event(1, payload={"title": "cut \ud83d", "face": "😀", "nul": "\0"})])
    lake.write(
        "z.jsonl",
        text(r'{"id": "2", "payload": "\udc00 \\\\ud83d \ud83d\ude00 \uD83Dx"}', '{"id": "", "x": "\\ud83d"}'),
    )
    assert counts(lake.load()) == (2, 2, 0, 2, 1)
    payloads = [json.loads(payload) for (payload,) in lake.query("SELECT payload FROM events ORDER BY event_id")]
    assert payloads == [{"title": r"cut \ud83d", "face": "😀", "nul": "\0"}, "\\udc00 \\\\ud83d 😀 \\uD83Dx"]
    assert lake.rejected()[0][2:] == ("has no id", '{"id": "", "x": "\\ud83d"}')
    assert lake.query("SELECT json_valid(raw) FROM events") == [(True,), (True,)]


def test_a_file_of_odd_lines_takes_few_statements(lake, counts, monkeypatch):
    """Events without an actor, a bad line and blank ones: what they cost does not grow by a statement for each."""
    statements = []

    class Counted:
        def __init__(self, connection):
            self.connection = connection

        def execute(self, *arguments):
            statements.append(arguments)
            return self.connection.execute(*arguments)

        def __getattr__(self, name):
            return getattr(self.connection, name)

    begin = Staging.__init__
    monkeypatch.setattr(
        Staging, "__init__", lambda self, connection, *others: begin(self, Counted(connection), *others)
    )
    lines = [{"id": str(number), "actor": {"login": "x"}} for number in range(5000)]
    lake.write("a.jsonl", text(*lines, "{", *[" "] * 5000, *["\u00a0"] * 3))
    assert counts(lake.load()) == (1, 1, 0, 5000, 4)
    assert 3 <= len(statements) < 10


def test_ids_and_what_is_missing(lake, counts):
    odd = [
        {"id": 2**63, "actor": {"id": 2**63 - 1}, "repo": {"id": "9007199254740993"}},
        {"id": "9" * 40},
        {"id": 9007199254740993, "actor": {}, "repo": None},
        {"id": -1, "actor": {"login": 5}, "repo": {"name": True}, "type": 7},
        {"id": "nul \0 in it", "payload": "text"},
        {"id": " spaced ", "created_at": "2024-01-15", "payload": None},
    ]
    lake.write("a.jsonl", text(*odd))
    assert counts(lake.load()) == (1, 1, 0, 6, 0)
    rows = lake.query("SELECT event_id, actor_id, actor_login, repo_id, repo_name, event_type, payload FROM events")
    assert sorted(rows) == sorted(
        [
            ("9223372036854775808", 2**63 - 1, None, 9007199254740993, None, None, None),
            ("9" * 40, None, None, None, None, None, None),
            ("9007199254740993", None, None, None, None, None, None),
            ("-1", None, "5", None, "true", "7", None),
            ("nul \0 in it", None, None, None, None, None, '"text"'),
            (" spaced ", None, None, None, None, None, None),
        ]
    )


def test_of_a_name_that_is_there_twice_the_first_counts_on_both_ways(lake, counts):
    twice = '{"id": "1", "id": "2", "actor": {"id": 5, "id": 6}, "repo": {"id": 7}, "type": "A", "type": "B"}'
    lake.write("a.jsonl", text(twice))
    lake.write("b.jsonl", text(twice.replace('"1"', '"3"'), "{"))
    assert counts(lake.load()) == (2, 2, 0, 2, 1)
    assert lake.query("SELECT event_id, event_type, actor_id FROM events ORDER BY 1") == [("1", "A", 5), ("3", "A", 5)]


def test_whole_files_and_single_lines_are_judged_alike(lake, monkeypatch):
    """The fast way takes a file at once, the slow one looks at every line: both make the same rows."""
    sample = Path(os.environ.get("PHLO_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
    real = sample / "github" / "events_sample.json"
    events = json.loads(real.read_text()) if real.exists() else []
    many = [event(number, type=kind) for number, kind in enumerate(("PushEvent", "null", "true", "1.5", "{", "[x"))]
    many += [
        event(f"{number}", payload=value)
        for number, value in enumerate([1e300, -0.0, 1.10, 2**64, "é\u2028😀", [[]], None], 50)
    ]
    lake.write("a.jsonl", text(*events, *many))
    rows = "SELECT * EXCLUDE loaded_at FROM events ORDER BY event_id"
    assert lake.load().rejected_lines == 0
    expected = lake.query(rows)
    assert len(expected) == len({one["id"] for one in [*events, *many]})
    lake.database.unlink()
    monkeypatch.setattr(Staging, "stage_files", lambda self, files: set())
    lake.load()
    assert lake.query(rows) == expected
    if not events:
        pytest.skip("no real samples here (set PHLO_SHARED_DATA)")


def test_the_fast_way_is_taken(lake, monkeypatch):
    def never(self):
        raise AssertionError("a file of good lines is judged line by line")

    monkeypatch.setattr(Staging, "_judged", never)
    lake.write("a.jsonl", text(*(event(number) for number in range(10))))
    assert lake.load().inserted_events == 10


def test_raw_json_is_valid_for_everybody(lake):
    lake.write("a.jsonl", text(*BAD, event(1), '{"id": 5, "x": "\\u0000 \\ud83d\\ude00"}'))
    lake.load()
    for (raw,) in lake.query("SELECT raw FROM events"):
        json.loads(raw, parse_constant=lambda name: pytest.fail(name))
    with duckdb.connect(lake.database) as connection:
        assert connection.execute("SELECT count(*) FROM events WHERE NOT json_valid(raw)").fetchall() == [(0,)]
