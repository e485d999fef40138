from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import dlt
import pytest
import requests

from airflow_provider_phlo.sources.github import github
from airflow_provider_phlo.sources.github_events import fetch_public_events
from airflow_provider_phlo.sources.nightscout import day_window, nightscout
from include.replay.recordings import Recordings
from include.replay.server import ReplayServer
from tests.expect import expect
from tests.patience import PATIENCE

SECRET = "replay-test-secret"  # of a server that lives for this test
HEADER = {"api-secret": hashlib.sha1(SECRET.encode()).hexdigest()}
END = date(2024, 1, 30)


@pytest.fixture
def replay(tmp_path):
    recordings = Recordings.open(tmp_path / "replay", 12, 7, END, "octo-phlo")
    with ReplayServer(recordings, SECRET) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_health(replay):
    health = requests.get(f"{replay.url}/replay/health", timeout=PATIENCE).json()
    assert health == {"status": "ok", "login": "octo-phlo", "days": 12, "end": "2024-01-30", "advances": 0}


def test_github_pages_overlap_by_one_item(replay):
    url, pages = f"{replay.url}/github/users/octo-phlo/events?per_page=20", []
    while url:
        response = requests.get(url, timeout=PATIENCE)
        pages.append(response.json())
        url = response.links.get("next", {}).get("url")
        assert response.headers["X-RateLimit-Limit"] == "5000"
        assert int(response.headers["X-RateLimit-Remaining"]) == 5000 - len(pages)
    assert all(one[-1] == other[0] for one, other in pairwise(pages))
    joined = pages[0] + [event for page in pages[1:] for event in page[1:]]
    assert joined == replay.recordings.events


@pytest.mark.long
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9])
def test_pages_of_any_size_end(replay, size):
    names = {repository["full_name"] for repository in replay.recordings.repositories}
    source = github(f"{replay.url}/github", "octo-phlo", per_page=size)
    assert {item["full_name"] for item in source.user_repos} == names


def test_an_etag_gives_a_304(replay):
    url = f"{replay.url}/github/users/octo-phlo"
    first = requests.get(url, timeout=PATIENCE)
    again = requests.get(url, headers={"If-None-Match": first.headers["ETag"]}, timeout=PATIENCE)
    expect(again, status_code=304, content=b"")


def test_an_unknown_user_is_not_found(replay):
    for path in ("users/nobody", "users/nobody/events", "users", "users/octo-phlo/gists", ""):
        assert requests.get(f"{replay.url}/github/{path}", timeout=PATIENCE).status_code == 404


def test_the_hourly_limit_is_kept(replay, monkeypatch):
    monkeypatch.setattr("include.replay.server.HOURLY_REQUESTS", 1)
    url = f"{replay.url}/github/users/octo-phlo"
    assert requests.get(url, timeout=PATIENCE).status_code == 200
    limited = requests.get(url, timeout=PATIENCE)
    assert limited.status_code == 403
    assert limited.headers["X-RateLimit-Remaining"] == "0"


def test_nightscout_asks_for_the_secret(replay):
    url = f"{replay.url}/nightscout/api/v1/entries.json"
    assert requests.get(url, timeout=PATIENCE).status_code == 401
    assert requests.get(url, headers={"api-secret": "0" * 40}, timeout=PATIENCE).status_code == 401
    assert len(requests.get(url, headers=HEADER, timeout=PATIENCE).json()) == 10


def test_nightscout_without_a_secret_is_closed(tmp_path):
    with ReplayServer(Recordings.open(tmp_path, 1, 7, END, "o"), None) as server:
        assert not server.opens("")
        assert not server.opens(hashlib.sha1(b"").hexdigest())


def test_nightscout_filters_sorts_and_caps(replay):
    entries = replay.recordings.entries
    low, high = entries[500]["date"], entries[450]["date"]

    def ask(**find):
        params = {f"find[date][${name}]": value for name, value in find.items()}
        url = f"{replay.url}/nightscout/api/v1/entries.json"
        return requests.get(url, params={**params, "count": 5000}, headers=HEADER, timeout=PATIENCE).json()

    assert ask(gte=low, lt=high) == entries[451:501]
    assert ask(gt=low, lte=high) == entries[450:500]
    assert ask() == entries[:100]
    assert ask(gte=high, lt=low) == []


def test_the_sources_read_everything(replay):
    start, end = day_window("2024-01-28")
    entries = list(nightscout(f"{replay.url}/nightscout", SECRET, start=start, end=end))
    expected = {e["_id"] for e in replay.recordings.entries if e["dateString"].startswith("2024-01-28")}
    assert {entry["_id"] for entry in entries} == expected
    assert len(entries) == len(expected) == 289
    events = list(github(f"{replay.url}/github", "octo-phlo").user_events)
    assert {json.dumps(event) for event in events} == {json.dumps(event) for event in replay.recordings.events}


