"""What the transform of pull requests has to give, one reading after the other in plain Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_phlo.sources.github_pulls.transform import row_key

Row = dict[str, Any]
_SIZES = ((10, "XS"), (30, "S"), (100, "M"), (500, "L"), (1000, "XL"))


def transform_row_wise(readings: Iterable[Mapping[str, Any]]) -> dict[str, list[Row]]:
    """Return the rows of each table."""
    made: dict[str, list[Row]] = {"pull_requests": [], "reviews": [], "files": []}
    for reading in readings:
        key = row_key("pull_request", reading["repository_id"], reading["number"])
        names = ("organization", "repository", "repository_id", "number", "updated_at")
        first = {"pull_request_key": key, **{name: reading[name] for name in names}}
        made["pull_requests"].append({"row_key": key, **first, **_pull_request(reading)})
        made["reviews"].extend({**first, **_review(reading, review)} for review in reading["reviews"])
        made["files"].extend({**first, **_file(reading, file)} for file in reading["files"])
    return made


def _pull_request(reading: Mapping[str, Any]) -> Row:
    author, head = reading["user"] or {}, reading["head"] or {}
    submitted = [review for review in reading["reviews"] if review["submitted_at"] is not None]
    others = [
        review
        for review in submitted
        if not _is_bot(review["user"]) and (review["user"] or {}).get("id") != author.get("id")
    ]
    first = min((review["submitted_at"] for review in others), default=None)
    additions = sum(file["additions"] or 0 for file in reading["files"])
    deletions = sum(file["deletions"] or 0 for file in reading["files"])
    lines = additions + deletions
    has_sizes = reading["files_complete"] or bool(reading["files"])
    sizes = {
        "additions": additions,
        "deletions": deletions,
        "changed_lines": lines,
        "changed_files": len(reading["files"]),
        "size_class": next((name for limit, name in _SIZES if lines < limit), "XXL"),
    }
    head_id = head.get("repository_id")
    same = ("id", "title", "author_association", "labels", "requested_reviewers", "milestone", "merge_commit_sha")
    times = ("html_url", "created_at", "closed_at", "merged_at", "files_complete")
    return {
        **{name: reading[name] for name in (*same, *times)},
        "state": "merged" if reading["merged_at"] else reading["state"],
        "is_draft": reading["draft"],
        "is_locked": reading["locked"],
        "author_login": author.get("login"),
        "author_id": author.get("id"),
        "author_is_bot": _is_bot(author),
        "base_ref": (reading["base"] or {}).get("ref"),
        "head_ref": head.get("ref"),
        "head_repository": head.get("repository"),
        "is_from_fork": None if head_id is None else head_id != reading["repository_id"],
        "first_review_at": first,
        "time_to_first_review": _seconds(reading["created_at"], first),
        "time_to_merge": _seconds(reading["created_at"], reading["merged_at"]),
        "time_to_close": _seconds(reading["created_at"], reading["closed_at"]),
        "review_count": len(submitted),
        "reviewer_count": len({(review["user"] or {}).get("id") for review in others} - {None}),
        "approval_count": sum(review["state"] == "APPROVED" for review in submitted),
        **{name: value if has_sizes else None for name, value in sizes.items()},
    }


def _review(reading: Mapping[str, Any], review: Mapping[str, Any]) -> Row:
    author, reviewer = reading["user"] or {}, review["user"] or {}
    return {
        "row_key": row_key("review", reading["repository_id"], reading["number"], str(review["id"])),
        "review_id": review["id"],
        "reviewer_login": reviewer.get("login"),
        "reviewer_id": reviewer.get("id"),
        "reviewer_is_bot": _is_bot(reviewer),
        "is_author": reviewer.get("id") is not None and reviewer.get("id") == author.get("id"),
        **{name: review[name] for name in ("state", "submitted_at", "commit_id", "author_association")},
    }


def _file(reading: Mapping[str, Any], file: Mapping[str, Any]) -> Row:
    again = f"\x1f{file['occurrence']}" if file["occurrence"] > 1 else ""
    key = row_key("file", reading["repository_id"], reading["number"], f"{file['filename']}{again}")
    return {"row_key": key, **{name: value for name, value in file.items() if name != "occurrence"}}


def _is_bot(account: Mapping[str, Any] | None) -> bool:
    return bool(account) and (account.get("type") == "Bot" or (account.get("login") or "").endswith("[bot]"))


def _seconds(earlier: datetime, later: datetime | None) -> int | None:
    return None if later is None else int((later - earlier).total_seconds())
