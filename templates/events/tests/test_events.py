"""The function and the schema of the events."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest
from pandera.errors import SchemaError

from dags.github_events import public_events
from include.schemas.public_events import PublicEvents

EVENT = dict.fromkeys(PublicEvents.to_schema().columns)
EVENT |= {"event_id": "1", "created_at": datetime(2024, 1, 15, tzinfo=UTC), "actor_id": 1, "repo_id": 1}
EVENT |= {"ingested_at": datetime(2024, 1, 15, tzinfo=UTC), "raw": "{}", "source_file": "a.jsonl"}


def test_there_is_nothing_to_take_before_a_batch_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("DUCKDB_PATH", str(tmp_path / "events.duckdb"))
    assert public_events() is None


def test_an_event_is_taken():
    assert len(PublicEvents.validate(pd.DataFrame([EVENT]))) == 1


def test_an_event_without_an_id_is_refused():
    with pytest.raises(SchemaError, match="event_id"):
        PublicEvents.validate(pd.DataFrame([{**EVENT, "event_id": None}]))
