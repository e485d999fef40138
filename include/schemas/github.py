"""What GitHub's REST API returns about one user."""

from __future__ import annotations

from datetime import datetime

from pandera.pandas import Field

from airflow_provider_phlo.schemas import PhloSchema


class UserProfile(PhloSchema):
    """``GET /users/{login}``."""

    id: int = Field(unique=True, description="GitHub's id of the user")
    login: str = Field(description="user name")
    name: str | None = Field(nullable=True)
    company: str | None = Field(nullable=True)
    location: str | None = Field(nullable=True)
    bio: str | None = Field(nullable=True)
    blog: str | None = Field(nullable=True)
    html_url: str | None = Field(nullable=True)
    public_repos: int | None = Field(nullable=True, ge=0)
    public_gists: int | None = Field(nullable=True, ge=0)
    followers: int | None = Field(nullable=True, ge=0)
    following: int | None = Field(nullable=True, ge=0)
    created_at: datetime | None = Field(nullable=True)
    updated_at: datetime | None = Field(nullable=True)


class UserRepos(PhloSchema):
    """``GET /users/{login}/repos``."""

    id: int = Field(unique=True, description="GitHub's id of the repository")
    name: str = Field()
    full_name: str = Field(description="owner/name")
    owner: dict | None = Field(nullable=True, description="the owner as JSON")
    private: bool | None = Field(nullable=True)
    fork: bool | None = Field(nullable=True)
    archived: bool | None = Field(nullable=True)
    html_url: str | None = Field(nullable=True)
    description: str | None = Field(nullable=True)
    language: str | None = Field(nullable=True)
    default_branch: str | None = Field(nullable=True)
    created_at: datetime | None = Field(nullable=True)
    updated_at: datetime | None = Field(nullable=True)
    pushed_at: datetime | None = Field(nullable=True)
    size: int | None = Field(nullable=True, ge=0, description="kilobytes")
    stargazers_count: int | None = Field(nullable=True, ge=0)
    watchers_count: int | None = Field(nullable=True, ge=0)
    forks_count: int | None = Field(nullable=True, ge=0)
    open_issues_count: int | None = Field(nullable=True, ge=0)
    topics: list | None = Field(nullable=True, description="JSON")
    license: dict | None = Field(nullable=True, description="JSON")


class UserEvents(PhloSchema):
    """``GET /users/{login}/events``."""

    id: str = Field(unique=True, description="GitHub's id of the event")
    type: str = Field(description="PushEvent, WatchEvent, …")
    actor: dict | None = Field(nullable=True, description="who, as JSON")
    repo: dict | None = Field(nullable=True, description="where, as JSON")
    payload: dict | None = Field(nullable=True, description="what, as JSON")
    public: bool | None = Field(nullable=True)
    created_at: datetime = Field(description="when")
    org: dict | None = Field(nullable=True, description="the organisation, as JSON")
