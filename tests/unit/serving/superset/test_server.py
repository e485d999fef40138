"""What a person reads when Superset is not there, is something else, or refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.serving.superset.server import Superset

Answers = dict[str, tuple[int, Any]]
LOGGED_IN: Answers = {
    "/api/v1/security/login": (200, {"access_token": "t"}),
    "/api/v1/security/csrf_token/": (200, {"result": "c"}),
}


@contextmanager
def answering(answers: Answers) -> Iterator[tuple[str, list[str]]]:
    """Run a server that gives these answers; yield its address and the requests that it got."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(f"{self.path} {self.headers.get('Authorization')} {self.headers.get('X-CSRFToken')} {body!r}")
            code, answer = answers.get(self.path, (404, "<html>nothing</html>"))
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(code)
            self.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
            if code == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("answers", "error", "says"),
    [
        ({"/api/v1/security/login": (401, {"message": "no"})}, ConfigurationError, "refuses the login"),
        ({}, ConfigurationError, "refuses /api/v1/security/login"),
        ({"/api/v1/security/login": (200, "<html>")}, ConfigurationError, "does not answer as Superset"),
        ({"/api/v1/security/login": (200, [1])}, ConfigurationError, "does not answer as Superset"),
        ({"/api/v1/security/login": (302, "")}, ConfigurationError, r"refuses .* \(302\)"),
        ({"/api/v1/security/login": (503, "<html>a page</html>")}, TransientError, r"failed \(503"),
        (
            LOGGED_IN | {"/api/v1/security/csrf_token/": (500, {"message": "db"})},
            TransientError,
            'It says: {"message": "db"}',
        ),
    ],
)
def test_a_login_that_fails(answers: Answers, error: type[Exception], says: str) -> None:
    with answering(answers) as (url, _), pytest.raises(error, match=says) as failed:
        Superset(url, "admin", "secret")
    assert "secret" not in str(failed.value)
    assert "a page" not in str(failed.value)


def test_nobody_answers() -> None:
    with answering({}) as (url, _):
        pass
    with pytest.raises(TransientError, match="is it up"):
        Superset(url, "admin", "secret")


@pytest.mark.parametrize("url", ["superset", "ftp://superset", "http://", "http://me:pw@superset"])
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="address"):
        Superset(url, "admin", "secret")


def test_what_superset_says_of_a_bad_file_reaches_the_person() -> None:
    refused = {"errors": [{"message": "Error importing assets", "extra": {"charts/a.yaml": "viz_type missing"}}]}
    says = r"charts/a\.yaml.*viz_type missing"
    with answering(LOGGED_IN | {"/api/v1/assets/import/": (422, refused)}) as (url, asked):
        server = Superset(url, "admin", "secret")
        with pytest.raises(ConfigurationError, match=says):
            server.import_assets(b"zip", {"databases/a.yaml": "pw"})
    assert "Bearer t c" in asked[-1]
    assert '{"databases/a.yaml": "pw"}' in asked[-1]
