"""An organisation behind the server whose answers a test writes down, planned and read as tasks do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_phlo.sources.github_pulls.client import open_client
from airflow_provider_phlo.sources.github_pulls.configuration import configuration
from airflow_provider_phlo.sources.github_pulls.planning import Plan, plan
from airflow_provider_phlo.sources.github_pulls.reading import read_chunk
from tests.unit.sources.github_pulls.organization import Organization

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def organization(server, reply) -> Organization:
    """Return an organisation without repositories, which the server answers for."""
    made = Organization()

    def route(request: Any) -> Any:
        instead = made.before(request)
        if instead is not None:
            return instead
        status, body, headers = made.answer(request.path, request.query, request.headers)
        return reply(body, status, headers)

    server.route = route
    return made


@pytest.fixture
def a_run(server, organization, connection, patience, tmp_path) -> Any:
    """Return what plans and reads in a folder, as the tasks of one run."""
    return Run(connection("octo", host=server.url, password="ghp_s3cret"), tmp_path, patience)


class Run:
    """The tasks of one run; a retry is another call of the same method."""

    def __init__(self, connection: Any, root: Any, patience: Any, folder: str = "github_pulls/2026-03-01/one") -> None:
        self.connection = connection
        self.root = root
        self.patience = patience
        self.folder = folder

    def plan(self, known: Callable[[str], Any] = lambda login: {}, **values: Any) -> Plan:
        settings = {"organizations": ["octo-org"], "requests_per_minute": 1_000_000, **values}
        retry = self.patience.policy(attempts=2)
        client = open_client(self.connection, 1_000_000, retry=retry)
        return plan(configuration(settings, now=NOW), client, self.root, self.folder, known)

    def read(self, plan: Plan) -> list[dict[str, Any]]:
        return [reading for chunk in plan.chunks for reading in self.read_chunk(chunk)]

    def read_chunk(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self.lazily(chunk))

    def lazily(self, chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
        return read_chunk(chunk, self.connection, self.root, retry=self.patience.policy(attempts=2))
