"""The recorded APIs on demand, and that recordings and live data stay apart (cases 50 to 52)."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_phlo.events.terms import INGEST_DAG
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.demo import run as demo
from airflow_provider_phlo.services.environment import embedded, live
from airflow_provider_phlo.services.environment.replay import (
    SOURCES,
    ensure_replay,
    has_recordings,
    recorded_connections,
)
from airflow_provider_phlo.services.machine import ports, processes
from airflow_provider_phlo.sources.nightscout import day_window, nightscout

ROOT = Path(__file__).parents[4]
OWN = '{"conn_type": "http", "host": "https://site.example.com"}'


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    embedded.prepare(home)
    yield home
    processes.stop(embedded.secret(home, "mark"))


@pytest.mark.long
def test_case_50_the_recordings_are_served_when_they_are_needed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once for all shells, at one port, at another one if that is taken; a stranger there gets no data from us."""
    variables = embedded.connections_to_recordings(home, ROOT, {})
    assert set(variables) == set(SOURCES)
    assert "recorded data" in capsys.readouterr().err
    assert embedded.connections_to_recordings(home, ROOT, {}) == variables == recorded_connections(home, secret(home))
    assert len(processes.find_marked(embedded.secret(home, "mark"))) == 1
    site = json.loads(variables["AIRFLOW_CONN_NIGHTSCOUT_DEFAULT"])
    start, end = day_window("2024-01-15")
    assert len(list(nightscout(site["host"], site["password"], start=start, end=end))) == 289

    processes.stop(embedded.secret(home, "mark"))
    assert embedded.connections_to_recordings(home, ROOT, {}) == variables
    processes.stop(embedded.secret(home, "mark"))
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind((ports.HOST, int((home / "replay" / "port").read_text())))
        stranger.listen()
        assert embedded.connections_to_recordings(home, ROOT, {}) != variables


def secret(home: Path) -> str:
    return embedded.secret(home, "replay_secret")


def test_case_50_a_project_without_recordings_has_none(home: Path, tmp_path: Path) -> None:
    assert has_recordings(ROOT)
    assert embedded.connections_to_recordings(home, tmp_path, {}) == {}
    assert not (home / "replay").exists()


def test_case_51_own_connections_are_left_alone(home: Path, tmp_path: Path) -> None:
    shell = {"AIRFLOW_CONN_GITHUB_DEFAULT": OWN, "HOME": "x"}
    assert embedded.connections_to_recordings(home, ROOT, shell) == {}
    assert live.own_connections(tmp_path, shell) == {"AIRFLOW_CONN_GITHUB_DEFAULT": OWN}
    (tmp_path / ".env").write_text("NIGHTSCOUT_URL=https://site.example.com\n")
    assert set(live.own_connections(tmp_path, shell)) == set(SOURCES)


def test_case_51_a_shells_connections_to_recordings_are_not_live(home: Path, tmp_path: Path) -> None:
    recorded = ensure_replay(home, ROOT, secret(home), embedded.secret(home, "mark"), os.environ).connections()
    shell = {**recorded, "HOME": "x"}
    assert live.without_recordings(home, secret(home), shell) == {"HOME": "x"}
    shell["AIRFLOW_CONN_GITHUB_DEFAULT"] = OWN
    assert live.own_connections(tmp_path, live.without_recordings(home, secret(home), shell)) == {
        "AIRFLOW_CONN_GITHUB_DEFAULT": OWN
    }


def test_case_51_recordings_and_live_data_do_not_mix(home: Path) -> None:
    live.claim(home, live=True)
    live.claim(home, live=False)  # nothing was built yet
    (home / "replay").mkdir()
    (home / "catalog.db").touch()
    with pytest.raises(ConfigurationError, match=r"hold recorded data.*PHLO_HOME"):
        live.claim(home, live=True)
    live.claim(home, live=False)
    (home / "catalog.db").unlink()
    live.claim(home, live=True)
    assert not (home / "replay").exists()
    (home / "catalog.db").touch()
    live.claim(home, live=True)
    with pytest.raises(ConfigurationError, match="hold live data"):
        live.claim(home, live=False)
    assert embedded.connections_to_recordings(home, ROOT, {}) == {}


def test_case_51_live_data_needs_a_connection(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SOURCES, "GITHUB_USERNAME", "GITHUB_TOKEN", "NIGHTSCOUT_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(demo.DemoError, match=r"LIVE=1 needs a source: set NIGHTSCOUT_URL"):
        demo.live_connections(home, tmp_path)
    (tmp_path / ".env").write_text("GITHUB_USERNAME=me\n")
    connections = demo.live_connections(home, tmp_path)
    running = demo.Demo(home, tmp_path, connections)
    assert running.dags == {"github_stats", "github_events"}
    assert json.loads(running.environment["AIRFLOW_CONN_GITHUB_DEFAULT"])["login"] == "me"
    assert "AIRFLOW_CONN_NIGHTSCOUT_DEFAULT" not in running.environment
    assert running.last_day() < str(datetime.now(UTC).date())


@pytest.mark.parametrize(
    ("connection", "dags"),
    [
        ('{"conn_type": "http", "login": "me"}', {live.STATS_DAG, INGEST_DAG}),
        ('{"conn_type": "http", "extra": {"organizations": ["o"]}}', {live.PULLS_DAG, INGEST_DAG}),
        (
            '{"conn_type": "http", "login": "me", "extra": "{\\"organizations\\": [\\"o\\"]}"}',
            live.ALL_DAGS - {live.GLUCOSE_DAG},
        ),
        ("http://me@api.github.com/", {live.STATS_DAG, INGEST_DAG}),
        ("http://me@h/?__extra__=%7B%22organizations%22%3A%5B%22o%22%5D%7D", live.ALL_DAGS - {live.GLUCOSE_DAG}),
        ('{"conn_type": "http"}', {INGEST_DAG}),
    ],
)
def test_a_connection_to_github_fills_the_dags_that_it_has_a_name_for(connection, dags):
    assert live.filled_dags({live.GITHUB: connection}) == dags


@pytest.mark.parametrize("connection", ["{", '{"extra": 5}', '{"extra": "x"}', "http://h/?__extra__=5"])
def test_a_connection_that_cannot_be_read_is_named(connection):
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_GITHUB_DEFAULT"):
        live.filled_dags({live.GITHUB: connection})
