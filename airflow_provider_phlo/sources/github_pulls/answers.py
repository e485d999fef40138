"""What is kept of GitHub's answers: small records of plain values, and when they become those of the reading."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeGuard

_INSTANTS = ("created_at", "updated_at", "closed_at", "merged_at", "read_at")


def repository_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a repository."""
    owner = answer.get("owner")
    return {
        "id": answer.get("id"),
        "name": answer.get("name"),
        "full_name": answer.get("full_name"),
        "owner": owner.get("login") if isinstance(owner, Mapping) else None,
        "is_private": _of_type(answer.get("private"), bool),
        "is_fork": _of_type(answer.get("fork"), bool),
        "is_archived": _of_type(answer.get("archived"), bool),
    }


def pull_request_of(
    answer: Mapping[str, Any], repository: Mapping[str, Any], organization: str, path: str
) -> dict[str, Any]:
    """
    Return what is kept of a pull request in a list: no bodies, which may be long and personal.

    :param repository: as :func:`repository_of` returned it.
    :param path: of the repository in the API.
    """
    kept = ("number", "id", "title", "state", "draft", "locked", "author_association")
    times = ("created_at", "updated_at", "closed_at", "merged_at")
    head, base = _object(answer.get("head")), _object(answer.get("base"))
    heads = _object(head.get("repo"))
    return {
        "organization": organization,
        "repository": repository["name"],
        "repository_id": base_id_of(answer) or repository["id"],
        "full_name": repository["full_name"],
        "path": f"{path}/pulls/{answer.get('number')}",
        **{name: answer.get(name) for name in (*kept, *times, "merge_commit_sha", "html_url")},
        "user": account_of(answer.get("user")),
        "base": {"ref": base.get("ref"), "sha": base.get("sha")},
        "head": {
            "ref": head.get("ref"),
            "sha": head.get("sha"),
            "repository": heads.get("full_name"),
            "repository_id": heads.get("id"),
        },
        "labels": [_object(label).get("name") for label in _list(answer.get("labels"))],
        "requested_reviewers": [_object(user).get("login") for user in _list(answer.get("requested_reviewers"))],
        "milestone": _object(answer.get("milestone")).get("title"),
    }


def base_id_of(answer: Mapping[str, Any]) -> int | None:
    """Return the id of the repository that a pull request says it is of; None where it does not say."""
    found = _object(_object(answer.get("base")).get("repo")).get("id")
    return found if is_id(found) else None


def review_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a review."""
    kept = ("id", "state", "submitted_at", "commit_id", "author_association")
    return {**{name: answer.get(name) for name in kept}, "user": account_of(answer.get("user"))}


def file_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a changed file; patches are not."""
    kept = ("sha", "filename", "status", "additions", "deletions", "changes", "previous_filename")
    return {name: answer.get(name) for name in kept}


def account_of(answer: Any) -> dict[str, Any] | None:
    """Return who did something, None where the account is gone."""
    if not isinstance(answer, Mapping):
        return None
    return {name: answer.get(name) for name in ("login", "id", "type")}


def reading_of(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of ``PullRequestReading``, whose times are times."""
    reading = {name: value for name, value in kept.items() if name not in ("full_name", "path")}
    reading.update({name: instant(reading.get(name)) for name in _INSTANTS})
    reading["reviews"] = [{**review, "submitted_at": instant(review["submitted_at"])} for review in kept["reviews"]]
    return reading


def instant(value: Any) -> Any:
    """Return a time of GitHub's in UTC; what is not one as it is, for the schema to judge."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # in UTC, it may be before the first day that there is
        return value


def is_id(value: Any) -> TypeGuard[int]:
    """Return whether ``value`` can be an id of GitHub's: a positive integer of 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def is_text(value: Any) -> bool:
    """Return whether ``value`` is text that can be kept: half a surrogate pair cannot."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def text_of(moment: datetime) -> str:
    """Return a time as GitHub writes it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def sent_at(headers: Mapping[str, str]) -> datetime:
    """Return when the server sent an answer, by its own clock; by ours where it does not say."""
    try:
        moment = parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return datetime.now(UTC).replace(microsecond=0)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _of_type(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) else None
