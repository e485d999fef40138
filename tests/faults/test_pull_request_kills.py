"""kill -9 of a task that plans or reads pull requests: its retry reads what is missing, nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_phlo.sources.github_pulls.client import open_client
from airflow_provider_phlo.sources.github_pulls.configuration import PullRequestsConfiguration
from airflow_provider_phlo.sources.github_pulls.planning import Plan, plan
from airflow_provider_phlo.sources.github_pulls.reading import read_chunk
from tests.faults.killing import PROCESSES
from tests.patience import PATIENCE
from tests.unit.sources.conftest import Reply, Server
from tests.unit.sources.github_pulls.organization import Organization

PULLS = 220
ONE_CHUNK = {"parallel_tasks": 1, "concurrency": 4}


class Deadly:
    """An organisation whose server kills the process that asks, after a number of answers."""

    def __init__(self) -> None:
        self.organization = Organization()
        self.answered = 0
        self.victim: tuple[int, int] | None = None

    def route(self, request):
        self.answered += 1
        if self.victim and self.answered >= self.victim[1]:
            os.kill(self.victim[0], signal.SIGKILL)
            self.victim = None
        status, body, headers = self.organization.answer(request.path, request.query, request.headers)
        return Reply(body, status, headers)


def work(url: str, root: Path, chunk: dict | None, started) -> None:
    """Plan, or read a chunk: what a task does, in a process of its own."""
    started.recv()
    if chunk is None:
        planned(url, root)
    else:
        list(read_chunk(chunk, connection(url), root))


def planned(url: str, root: Path) -> Plan:
    config = PullRequestsConfiguration(("octo-org",), requests_per_minute=10_000_000, **ONE_CHUNK)
    return plan(config, open_client(connection(url), 10_000_000), root, "github_pulls/2026-03-01/one")


def connection(url: str) -> SimpleNamespace:
    return SimpleNamespace(conn_id="c", host=url, schema=None, login=None, password=None, port=None, extra_dejson={})


@pytest.fixture
def deadly():
    server = Server()
    made = Deadly()
    server.route = made.route
    made.url = server.url
    yield made
    server.stop()


def run_until_killed(deadly: Deadly, root: Path, chunk: dict | None, answers: int) -> None:
    """Run a task that is killed after a number of answers."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=work, args=(deadly.url, root, chunk, there))
    process.start()
    deadly.victim = (process.pid, deadly.answered + answers)
    here.send("go")
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL


def test_a_chunk_that_is_killed_reads_on_where_it_stopped(deadly, tmp_path):
    deadly.organization.repository("hello", PULLS)
    (chunk,) = planned(deadly.url, tmp_path).chunks
    for answers in (230, 150):
        run_until_killed(deadly, tmp_path, chunk, answers)
    before = deadly.answered
    readings = list(read_chunk(chunk, connection(deadly.url), tmp_path))
    assert sorted(each["number"] for each in readings) == list(range(1, PULLS + 1))
    assert deadly.answered - before <= 2 * (PULLS - 100)


def test_a_plan_that_is_killed_lists_what_is_missing(deadly, tmp_path):
    for number in range(60):
        deadly.organization.repository(f"r{number}", 2)
    run_until_killed(deadly, tmp_path, None, 40)
    before = deadly.answered
    found = planned(deadly.url, tmp_path)
    assert (found.repositories, found.pull_requests) == (60, 120)
    assert deadly.answered - before <= 60 - 40 + 8
    assert sum(chunk["pull_requests"] for chunk in found.chunks) == 120
