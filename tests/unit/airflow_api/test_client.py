"""The client, against a server that answers as Airflow's does (system tests ask the real one)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.exceptions import (
    AirflowRefusedError,
    AirflowUnavailableError,
    ConfigurationError,
    TransientError,
)
from tests.patience import PATIENCE

ANSWERS: dict[tuple[str, str], tuple[int, Any]] = {
    ("POST", "/auth/token"): (201, {"access_token": "t"}),
    ("GET", "/api/v2/monitor/health"): (
        200,
        {"metadatabase": {"status": "healthy"}, "scheduler": {"status": None}, "triggerer": None},
    ),
    ("GET", "/api/v2/dags"): (
        200,
        {"dags": [{"dag_id": "a", "is_stale": False}, {"dag_id": "old", "is_stale": True}], "total_entries": 2},
    ),
    ("GET", "/api/v2/importErrors"): (
        200,
        {"import_errors": [{"filename": "x.py", "stack_trace": "Traceback"}], "total_entries": 1},
    ),
    ("PATCH", "/api/v2/dags/a"): (200, {}),
    ("POST", "/api/v2/dags/a/dagRuns"): (200, {"dag_run_id": "r1"}),
    ("GET", "/api/v2/dags/a/dagRuns/r1"): (200, {"state": "running"}),
    ("GET", "/api/v2/html"): (200, "<html>welcome</html>"),
    ("GET", "/api/v2/again"): (200, {"items": [{"n": 1}], "next_cursor": "second"}),
    ("DELETE", "/api/v2/nothing"): (204, ""),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen: list[tuple[str, str, str | None, Any]] = []
    # answers that come once, before the others; None breaks the connection off
    first: dict[tuple[str, str], list[tuple[int, Any] | None]] = {}
    # where those that get one of these wait for each other
    together: threading.Barrier | None = None

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        self.seen.append((self.command, self.path, self.headers.get("Authorization"), json.loads(body or "null")))
        waiting = self.first.get((self.command, path))
        if waiting and self.together is not None:
            self.together.wait(PATIENCE)
        found = waiting.pop(0) if waiting else ANSWERS.get((self.command, path), (404, {"detail": "not found"}))
        if path == "/api/v2/many":
            found = 200, many(parse_qs(urlsplit(self.path).query))
        if found is None:
            self.close_connection = True
            return
        status, answer = found
        text = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        if status == 307:
            self.send_header("Location", "https://login.example.com/?state=secret")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *args: object) -> None:
        pass


def many(query: dict[str, list[str]]) -> dict[str, Any]:
    """Return a page of 250 items, by an offset; cursors are not known here."""
    offset, limit = int(query["offset"][0]), int(query["limit"][0])
    return {"items": [{"n": n} for n in range(250)[offset : offset + limit]], "total_entries": 250}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[AirflowApi]:
    # a proxy of the machine must not be asked for what is on the machine
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    Handler.seen, Handler.first, Handler.together = [], {}, None
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield AirflowApi(f"http://127.0.0.1:{server.server_port}", "admin", "secret")
        server.shutdown()


def asked(path: str) -> int:
    return [urlsplit(seen).path for _, seen, _, _ in Handler.seen].count(path)


def test_health_needs_no_login(api: AirflowApi) -> None:
    assert api.health() == {"metadatabase": "healthy", "scheduler": "starting"}
    assert Handler.seen[0][2] is None


def test_health_of_nobody() -> None:
    assert AirflowApi("http://127.0.0.1:9", "admin", "secret").health() == {}


def test_logs_in_once(api: AirflowApi) -> None:
    assert api.dag_ids() == {"a"}
    assert api.import_errors() == {"x.py": "Traceback"}
    assert asked("/auth/token") == 1
    assert Handler.seen[0][3] == {"username": "admin", "password": "secret"}
    assert {token for _, _, token, _ in Handler.seen[1:]} == {"Bearer t"}


def test_triggers_a_paused_dag_with_its_conf(api: AirflowApi) -> None:
    assert api.trigger("a", {"partition_date": "2024-01-15"}) == "r1"
    bodies = [body for method, _, _, body in Handler.seen if method in ("PATCH", "POST")][1:]
    assert bodies == [{"is_paused": False}, {"logical_date": None, "conf": {"partition_date": "2024-01-15"}}]
    assert api.run_state("a", "r1") == "running"


def test_refusal_says_what_was_answered(api: AirflowApi) -> None:
    with pytest.raises(AirflowRefusedError, match=r"404 to GET /api/v2/dags/b/.*not found") as refused:
        api.run_state("b", "r")
    assert refused.value.status == 404


def test_nobody_answers() -> None:
    with pytest.raises(TransientError, match="does not answer POST /auth/token"):
        AirflowApi("http://127.0.0.1:9", "admin", "secret").dag_ids()


@pytest.mark.parametrize("status", [401, 403])
def test_an_expired_token_is_renewed(api: AirflowApi, status: int) -> None:
    api.dag_ids()
    Handler.first["GET", "/api/v2/importErrors"] = [(status, {"detail": "Token Expired"})]
    assert api.import_errors() == {"x.py": "Traceback"}
    assert asked("/auth/token") == 2


def test_a_token_of_many_threads_is_renewed_once(api: AirflowApi) -> None:
    api.dag_ids()
    Handler.first["GET", "/api/v2/dags"] = [(401, {})] * 4
    Handler.together = threading.Barrier(4)
    threads = [threading.Thread(target=api.dag_ids) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 <= asked("/auth/token") <= 5
    assert asked("/api/v2/dags") == 9


def test_a_wrong_password_is_not_repeated_and_not_shown(api: AirflowApi) -> None:
    Handler.first["POST", "/auth/token"] = [(401, {"detail": "Invalid credentials secret"})]
    with pytest.raises(ConfigurationError, match="does not accept the password of user admin") as refused:
        api.dag_ids()
    assert "secret" not in str(refused.value)
    assert len(Handler.seen) == 1


def test_an_expired_token_of_ones_own_says_what_to_set(api: AirflowApi) -> None:
    Handler.first["GET", "/api/v2/dags"] = [(401, {"detail": "Token Expired"})]
    with pytest.raises(ConfigurationError, match="PHLO_AIRFLOW_TOKEN to a new one") as refused:
        AirflowApi(api.url, token="of-mine").dag_ids()
    assert "of-mine" not in str(refused.value)


def test_a_busy_server_is_asked_again(api: AirflowApi) -> None:
    Handler.first["GET", "/api/v2/dags"] = [(500, {}), (429, {}), None]
    Handler.first["POST", "/api/v2/dags/a/dagRuns"] = [(500, {})]
    assert api.dag_ids() == {"a"}
    assert api.call("POST", "/dags/a/dagRuns", {})["dag_run_id"] == "r1"


@pytest.mark.parametrize("answer", [None, (504, {"detail": "gateway"})])
def test_what_may_have_been_done_is_not_done_twice(api: AirflowApi, answer: Any) -> None:
    api.dag_ids()
    Handler.first["POST", "/api/v2/dags/a/dagRuns"] = [answer, answer]
    with pytest.raises(AirflowUnavailableError):
        api.call("POST", "/dags/a/dagRuns", {})
    assert asked("/api/v2/dags/a/dagRuns") == 1
    # with an id of its own, a run cannot be made twice
    assert api.call("POST", "/dags/a/dagRuns", {}, repeatable=True)["dag_run_id"] == "r1"


def test_a_server_in_error_is_given_up(api: AirflowApi) -> None:
    Handler.first["GET", "/api/v2/dags"] = [(503, {"detail": "no database"})] * 50
    with pytest.raises(AirflowUnavailableError, match="answered 503 to GET /api/v2/dags: no database"):
        api.dag_ids()


def test_a_redirect_is_not_followed(api: AirflowApi) -> None:
    Handler.first["GET", "/api/v2/dags"] = [(307, {})]
    with pytest.raises(ConfigurationError, match=r"redirects to https://login\.example\.com/") as refused:
        api.dag_ids()
    assert "state" not in str(refused.value)


def test_what_is_not_airflow_is_said_to_be(api: AirflowApi) -> None:
    with pytest.raises(ConfigurationError, match="answers without JSON"):
        api.call("GET", "/html")
    assert api.call("DELETE", "/nothing") is None


def test_all_pages_are_read(api: AirflowApi) -> None:
    assert [item["n"] for item in api.pages("/many?state=failed", "items")] == list(range(250))
    assert asked("/api/v2/many") == 3


def test_case_31_pages_that_lead_back_are_refused(api: AirflowApi) -> None:
    with pytest.raises(ConfigurationError, match="/api/v2/again names a page as the next that was read before"):
        list(api.pages("/again", "items"))
    assert asked("/api/v2/again") == 2


@pytest.mark.parametrize("url", ["airflow.example.com", "ftp://a", "https://me:word@a", "http://a?token=x", "http://"])
def test_what_is_not_an_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not a URL") as refused:
        AirflowApi(url)
    assert "word" not in str(refused.value)
