"""
Reading pull requests in a real run: Airflow's own task runner, database and triggers, a secrets backend of Airflow's,
and a server with a rate limit.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.patience import PATIENCE
from tests.real_airflow import migrated_database
from tests.unit.sources.conftest import Reply, Server
from tests.unit.sources.github_pulls.organization import Organization

TOKEN = "ghp_t0ken_of_the_secrets_backend"
DAG = """
from airflow.sdk import dag, task
from airflow_provider_phlo.operators.pull_requests import PlanPullRequestsOperator

def root():
    from airflow_provider_phlo.hooks.dlt import DltHook
    return DltHook().staging_root

@task.phlo_ingest(
    table="pull_request_readings",
    unique_key=("repository_id", "number"),
    validation_schema="airflow_provider_phlo.sources.github_pulls.models:PullRequestReading",
    source_resources={"connection": "github_default", "root": root},
)
def read(chunk, connection, root):
    from airflow_provider_phlo.sources.github_pulls.reading import read_chunk
    return read_chunk(chunk, connection, root)

@dag(schedule=None)
def pulls():
    plan = PlanPullRequestsOperator(
        task_id="plan",
        configuration={
            "organizations": ["OCTO-ORG"], "chunk_size": 12, "since": "{{ dag_run.conf['since'] }}",
            "requests_per_minute": 100000,
        },
        known=lambda login: {},
    )
    read.expand(chunk=plan.output)

pulls()
"""

RUN = """
import os
from airflow.dag_processing.dagbag import DagBag

dag = DagBag("dags").get_dag("pulls")
run = dag.test(run_conf={"since": "2026-03-01"})
for instance in run.get_task_instances():
    print("ended:", instance.task_id, instance.map_index, instance.state, instance.try_number)
assert not [name for name, value in os.environ.items() if "ghp_" in value]
"""


class Limited:
    """An organisation whose server answers some requests, then none for some seconds, then all."""

    def __init__(self, requests: int, seconds: float) -> None:
        self.organization = Organization()
        self.limit = self.left = requests
        self.seconds = seconds
        self.reset = 0.0
        self.answered: Counter[str] = Counter()

    def route(self, request):
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply({"message": "Bad credentials"}, 401)
        now = time.time()
        if self.reset and now >= self.reset:
            self.left = 10_000
        elif self.left <= 0:
            return Reply({"message": "API rate limit exceeded"}, 403, self._headers())
        self.left -= 1
        # it begins to count when no more than the client's reserve is left
        if not self.reset and self.left <= self.limit // 10:
            self.reset = now + self.seconds
        self.answered[f"{request.path}?{request.query.get('page')}"] += 1
        status, body, sent = self.organization.answer(request.path, request.query, request.headers)
        return Reply(body, status, {**sent, **self._headers()})

    def _headers(self):
        reset = int(self.reset or time.time() + self.seconds) + 1
        names = {"Limit": self.limit, "Remaining": max(self.left, 0), "Reset": reset}
        return {f"X-RateLimit-{name}": str(value) for name, value in names.items()}


@pytest.fixture
def limited():
    server = Server()
    made = Limited(requests=30, seconds=10)
    server.route = made.route
    made.url = server.url
    yield made
    server.stop()


def test_a_limit_is_waited_for_without_a_worker_and_the_token_stays_secret(tmp_path, limited):
    limited.organization.repository("hello", 24)
    (tmp_path / "dags").mkdir()
    shutil.copyfile(migrated_database(), tmp_path / "airflow.db")
    (tmp_path / "dags" / "pulls.py").write_text(DAG)
    secrets = tmp_path / "secrets.json"
    connection = {"conn_type": "http", "host": limited.url, "password": TOKEN}
    secrets.write_text(json.dumps({"github_default": connection}))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_CONN_")},
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(secrets)}),
        "PHLO_HOME": str(tmp_path / "phlo"),
    }
    with (tmp_path / "output").open("w") as kept:
        command = [sys.executable, "-c", RUN]
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=kept, stderr=kept, timeout=PATIENCE)
    output = (tmp_path / "output").read_text()
    assert done.returncode == 0, output
    for index in range(2):
        assert f"ended: read {index} success" in output, output
    assert "waits until" in output
    assert "cannot be called outside" not in output
    # nothing was read twice: each chunk went on where it had stopped
    assert len(limited.answered) == 51
    assert set(limited.answered.values()) == {1}
    secrets.unlink()
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in _content(path)]
    assert holding == []
    assert TOKEN not in output


def _content(path):
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content
