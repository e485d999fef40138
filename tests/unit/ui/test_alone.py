from __future__ import annotations

import base64
import http.client
import socket
import time
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

from airflow_provider_phlo.events import queries
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.ui.alone import AirflowAddress, create_alone_app
from tests.patience import PATIENCE
from tests.unit.ui.conftest import NOW
from tests.unit.ui.serving import serving

TOKEN = "0123456789-of-the-tests"


def make_client(folder, **options):
    options = {"host": "127.0.0.1", "token": None, "airflow": None, **options}
    app = create_alone_app(lambda: folder, **options)
    return TestClient(app, base_url="http://localhost:8899", raise_server_exceptions=False)


@pytest.fixture
def client(published):
    return make_client(published)


def test_top_repos(client):
    answer = client.get("/top-repos")
    (repo,) = answer.json()
    assert datetime.fromisoformat(repo.pop("processed_at")) >= NOW
    assert repo == {
        "repo_name": "org/repo1",
        "total_events": 2,
        "unique_users": 1,
        "push_events": 2,
        "first_event_at": f"{NOW - timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}",
        "last_event_at": f"{NOW - timedelta(hours=2, minutes=55):%Y-%m-%dT%H:%M:%SZ}",
    }
    assert answer.headers["X-Phlo-Events"] == "3"
    assert datetime.fromisoformat(answer.headers["X-Phlo-Published-At"]) >= NOW
    assert client.get("/top-repos", params={"days": 36500}).json()[0]["total_events"] == 3


def test_user_sessions(client):
    (session,) = client.get("/user-sessions").json()
    start = NOW - timedelta(hours=3)
    assert session == {
        "actor_login": "user1",
        "session_id": f"user1-{start:%Y%m%dT%H%M%SZ}",
        "session_start_at": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "session_end_at": f"{start + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
        "events_in_session": 2,
    }
    assert len(client.get("/user-sessions?days=60&limit=1").json()) == 1


def test_before_the_first_publication_there_are_no_rows(tmp_path):
    answer = make_client(tmp_path / "none").get("/top-repos")
    assert (answer.status_code, answer.json()) == (200, [])
    assert "X-Phlo-Published-At" not in answer.headers


NOT_A_NUMBER = "Give a whole number above 0, in digits"


@pytest.mark.long
@pytest.mark.parametrize("path", ["/top-repos", "/user-sessions"])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("days=0", "days: has to be more than 0"),
        ("days=99999999999", "days: has to be at most 36500"),
        ("limit=1000000000", "limit: has to be at most 10000"),
        ("limit=1e9", f"limit: {NOT_A_NUMBER}"),
        ("limit=-1", f"limit: {NOT_A_NUMBER}"),
        ("limit=7.0", f"limit: {NOT_A_NUMBER}"),
        ("limit=1_0", f"limit: {NOT_A_NUMBER}"),
        ("limit=", f"limit: {NOT_A_NUMBER}"),
        ("days=%EF%BC%97", f"days: {NOT_A_NUMBER}"),
        ("days=%ED%A0%80%00", f"days: {NOT_A_NUMBER}"),
        (f"days={'9' * 5000}", "days: is a number with too many digits"),
        ("day=7", "day: is not known"),
        ("days=7&days=8", "days: give it once"),
        ("day=7&days=7&day=7&days=7", "day: give it once; days: give it once"),
        ("days=x&limit=y", f"days: {NOT_A_NUMBER}; limit: {NOT_A_NUMBER}"),
    ],
)
def test_odd_parameters_are_refused(client, path, query, said):
    answer = client.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()) == (422, {"detail": said})


def test_how_long_to_wait_for_a_load_is_given_once(client):
    answer = client.post("/load?seconds=60&seconds=1")
    assert (answer.status_code, answer.json()) == (422, {"detail": "seconds: give it once"})


