"""
What all sources of GitHub share: the client with its headers, limits and advice, and that pages lead on.

Paging, limits and conditional requests follow
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from airflow_provider_phlo.sources.http import JsonClient, Limits, RetryPolicy

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
) -> JsonClient:
    """
    Return the client of GitHub's API.

    :param base_url: the root of the API.
    :param token: optional; raises GitHub's limit from 60 to 5,000 requests an hour.
    :param conn_id: the connection to name in messages.
    :param max_wait_seconds: all that one run may spend waiting for rate limits.
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
    )


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
