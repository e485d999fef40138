"""A schema whose limit a test can raise: no Dag."""

from __future__ import annotations

import os
from pathlib import Path

from pandera.pandas import Field

from airflow_provider_phlo.schemas import PhloSchema


class Limited(PhloSchema):
    id: str = Field(unique=True)
    value: float = Field(le=float(Path(os.environ["TEST_SOURCES"], "limit").read_text()))
