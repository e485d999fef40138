"""What Nightscout's entries and the facts built on them must look like."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pandera.pandas import Field

from airflow_provider_phlo.schemas import PhloSchema, dbt_model_to_pandera


class RawGlucoseEntries(PhloSchema):
    """One reading of a continuous glucose monitor."""

    _id: str = Field(unique=True, description="Nightscout's id of the entry")
    sgv: int = Field(ge=1, le=1000, description="sensor glucose value, mg/dL", metadata={"pii": True})
    date: int = Field(ge=0, description="time of the reading, milliseconds since 1970-01-01 UTC")
    date_string: datetime | None = Field(nullable=True, description="the same as a date-time")
    type: str | None = Field(nullable=True, description="sgv for sensor readings")
    direction: str | None = Field(nullable=True, description="trend arrow")
    device: str | None = Field(nullable=True, description="what uploaded the reading")
    delta: float | None = Field(nullable=True, description="change since the reading before, mg/dL")
    sys_time: datetime | None = Field(nullable=True, description="when Nightscout received it")
    utc_offset: int | None = Field(nullable=True, description="offset of the uploader's clock, minutes")


# What the models' YAML says is said there only.
_MODELS = Path(__file__).parents[1] / "dbt" / "models" / "glucose" / "glucose.yml"

FactGlucoseReadings = dbt_model_to_pandera(_MODELS, "fct_glucose_readings", "FactGlucoseReadings")
FactDailyGlucoseMetrics = dbt_model_to_pandera(_MODELS, "fct_daily_glucose_metrics", "FactDailyGlucoseMetrics")