def test_monitors_may_ask_for_the_head_only(client):
    answer = client.head("/health")
    assert (answer.status_code, answer.content) == (200, b"")


def test_errors_have_one_form_and_hold_no_path(published, client):
    for file in published.glob("*.parquet"):
        file.unlink()
    answer = client.get("/top-repos")
    said = (
        "The published events cannot be read (IOException): load again, which makes again what is missing or damaged."
    )
    assert (answer.status_code, answer.json()) == (503, {"detail": said})
    (published / "manifest.json").write_text('{"version": 99}')
    answer = client.get("/top-repos")
    assert answer.status_code == 500
    assert "version 99" in answer.json()["detail"]
    assert str(published) not in answer.text
    (published / "manifest.json").unlink()
    (published / "manifest.json").mkdir()
    assert client.get("/top-repos").json() == {"detail": "The published events cannot be read: Is a directory."}
    assert client.get("/nothing").json() == {"detail": "Not Found"}
    assert client.get("/ingest").json() == {"detail": "Method Not Allowed"}


def test_what_nobody_expected_is_an_error_without_words_of_its_own(published):
    def fail():
        raise RuntimeError(f"secret in {published}")

    app = create_alone_app(fail, host="127.0.0.1", token=None, airflow=None)
    answer = TestClient(app, base_url="http://localhost", raise_server_exceptions=False).get("/top-repos")
    assert answer.status_code == 500
    assert answer.json() == {"detail": "An error of the server: its log says which."}


# --- who may


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])
def test_without_a_token_only_this_machine_is_served(published, host):
    with pytest.raises(ConfigurationError, match="PHLO_SERVE_TOKEN"):
        make_client(published, host=host)
    assert make_client(published, host=host, token=TOKEN).get("/health").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_loopback_no_token_is_needed(published, host):
    assert make_client(published, host=host).get("/top-repos").status_code == 200


