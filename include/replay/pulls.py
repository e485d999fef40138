"""
Generate an organisation's repositories and pull requests, with the keys of the real API.

Each pull request has its story written down when it is opened: who reviews it and when, whether it is merged. What the
API answers is how far the story has come at the moment of asking, so that each answer is newer than the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from include.replay.activity import API, ORG, account, number, repository

Document = dict[str, Any]

#: name, description, language, hours from one pull request to the next; nothing is ever proposed to the last
REPOSITORIES = (
    ("platform", "What everything runs on", "Go", 20),
    ("handbook", "How we work", "Markdown", 50),
    ("ingest", "From devices to tables", "Python", 35),
    ("web", "What people see", "TypeScript", 30),
    ("charts", "Helm charts", "Smarty", 90),
    ("attic", "Nobody has been here for long", "Perl", 0),
)
#: pull requests are listed for so long after they were opened
KEPT = timedelta(days=60)
_FOUNDED = datetime(2024, 1, 1, tzinfo=UTC)
_PEOPLE = ("ada-l", "grace-h", "linus-t", "margaret-h", "katherine-j", "alan-t")
_BOT = "dependabot[bot]"
_TITLES = ("Read pages once", "Say why it failed", "Fix the clock", "Größere Tabellen", "Drop what nobody uses")
_FOLDERS = ("src", "tests", "docs", "charts/größe")
# a few are large: more files than one page has
_LARGE_EVERY, _LARGE_FILES = 23, 130
_GHOST_EVERY, _GONE_FORK_EVERY = 17, 13


@dataclass(frozen=True)
class Review:
    """What somebody will say of a pull request, and when."""

    at: datetime
    reviewer: str | None
    state: str


@dataclass(frozen=True)
class Story:
    """All that will happen to a pull request."""

    repository: str
    number: int
    opened: datetime
    author: str | None
    reviews: tuple[Review, ...]
    closed: datetime | None
    merged: bool

    def updated(self, now: datetime) -> datetime:
        """Return when the last thing happened that had happened by ``now``."""
        moments = [self.opened, *(review.at for review in self.reviews), *([self.closed] if self.closed else [])]
        return max(moment for moment in moments if moment <= now)


def organization() -> Document:
    """Return the organisation as ``GET /orgs/{org}`` and ``GET /users/{org}`` do."""
    return {**_account(ORG), "name": "Phlo Labs", "public_repos": len(REPOSITORIES), "type": "Organization"}


def repositories(end: date) -> list[Document]:
    """Return the organisation's repositories by name."""
    made = [
        {**repository(ORG, name, description, language, index, end), "archived": not hours, "disabled": False}
        for index, (name, description, language, hours) in enumerate(REPOSITORIES)
    ]
    return sorted(made, key=lambda document: str(document["full_name"]))


def stories(name: str, seed: int, now: datetime) -> list[Story]:
    """Return the pull requests of a repository that are listed at ``now``, the last updated first."""
    found = [story(name, index, seed) for index in _numbers(name, now)]
    found = [each for each in found if each.opened <= now]
    return sorted(found, key=lambda each: (each.updated(now), each.number), reverse=True)


def find_story(name: str, index: int, seed: int, now: datetime) -> Story | None:
    """Return a pull request that is listed at ``now`` by its number."""
    found = story(name, index, seed) if index in _numbers(name, now) else None
    return found if found and found.opened <= now else None


def story(name: str, index: int, seed: int) -> Story:
    """Return what will happen to one pull request; the same is always the same."""
    step = _step(name)
    rng = Random(f"{seed}/{name}/{index}")
    opened = _FOUNDED + index * step + timedelta(seconds=rng.randrange(int(step.total_seconds())))
    by_bot = rng.random() < 0.2
    author = _BOT if by_bot else None if index % _GHOST_EVERY == 0 else rng.choice(_PEOPLE)
    reviews = []
    at = opened
    for _ in range(rng.randrange(4)):
        at += timedelta(seconds=rng.randrange(600, 40 * 3600))
        state = rng.choice(("APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED"))
        reviews.append(Review(at, rng.choice((*_PEOPLE, _BOT, None)), state))
    ends = rng.random() < 0.8
    closed = at + timedelta(seconds=rng.randrange(300, 30 * 3600)) if ends else None
    return Story(name, index, opened, author, tuple(reviews), closed, rng.random() < 0.85)


