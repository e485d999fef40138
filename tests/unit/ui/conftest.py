"""What tests of the API of public events share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_phlo.events.published import publish
from tests.unit.events.database import Event, load, open_database

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def published(tmp_path):
    """Return a folder in which three events are published."""
    folder = tmp_path / "published"
    with open_database() as connection:
        times = [NOW - timedelta(hours=3), NOW - timedelta(hours=3) + timedelta(minutes=5), NOW - timedelta(days=30)]
        load(connection, [Event(str(number), created_at=moment) for number, moment in enumerate(times)])
        publish(connection, folder)
    return folder
