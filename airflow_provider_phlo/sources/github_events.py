"""GitHub's public events: what ``GET /events`` has, read politely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from airflow_provider_phlo.sources.github_api import API_ROOT, github_client, require_new_page
from airflow_provider_phlo.sources.http import Answer, Limits, RetryPolicy, records

# GitHub's own answer; what it asks for in its place is obeyed up to this
POLL_SECONDS, MOST_POLL_SECONDS = 60.0, 3600.0


@dataclass(frozen=True)
class PublicEvents:
    """
    What one reading of the public events brought.

    :param events: as GitHub sent them, in the order of its pages, each once.
    :param repeated: how many more of the same there were: pages shift while they are read.
    :param etag: of the first page, for the next reading.
    :param poll_seconds: how long GitHub asks to wait until then (``X-Poll-Interval``).
    :param modified: False if nothing is new (304).
    """

    events: list[dict[str, Any]]
    repeated: int = 0
    etag: str | None = None
    poll_seconds: float = POLL_SECONDS
    modified: bool = True


def fetch_public_events(
    base_url: str = API_ROOT,
    token: str | None = None,
    *,
    conn_id: str = "github_default",
    etag: str | None = None,
    per_page: int = 100,
    max_wait_seconds: float = 240,
    retry: RetryPolicy | None = None,
    limits: Limits | None = None,
) -> PublicEvents:
    """
    Read all pages of ``GET /events``, unless nothing is new since ``etag``.

    :param base_url: the root of the API.
    :param token: optional; raises GitHub's limit from 60 to 5,000 requests an hour.
    :param conn_id: the connection to name in messages.
    :param etag: of the last reading.
    :param per_page: events that a page may have, at most 100.
    :param max_wait_seconds: all that one run may spend waiting for rate limits.
    :raises SourceUnavailableError: GitHub does not answer, or a rate limit outlasts the patience.
    :raises SourceRejectedError: it refuses, or answers something else than events.
    """
    client = github_client(
        base_url, token, conn_id=conn_id, max_wait_seconds=max_wait_seconds, retry=retry, limits=limits
    )
    url: str | None = f"{client.root}/events?{urlencode({'per_page': per_page})}"
    answer = first = client.get(str(url), headers={"If-None-Match": etag} if etag else None)
    if first.status == 304:
        return PublicEvents([], etag=etag, poll_seconds=_poll_seconds(first), modified=False)
    seen: set[str] = set()
    events: list[dict[str, Any]] = []
    repeated = 0
    known: dict[str, dict[str, Any]] = {}
    while url is not None:
        if seen:
            require_new_page(client, url, seen)
            answer = client.get(url)
        seen.add(url)
        for event in records(client, url, answer.body):
            key = str(event.get("id"))
            if known.setdefault(key, event) is not event and known[key] == event:
                repeated += 1
            else:
                events.append(event)
        url = answer.next_url
    return PublicEvents(events, repeated, first.headers.get("ETag"), _poll_seconds(first))


def _poll_seconds(answer: Answer) -> float:
    text = answer.headers.get("X-Poll-Interval", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return POLL_SECONDS
    return min(float(text), MOST_POLL_SECONDS)
