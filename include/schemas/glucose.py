"""What Nightscout's entries and the facts built on them must look like."""

from __future__ import annotations

from pathlib import Path

from pandera.pandas import Field

from airflow_provider_phlo.schemas import PhloSchema, dbt_model_to_pandera

# The last instant that both engines read from milliseconds, in the year 2262: Trino counts nanoseconds in 64 bits.
LATEST_DATE = 2**63 // 1_000_000


class RawGlucoseEntries(PhloSchema):
    """
    One entry of a continuous glucose monitor.

    ``date`` is the instant. ``date_string`` and ``sys_time`` are how uploader and site wrote it down, in whatever form,
    and never a reason to set an entry aside. Values of ``sgv`` outside 20-600 are states of the sensor, not glucose.
    """

    _id: str = Field(unique=True, description="Nightscout's id of the entry")
    sgv: int = Field(
        ge=1, le=1000, description="glucose, mg/dL; outside 20-600 a state of the sensor", metadata={"pii": True}
    )
    date: int = Field(ge=0, le=LATEST_DATE, description="time of the reading, milliseconds since 1970-01-01 UTC")
    date_string: str | None = Field(nullable=True, description="the same as the uploader wrote it")
    type: str | None = Field(nullable=True, description="sgv for sensor readings")
    direction: str | None = Field(nullable=True, description="trend arrow")
    device: str | None = Field(nullable=True, description="what uploaded the reading")
    delta: float | None = Field(nullable=True, description="change since the reading before, mg/dL")
    sys_time: str | None = Field(nullable=True, description="the same as the site wrote it")
    utc_offset: int | None = Field(nullable=True, description="offset of the uploader's clock, minutes")


# What the models' YAML says is said there only.
_MODELS = Path(__file__).parents[1] / "dbt" / "models" / "glucose" / "glucose.yml"

FactGlucoseReadings = dbt_model_to_pandera(_MODELS, "fct_glucose_readings", "FactGlucoseReadings")
FactDailyGlucoseMetrics = dbt_model_to_pandera(_MODELS, "fct_daily_glucose_metrics", "FactDailyGlucoseMetrics")