def test_a_name_that_was_made_to_lead_here_is_refused(client):
    for host in ("evil.example:8899", "[::1", "[::1]evil.example", "evil@localhost", "[", ""):
        assert client.get("/top-repos", headers={"Host": host}).status_code == 403
    for host in ("[::1]:8899", "[::1]", "127.0.0.1:", "LocalHost:8899"):
        assert client.get("/top-repos", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("token", ["täglich", "two\nlines"])
def test_a_token_that_cannot_be_sent_is_refused(published, token):
    with pytest.raises(ConfigurationError, match="characters that HTTP cannot send"):
        make_client(published, token=token)


def basic(password, user="me"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


PATHS = [("GET", "/top-repos"), ("GET", "/user-sessions"), ("POST", "/ingest"), ("POST", "/load"), ("GET", "/docs")]


@pytest.mark.long
@pytest.mark.parametrize(("method", "path"), [*PATHS, ("GET", "/openapi.json"), ("GET", "/docs/swagger-ui.css")])
def test_everything_but_health_asks_for_the_token(published, method, path):
    client = make_client(published, token=TOKEN)
    assert client.get("/health").json() == {"status": "ok"}
    for headers in (
        {},
        bearer("x"),
        bearer(TOKEN[:-1]),
        bearer(""),
        basic("x"),
        basic("ä"),
        {"Authorization": "Bearer ä".encode()},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic x"},
        {"Authorization": "Basic ä".encode()},
        {"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()},
    ):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert "PHLO_SERVE_TOKEN" in answer.json()["detail"]
        assert TOKEN not in answer.text
    for headers in (bearer(TOKEN), basic(TOKEN), basic(TOKEN, user="jürgen")):
        assert client.request(method, path, headers=headers).status_code in (200, 503)


@pytest.mark.long
@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        ({"Origin": "http://localhost:8899"}, False),
        ({"Origin": "http://localhost:3000"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "null", "Host": ""}, True),
        ({"Origin": "http://["}, True),
        ({"Origin": "http://[::1"}, True),
        ({"Origin": "http://[", "Host": "["}, True),
        ({"Origin": "http:///"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8899"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "https://evil.example", **bearer(TOKEN)}, False),
    ],
)
@pytest.mark.parametrize("path", ["/ingest", "/load"])
def test_no_page_of_another_site_starts_runs(client, headers, refused, path):
    assert client.post(path, headers=headers).status_code == (403 if refused else 503)


def test_without_an_airflow_it_says_what_to_set(client):
    answer = client.post("/ingest")
    assert answer.status_code == 503
    assert "AIRFLOW_CONN_PHLO_AIRFLOW=http://user:password@host:port" in answer.json()["detail"]


def test_an_airflow_that_does_not_answer(published):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    client = make_client(published, airflow=AirflowAddress(f"http://127.0.0.1:{port}", "me", "secret"))
    answer = client.post("/load")
    assert (answer.status_code, answer.json()["detail"]) == (503, "Airflow does not answer (ConnectError).")


# --- with a real connection


@pytest.fixture
def endless(monkeypatch):
    """Let the query of sessions take for ever, and return what has been asked."""
    asked = []

    def sql(query, original=queries.statement):
        asked.append(query)
        if query != queries.USER_SESSIONS:
            return original(query)
        return "SELECT count(*) FROM range(1_000_000) a, range(1_000_000_000) b WHERE a.range > b.range"

    monkeypatch.setattr(queries, "statement", sql)
    return asked


def inside_another(app):
    """Return an app between whose middlewares and the client the other is, as in Airflow's api-server."""
    parent = FastAPI()
    parent.mount("/phlo/events", app)

    async def pass_on(request, call_next):
        return await call_next(request)

    parent.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    parent.add_middleware(GZipMiddleware)
    return parent


@pytest.mark.parametrize("prefix", ["", "/phlo/events"])
def test_a_client_that_hangs_up_ends_its_query(published, endless, prefix):
    """More of them than there are threads for queries: another client would wait for ever if they went on."""
    app = create_alone_app(lambda: published, host="127.0.0.1", token=None, airflow=None)
    with serving(inside_another(app) if prefix else app) as server:
        url = server + prefix
        address = urlsplit(url)
        for _ in range(6):
            connection = http.client.HTTPConnection(address.hostname, address.port)
            connection.request("GET", f"{address.path}/user-sessions")
            before = len(endless)
            deadline = time.monotonic() + PATIENCE
            while len(endless) == before and len(endless) < 4 and time.monotonic() < deadline:
                time.sleep(0.01)
            connection.close()
        assert httpx.get(f"{url}/top-repos", timeout=PATIENCE).status_code == 200
    assert endless.count(queries.USER_SESSIONS) >= 4


@pytest.mark.long
def test_a_query_that_takes_too_long_is_ended(published, endless, monkeypatch):
    from airflow_provider_phlo.ui import events

    original = events.Questions
    monkeypatch.setattr(events, "Questions", lambda folder: original(folder, seconds=0.3))
    client = make_client(published)
    answers = [client.get("/user-sessions") for _ in range(6)]
    assert {(answer.status_code, answer.json()["detail"]) for answer in answers} == {
        (503, "No answer in 0.3 s: ask for fewer days.")
    }


# --- its documentation


def test_every_operation_has_examples(client):
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            for parameter in operation.get("parameters", []):
                assert parameter["schema"]["examples"]
            for code, answer in operation["responses"].items():
                content = answer["content"]["application/json"]
                part = content["schema"].get("items", content["schema"])["$ref"].rpartition("/")[2]
                assert "example" in content or document["components"]["schemas"][part]["examples"], (path, code)


def test_the_documentation_needs_no_other_server(client):
    page = client.get("/docs").text
    assert "https://" not in page
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"docs/{name}" in page
        assert client.get(f"/docs/{name}").status_code == 200
    assert client.get("/docs/..%2Findex").status_code == 404
