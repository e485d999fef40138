"""Generate a GitHub user's profile, repositories and public events, with the keys of the real API."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

Document = dict[str, Any]

API = "https://api.github.com"
ORG = "phlo-labs"
# Advances happen in the day's last hour, so that what is new is also newest.
QUIET_FROM = 23 * 3600
REPOSITORIES = (
    ("lakehouse-notes", "Notes on table formats", "Python"),
    ("glucose-tools", "Small tools for CGM data", "Python"),
    ("dotfiles", "My shell, my editor", "Shell"),
    ("iceberg-viewer", "Look at snapshots and manifests", "TypeScript"),
    ("tiny-scheduler", "A scheduler in 300 lines", "Go"),
    ("sql-puzzles", "Queries worth a second look", "Jupyter Notebook"),
    ("parquet-peek", "Show the footer of a Parquet file", "Rust"),
    ("octo-site", "The source of my web page", "HTML"),
)
ORG_REPOSITORIES = ("platform", "handbook")
USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
REPOSITORY_LINKS = {
    "forks_url": "/forks",
    "keys_url": "/keys{/key_id}",
    "collaborators_url": "/collaborators{/collaborator}",
    "teams_url": "/teams",
    "hooks_url": "/hooks",
    "issue_events_url": "/issues/events{/number}",
    "events_url": "/events",
    "assignees_url": "/assignees{/user}",
    "branches_url": "/branches{/branch}",
    "tags_url": "/tags",
    "blobs_url": "/git/blobs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "trees_url": "/git/trees{/sha}",
    "statuses_url": "/statuses/{sha}",
    "languages_url": "/languages",
    "stargazers_url": "/stargazers",
    "contributors_url": "/contributors",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "commits_url": "/commits{/sha}",
    "git_commits_url": "/git/commits{/sha}",
    "comments_url": "/comments{/number}",
    "issue_comment_url": "/issues/comments{/number}",
    "contents_url": "/contents/{+path}",
    "compare_url": "/compare/{base}...{head}",
    "merges_url": "/merges",
    "archive_url": "/{archive_format}{/ref}",
    "downloads_url": "/downloads",
    "issues_url": "/issues{/number}",
    "pulls_url": "/pulls{/number}",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "labels_url": "/labels{/name}",
    "releases_url": "/releases{/id}",
    "deployments_url": "/deployments",
}


def number(*parts: object) -> int:
    """Return an id that depends on ``parts`` only."""
    return int(hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:7], 16)


def profile(login: str, end: date) -> Document:
    """Return the user as ``GET /users/{login}`` does, on the day ``end``."""
    return {
        **account(login),
        "name": "Octo Phlo",
        "company": None,
        "blog": "",
        "location": "Lakeside",
        "email": None,
        "hireable": None,
        "bio": None,
        "twitter_username": None,
        "public_repos": len(REPOSITORIES),
        "public_gists": 3,
        "followers": 120 + _growth(end, 3),
        "following": 17,
        "created_at": "2014-03-02T10:15:00Z",
        "updated_at": f"{end}T20:00:00Z",
        "private_gists": 0,
        "total_private_repos": 0,
        "owned_private_repos": 0,
        "disk_usage": 48213,
        "collaborators": 0,
        "two_factor_authentication": True,
        "plan": {"name": "free", "space": 976562499, "collaborators": 0, "private_repos": 10000},
    }


def repositories(login: str, end: date, advances: int) -> list[Document]:
    """Return the user's repositories by name; the first gains stars with each advance."""
    documents = [repository(login, *described, index, end) for index, described in enumerate(REPOSITORIES)]
    for key in ("stargazers_count", "watchers_count", "watchers"):
        documents[0][key] += 4 * advances
    return sorted(documents, key=lambda document: document["full_name"])


