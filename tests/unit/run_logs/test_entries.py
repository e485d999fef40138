"""What the lines of logs say, as Airflow writes them and as others do."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from airflow_provider_phlo.run_logs.entries import AttemptKey, entry_of, is_fold, level_of, parse_line

KEY = AttemptKey("d", "r", "group.task")


def test_a_message_of_airflow():
    line = (
        b'{"timestamp":"2026-01-02T03:04:05.678Z","level":"warning","event":"3 set aside","logger":"phlo",'
        b'"table":"raw.t","note":"two words","ti_id":"0","dag_id":"d","filename":"x.py","lineno":3}\n'
    )
    entry = parse_line(KEY, line)
    assert entry.at == dt.datetime(2026, 1, 2, 3, 4, 5, 678000, dt.UTC)
    assert (entry.level, entry.logger) == ("warning", "phlo")
    # what identifies the task is said beside it already
    assert entry.text == '3 set aside table=raw.t note="two words"'


def test_a_traceback_is_lines_of_the_message():
    detail = [
        {
            "exc_type": "ValueError",
            "exc_value": "bad",
            "frames": [{"filename": "a.py", "lineno": 1, "name": "f"}, {"filename": "b.py", "lineno": 2, "name": "g"}],
            "exceptions": [{"exc_type": "KeyError", "exc_value": "'k'", "frames": []}],
        }
    ]
    entry = entry_of(KEY, {"event": "Task failed", "level": "error", "error_detail": detail})
    assert entry.text.splitlines() == [
        "Task failed",
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in f',
        '  File "b.py", line 2, in g',
        "ValueError: bad",
        "KeyError: 'k'",
    ]


@pytest.mark.parametrize("detail", [None, "text", {"a": 1}, [None], [{"frames": [None]}], [{"exceptions": "no"}]])
def test_an_odd_traceback_does_no_harm(detail):
    assert entry_of(KEY, {"event": "e", "error_detail": detail}).text.startswith("e")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"plain text\r\n", "plain text"),
        (b"\xff\xfe bytes", "\ufffd\ufffd bytes"),
        (b'{"no": "event"}', '{"no": "event"}'),
        (b'["event"]', '["event"]'),
        (b'"event"', '"event"'),
        (b"[" * 100_000, "[" * 100_000),
        (b'{"event": null}', "None"),
        (b'{"event": "cut', '{"event": "cut'),
        (b'{"event": 5, "level": 7}', "5"),
    ],
)
def test_lines_that_are_not_messages_are_text(line, text):
    entry = parse_line(KEY, line)
    assert (entry.text, entry.level) == (text, "info")


@pytest.mark.parametrize("at", ["", "yesterday", 7, None, "9999-12-31T23:59:59-23:59", [1]])
def test_odd_times_are_not_times(at):
    assert parse_line(KEY, json.dumps({"event": "e", "timestamp": at}).encode()).at is None


def test_a_time_without_offset_is_utc():
    assert entry_of(KEY, {"event": "e", "timestamp": "2026-01-02T03:04:05"}).at == dt.datetime(
        2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC
    )


@pytest.mark.parametrize(
    ("name", "level"), [("WARN", "warning"), ("fatal", "critical"), ("trace", "info"), (30, "info")]
)
def test_other_names_of_levels(name, level):
    assert level_of(name) == level


def test_folds_of_pages_are_not_messages():
    assert is_fold(entry_of(KEY, {"event": "::group::Pre Execute"}))
    assert is_fold(entry_of(KEY, "::endgroup::"))
    assert not is_fold(entry_of(KEY, "group"))


def test_what_people_call_a_try():
    assert AttemptKey("d", "r", "t").name == "d/t"
    assert AttemptKey("d", "r", "g.t", 3, 2).name == "d/g.t[3] #2"
