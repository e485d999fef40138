"""
What is read of a pull request, and the four tables that are made of it.

Instants are in UTC, durations in whole seconds, sizes in lines and files.
"""

from __future__ import annotations

from datetime import datetime

from pandera.pandas import Field
from typing_extensions import TypedDict

from airflow_provider_phlo.schemas import PhloSchema


class Account(TypedDict):
    """Who did something: a user, a bot or an organisation; NULL where the account is gone."""

    login: str
    id: int
    type: str


class Base(TypedDict):
    """The branch that a pull request is for."""

    ref: str
    sha: str


class Head(TypedDict):
    """The branch that a pull request brings; without a repository if that was deleted."""

    ref: str
    sha: str
    repository: str
    repository_id: int


class ReviewRead(TypedDict):
    """One review, as it was read."""

    id: int
    user: Account
    state: str
    submitted_at: datetime
    commit_id: str
    author_association: str


class FileRead(TypedDict):
    """One changed file, as it was read."""

    sha: str
    filename: str
    status: str
    additions: int
    deletions: int
    changes: int
    previous_filename: str
    occurrence: int


class PullRequestReading(PhloSchema):
    """One pull request with its reviews and files, as GitHub answered."""

    organization: str = Field(description="login of the organisation or user that was asked for, as GitHub writes it")
    repository: str = Field(description="name of the repository")
    repository_id: int = Field(description="GitHub's id of the repository: it stays through renames and transfers")
    number: int = Field(description="number of the pull request in its repository")
    id: int | None = Field(nullable=True, description="GitHub's id of the pull request")
    title: str | None = Field(nullable=True)
    state: str | None = Field(nullable=True, description="open or closed")
    draft: bool | None = Field(nullable=True)
    locked: bool | None = Field(nullable=True)
    user: Account | None = Field(nullable=True, description="the author; NULL if the account is gone")
    author_association: str | None = Field(nullable=True)
    created_at: datetime = Field(description="when it was opened")
    updated_at: datetime = Field(description="when anything about it last changed")
    closed_at: datetime | None = Field(nullable=True)
    merged_at: datetime | None = Field(nullable=True)
    merge_commit_sha: str | None = Field(nullable=True)
    base: Base | None = Field(nullable=True)
    head: Head | None = Field(nullable=True)
    labels: list[str] | None = Field(nullable=True)
    requested_reviewers: list[str] | None = Field(nullable=True)
    milestone: str | None = Field(nullable=True)
    html_url: str | None = Field(nullable=True)
    reviews: list[ReviewRead] = Field()
    files: list[FileRead] = Field()
    files_complete: bool = Field(description="false where GitHub does not list all files: it stops at 3,000")
    read_at: datetime = Field(description="when the reviews and files were read, by GitHub's clock")


class _Entity(PhloSchema):
    """What rows about a pull request begin with."""

    row_key: str = Field(unique=True, description="stable over runs, renames and transfers; see docs/pulls.md")
    pull_request_key: str = Field(description="row_key of the pull request")
    organization: str = Field(description="login of the organisation or user")
    repository: str = Field(description="name of the repository")
    repository_id: int = Field(description="GitHub's id of the repository")
    number: int = Field(description="number of the pull request in its repository")
    updated_at: datetime = Field(description="when anything about the pull request last changed: a later one wins")


