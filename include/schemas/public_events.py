"""GitHub's public events as they were loaded from their batches."""

from __future__ import annotations

from datetime import datetime

from pandera.pandas import Field

from airflow_provider_phlo.schemas import PhloSchema


class PublicEvents(PhloSchema):
    """One row per event, the first that came with its id."""

    event_id: str = Field(unique=True, description="GitHub's id of the event")
    event_type: str | None = Field(nullable=True, description="PushEvent, WatchEvent, …")
    created_at: datetime | None = Field(nullable=True, description="when it happened")
    ingested_at: datetime | None = Field(nullable=True, description="when it was fetched")
    actor_id: int | None = Field(nullable=True, description="GitHub's id of who did it")
    actor_login: str | None = Field(nullable=True, description="the name of who did it")
    repo_id: int | None = Field(nullable=True, description="GitHub's id of the repository")
    repo_name: str | None = Field(nullable=True, description="owner/name of the repository")
    payload: str | None = Field(nullable=True, description="what happened, as JSON")
    raw: str = Field(description="the event as it stands in its batch, JSON")
    source_file: str = Field(description="the batch that it came with")
