"""What a reading must look like."""

from __future__ import annotations

from datetime import datetime

from pandera.pandas import Field

from airflow_provider_phlo.schemas import PhloSchema


class Reading(PhloSchema):
    """One reading per id."""

    id: str = Field(unique=True)
    value: float = Field(ge=-50, le=60, description="degrees Celsius")
    taken_at: datetime