class PullRequest(_Entity):
    """One row per pull request."""

    id: int | None = Field(nullable=True, description="GitHub's id of the pull request")
    title: str | None = Field(nullable=True)
    state: str | None = Field(nullable=True, description="open, closed or merged")
    is_draft: bool | None = Field(nullable=True)
    is_locked: bool | None = Field(nullable=True)
    author_login: str | None = Field(nullable=True, description="NULL if the account is gone")
    author_id: int | None = Field(nullable=True)
    author_is_bot: bool = Field(description="GitHub says Bot, or the login ends with [bot]")
    author_association: str | None = Field(nullable=True, description="MEMBER, CONTRIBUTOR, NONE, …")
    base_ref: str | None = Field(nullable=True)
    head_ref: str | None = Field(nullable=True)
    head_repository: str | None = Field(nullable=True, description="owner/name; NULL if it was deleted")
    is_from_fork: bool | None = Field(nullable=True, description="NULL if the head's repository was deleted")
    labels: list[str] | None = Field(nullable=True)
    requested_reviewers: list[str] | None = Field(nullable=True, description="logins")
    milestone: str | None = Field(nullable=True)
    merge_commit_sha: str | None = Field(nullable=True)
    html_url: str | None = Field(nullable=True)
    created_at: datetime = Field()
    closed_at: datetime | None = Field(nullable=True)
    merged_at: datetime | None = Field(nullable=True)
    first_review_at: datetime | None = Field(
        nullable=True, description="first submitted review by a person who is not the author"
    )
    time_to_first_review: int | None = Field(nullable=True, description="seconds from created_at to first_review_at")
    time_to_merge: int | None = Field(nullable=True, description="seconds from created_at to merged_at")
    time_to_close: int | None = Field(nullable=True, description="seconds from created_at to closed_at")
    review_count: int = Field(description="submitted reviews, also by bots and the author")
    reviewer_count: int = Field(
        description="people other than the author who submitted a review, and whose accounts are not gone"
    )
    approval_count: int = Field(description="submitted reviews that approve")
    additions: int | None = Field(
        nullable=True, description="lines added, in the files that GitHub lists; NULL if it could list none of them"
    )
    deletions: int | None = Field(
        nullable=True, description="lines deleted, in the files that GitHub lists; NULL if it could list none of them"
    )
    changed_lines: int | None = Field(nullable=True, description="additions + deletions")
    changed_files: int | None = Field(
        nullable=True, description="files that GitHub lists; NULL if it could list none of them"
    )
    files_complete: bool = Field(description="false: GitHub lists 3,000 files at most, and the sizes are of those")
    size_class: str | None = Field(
        nullable=True,
        isin=["XS", "S", "M", "L", "XL", "XXL"],
        description="by changed_lines: below 10, 30, 100, 500, 1,000, and more; NULL if they are not known",
    )


class PullRequestReview(_Entity):
    """
    One row per review.

    One that is gone keeps its last state: it is current if its ``updated_at`` is that of its pull request.
    """

    review_id: int = Field(description="GitHub's id of the review")
    reviewer_login: str | None = Field(nullable=True, description="NULL if the account is gone")
    reviewer_id: int | None = Field(nullable=True)
    reviewer_is_bot: bool = Field(description="GitHub says Bot, or the login ends with [bot]")
    is_author: bool = Field(description="the author of the pull request reviewed it")
    state: str | None = Field(nullable=True, description="APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED, PENDING")
    submitted_at: datetime | None = Field(nullable=True, description="NULL while it is PENDING")
    commit_id: str | None = Field(nullable=True, description="the commit that was reviewed")
    author_association: str | None = Field(nullable=True)


class PullRequestFile(_Entity):
    """
    One row per changed file of a pull request; two where GitHub lists a path twice.

    One that is gone keeps its last state: it is current if its ``updated_at`` is that of its pull request.
    """

    filename: str = Field(description="path in the repository")
    status: str | None = Field(
        nullable=True, description="added, modified, removed, renamed, copied, changed, unchanged"
    )
    previous_filename: str | None = Field(nullable=True, description="of a renamed file")
    sha: str | None = Field(nullable=True, description="of the file's content")
    additions: int | None = Field(nullable=True, description="lines")
    deletions: int | None = Field(nullable=True, description="lines")
    changes: int | None = Field(nullable=True, description="lines")


class PullRequestRepository(PhloSchema):
    """One row per repository of an organisation: how far its pull requests have been read."""

    row_key: str = Field(unique=True, description="stable over runs, renames and transfers; see docs/pulls.md")
    organization: str = Field(description="login of the organisation or user")
    repository: str = Field(description="name of the repository")
    repository_id: int = Field(description="GitHub's id of the repository")
    is_private: bool | None = Field(nullable=True)
    is_fork: bool | None = Field(nullable=True)
    is_archived: bool | None = Field(nullable=True)
    complete_until: datetime | None = Field(
        nullable=True,
        description="every pull request that was last updated before then is there; NULL if that is not certain",
    )
    last_update: datetime | None = Field(
        nullable=True,
        description="greatest updated_at among its pull requests: the next run reads from 10 seconds before",
    )
    updated_last: str | None = Field(
        nullable=True,
        description="JSON: numbers and times of those that were updated then: unchanged, they are not read again",
    )
    pull_requests: int | None = Field(nullable=True, description="rows of the repository in raw.pull_requests then")
    reviews: int | None = Field(nullable=True, description="rows of the repository in raw.pull_request_reviews then")
    files: int | None = Field(nullable=True, description="rows of the repository in raw.pull_request_files then")
    left_out: str | None = Field(
        nullable=True, description="why its pull requests, or some of them, could not be read; NULL if they were"
    )
    left_out_pull_requests: int | None = Field(
        nullable=True, description="how many could not be read; NULL if all could, or none"
    )
    read_at: datetime = Field(description="when it was listed, by GitHub's clock")