def events_of(day: date, seed: int, login: str) -> list[Document]:
    """Return a day's events and one broken one, the oldest first. The same day is always the same."""
    rng = Random(f"{seed}/{day}/events")
    count = rng.randint(4, 7) if day.weekday() >= 5 else rng.randint(8, 13)
    seconds = sorted(rng.sample(range(6 * 3600, QUIET_FROM), count + 1))
    events = [_event(rng, day, second, login) for second in seconds]
    bad = events[count // 2]
    if day.toordinal() % 2:
        bad["created_at"] = "not-a-date"
    else:
        del bad["id"]
    return events


def advance(day: date, seed: int, login: str, step: int) -> list[Document]:
    """Return three events that happen late on ``day``, others at each ``step``."""
    rng = Random(f"{seed}/{day}/advance/{step}")
    first = QUIET_FROM + step % 60 * 60
    return [_event(rng, day, first + 10 * index, login) for index in range(3)]


def account(login: str) -> Document:
    """Return what answers have of a user."""
    user_id, url = number("user", login), f"{API}/users/{login}"
    return {
        "login": login,
        "id": user_id,
        "node_id": f"U_{user_id:x}",
        "avatar_url": f"https://avatars.githubusercontent.com/u/{user_id}?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": f"https://github.com/{login}",
        **{key: url + path for key, path in USER_LINKS.items()},
        "type": "User",
        "site_admin": False,
    }


def _owner(login: str) -> Document:
    """Return a user as repositories and payloads show it."""
    return {key: value for key, value in account(login).items() if key != "node_id"}


def _growth(end: date, days: int) -> int:
    return max((end - date(2024, 1, 1)).days, 0) // days


def repository(login: str, name: str, description: str, language: str, index: int, end: date) -> Document:
    """Return a repository; its ``index`` decides how large and how old it is."""
    full_name = f"{login}/{name}"
    url, web = f"{API}/repos/{full_name}", f"github.com/{full_name}"
    stars = 7 * (index + 1) + _growth(end, 2 + index)
    pushed = end - timedelta(days=index)
    return {
        "id": number("repository", full_name),
        "name": name,
        "full_name": full_name,
        "owner": _owner(login),
        "private": False,
        "html_url": f"https://{web}",
        "description": description,
        "fork": index == 2,
        "url": url,
        **{key: url + path for key, path in REPOSITORY_LINKS.items()},
        "created_at": f"20{16 + index}-05-06T12:00:00Z",
        "updated_at": f"{pushed}T21:00:00Z",
        "pushed_at": f"{pushed}T20:59:00Z",
        "git_url": f"git://{web}.git",
        "ssh_url": f"git@github.com:{full_name}.git",
        "clone_url": f"https://{web}.git",
        "svn_url": f"https://{web}",
        "homepage": None if index % 2 else "",
        "size": 300 * (index + 1),
        "stargazers_count": stars,
        "watchers_count": stars,
        "language": language,
        "has_issues": True,
        "has_downloads": True,
        "has_wiki": index % 2 == 0,
        "has_pages": index == 7,
        "forks_count": index,
        "mirror_url": None,
        "open_issues_count": 2 * index,
        "forks": index,
        "open_issues": 2 * index,
        "watchers": stars,
        "default_branch": "main",
    }


def _event(rng: Random, day: date, second: int, login: str) -> Document:
    return event_at(rng, datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=second), login)


def event_at(rng: Random, moment: datetime, login: str) -> Document:
    """Return something that ``login`` did, of the kind and in the repository that ``rng`` chooses."""
    in_org = rng.random() < 0.2
    names = (
        [f"{ORG}/{name}" for name in ORG_REPOSITORIES] if in_org else [f"{login}/{name[0]}" for name in REPOSITORIES]
    )
    repository = rng.choice(names)
    kind = rng.choices(list(PAYLOADS), [weight for weight, _ in PAYLOADS.values()])[0]
    created = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    actor = account(login)
    event = {
        # grows with time, as GitHub's do
        "id": str(20_000_000_000 + int(moment.timestamp())),
        "type": kind,
        "actor": {
            "id": actor["id"],
            "login": login,
            "display_login": login,
            "gravatar_id": "",
            "url": actor["url"],
            "avatar_url": f"https://avatars.githubusercontent.com/u/{actor['id']}?",
        },
        "repo": {"id": number("repository", repository), "name": repository, "url": f"{API}/repos/{repository}"},
        "payload": PAYLOADS[kind][1](rng, repository, created, login),
        "public": True,
        "created_at": created,
    }
    if in_org:
        event["org"] = {
            "id": number("org", ORG),
            "login": ORG,
            "gravatar_id": "",
            "url": f"{API}/orgs/{ORG}",
            "avatar_url": f"https://avatars.githubusercontent.com/u/{number('org', ORG)}?",
        }
    return event


def _sha(rng: Random) -> str:
    return f"{rng.getrandbits(160):040x}"


