"""
Plan a run: which pull requests are read, in chunks of similar size.

What is listed goes to files at once, so that memory does not grow with the number of pull requests, and a plan that is
made again (after a retry or a rate limit) lists only what is missing.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from airflow_provider_phlo.exceptions import SourceRejectedError
from airflow_provider_phlo.sources.github_pulls import working_files
from airflow_provider_phlo.sources.github_pulls.answers import instant, text_of
from airflow_provider_phlo.sources.github_pulls.client import reason_to_leave_out
from airflow_provider_phlo.sources.github_pulls.configuration import PullRequestsConfiguration
from airflow_provider_phlo.sources.github_pulls.listing import Account, account, answers_by_id, pull_requests
from airflow_provider_phlo.sources.github_pulls.threads import in_threads
from airflow_provider_phlo.sources.github_pulls.watermark import OVERLAP, LastUpdates, next_start, unchanged
from airflow_provider_phlo.sources.http import JsonClient

log = logging.getLogger(__name__)
_REPOSITORIES = "repositories.gz"
# Pull requests in one file: chunks are made of whole files.
_PIECE = 100
# Of fewer pull requests than these, no task is worth its start.
_WORTH_A_TASK = 50
# GitHub lets a token have 100 requests under way.
_MOST_THREADS = 64
# Names in the plan's result; all of them are in the log and in the file of repositories.
_MOST_NAMES = 100
_UNUSABLE = "GitHub lists it without an id, or with a name that cannot be kept"
_OTHERS = "pull requests of another repository are listed at its name, which it had before: they are kept as that one's"


@dataclass(frozen=True)
class KnownRepository:
    """
    How far a repository's pull requests have been read.

    :param complete_until: all that was updated before is there; None if that is not certain.
    :param rows: how many pull requests, reviews and files the tables have of it.
    :param name: as it was listed last; None if only its rows are known.
    :param last_update: the greatest time of update among its pull requests that were listed.
    :param updated_last: as ``watermark.LastUpdates.to_json`` returned it.
    """

    complete_until: datetime | None
    rows: tuple[int, int, int] = (0, 0, 0)
    name: str | None = None
    last_update: datetime | None = None
    updated_last: str | None = None


#: the login of an account, as GitHub writes it → the id of each repository of it that has been read
Known = Callable[[str], Mapping[int, KnownRepository]]


@dataclass(frozen=True)
class Plan:
    """
    What a run reads.

    :param chunks: one small mapping per task: ``chunk`` (its file), ``organization``, ``pull_requests`` (how many).
    :param folder: of the run's working files.
    :param left_out: ``{"repository": …, "reason": …}`` of each repository that cannot be read.
    :param from_stage: whether GitHub was asked nothing, since what is staged is loaded.
    """

    chunks: list[dict[str, Any]]
    folder: str
    organizations: list[str]
    repositories: int
    pull_requests: int
    left_out: list[dict[str, str]]
    from_stage: bool = False

    def summary(self) -> dict[str, Any]:
        """Return all but the chunks, small enough for XCom."""
        return {
            "folder": self.folder,
            "organizations": self.organizations,
            "repositories": self.repositories,
            "pull_requests": self.pull_requests,
            "left_out": self.left_out[:_MOST_NAMES],
            "left_out_count": len(self.left_out),
            "from_stage": self.from_stage,
        }


def plan(
    config: PullRequestsConfiguration, client: JsonClient, root: Any, folder: str, known: Known = lambda login: {}
) -> Plan:
    """
    List what there is to read, and divide it into chunks.

    :param root: the staging root, a path object.
    :param folder: of the run's working files, below ``root``; a retry has the same.
    :param known: how far the repositories of an account have been read. Where ``since`` is not given, each is read
        from there on, and one that is not known as a whole.
    :raises SourceRejectedError: there is no such account, the token is refused, or no repository of one can be read.
    :raises SourceUnavailableError: GitHub does not answer, or a rate limit outlasts the patience.
    """
    listed: dict[str, list[dict[str, Any]]] = {}
    left_out: list[dict[str, str]] = []
    for login in config.organizations:
        head, repositories = _listed_account(config, client, root / folder, login, known)
        if head["login"] not in listed:
            listed[head["login"]] = repositories
            left_out += [{"repository": name, "reason": _UNUSABLE} for name in head["unusable"]]
    listed = _without_transferred(listed)
    working_files.write(root / folder / _REPOSITORIES, _rows(listed))
    left_out += [
        {"repository": each["full_name"], "reason": each["left_out"]}
        for repositories in listed.values()
        for each in repositories
        if each["left_out"]
    ]
    for each in left_out:
        log.warning("%s is left out: %s", each["repository"], each["reason"])
    return Plan(
        chunks=_chunks(config, root, folder, listed),
        folder=folder,
        organizations=list(listed),
        repositories=sum(map(len, listed.values())),
        pull_requests=sum(_count(each) for repositories in listed.values() for each in repositories),
        left_out=left_out,
    )


def read_repositories(root: Any, folder: str) -> list[dict[str, Any]]:
    """
    Return the repositories that a plan listed, or that are listed no more.

    They have the fields of ``PullRequestRepository`` that a plan knows, and ``rows_before``: how many pull requests,
    reviews and files the tables had of each.

    :raises ConfigurationError: the files of the plan are gone.
    """
    times = ("complete_until", "last_update", "read_at")
    return [
        {**row, **{name: instant(row[name]) for name in times}}
        for row in working_files.read(root / folder / _REPOSITORIES)
    ]


def _listed_account(
    config: PullRequestsConfiguration, client: JsonClient, folder: Any, login: str, known: Known
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what is known of an account, and its repositories with the files that name their pull requests."""
    place = folder / "accounts" / login.lower()  # its login may be another, of an account that was renamed
    content = working_files.read_if_whole(place / "account.gz")
    if not content:
        found = account(client, login)
        before = known(found.login)
        by_id = answers_by_id(client, found.repositories)
        if not by_id and found.repositories:
            log.warning("%s does not answer for repositories by their ids: they are asked for by name", client.root)
        listed_at = text_of(found.listed_at)
        content = [
            {"login": found.login, "listed_at": listed_at, "by_id": by_id, "unusable": list(found.unusable)},
        ]
        content += [_with_since(each, config.since, before.get(each["id"])) for each in found.repositories]
        there = {each["id"] for each in found.repositories}
        content += [
            _listed_no_more(found, repository_id, each)
            for repository_id, each in before.items()
            if repository_id not in there and each.name is not None
        ]
        working_files.write(place / "account.gz", content)
    head = content[0]
    repositories = [each for each in content[1:] if "left_out" not in each]
    gone = [each for each in content[1:] if "left_out" in each]
    log.info("%s has %d repositories that can be seen", head["login"], len(repositories))
    list_one = partial(_listed_repository, config, client, place, head)
    threads = min(config.concurrency * config.parallel_tasks, _MOST_THREADS)  # nothing else runs yet
    listed = sorted(in_threads(list_one, repositories, threads), key=lambda each: str(each["full_name"]))
    if listed and all(each["status"] for each in listed) and any(each["status"] == 403 for each in listed):
        working_files.remove(place)  # a token with the permission is to be tried
        raise SourceRejectedError(
            f"{client.conn_id}: GitHub refuses the pull requests of all repositories of {head['login']} (403): give "
            "the connection's password, a token, the permission to read pull requests.",
            403,
        )
    return head, listed + gone


