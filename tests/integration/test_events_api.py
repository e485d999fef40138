"""The API of public events in a real api-server."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from airflow_provider_phlo.services.environment import embedded

pytestmark = pytest.mark.xdist_group("airflow")


@pytest.fixture
def token(airflow):
    airflow.api.call("GET", "/version")
    return airflow.api._token


@pytest.fixture
def client(airflow):
    with httpx.Client(base_url=f"{airflow.api.url}/phlo/events", timeout=90, trust_env=False) as client:
        yield client


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def write_batch(airflow, name, count):
    folder = airflow.home / "events" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC) - timedelta(hours=1)
    lines = [
        {
            "id": f"{name}-{number}",
            "type": "PushEvent",
            "created_at": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
            "actor": {"id": 1, "login": "octocat"},
            "repo": {"id": 2, "name": "octocat/hello"},
            "payload": {},
        }
        for number in range(count)
    ]
    (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_who_is_not_logged_in_gets_health_only(client):
    assert client.get("/health").json() == {"status": "ok"}
    for method, path in [("GET", "/top-repos"), ("GET", "/docs"), ("POST", "/ingest"), ("POST", "/load")]:
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})
        assert client.request(method, path, headers=bearer("no-token")).status_code in (401, 403)


def test_load_and_ask(airflow, client, token):
    write_batch(airflow, "events_20260101_000000_batch_001.jsonl", 5)
    answer = client.post("/load", headers=bearer(token))
    assert answer.status_code == 200, answer.text
    counts = answer.json()
    assert counts.pop("duration_ms") >= 0
    assert counts == {
        "scanned_files": 1,
        "loaded_files": 1,
        "skipped_files": 0,
        "inserted_events": 5,
        "rejected_lines": 0,
        "other_files": 0,
        "db_path": str(airflow.home / "events" / "github_events.duckdb"),
    }
    ((repo,), (session,)) = (
        client.get(path, headers=bearer(token)).json() for path in ("/top-repos", "/user-sessions")
    )
    assert (repo["repo_name"], repo["total_events"]) == ("octocat/hello", 5)
    assert (session["actor_login"], session["events_in_session"]) == ("octocat", 5)
    assert client.get("/top-repos?limit=-1", headers=bearer(token)).status_code == 422
    # the UI's cookie is a login too
    assert client.get("/top-repos", cookies={"_token": token}).json()[0]["total_events"] == 5


def test_a_load_that_takes_longer_than_one_waits(client, token):
    answer = client.post("/load?seconds=1", headers=bearer(token))
    assert answer.status_code in (200, 202)
    if answer.status_code == 202:
        assert answer.json()["dag_run_id"].startswith("manual__")


def test_ingest_starts_a_run_in_the_name_of_the_user(airflow, client, token):
    foreign = {"Origin": "https://evil.example"}
    assert client.post("/ingest", cookies={"_token": token}, headers=foreign).status_code == 403
    own = {"Origin": airflow.api.url, "Sec-Fetch-Site": "same-origin"}
    answer = client.post("/ingest", cookies={"_token": token}, headers=own)
    assert answer.status_code == 202
    assert answer.json()["status"] == "accepted"
    run_id = answer.json()["dag_run_id"]
    assert airflow.finished("github_events", run_id) == {"load": "success"}
    run = airflow.api.call("GET", f"/dags/github_events/dagRuns/{run_id}")
    assert run["triggering_user_name"] == embedded.UI_USER


def test_a_paused_dag_is_said(airflow, client, token):
    path = "/dags/github_events?update_mask=is_paused"
    airflow.api.call("PATCH", path, {"is_paused": True})
    try:
        answer = client.post("/ingest", headers=bearer(token))
        assert (answer.status_code, answer.json()["detail"][:27]) == (409, "DAG github_events is paused")
    finally:
        airflow.api.call("PATCH", path, {"is_paused": False})


def test_its_document_names_where_it_is(client, token):
    document = client.get("/openapi.json", headers=bearer(token)).json()
    assert document["servers"] == [{"url": "/phlo/events"}]
    assert set(document["paths"]) == {"/health", "/ingest", "/load", "/top-repos", "/user-sessions"}
