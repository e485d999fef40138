"""Servers and connections that are not what they should be: each is said, by whether a retry can help."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.hooks.trino import connect_to
from airflow_provider_phlo.iceberg.trino.queries import Queries
from tests.canary import CANARY, has_canary

Answer = tuple[int, str]
BEGUN: Answer = (200, json.dumps({"id": "q1", "nextUri": "{here}/next", "stats": {"state": "QUEUED", "queryId": "q1"}}))


class Server(ThreadingHTTPServer):
    """Gives its answers in turn, the last for ever."""

    answers: list[Answer]


class Handler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        server: Any = self.server
        code, body = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        content = body.replace("{here}", f"http://127.0.0.1:{server.server_port}").encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET = do_DELETE = answer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def ask(server: Server, monkeypatch: pytest.MonkeyPatch, answers: list[Answer], **extra: Any) -> Any:
    server.answers = list(answers)
    password = extra.pop("password", None)
    connection = {"conn_type": "trino", "host": "127.0.0.1", "port": server.server_port, "login": "phlo"}
    extras = {"catalog": "lake", "max_attempts": 1, **extra}
    monkeypatch.setenv("AIRFLOW_CONN_TRINO_DEFAULT", json.dumps({**connection, "password": password, "extra": extras}))
    return Queries(connect_to()).execute("SELECT 1")


@pytest.mark.parametrize(
    ("answers", "error", "said"),
    [
        ([(401, CANARY)], ConfigurationError, "answers 401: it does not accept the login"),
        ([(403, CANARY)], ConfigurationError, "answers 403: it does not let this user in"),
        ([(404, CANARY)], ConfigurationError, "no Trino is at this address"),
        ([(500, CANARY)], TransientError, "does not answer"),
        ([(200, f"<html>{CANARY}")], TransientError, "not Trino"),
        ([(200, "[]")], TransientError, "not Trino"),
        ([(200, "{}")], TransientError, "not Trino"),
        # a server that has been started anew does not know the query
        ([BEGUN, (404, CANARY)], TransientError, "nothing is known of the query"),
        ([BEGUN, (401, CANARY)], TransientError, "nothing is known of the query"),
    ],
)
def test_what_answers(
    server: Server, monkeypatch: pytest.MonkeyPatch, answers: list[Answer], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        ask(server, monkeypatch, answers)
    assert not has_canary(str(caught.value))


@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("ADMINISTRATIVELY_KILLED", TransientError),
        ("USER_CANCELED", TransientError),
        ("SYNTAX_ERROR", ConfigurationError),
    ],
)
def test_a_query_that_somebody_has_ended_may_be_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str, raised: type[Exception]
) -> None:
    error = {"message": CANARY, "errorName": name, "errorType": "USER_ERROR", "errorCode": 1}
    with pytest.raises(raised, match=name) as caught:
        ask(server, monkeypatch, [(200, json.dumps({"id": "q1", "stats": {"state": "FAILED"}, "error": error}))])
    assert not has_canary(str(caught.value))


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"password": CANARY}, "https only"),
        ({"auth": "jwt", "jwt__token": CANARY}, "https only"),
        ({"timezone": "Mars/Base"}, r"takes \(ZoneInfoNotFoundError\)"),
        ({"session_properties": CANARY}, r"takes \(AttributeError\)"),
    ],
)
def test_a_connection_that_the_client_does_not_take(
    server: Server, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"'trino_default' cannot be used: .*{said}") as caught:
        ask(server, monkeypatch, [(500, "")], **extra)
    assert not has_canary(str(caught.value))
