"""
GitHub's public activity of one user, as a dlt source.

Paging, limits and conditional requests follow
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import dlt
from dlt.extract.resource import DltResource
from dlt.extract.source import DltSource

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.sources.address import ConnectionLike, hint
from airflow_provider_phlo.sources.address import base_url as connection_url
from airflow_provider_phlo.sources.github_api import API_ROOT, github_client, require_new_page
from airflow_provider_phlo.sources.http import Answer, JsonClient, Limits, RetryPolicy, records

Page = list[dict[str, Any]]


def github(
    base_url: str = API_ROOT,
    login: str = "",
    token: str | None = None,
    *,
    conn_id: str = "github_default",
    per_page: int = 100,
    max_wait_seconds: float = 240,
    conditional: bool = True,
    retry: RetryPolicy | None = None,
    limits: Limits | None = None,
) -> DltSource:
    """
    Return the resources ``user_profile``, ``user_repos`` and ``user_events`` of one user.

    A page that is unchanged since the last published run (ETag, kept in the resource's dlt state) yields nothing. A
    last page that may be full is read anew every time: it does not change when a next page begins after it.

    :param base_url: the root of the API.
    :param login: the user watched.
    :param token: optional; raises GitHub's limit from 60 to 5,000 requests an hour.
    :param conn_id: the connection to name in messages.
    :param per_page: items that a page may have, at most 100.
    :param max_wait_seconds: all that one run may spend waiting for rate limits.
    :param conditional: False reads every page anew, for a table that lost its rows.
    :param retry: attempts, pauses and timeouts.
    :param limits: sizes and numbers beyond which a server is broken.
    :raises ConfigurationError: ``login`` is empty, ``base_url`` is not a URL, or ``token`` cannot be one.
    """
    login = login.strip()
    if not login or not login.isprintable():
        raise ConfigurationError(_login_missing(conn_id))
    client = github_client(
        base_url,
        token,
        conn_id=conn_id,
        max_wait_seconds=max_wait_seconds,
        retry=retry,
        limits=limits,
        repeated_names=True,
    )
    user = f"{client.root}/users/{quote(login, safe='')}"
    account = f"{client.root} {login.lower()}"
    paging = urlencode({"per_page": per_page})

    def resource(name: str, url: str, read: Callable[[JsonClient, str, Answer], Page]) -> DltResource:
        def pages() -> Iterator[Page]:
            memory = _Memory(dlt.current.resource_state(name), account, conditional)
            yield from _pages(client, url, read, memory, per_page)

        return dlt.resource(pages, name=name)

    # dlt would fill arguments of a decorated function from its own configuration, so it is given one without.
    def resources() -> list[DltResource]:
        return [
            resource("user_profile", user, _profile),
            resource("user_repos", f"{user}/repos?{paging}&sort=full_name", _records),
            resource("user_events", f"{user}/events?{paging}", _records),
        ]

    return dlt.source(resources, name="github", max_table_nesting=0)()


def connection_arguments(connection: ConnectionLike) -> dict[str, Any]:
    """
    Return ``base_url, login, token, conn_id`` of :func:`github` for an Airflow connection.

    :raises ConfigurationError: the connection has no login, or its host is not a URL.
    """
    conn_id = str(connection.conn_id)
    login = (connection.login or "").strip()
    if not login:
        raise ConfigurationError(_login_missing(conn_id))
    return {
        "base_url": connection_url(connection, default=API_ROOT),
        "login": login,
        "token": connection.password or None,
        "conn_id": conn_id,
    }


@dataclass
class _Memory:
    """
    The ETag and the next link of every page read last time.

    It holds one account and only the pages of the last complete reading, so it cannot grow.
    """

    state: dict[str, Any]
    account: str
    use: bool

    def recall(self, url: str) -> dict[str, Any]:
        if not self.use or self.state.get("account") != self.account:
            return {}
        known: dict[str, Any] = self.state.get("pages", {}).get(url, {})
        return known if "items" in known else {}

    def keep(self, pages: dict[str, dict[str, Any]]) -> None:
        self.state["account"] = self.account
        self.state["pages"] = {url: page for url, page in pages.items() if page["etag"]}


def _pages(
    client: JsonClient,
    first: str,
    read: Callable[[JsonClient, str, Answer], Page],
    memory: _Memory,
    per_page: int,
) -> Iterator[Page]:
    url: str | None = first
    seen: dict[str, dict[str, Any]] = {}
    while url is not None:
        require_new_page(client, url, seen)
        known = memory.recall(url)
        answer = client.get(url, headers={"If-None-Match": known["etag"]} if known else None)
        if answer.status == 304 and known:
            # A 304 need not repeat the Link header.
            seen[url] = {**known, "next": answer.next_url or known.get("next")}
        else:
            page = read(client, url, answer)
            seen[url] = {"etag": answer.headers.get("ETag"), "next": answer.next_url, "items": len(page)}
            if page:
                yield page
        url = seen[url]["next"]
    # Only now: a reading that was broken off must not make its unread pages look known.
    memory.keep(_certain(seen, per_page))


def _certain(pages: dict[str, dict[str, Any]], per_page: int) -> dict[str, dict[str, Any]]:
    """
    Return the pages for which "not modified" is enough of an answer.

    A last page that is full stays as it is, ETag included, when another begins after it, and a 304 need not say so
    (https://github.com/app-sre/github-mirror/pull/113). What is full is for the server to say: as many items as a page
    before it, or, with none before it, as many as were asked for, or one of the round numbers that servers cap at.
    """
    before = [page["items"] for page in pages.values() if page["next"] is not None]

    def may_be_full(items: int) -> bool:
        return items >= min(before) if before else items >= per_page or (items > 0 and items % 5 == 0)

    return {url: page for url, page in pages.items() if page["next"] is not None or not may_be_full(page["items"])}


def _profile(client: JsonClient, url: str, answer: Answer) -> Page:
    if not isinstance(answer.body, dict):
        raise client.rejected(url, "answered JSON that is not an object")
    return [answer.body]


def _records(client: JsonClient, url: str, answer: Answer) -> Page:
    return records(client, url, answer.body)


def _login_missing(conn_id: str) -> str:
    setting = "login (the GitHub user to watch; GITHUB_USERNAME in .env)"
    return f"{conn_id}: no GitHub user is named. {hint(conn_id, setting)}"
