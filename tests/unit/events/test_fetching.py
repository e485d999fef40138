"""Fetch what is new: politely, and so that a crash loses nothing."""

from __future__ import annotations

import json
import os

import pytest

from airflow_provider_phlo.events.fetching import fetch_events
from airflow_provider_phlo.exceptions import SourceUnavailableError, TransientError
from airflow_provider_phlo.sources.github_events import PublicEvents

EVENTS = [{"id": "2"}, {"id": "1"}]


class GitHub:
    """Answers once per ETag, and keeps a clock that moves where somebody sleeps."""

    def __init__(self, memory):
        self.memory, self.asked, self.slept, self.now = memory, [], [], 1_705_312_800.0
        self.answer = PublicEvents(EVENTS, etag='W/"1"', poll_seconds=60.0)

    def read(self, etag):
        self.asked.append(etag)
        if etag == self.answer.etag:
            return PublicEvents([], etag=etag, poll_seconds=60.0, modified=False)
        return self.answer

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def fetch(self, folder, **options):
        return fetch_events(
            self.read, folder, self.memory, source="api", clock=lambda: self.now, sleep=self.sleep, **options
        )


@pytest.fixture
def github(tmp_path):
    return GitHub(tmp_path / "db" / "poll.json")


def test_what_is_known_is_not_read_again(github, tmp_path):
    first = github.fetch(tmp_path / "raw")
    assert (first.events, len(first.batches), first.reason) == (2, 1, "")
    github.now += 300
    second = github.fetch(tmp_path / "raw")
    assert (second.events, second.batches, second.reason) == (0, [], "GitHub has no new events.")
    assert github.asked == [None, 'W/"1"']
    assert os.listdir(tmp_path / "raw") == first.batches


def test_the_poll_interval_is_obeyed(github, tmp_path):
    github.fetch(tmp_path / "raw")
    github.now += 20
    github.fetch(tmp_path / "raw")
    assert github.slept == [40.0]
    github.now += 10
    early = github.fetch(tmp_path / "raw", patience_seconds=30)
    assert (early.events, early.reason) == (0, "GitHub asks not to be polled for another 50 s.")
    assert len(github.asked) == 2


def test_an_etag_is_not_believed_for_hours(github, tmp_path):
    """GitHub has answered 304 for as long as it was asked with one ETag, although there was news."""
    github.fetch(tmp_path / "raw")
    stuck, github.read = github.read, lambda etag: stuck(etag and github.answer.etag)
    github.answer = PublicEvents([{"id": "3"}, *EVENTS], etag='W/"2"')
    github.now += 3000
    assert github.fetch(tmp_path / "raw").events == 0
    github.now += 900
    assert github.fetch(tmp_path / "raw").events == 3
    # what is read without an ETag and is not new is not written again
    github.now += 4000
    again = github.fetch(tmp_path / "raw")
    assert (again.events, again.batches, again.reason) == (0, [], "GitHub has no new events.")
    # what comes late, behind those that are known, is
    github.now += 4000
    github.answer = PublicEvents([{"id": "3"}, {"id": {}}, *EVENTS], etag='W/"2"')
    assert github.fetch(tmp_path / "raw").events == 4
    github.now += 4000
    github.answer = PublicEvents([], etag='W/"3"')
    assert github.fetch(tmp_path / "raw").events == 0
    assert len(os.listdir(tmp_path / "raw")) == 3


def test_a_gap_between_two_readings_is_said(github, tmp_path):
    assert not github.fetch(tmp_path / "raw").gap
    for etag, ids, gap in (("a", "432", False), ("b", "65", True), ("c", "76", False)):
        github.now += 300
        github.answer = PublicEvents([{"id": each} for each in ids], etag=etag)
        assert github.fetch(tmp_path / "raw").gap is gap


def test_a_clock_that_was_set_back_stops_nothing(github, tmp_path):
    github.fetch(tmp_path / "raw")
    github.now -= 10_000_000
    assert github.fetch(tmp_path / "raw").reason == "GitHub has no new events."
    assert github.slept == []


OF_NUMBERS = '{"source": "api", "etag": null, "not_before": 1.0, "ids": [5]}'


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"etag": 5, "not_before": 1.0}', '{"not_before": "x"}', OF_NUMBERS]
)
def test_a_memory_that_is_damaged_means_reading_all(github, tmp_path, content):
    github.fetch(tmp_path / "raw")
    github.memory.write_text(content)
    assert github.fetch(tmp_path / "raw").events == 2


def test_another_api_is_not_the_one_that_is_remembered(github, tmp_path):
    github.fetch(tmp_path / "raw")
    fetch_events(github.read, tmp_path / "raw", github.memory, source="another", sleep=github.sleep)
    assert github.asked == [None, None]
    assert github.slept == []


def test_what_failed_is_read_again(github, tmp_path):
    def fail(etag):
        raise SourceUnavailableError("down")

    with pytest.raises(SourceUnavailableError):
        fetch_events(fail, tmp_path / "raw", github.memory, source="api")
    assert github.fetch(tmp_path / "raw").events == 2
    # batches are written before the ETag is: without it they come twice, and the loader knows them
    (tmp_path / "file").write_text("")
    github.answer = PublicEvents([{"id": "3"}], etag='W/"2"')
    github.now += 300
    with pytest.raises(TransientError, match="File exists"):
        github.fetch(tmp_path / "file")
    assert json.loads(github.memory.read_text())["etag"] == 'W/"1"'
    assert github.fetch(tmp_path / "raw").events == 1
