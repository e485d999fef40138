"""An organisation for tests and benchmarks, as GitHub's API answers for it: repositories, pull requests, pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
MOST_FILES = 3000


def moment(minutes: float) -> str:
    """Return a time as GitHub writes it, this many minutes after the organisation began."""
    return f"{BEGIN + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"


def user(login: str, number: int = 7) -> dict[str, Any]:
    return {"login": login, "id": number, "type": "Bot" if login.endswith("[bot]") else "User", "site_admin": False}


@dataclass
class PullRequest:
    number: int
    updated: float = 0.0
    reviews: int = 1
    files: int = 1
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Repository:
    id: int
    name: str
    pulls: dict[int, PullRequest] = field(default_factory=dict)

    def add(self, count: int, **fields: Any) -> Repository:
        """Add pull requests, each updated a minute after the one before."""
        for number in range(len(self.pulls) + 1, len(self.pulls) + count + 1):
            self.pulls[number] = PullRequest(number, float(number), **fields)
        return self


@dataclass
class Organization:
    """
    Answers requests; ``before`` may answer in its place, or change something.

    :param kind: ``orgs`` or ``users``.
    :param links: False is a proxy that takes the header Link away.
    :param by_id: False is a server that knows repositories only by their names.
    """

    login: str = "octo-org"
    kind: str = "orgs"
    repositories: list[Repository] = field(default_factory=list)
    now: float = 1_000_000.0
    before: Callable[[Any], Any] = lambda request: None
    key: Callable[[PullRequest], Any] = lambda each: (-each.updated, -each.number)
    requests: int = 0
    links: bool = True
    by_id: bool = True

    def repository(self, name: str, pulls: int = 0, **fields: Any) -> Repository:
        """Add a repository with pull requests."""
        self.repositories.append(Repository(100 + len(self.repositories), name).add(pulls, **fields))
        return self.repositories[-1]

    def answer(
        self, path: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        """Return the status, body and headers of an answer."""
        self.requests += 1
        page = int(query.get("page", ["1"])[0])
        size = int(query.get("per_page", ["30"])[0])
        parts = path.strip("/").split("/")
        if self.by_id and len(parts) == 2 and parts[0] == "repositories":
            one = next((each for each in self.repositories if str(each.id) == parts[1]), None)
            return (
                (404, {"message": "Not Found"}, self._date())
                if one is None
                else (200, self.document(one), self._date())
            )
        found = self._list(parts, (page - 1) * size, size)
        if found is None:
            return 404, {"message": "Not Found"}, self._date()
        total, items = found
        etag = f'"{hashlib.md5(json.dumps(items).encode()).hexdigest()}"'
        sent = {"ETag": etag, **self._date()}
        if page * size < total:
            rest = {name: values[0] for name, values in query.items()}
            sent["Link"] = f'<{path}?{urlencode({**rest, "page": page + 1})}>; rel="next"'
        elif page > 1:
            sent["Link"] = f'<{path}?{urlencode({"page": page - 1})}>; rel="prev"'
        if not self.links:
            sent.pop("Link", None)
        if headers.get("if-none-match") == etag:
            return 304, None, sent
        return 200, items, sent

    def _date(self) -> dict[str, str]:
        return {"Date": format_datetime(BEGIN + timedelta(minutes=self.now), usegmt=True)}

    def _list(self, parts: list[str], start: int, size: int) -> tuple[int, list[Any]] | None:
        match parts:
            case [kind, login, "repos"] if kind == self.kind and login.lower() == self.login.lower():
                some = sorted(self.repositories, key=lambda each: each.name)
                return len(some), [self.document(each) for each in some[start : start + size]]
            case ["repos", owner, name, "pulls", *rest] if owner.lower() == self.login.lower():
                there = next((each for each in self.repositories if each.name == name), None)
                return None if there is None else self._of_repository(there, rest, start, size)
            case ["repositories", number, "pulls", *rest] if self.by_id:
                there = next((each for each in self.repositories if str(each.id) == number), None)
                return None if there is None else self._of_repository(there, rest, start, size)
        return None

    def _of_repository(self, there: Repository, rest: list[str], start: int, size: int) -> tuple[int, list[Any]] | None:
        if not rest:
            some = sorted(there.pulls.values(), key=self.key)
            return len(some), [self._pull(there, each) for each in some[start : start + size]]
        pull = there.pulls.get(int(rest[0]))
        if pull is None:
            return None
        if rest[1] == "reviews":
            return pull.reviews, [_review(pull, each) for each in range(start, min(start + size, pull.reviews))]
        most = min(pull.files, MOST_FILES)
        return most, [_file(each) for each in range(start, min(start + size, most))]

    def document(self, each: Repository) -> dict[str, Any]:
        """Return a repository as the API answers it."""
        return {
            "id": each.id,
            "name": each.name,
            "full_name": f"{self.login}/{each.name}",
            "owner": user(self.login, 1),
            "private": False,
            "fork": False,
            "archived": False,
        }

    def _pull(self, there: Repository, each: PullRequest) -> dict[str, Any]:
        repository = self.document(there)
        return {
            "id": there.id * 100_000 + each.number,
            "number": each.number,
            "title": f"Change {each.number}",
            "body": "A text that is not kept",
            "state": "closed",
            "draft": False,
            "locked": False,
            "user": user("ada"),
            "author_association": "MEMBER",
            "created_at": moment(each.number - 1),
            "updated_at": moment(each.updated),
            "closed_at": moment(each.updated),
            "merged_at": None,
            "merge_commit_sha": "0" * 40,
            "base": {"ref": "main", "sha": "1" * 40, "repo": repository},
            "head": {"ref": "change", "sha": "2" * 40, "repo": repository},
            "labels": [{"name": "bug"}],
            "requested_reviewers": [user("grace", 8)],
            "milestone": {"title": "v1"},
            "html_url": f"https://github.com/{self.login}/{there.name}/pull/{each.number}",
            **each.changes,
        }


def _review(pull: PullRequest, number: int) -> dict[str, Any]:
    return {
        "id": pull.number * 1000 + number,
        "user": user("grace", 8),
        "body": "A text that is not kept",
        "state": "APPROVED",
        "submitted_at": moment(pull.number),
        "commit_id": "2" * 40,
        "author_association": "MEMBER",
    }


def _file(number: int) -> dict[str, Any]:
    return {
        "sha": f"{number:040}",
        "filename": f"src/file_{number}.py",
        "status": "modified",
        "additions": 2,
        "deletions": 1,
        "changes": 3,
        "patch": "@@ -1 +1,2 @@ which is not kept",
    }