def _numbers(name: str, now: datetime) -> range:
    step = _step(name)
    if not step:
        return range(0)
    return range(max((now - KEPT - _FOUNDED) // step + 1, 1), (now - _FOUNDED) // step + 1)


def _step(name: str) -> timedelta:
    """Return the time from one pull request to the next; none for a repository without any."""
    return timedelta(hours=next((hours for known, *_, hours in REPOSITORIES if known == name), 0))


def pull_request(told: Story, now: datetime) -> Document:
    """Return a pull request as a list of them has it."""
    rng = Random(f"{told.repository}/{told.number}/document")
    full_name = f"{ORG}/{told.repository}"
    url = f"{API}/repos/{full_name}/pulls/{told.number}"
    issue = f"{API}/repos/{full_name}/issues/{told.number}"
    web = f"https://github.com/{full_name}/pull/{told.number}"
    closed = told.closed if told.closed and told.closed <= now else None
    author = _account(told.author) if told.author else None
    fork = None if told.number % _GONE_FORK_EVERY == 0 else _repository_of(told.repository, told.author or ORG)
    return {
        "url": url,
        "id": number("pull", full_name, told.number),
        "node_id": f"PR_{told.number:x}",
        "html_url": web,
        "diff_url": f"{web}.diff",
        "patch_url": f"{web}.patch",
        "issue_url": issue,
        "number": told.number,
        "state": "closed" if closed else "open",
        "locked": False,
        "title": rng.choice(_TITLES),
        "user": author,
        "body": None,
        "created_at": _text(told.opened),
        "updated_at": _text(told.updated(now)),
        "closed_at": _text(closed),
        "merged_at": _text(closed) if told.merged else None,
        "merge_commit_sha": f"{rng.getrandbits(160):040x}",
        "assignee": None,
        "assignees": [],
        "requested_reviewers": [] if told.reviews else [_account(rng.choice(_PEOPLE))],
        "requested_teams": [],
        "labels": [{"id": 1, "name": name} for name in rng.sample(("bug", "größe/m", "docs"), rng.randrange(3))],
        "milestone": None,
        "draft": closed is None and rng.random() < 0.2,
        "commits_url": f"{url}/commits",
        "review_comments_url": f"{url}/comments",
        "review_comment_url": f"{API}/repos/{full_name}/pulls/comments{{/number}}",
        "comments_url": f"{issue}/comments",
        "statuses_url": f"{API}/repos/{full_name}/statuses/{rng.getrandbits(160):040x}",
        "head": _branch(f"topic-{told.number}", author, fork, rng),
        "base": _branch("main", _account(ORG), _repository_of(told.repository, ORG), rng),
        "_links": {
            "self": {"href": url},
            "html": {"href": web},
            "issue": {"href": issue},
            "comments": {"href": f"{issue}/comments"},
            "review_comments": {"href": f"{url}/comments"},
            "review_comment": {"href": f"{API}/repos/{full_name}/pulls/comments{{/number}}"},
            "commits": {"href": f"{url}/commits"},
            "statuses": {"href": f"{API}/repos/{full_name}/statuses/{told.number:040x}"},
        },
        "author_association": "MEMBER" if told.author in _PEOPLE else "NONE",
        "auto_merge": None,
        "active_lock_reason": None,
    }


def reviews(told: Story, now: datetime) -> list[Document]:
    """Return the reviews of a pull request, the oldest first."""
    full_name = f"{ORG}/{told.repository}"
    url, web = f"{API}/repos/{full_name}/pulls/{told.number}", f"https://github.com/{full_name}/pull/{told.number}"
    made = []
    for index, review in enumerate(told.reviews):
        if review.at > now:
            break
        key = number("review", full_name, told.number, index)
        made.append(
            {
                "id": key,
                "node_id": f"PRR_{key:x}",
                "user": _account(review.reviewer) if review.reviewer else None,
                "body": "",
                "state": review.state,
                "html_url": f"{web}#pullrequestreview-{key}",
                "pull_request_url": url,
                "author_association": "MEMBER",
                "_links": {
                    "html": {"href": f"{web}#pullrequestreview-{key}"},
                    "pull_request": {"href": url},
                },
                "submitted_at": _text(review.at),
                "commit_id": f"{key:040x}",
            }
        )
    return made


def files(told: Story) -> list[Document]:
    """Return the files that a pull request changes."""
    rng = Random(f"{told.repository}/{told.number}/files")
    count = _LARGE_FILES if told.number % _LARGE_EVERY == 0 else rng.randrange(1, 9)
    return [_file(rng, f"{ORG}/{told.repository}", index) for index in range(count)]


def _file(rng: Random, full_name: str, index: int) -> Document:
    status = rng.choice(("added", "modified", "modified", "renamed", "removed"))
    name, sha = f"{rng.choice(_FOLDERS)}/part {index}.txt", f"{rng.getrandbits(160):040x}"
    additions, deletions = rng.choice((0, 1, 4, 30, 200)), rng.choice((0, 2, 15))
    made = {
        "sha": sha,
        "filename": name,
        "status": status,
        "additions": additions,
        "deletions": deletions,
        "changes": additions + deletions,
        "blob_url": f"https://github.com/{full_name}/blob/{sha}/{name}",
        "raw_url": f"https://github.com/{full_name}/raw/{sha}/{name}",
        "contents_url": f"{API}/repos/{full_name}/contents/{name}?ref={sha}",
        "patch": f"@@ -1,{deletions} +1,{additions} @@",
    }
    return {**made, "previous_filename": f"old/{index}.txt"} if status == "renamed" else made


def _branch(ref: str, owner: Document | None, repo: Document | None, rng: Random) -> Document:
    label = f"{owner['login']}:{ref}" if owner else ref
    return {"label": label, "ref": ref, "sha": f"{rng.getrandbits(160):040x}", "user": owner, "repo": repo}


def _repository_of(name: str, owner: str) -> Document:
    index = next(index for index, (known, *_) in enumerate(REPOSITORIES) if known == name)
    _, description, language, _ = REPOSITORIES[index]
    return repository(owner, name, description, language, index, _FOUNDED.date())


def _account(login: str) -> Document:
    made = account(login)
    return {**made, "type": "Bot" if login == _BOT else "Organization" if login == ORG else "User"}


def _text(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
