"""The function and the schema of the readings, on a site that answers from recordings."""

from __future__ import annotations

import threading
from datetime import date

import pandas as pd
import pytest
from airflow.sdk import Connection
from pandera.errors import SchemaError

from dags.glucose_platform import glucose_entries
from include.replay.recordings import Recordings
from include.replay.server import ReplayServer
from include.schemas.glucose import RawGlucoseEntries

ENTRY = {"_id": "1", "sgv": 100, "date": 1_705_300_000_000, "date_string": "", "type": "sgv", "direction": "Flat"}
ENTRY |= {"device": "", "delta": 0.0, "sys_time": "", "utc_offset": 0}


@pytest.fixture
def site(tmp_path):
    recordings = Recordings.open(tmp_path, days=2, seed=7, end=date(2024, 1, 15), login="somebody")
    with ReplayServer(recordings, "secret") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Connection(conn_id="nightscout", conn_type="http", host=f"{server.url}/nightscout", password="secret")
        server.shutdown()


@pytest.mark.parametrize("days_before", [0, 1])
def test_a_run_asks_for_its_day_and_the_days_before_it(site, days_before):
    context = {"params": {"lookback_days": days_before}}
    found = list(glucose_entries("2024-01-15", context, site))
    days = {date.fromtimestamp(entry["date"] / 1000).isoformat() for entry in found}
    assert {"2024-01-15", "2024-01-14"} >= days
    assert len(found) > 250 * (1 + days_before)


def test_an_entry_is_taken():
    assert len(RawGlucoseEntries.validate(pd.DataFrame([ENTRY]))) == 1


def test_an_impossible_value_is_refused():
    with pytest.raises(SchemaError, match="sgv"):
        RawGlucoseEntries.validate(pd.DataFrame([{**ENTRY, "sgv": 1001}]))
