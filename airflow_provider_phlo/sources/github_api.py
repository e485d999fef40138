"""
What all sources of GitHub share: the client with its headers, limits and advice, and that pages lead on.

Paging, limits and conditional requests follow
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from airflow_provider_phlo.sources.address import ConnectionLike
from airflow_provider_phlo.sources.address import base_url as connection_url
from airflow_provider_phlo.sources.budget import Budget
from airflow_provider_phlo.sources.http import Answer, JsonClient, Limits, RetryPolicy

API_ROOT = "https://api.github.com"
API_VERSION = "2022-11-28"
ADVICE = {
    401: "password (a GitHub token, GITHUB_TOKEN)",
    403: "password (a GitHub token that may read this, GITHUB_TOKEN)",
    404: "login (the user watched, GITHUB_USERNAME) or host (the API root)",
    429: "password (a GitHub token, GITHUB_TOKEN, has a higher limit)",
}


def github_client(
    base_url: str,
    token: str | None,
    *,
    conn_id: str,
    max_wait_seconds: float = 240,
    retry: RetryPolicy | None = None,
    limits: Limits | None = None,
    budget: Budget | None = None,
    repeated_names: bool = False,
) -> JsonClient:
    """
    Return the client of GitHub's API.

    :param base_url: the root of the API.
    :param token: optional; raises GitHub's limit from 60 to 5,000 requests an hour.
    :param conn_id: the connection to name in messages.
    :param max_wait_seconds: all that one run may spend waiting for rate limits.
    :param budget: what may be asked; all that the token has, as fast as answers come, when None.
    :param repeated_names: that of :class:`JsonClient`.
    :raises ConfigurationError: ``base_url`` is not a URL, or ``token`` cannot be one.
    """
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": API_VERSION}
    if token and token.strip():
        headers["Authorization"] = f"Bearer {token.strip()}"
    return JsonClient(
        base_url,
        conn_id,
        headers=headers,
        advice=ADVICE,
        retry=replace(retry or RetryPolicy(), max_wait_seconds=max_wait_seconds),
        limits=limits or Limits(),
        budget=budget or Budget(),
        repeated_names=repeated_names,
    )


def connection_arguments(connection: ConnectionLike) -> dict[str, Any]:
    """
    Return ``base_url, token, conn_id`` of :func:`github_client` for an Airflow connection.

    :raises ConfigurationError: its host is not a URL.
    """
    return {
        "base_url": connection_url(connection, default=API_ROOT),
        "token": connection.password or None,
        "conn_id": str(connection.conn_id),
    }


def next_page(url: str, answer: Answer, per_page: int, previous: Any) -> str | None:
    """
    Return the page after ``url``; None if that was the last.

    A full page without any ``Link`` is asked for the next by number: a proxy may have taken the header away. A server
    that then sends the same page again knows no pages.

    :param answer: to ``url``.
    :param per_page: how many items were asked for.
    :param previous: the body of the page before; None for the first.
    """
    if answer.next_url is not None or "Link" in answer.headers:
        return answer.next_url
    if not isinstance(answer.body, list) or len(answer.body) < per_page or answer.body == previous:
        return None
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    page = query.get("page", "1")
    following = int(page) + 1 if page.isascii() and page.isdigit() else 2
    return parts._replace(query=urlencode({**query, "page": str(following)})).geturl()


def require_new_page(client: JsonClient, url: str, seen: Collection[str]) -> None:
    """
    Check that ``url`` is a page that was not read yet, and that pages come to an end.

    :param seen: the pages that were read.
    :raises SourceRejectedError: they do not.
    """
    if url in seen:
        raise client.rejected(url, "is named as the next page, and was read before: pages would be missed")
    if len(seen) == client.limits.pages:
        raise client.rejected(url, f"leads to more than {client.limits.pages} pages")