def test_public_events_repeat_between_pages_and_are_known_by_their_etag(replay):
    found = fetch_public_events(f"{replay.url}/github", conn_id="github_default")
    # 303 with those that pages repeat, more or fewer of them when a new event comes between two pages
    assert len(found.events) + found.repeated == 303
    assert found.repeated
    # every 97th has no id
    ids = [event["id"] for event in found.events if "id" in event]
    assert len(set(ids)) == len(ids) >= 296
    assert ids == sorted(ids, reverse=True)
    assert found.poll_seconds == 5.0
    again = fetch_public_events(f"{replay.url}/github", conn_id="github_default", etag=found.etag)
    # every ten seconds there is a new one
    assert not again.modified or int(again.events[0]["id"]) > int(ids[0])


@pytest.mark.long
@pytest.mark.parametrize("day", ["1999-12-31", "2024-01-18", "2024-01-31", "2024-02-29", "2026-01-01"])
def test_case_50_the_server_answers_for_any_day(replay, day):
    start, end = day_window(day)
    entries = list(nightscout(f"{replay.url}/nightscout", SECRET, start=start, end=end))
    assert len({entry["_id"] for entry in entries}) == len(entries) == 289
    assert all(entry["dateString"].startswith(day) for entry in entries)
    assert entries == list(nightscout(f"{replay.url}/nightscout", SECRET, start=start, end=end))


def test_case_50_days_join_at_the_edges_of_the_window(replay):
    start, end = day_window("2024-01-17")[0], day_window("2024-02-02")[1]
    entries = list(nightscout(f"{replay.url}/nightscout", SECRET, start=start, end=end))
    assert len({entry["_id"] for entry in entries}) == len(entries) == 17 * 289
    dates = [entry["date"] for entry in entries]
    assert dates == sorted(dates, reverse=True)


def test_case_52_today_has_what_was_measured_so_far(replay):
    now = datetime.now(UTC)
    start, end = day_window(now.date().isoformat())
    entries = list(nightscout(f"{replay.url}/nightscout", SECRET, start=start, end=end))
    passed = (now - start).total_seconds() / 300
    assert passed - 3 <= len(entries) <= passed + 3
    assert all(entry["date"] <= datetime.now(UTC).timestamp() * 1000 for entry in entries)


def test_an_advance_reaches_conditional_readers(replay, tmp_path):
    pipeline = dlt.pipeline("replayed", pipelines_dir=str(tmp_path / "dlt"))

    def read(resource):
        items: list[dict[str, object]] = []
        source = github(f"{replay.url}/github", "octo-phlo").with_resources(resource)
        source.resources[resource].add_map(lambda item: items.append(item) or item)
        pipeline.extract(source)
        return items

    assert len(read("user_repos")) == 8
    assert read("user_repos") == []
    assert requests.post(f"{replay.url}/replay/misread", headers=HEADER, timeout=PATIENCE).json() == {}
    assert replay.recordings.misread
    counts = requests.post(f"{replay.url}/replay/advance", headers=HEADER, timeout=PATIENCE).json()
    assert counts["corrected_entries"] == 5
    assert not replay.recordings.misread
    assert len(read("user_repos")) == 8


def test_the_program_starts_prints_its_url_and_ends_on_a_signal(tmp_path):
    command = [sys.executable, "-m", "include.replay", "--port", "0", "--home", str(tmp_path / "home"), "--days", "2"]
    environment = {**os.environ, "REPLAY_API_SECRET": SECRET}
    process = subprocess.Popen(
        [*command, "--end", "2024-01-30", "--login", "me"],
        cwd=Path(__file__).parents[3],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("Replay server ready at http://127.0.0.1:")
        url = line.split()[-1]
        assert requests.get(f"{url}/github/users/me", timeout=PATIENCE).json()["login"] == "me"
        assert requests.get(f"{url}/nightscout/api/v1/entries", headers=HEADER, timeout=PATIENCE).status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "", "")
    assert json.loads((tmp_path / "home" / "manifest.json").read_text())["days"] == 2


@pytest.mark.long
@pytest.mark.parametrize("header", [{}, {"api-secret": SECRET}, {"api-secret": "0" * 40}, {"api-secret": "é"}])
def test_case_38_nobody_advances_the_recordings_without_the_secret(replay, header):
    before = replay.recordings.entries
    headers = {name: value.encode() for name, value in header.items()}
    answer = requests.post(f"{replay.url}/replay/advance", headers=headers, timeout=PATIENCE)
    assert answer.status_code == 401
    assert replay.recordings.entries == before
    assert requests.get(f"{replay.url}/replay/health", timeout=PATIENCE).json()["advances"] == 0


def test_case_38_a_server_without_a_secret_never_advances(tmp_path):
    recordings = Recordings.open(tmp_path / "replay", 2, 7, END, "octo-phlo")
    with ReplayServer(recordings, None) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for headers in ({}, {"api-secret": hashlib.sha1(b"").hexdigest()}):
            assert requests.post(f"{server.url}/replay/advance", headers=headers, timeout=PATIENCE).status_code == 401
        server.shutdown()
    assert recordings.advances == []