def _listed_no_more(found: Account, repository_id: int, before: KnownRepository) -> dict[str, Any]:
    """Return a repository that was read before; what has been read of it stays."""
    return {
        "id": repository_id,
        "name": before.name,
        "full_name": f"{found.login}/{before.name}",
        "is_private": None,
        "is_fork": None,
        "is_archived": None,
        "complete_until": before.complete_until and text_of(before.complete_until),
        "last_update": before.last_update and before.last_update.isoformat(),
        "updated_last": before.updated_last,
        "rows_before": list(before.rows),
        "left_out": "it is no longer listed: deleted, transferred, or hidden from this token",
        "read_at": text_of(found.listed_at),
        "pieces": [],
    }


def _without_transferred(listed: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """
    Leave out what an account no longer lists, and another one does: it was transferred, and is read as that one's.

    What the tables had of it, as its former owner's, counts for it.
    """
    listed_now = {each["id"]: each for some in listed.values() for each in some if "status" in each}
    found: dict[str, list[dict[str, Any]]] = {login: [] for login in listed}
    for login, repositories in listed.items():
        for each in repositories:
            if "status" in each or (owned := listed_now.get(each["id"])) is None:
                found[login].append(each)
            else:
                before = zip(owned["rows_before"], each["rows_before"], strict=True)
                owned["rows_before"] = [sum(both) for both in before]
    return found


def _with_since(
    repository: Mapping[str, Any], since: datetime | None, before: KnownRepository | None
) -> dict[str, Any]:
    """Return a repository with what is read of it, and whether it will be complete until now."""
    before = before or KnownRepository(None)
    start = next_start(before.complete_until, before.last_update)
    # a since leaves what was before it unread, unless that is known: the next run without one has to find it
    completes = since is None or (start is not None and since <= start + OVERLAP)
    begin = since or start
    return {
        **repository,
        "since": begin and begin.isoformat(),
        "completes": completes,
        "read": json.loads(before.updated_last or "{}") if since is None and start is not None else {},
        "rows_before": list(before.rows),
        # as long as this run does not complete it
        "complete_until": before.complete_until and text_of(before.complete_until),
        "last_update": before.last_update and before.last_update.isoformat(),
        "updated_last": before.updated_last,
    }


def _listed_repository(
    config: PullRequestsConfiguration,
    client: JsonClient,
    place: Any,
    head: Mapping[str, Any],
    repository: dict[str, Any],
) -> dict[str, Any]:
    """List a repository's pull requests to files, unless that was done before."""
    mark = place / f"{repository['id']}.gz"
    if content := working_files.read_if_whole(mark):
        found: dict[str, Any] = content[0]
        return found
    found = {**repository, "organization": head["login"], "read_at": head["listed_at"], "left_out": None, "status": 0}
    writer, updates, others = _Pieces(place / "pieces", min(config.chunk_size, _PIECE)), LastUpdates(), set()
    since, by_id = instant(repository["since"]), head["by_id"]
    try:
        for page in pull_requests(client, repository, head["login"], since, by_id=by_id):
            others |= {pull["repository_id"] for pull in page} - {repository["id"]}
            updates.add(page)
            writer.add([pull for pull in page if not unchanged(pull, repository["read"])])
        writer.close()
        found["pieces"] = [(f"accounts/{place.name}/pieces/{name}", count) for name, count in writer.written]
    except SourceRejectedError as error:
        reason = reason_to_leave_out(error)
        if reason is None:
            raise
        found |= {"left_out": reason, "status": error.status, "pieces": []}
    if others:
        found["left_out"] = f"{_OTHERS} ({', '.join(map(str, sorted(others)[:3]))})"
    elif repository["completes"] and found["left_out"] is None:
        listed_at = head["listed_at"]
        last = updates.last_update
        found |= {"complete_until": listed_at, "last_update": last and last.isoformat()}
        found["updated_last"] = updates.to_json(datetime.fromisoformat(listed_at))
    working_files.write(mark, [found])
    return found


class _Pieces:
    """Writes pull requests to files of bounded size."""

    def __init__(self, folder: Any, size: int) -> None:
        self.folder = folder
        self.size = size
        self.written: list[tuple[str, int]] = []
        self._held: list[dict[str, Any]] = []

    def add(self, page: list[dict[str, Any]]) -> None:
        self._held += page
        while len(self._held) >= self.size:
            self._write(self._held[: self.size])
            del self._held[: self.size]

    def close(self) -> None:
        if self._held:
            self._write(self._held)
            self._held = []

    def _write(self, some: list[dict[str, Any]]) -> None:
        name = f"{uuid.uuid4().hex}.gz"  # two attempts may meet here
        working_files.write(self.folder / name, some)
        self.written.append((name, len(some)))


def _rows(listed: Mapping[str, list[dict[str, Any]]]) -> Iterable[dict[str, Any]]:
    same = (
        "is_private",
        "is_fork",
        "is_archived",
        "complete_until",
        "last_update",
        "updated_last",
        "left_out",
        "rows_before",
        "read_at",
    )
    for login, repositories in listed.items():
        for each in repositories:
            names = {"organization": login, "repository": each["name"], "repository_id": each["id"]}
            yield {**names, **{name: each[name] for name in same}}


def _count(repository: Mapping[str, Any]) -> int:
    return sum(count for _, count in repository["pieces"])


def _chunks(
    config: PullRequestsConfiguration, root: Any, folder: str, listed: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Write the chunks' files and return what a task gets of each."""
    pieces = {login: [piece for each in some for piece in each["pieces"]] for login, some in listed.items()}
    wanted = {login: _tasks_for(config, sum(count for _, count in some)) for login, some in pieces.items()}
    shrink = min(config.max_chunks / max(sum(wanted.values()), 1), 1.0)
    chunks: list[dict[str, Any]] = []
    for login, some in pieces.items():
        for part in _even(some, max(int(wanted[login] * shrink), 1)):
            name = f"{folder}/chunks/{len(chunks):04}.gz"
            content = {
                "organization": login,
                "concurrency": config.concurrency,
                "requests_per_minute": config.requests_per_minute / config.parallel_tasks,
                "pieces": [f"{folder}/{path}" for path, _ in part],
            }
            working_files.write(root / name, [content])
            count = sum(count for _, count in part)
            chunks.append({"chunk": name, "organization": login, "pull_requests": count})
    return chunks


def _tasks_for(config: PullRequestsConfiguration, pull_requests: int) -> int:
    few = min(config.parallel_tasks, -(-pull_requests // _WORTH_A_TASK))
    return max(-(-pull_requests // config.chunk_size), few)


def _even(pieces: list[tuple[str, int]], number: int) -> list[list[tuple[str, int]]]:
    """Return the pieces in at most ``number`` parts, as even as may be: the largest first, each to the smallest."""
    parts: list[list[tuple[str, int]]] = [[] for _ in range(number)]
    sizes = [0] * number
    for piece in sorted(pieces, key=lambda piece: -piece[1]):
        smallest = sizes.index(min(sizes))
        parts[smallest].append(piece)
        sizes[smallest] += piece[1]
    return [part for part in parts if part]