def _push(rng: Random, repository: str, created: str, login: str) -> Document:
    commits = [
        {
            "sha": sha,
            "author": {"email": f"{login}@users.noreply.github.com", "name": "Octo Phlo"},
            "message": rng.choice(("Fix a typo", "Add a test", "Read pages once", "Say why it failed")),
            "distinct": True,
            "url": f"{API}/repos/{repository}/commits/{sha}",
        }
        for sha in (_sha(rng) for _ in range(rng.randint(1, 4)))
    ]
    return {
        "push_id": 9_000_000_000 + rng.getrandbits(30),
        "size": len(commits),
        "distinct_size": len(commits),
        "ref": "refs/heads/main",
        "head": commits[-1]["sha"],
        "before": _sha(rng),
        "commits": commits,
    }


def _issue(rng: Random, repository: str, created: str, login: str) -> Document:
    count = rng.randint(1, 90)
    url = f"{API}/repos/{repository}/issues/{count}"
    return {
        "url": url,
        "repository_url": f"{API}/repos/{repository}",
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": f"https://github.com/{repository}/issues/{count}",
        "id": number("issue", repository, count),
        "number": count,
        "title": rng.choice(("Numbers differ after a rerun", "Document the settings", "Slow on large tables")),
        "user": _owner(login),
        "labels": [],
        "state": "open",
        "locked": False,
        "assignee": None,
        "assignees": [],
        "milestone": None,
        "comments": rng.randint(0, 9),
        "created_at": created,
        "updated_at": created,
        "closed_at": None,
        "author_association": "OWNER",
        "body": "See the log.",
    }


def _issues(rng: Random, repository: str, created: str, login: str) -> Document:
    return {"action": "opened", "issue": _issue(rng, repository, created, login)}


def _issue_comment(rng: Random, repository: str, created: str, login: str) -> Document:
    issue = _issue(rng, repository, created, login)
    comment_id = rng.getrandbits(30)
    comment = {
        "url": f"{API}/repos/{repository}/issues/comments/{comment_id}",
        "html_url": f"{issue['html_url']}#issuecomment-{comment_id}",
        "issue_url": issue["url"],
        "id": comment_id,
        "user": _owner(login),
        "created_at": created,
        "updated_at": created,
        "author_association": "OWNER",
        "body": rng.choice(("Thank you!", "Cannot see it here.", "Done.")),
    }
    return {"action": "created", "issue": issue, "comment": comment}


def _pull_request(rng: Random, repository: str, created: str, login: str) -> Document:
    count = rng.randint(1, 90)
    url, web = f"{API}/repos/{repository}/pulls/{count}", f"https://github.com/{repository}/pull/{count}"
    pull_request = {
        "url": url,
        "id": number("pull request", repository, count),
        "html_url": web,
        "diff_url": f"{web}.diff",
        "patch_url": f"{web}.patch",
        "issue_url": f"{API}/repos/{repository}/issues/{count}",
        "number": count,
        "state": "closed",
        "locked": False,
        "title": "Read pages once",
        "user": _owner(login),
        "body": "",
        "created_at": created,
        "updated_at": created,
        "closed_at": created,
        "merged_at": created,
        "merge_commit_sha": _sha(rng),
        "assignee": None,
        "assignees": [],
        "requested_reviewers": [],
        "milestone": None,
        "author_association": "OWNER",
        "merged": True,
        "comments": rng.randint(0, 5),
        "review_comments": rng.randint(0, 5),
        "commits": rng.randint(1, 5),
        "additions": rng.randint(1, 300),
        "deletions": rng.randint(0, 100),
        "changed_files": rng.randint(1, 12),
    }
    return {"action": "closed", "number": count, "pull_request": pull_request}


def _create(rng: Random, repository: str, created: str, login: str) -> Document:
    return {
        "ref": f"topic-{rng.randint(1, 99)}",
        "ref_type": "branch",
        "master_branch": "main",
        "description": "A repository of the replay server",
        "pusher_type": "user",
    }


def _delete(rng: Random, repository: str, created: str, login: str) -> Document:
    return {"ref": f"topic-{rng.randint(1, 99)}", "ref_type": "branch", "pusher_type": "user"}


def _watch(rng: Random, repository: str, created: str, login: str) -> Document:
    return {"action": "started"}


# type → how often it happens, and what makes its payload
PAYLOADS: dict[str, tuple[int, Callable[[Random, str, str, str], Document]]] = {
    "PushEvent": (45, _push),
    "IssueCommentEvent": (14, _issue_comment),
    "PullRequestEvent": (13, _pull_request),
    "IssuesEvent": (9, _issues),
    "WatchEvent": (8, _watch),
    "CreateEvent": (8, _create),
    "DeleteEvent": (3, _delete),
}
