"""From when on a repository is read again: whatever clocks say, what was updated is read, and once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_phlo.sources.github_pulls.planning import KnownRepository, read_repositories
from airflow_provider_phlo.sources.github_pulls.watermark import LastUpdates, next_start, unchanged
from tests.unit.sources.github_pulls.organization import BEGIN, moment


class Runs:
    """Runs one after the other, each of which knows what the one before has recorded."""

    def __init__(self, a_run):
        self.a_run = a_run
        self.known = {}
        self.count = 0

    def run(self, **values):
        """Return the numbers that a run reads."""
        self.count += 1
        folder = f"github_pulls/2026-03-01/{self.count}"
        run = type(self.a_run)(self.a_run.connection, self.a_run.root, self.a_run.patience, folder)
        plan = run.plan(known=lambda login: self.known, **values)
        for row in read_repositories(run.root, run.folder):
            self.known[row["repository_id"]] = KnownRepository(
                row["complete_until"], (0, 0, 0), row["repository"], row["last_update"], row["updated_last"]
            )
        return sorted(each["number"] for each in run.read(plan))


@pytest.fixture
def runs(a_run):
    return Runs(a_run)


@pytest.mark.parametrize("clock", [-1_000_000, -60, 0, 60, 10**9 // 1000, None])
def test_a_clock_that_is_wrong_hides_no_update(organization, runs, reply, clock):
    """The server's clock is slow or fast, or it does not say what it is."""
    hello = organization.repository("hello", 5)
    organization.now = 6 + (clock or 0)
    if clock is None:
        organization._date = lambda: {}
    assert runs.run() == [1, 2, 3, 4, 5]
    hello.pulls[2].updated = 7
    organization.now += 2
    read = runs.run()
    assert read == [2] or (clock is not None and clock < 0 and 2 in read)  # a slow clock has some read again
    hello.pulls[3].updated = 8
    organization.now = 10
    assert 3 in runs.run()
    assert runs.run() == []


def test_of_what_was_updated_at_the_same_time_nothing_is_missed(organization, runs):
    hello = organization.repository("hello", 5)
    assert runs.run() == [1, 2, 3, 4, 5]
    # listed late by another machine of GitHub's: as old as the last one, or a little older
    hello.pulls[1].updated = hello.pulls[2].updated = 5
    hello.pulls[3].updated = 5 - 1 / 60
    assert runs.run() == [1, 2, 3]
    assert runs.run() == []


def test_what_was_updated_just_before_it_was_listed_is_read_again(organization, runs):
    """Times of updates have seconds: a second one may have come in the same, after the reading."""
    organization.repository("hello", 5)
    organization.now = 5 + 5 / 60
    assert runs.run() == [1, 2, 3, 4, 5]
    organization.now = 60
    assert runs.run() == [5]
    assert runs.run() == []


def test_a_repository_of_nothing_is_read_from_the_beginning(organization, runs):
    hello = organization.repository("hello")
    assert runs.run() == []
    hello.add(3)  # updated before the first run, by the clock of the server that answered
    assert runs.run() == [1, 2, 3]


def test_a_since_reads_again_what_is_unchanged(organization, runs):
    organization.repository("hello", 5)
    assert runs.run() == [1, 2, 3, 4, 5]
    assert runs.run(since=moment(4)) == [4, 5]
    assert runs.run() == []


def test_a_later_since_does_not_move_the_mark(organization, runs):
    hello = organization.repository("hello", 5)
    assert runs.run() == [1, 2, 3, 4, 5]
    hello.pulls[1].updated, hello.pulls[2].updated = 10, 20
    assert runs.run(since=moment(15)) == [2]
    assert runs.run() == [1, 2]


def test_a_pull_request_from_the_future_does_not_hide_the_others(organization, runs):
    hello = organization.repository("hello", 5)
    hello.pulls[5].updated = 10**9
    organization.now = 10
    assert runs.run() == [1, 2, 3, 4, 5]
    hello.pulls[1].updated = 11
    assert 1 in runs.run()


@pytest.mark.parametrize("seconds", [0, 10, 11])
def test_the_next_reading_begins_before_the_earlier_of_both(seconds):
    until = BEGIN + timedelta(seconds=seconds)
    assert next_start(until, BEGIN) == next_start(BEGIN, until) == BEGIN - timedelta(seconds=10)
    assert next_start(None, until) is next_start(until, None) is None


def test_a_bulk_edit_is_remembered_in_part():
    updates = LastUpdates()
    updates.add([{"number": number, "updated_at": moment(1)} for number in range(1, 5000)])
    updates.add([{"number": 7000, "updated_at": None}, {"number": 7001, "updated_at": moment(0)}])
    read = json.loads(updates.to_json(datetime(2030, 1, 1, tzinfo=UTC)))
    assert len(read) == 1000
    assert unchanged({"number": 3, "updated_at": moment(1)}, read)
    assert not unchanged({"number": 3, "updated_at": moment(2)}, read)
    assert not unchanged({"number": 7001, "updated_at": moment(0)}, read)
    assert not unchanged({"number": 7000, "updated_at": None}, read)
