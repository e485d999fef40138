"""The schema of the test's rows."""

from __future__ import annotations

from datetime import datetime

from pandera.pandas import Field

from airflow_provider_phlo.schemas import PhloSchema


class Reading(PhloSchema):
    """A reading."""

    id: str = Field(unique=True)
    number: int = Field(ge=1)
    value: float = Field(ge=0, le=600, metadata={"pii": True})


class Version(PhloSchema):
    id: str = Field(unique=True)
    value: float = Field(nullable=True)
    updated_at: datetime
    is_gone: bool = Field(nullable=True)
