"""The functions and the schemas of the user's tables, on a GitHub that answers from recordings."""

from __future__ import annotations

import threading
from datetime import date

import pandas as pd
import pytest
from airflow.sdk import Connection
from pandera.errors import SchemaError

from dags.github_stats import user_events, user_profile, user_repos
from include.replay.recordings import Recordings
from include.replay.server import ReplayServer
from include.schemas.github import UserProfile


@pytest.fixture
def api(tmp_path):
    recordings = Recordings.open(tmp_path, days=2, seed=7, end=date(2024, 1, 15), login="somebody")
    with ReplayServer(recordings, None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Connection(conn_id="github", conn_type="http", host=f"{server.url}/github", login="somebody")
        server.shutdown()


def test_the_user_is_the_one_of_the_connection(api):
    found = UserProfile.validate(pd.DataFrame(list(user_profile(api))))
    assert found["login"].tolist() == ["somebody"]


def test_repositories_are_those_of_the_user(api):
    found = list(user_repos(api))
    assert found
    assert {repository["owner"]["login"] for repository in found} == {"somebody"}


def test_events_come_with_ids_but_for_broken_ones(api):
    found = list(user_events(api))
    assert len({event["id"] for event in found if "id" in event}) > 10


def test_a_profile_needs_a_login(api):
    (profile,) = user_profile(api)
    with pytest.raises(SchemaError, match="login"):
        UserProfile.validate(pd.DataFrame([{**profile, "login": None}]))
