"""Readings of pull requests for tests and benchmarks: random, with everything that may be missing missing sometimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow

from airflow_provider_phlo.schemas import pandera_to_iceberg
from airflow_provider_phlo.sources.github_pulls.models import PullRequestReading

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_PEOPLE = (
    {"login": "ada", "id": 1, "type": "User"},
    {"login": "grace", "id": 2, "type": "User"},
    {"login": "ghost", "id": 10137, "type": "User"},
    {"login": "dependabot[bot]", "id": 3, "type": "Bot"},
    {"login": "old-style[bot]", "id": 4, "type": "User"},
    {"login": "robot", "id": 5, "type": "Bot"},
    {"login": None, "id": 6, "type": None},
    None,
)
_NAMES = ("src/a.py", "src/ä b.py", "x\x1fy", "", "深/い.txt", "a'b\"c", "docs/README.md")


def readings(rng: Random, count: int) -> list[dict[str, Any]]:
    """Return ``count`` readings, some of the same pull request."""
    return [reading(rng, rng.randrange(1, count * 2 + 2)) for _ in range(count)]


def as_arrow(rows: list[dict[str, Any]]) -> pa.Table:
    """Return readings as they are staged."""
    schema = schema_to_pyarrow(pandera_to_iceberg(PullRequestReading), include_field_ids=False)
    return pa.Table.from_pylist(rows, schema=schema)


def reading(rng: Random, number: int) -> dict[str, Any]:
    """Return one reading."""

    def maybe(value: Any, chance: float = 0.2) -> Any:
        return None if rng.random() < chance else value

    created = _moment(rng)
    repository_id = rng.choice((7, 8, 2**40))
    return {
        "organization": "octo-org",
        "repository": f"repo-{repository_id}",
        "repository_id": repository_id,
        "number": number,
        "id": maybe(rng.randrange(2**40)),
        "title": maybe(rng.choice(("Fix", "", "Ünï\u2028code", "a" * 300))),
        "state": maybe(rng.choice(("open", "closed"))),
        "draft": maybe(rng.random() < 0.5),
        "locked": maybe(False),
        "user": rng.choice(_PEOPLE),
        "author_association": maybe("MEMBER"),
        "created_at": created,
        "updated_at": _moment(rng, created),
        "closed_at": maybe(_moment(rng, created), 0.5),
        "merged_at": maybe(_moment(rng, created), 0.5),
        "merge_commit_sha": maybe("c0ffee"),
        "base": maybe({"ref": "main", "sha": maybe("b")}),
        "head": maybe(
            {"ref": "topic", "sha": "h", "repository": maybe("ada/repo"), "repository_id": maybe(rng.choice((7, 9)))}
        ),
        "labels": maybe(["bug", "größe"][: rng.randrange(3)]),
        "requested_reviewers": maybe([]),
        "milestone": maybe("1.0"),
        "html_url": maybe("https://github.com/octo-org/repo/pull/1"),
        "reviews": [_review(rng, index, created) for index in range(rng.randrange(5))],
        "files": [_file(rng, name) for name in rng.sample(_NAMES, rng.randrange(len(_NAMES)))],
        "files_complete": rng.random() < 0.9,
        "read_at": _moment(rng, created),
    }


def _review(rng: Random, index: int, created: datetime) -> dict[str, Any]:
    state = rng.choice(("APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED", "PENDING", None))
    return {
        "id": index + 1,
        "user": rng.choice(_PEOPLE),
        "state": state,
        "submitted_at": None if state == "PENDING" else _moment(rng, created - timedelta(hours=rng.randrange(2))),
        "commit_id": None if rng.random() < 0.2 else "c",
        "author_association": "NONE",
    }


def _file(rng: Random, name: str) -> dict[str, Any]:
    counts = [None if rng.random() < 0.1 else rng.choice((0, 1, 4, 9, 20, 70, 600)) for _ in range(3)]
    additions, deletions, changes = counts
    return {
        "sha": None if rng.random() < 0.2 else "f",
        "filename": name,
        "status": rng.choice(("added", "modified", "renamed", None)),
        "additions": additions,
        "deletions": deletions,
        "changes": changes,
        "previous_filename": None,
        "occurrence": rng.choice((1, 1, 2, 3)),
    }


def _moment(rng: Random, earliest: datetime = _BEGIN) -> datetime:
    return earliest + timedelta(microseconds=rng.randrange(10**13))
