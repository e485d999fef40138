"""The few calls the demo makes, against a server that answers as Airflow's does (the demo itself asks the real one)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.services.airflow_api import AirflowApi

ANSWERS: dict[tuple[str, str], tuple[int, Any]] = {
    ("POST", "/auth/token"): (201, {"access_token": "t"}),
    ("GET", "/api/v2/monitor/health"): (
        200,
        {"metadatabase": {"status": "healthy"}, "scheduler": {"status": None}, "triggerer": None},
    ),
    ("GET", "/api/v2/dags?limit=100"): (
        200,
        {"dags": [{"dag_id": "a", "is_stale": False}, {"dag_id": "old", "is_stale": True}]},
    ),
    ("GET", "/api/v2/importErrors"): (200, {"import_errors": [{"filename": "x.py", "stack_trace": "Traceback"}]}),
    ("PATCH", "/api/v2/dags/a?update_mask=is_paused"): (200, {}),
    ("POST", "/api/v2/dags/a/dagRuns"): (200, {"dag_run_id": "r1"}),
    ("GET", "/api/v2/dags/a/dagRuns/r1"): (200, {"state": "running"}),
}


class Handler(BaseHTTPRequestHandler):
    seen: list[tuple[str, str, str | None, Any]] = []

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, self.headers.get("Authorization"), json.loads(body or "null")))
        status, answer = ANSWERS.get((self.command, self.path), (404, {"detail": "not found"}))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_GET = do_POST = do_PATCH = answer

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[AirflowApi]:
    # a proxy of the machine must not be asked for what is on the machine
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    Handler.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield AirflowApi(f"http://127.0.0.1:{server.server_port}", "admin", "secret")
        server.shutdown()


def test_health_needs_no_login(api: AirflowApi) -> None:
    assert api.health() == {"metadatabase": "healthy", "scheduler": "starting"}
    assert Handler.seen[0][2] is None


def test_health_of_nobody() -> None:
    assert AirflowApi("http://127.0.0.1:9", "admin", "secret").health() == {}


def test_logs_in_once(api: AirflowApi) -> None:
    assert api.dag_ids() == {"a"}
    assert api.import_errors() == {"x.py": "Traceback"}
    assert [path for _, path, _, _ in Handler.seen].count("/auth/token") == 1
    assert Handler.seen[0][3] == {"username": "admin", "password": "secret"}
    assert {token for _, _, token, _ in Handler.seen[1:]} == {"Bearer t"}


def test_triggers_a_paused_dag_with_its_conf(api: AirflowApi) -> None:
    assert api.trigger("a", {"partition_date": "2024-01-15"}) == "r1"
    bodies = [body for method, _, _, body in Handler.seen if method in ("PATCH", "POST")][1:]
    assert bodies == [{"is_paused": False}, {"logical_date": None, "conf": {"partition_date": "2024-01-15"}}]
    assert api.run_state("a", "r1") == "running"


def test_refusal_says_what_was_answered(api: AirflowApi) -> None:
    with pytest.raises(TransientError, match=r"404 to GET /api/v2/dags/b/.*not found"):
        api.run_state("b", "r")


def test_nobody_answers() -> None:
    with pytest.raises(TransientError, match="does not answer POST /auth/token"):
        AirflowApi("http://127.0.0.1:9", "admin", "secret").dag_ids()
