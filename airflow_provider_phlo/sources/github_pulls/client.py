"""GitHub's API for organisations: a client that waits only briefly, and what a refusal of one repository means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow_provider_phlo.exceptions import SourceRejectedError
from airflow_provider_phlo.sources.address import ConnectionLike
from airflow_provider_phlo.sources.budget import Budget
from airflow_provider_phlo.sources.github_api import connection_arguments, github_client
from airflow_provider_phlo.sources.http import JsonClient, RetryPolicy

# Longer waits are for the triggerer: see operators.rate_limits.
MAX_WAIT_SECONDS = 5.0
# Of an hour's 5,000 requests, for people and other programs with the same token, and for what is under way.
RESERVE = 100
# What a repository or pull request may be for reasons of its own, while the others can be read.
REASONS = {
    403: "GitHub refuses it (403: blocked, or the token may not read it)",
    404: "it is not there (404: deleted, or hidden from this token)",
    409: "GitHub cannot read it now (409)",
    410: "it is gone (410)",
    451: "GitHub may not show it for legal reasons (451)",
}


def open_client(
    connection: ConnectionLike | None,
    requests_per_minute: float,
    *,
    retry: RetryPolicy | None = None,
    max_wait_seconds: float = MAX_WAIT_SECONDS,
) -> JsonClient:
    """
    Return a client for several threads.

    :param connection: host = API root, password = token; None: GitHub's own API without a token.
    :param requests_per_minute: what this client may ask.
    :param max_wait_seconds: all that it waits for rate limits before it gives up for now.
    :raises ConfigurationError: the host is not a URL, or the token cannot be one.
    """
    arguments = {"conn_id": "github_default"} if connection is None else connection_arguments(connection)
    return github_client(
        **arguments, max_wait_seconds=max_wait_seconds, retry=retry, budget=Budget(RESERVE, requests_per_minute)
    )


def reason_to_leave_out(error: SourceRejectedError) -> str | None:
    """Return why only this one repository or pull request cannot be read, None if nothing can."""
    return REASONS.get(error.status or 0)


def repository_path(repository: Mapping[str, Any], by_id: bool) -> str:
    """
    Return the path of a repository in the API.

    :param repository: as ``answers.repository_of`` returned it.
    :param by_id: its id stays its own; its name may be another repository's when it is asked for.
    """
    return f"/repositories/{repository['id']}" if by_id else f"/repos/{quote(repository['full_name'], safe='/')}"
