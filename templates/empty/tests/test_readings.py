"""The function and the schema of the readings."""

from __future__ import annotations

import pandas as pd
import pytest
from dags.readings import readings
from include.schemas.readings import Reading
from pandera.errors import SchemaError


def test_a_day_has_a_reading_for_every_hour():
    found = Reading.validate(pd.DataFrame(readings("2024-01-15")))
    assert found["taken_at"].dt.hour.tolist() == list(range(24))


def test_a_reading_that_cannot_be_is_refused():
    with pytest.raises(SchemaError, match="value"):
        Reading.validate(pd.DataFrame([{"id": "1", "value": 99, "taken_at": "2024-01-15T00:00Z"}]))
