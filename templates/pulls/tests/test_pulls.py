"""The DAG reads before it loads, and what it loads has a row for each pull request."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_phlo.sources.github_pulls.tables import PULL_REQUEST_TABLES
from dags.github_pull_requests import github_pull_requests
from include.replay import pulls

NOW = datetime(2024, 1, 15, tzinfo=UTC)


def test_what_is_staged_was_read_and_what_is_loaded_was_staged():
    dag = github_pull_requests()
    assert {"plan", "read"} <= dag.get_task("stage").upstream_task_ids
    assert "stage" in dag.get_task("load").upstream_task_ids


def test_every_table_has_a_key():
    assert all(table.key for table in PULL_REQUEST_TABLES)


def test_recorded_pull_requests_have_numbers_of_their_own():
    numbers = [pulls.pull_request(told, NOW)["number"] for told in pulls.stories(pulls.REPOSITORIES[0][0], 7, NOW)]
    assert len(numbers) == len(set(numbers)) > 10
