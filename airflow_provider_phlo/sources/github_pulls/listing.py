"""
List the repositories of an account, and the pull requests of a repository, over pages that shift while they are read.

Pages follow the ``Link`` header. A list that changed in the meantime is looked at once more: a request with the ETag of
a page that is as it was is free.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from airflow_provider_phlo.exceptions import SourceRejectedError, SourceUnavailableError
from airflow_provider_phlo.sources.github_api import next_page, require_new_page
from airflow_provider_phlo.sources.github_pulls.answers import (
    base_id_of,
    instant,
    is_id,
    is_text,
    pull_request_of,
    repository_of,
    sent_at,
)
from airflow_provider_phlo.sources.github_pulls.client import repository_path
from airflow_provider_phlo.sources.http import Answer, JsonClient, records

log = logging.getLogger(__name__)
PER_PAGE = 100
# An organisation that changes faster than its list can be read is taken as it was in the last of these.
_READINGS = 3
_TRIED_BY_ID = 3
_SINGLE_SIGN_ON = "X-GitHub-SSO"
# Of organisations and of users: each has repositories at its own address.
_LISTS = ("/orgs/{}/repos?per_page={}&type=all&sort=full_name", "/users/{}/repos?per_page={}&type=owner&sort=full_name")


@dataclass(frozen=True)
class Account:
    """
    An organisation or user, and the repositories that the token may see.

    :param login: as GitHub writes it.
    :param repositories: as ``answers.repository_of`` returns them, each once.
    :param listed_at: by the server's clock, when the listing began.
    :param unusable: names of repositories that are listed without an id, or with a name that cannot be kept.
    """

    login: str
    repositories: tuple[dict[str, Any], ...]
    listed_at: datetime
    unusable: tuple[str, ...] = ()


def account(client: JsonClient, login: str) -> Account:
    """
    Return an organisation's or user's account.

    :raises SourceRejectedError: there is none of that name, or the token may not see it.
    """
    for address in _LISTS:
        url = client.root + address.format(quote(login, safe=""), PER_PAGE)
        try:
            return _account(client, url, login)
        except _NotThereError:
            continue
    raise SourceRejectedError(
        f"{client.conn_id}: GitHub has no organisation and no user {login!r} that this token may see: check "
        "organizations, and the token (the connection's password).",
        404,
    )


class _NotThereError(Exception):
    """There is no such list."""


def _account_pages(client: JsonClient, first: str) -> Iterator[tuple[str, Answer]]:
    """
    Yield the pages of an account's repositories.

    :raises _NotThereError: the first is not there; of a later one, that is an answer of a bad moment.
    :raises SourceRejectedError: an organisation's single sign-on hides some of them from the token.
    """
    last = None
    try:
        for last, answer in _pages(client, first):
            if answer.headers.get(_SINGLE_SIGN_ON, "").startswith("partial-results"):
                problem = "answered only a part: authorize the token for the organisation's single sign-on"
                raise client.rejected(last, problem, "password (a GitHub token, GITHUB_TOKEN)")
            yield last, answer
    except SourceRejectedError as error:
        if error.status != 404:
            raise
        if last is None:
            raise _NotThereError from None
        raise SourceUnavailableError(
            f"{client.conn_id}: a later page of {first.partition('?')[0]} answered 404, and the first was there: a "
            "retry may help."
        ) from None


def _account(client: JsonClient, first: str, login: str) -> Account:
    found: dict[int, dict[str, Any]] = {}
    unusable: set[str] = set()
    listed_at: datetime | None = None
    for _ in range(_READINGS):
        pages: dict[str, str | None] = {}
        for url, answer in _account_pages(client, first):
            listed_at = listed_at or sent_at(answer.headers)
            pages[url] = answer.headers.get("ETag")
            for item in records(client, url, answer.body):
                if is_id(item.get("id")) and all(is_text(item.get(name)) for name in ("name", "full_name")):
                    found[item["id"]] = repository_of(item)  # the newest name of a repository counts
                else:
                    unusable.add(ascii(item.get("full_name")))
        if len(pages) == 1 or not _changed(client, pages):
            break
        log.info("%s: the list of repositories changed while it was read", login)
    assert listed_at is not None  # there is a page, or an error
    owners = {each["owner"] for each in found.values() if each["owner"]}
    same = next((owner for owner in owners if owner.lower() == login.lower()), None)
    owner = same or next(iter(sorted(owners)), login)
    return Account(owner, tuple(found.values()), listed_at, tuple(sorted(unusable)))


def answers_by_id(client: JsonClient, repositories: Sequence[dict[str, Any]]) -> bool:
    """
    Return whether the server answers for repositories by their ids, as GitHub does, and not only by their names.

    :param repositories: as ``answers.repository_of`` returned them; some of them may be gone.
    :raises SourceRejectedError: the token is refused.
    :raises SourceUnavailableError: a rate limit outlasts the patience.
    """
    for each in repositories[:_TRIED_BY_ID]:
        try:
            answer = client.get(client.root + repository_path(each, by_id=True)).body
        except SourceRejectedError as error:
            if error.status == 401:
                raise
        except SourceUnavailableError as error:
            if error.retry_at is not None:
                raise
        else:
            if isinstance(answer, dict) and answer.get("id") == each["id"]:
                return True
    return False


def _changed(client: JsonClient, pages: dict[str, str | None]) -> bool:
    """Return whether any page but the last is another now: what was removed there lets others slip past."""
    conditional = [(url, etag) for url, etag in list(pages.items())[:-1] if etag]
    return any(client.get(url, headers={"If-None-Match": etag}).status != 304 for url, etag in conditional)


def pull_requests(
    client: JsonClient, repository: dict[str, Any], organization: str, since: datetime | None, *, by_id: bool
) -> Iterator[list[dict[str, Any]]]:
    """
    Yield the pull requests of a repository page by page, the latest update first, each once.

    They have the id of the repository that they say they are of: by name, that may be another.

    :param repository: as ``answers.repository_of`` returned it.
    :param by_id: whether the repository is asked for by its id.
    :param since: stop before those that were updated earlier.
    :raises SourceRejectedError: the repository cannot be read.
    """
    path = repository_path(repository, by_id)
    first = f"{client.root}{path}/pulls?state=all&sort=updated&direction=desc&per_page={PER_PAGE}"
    keep = partial(pull_request_of, repository=repository, organization=organization, path=path)
    seen: set[tuple[int | None, int]] = set()
    pages: list[tuple[str, str | None]] = []
    ordered = True
    for url, answer in _pages(client, first):
        items = records(client, url, answer.body)
        if fresh := _unseen(items, seen, since):
            yield list(map(keep, fresh))
        if pages and (fresh := _moved_up(client, *pages[-1], seen, since)):
            yield list(map(keep, fresh))
        pages = [*pages[:1], (url, answer.headers.get("ETag"))]
        # a server that does not sort has newer ones behind older ones
        ordered = ordered and _is_descending(items)
        if ordered and any(_is_older(item, since) for item in items):
            break
    if len(pages) > 1:
        for fresh in _moved(client, *pages[0], seen, since):
            yield list(map(keep, fresh))


def _moved_up(
    client: JsonClient, url: str, etag: str | None, seen: set[tuple[int | None, int]], since: datetime | None
) -> list[dict[str, Any]]:
    """
    Return what stood on the page after ``url``, and was no longer there when that was read.

    A pull request before it has vanished meanwhile, as all of an account that is suspended do.
    """
    answer = client.get(url, headers=_if_changed(etag))
    fresh = [] if answer.status == 304 else _unseen(records(client, url, answer.body), seen, since)
    if fresh:
        log.info("%d pull requests moved up while their list was read", len(fresh))
    return fresh


def _moved(
    client: JsonClient, first: str, etag: str | None, seen: set[tuple[int | None, int]], since: datetime | None
) -> Iterator[list[dict[str, Any]]]:
    """Yield what an update moved to the top, past the page that was read at that moment."""
    for url, answer in _pages(client, first, _if_changed(etag)):
        if answer.status == 304:
            return
        items = records(client, url, answer.body)
        fresh = _unseen(items, seen, since)
        if fresh:
            log.info("%d pull requests moved while their list was read", len(fresh))
            yield fresh
        if len(fresh) < len(items):
            return


def _if_changed(etag: str | None) -> dict[str, str] | None:
    return {"If-None-Match": etag} if etag else None


def _unseen(
    items: list[dict[str, Any]], seen: set[tuple[int | None, int]], since: datetime | None
) -> list[dict[str, Any]]:
    fresh = []
    for item in items:
        number = item.get("number")
        if not is_id(number):
            log.warning("GitHub lists a pull request without a number (id %s): it cannot be read", item.get("id"))
        elif (key := (base_id_of(item), number)) not in seen and not _is_older(item, since):
            seen.add(key)
            fresh.append(item)
    return fresh


def _is_descending(items: list[dict[str, Any]]) -> bool:
    updates = [updated for item in items if isinstance(updated := instant(item.get("updated_at")), datetime)]
    return all(one >= other for one, other in pairwise(updates))


def _is_older(item: dict[str, Any], since: datetime | None) -> bool:
    updated = instant(item.get("updated_at"))
    return since is not None and isinstance(updated, datetime) and updated < since


def _pages(client: JsonClient, first: str, headers: dict[str, str] | None = None) -> Iterator[tuple[str, Answer]]:
    """Yield the pages of a list; ``headers`` are sent for the first."""
    url: str | None = first
    seen: set[str] = set()
    previous: Any = None
    while url is not None:
        require_new_page(client, url, seen)
        seen.add(url)
        answer = client.get(url, headers=headers)
        yield url, answer
        url, headers, previous = next_page(url, answer, PER_PAGE, previous), None, answer.body
