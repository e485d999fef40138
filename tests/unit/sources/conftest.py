"""A real HTTP server on loopback whose answers a test writes down, faults included."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_phlo.sources.http import RetryPolicy

# dlt would import Airflow to look for its settings there, which costs the first test five seconds.
os.environ.setdefault("PROVIDERS__ENABLE_AIRFLOW_SECRETS", "false")


@dataclass
class Reply:
    """One answer; ``length`` lies about the size of the body."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None

    def content(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


@dataclass
class Request:
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


class Server:
    """Answers with ``route(request)``; keeps every request."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.route: Callable[[Request], Reply] = lambda request: Reply(status=404)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms for an ACK

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                request = Request(parts.path, parse_qs(parts.query), {k.lower(): v for k, v in self.headers.items()})
                owner.requests.append(request)
                reply = owner.route(request)
                content = b"" if reply.status == 304 else reply.content()
                self.send_response_only(reply.status)
                if "Date" not in reply.headers:
                    self.send_header("Date", self.date_time_string())
                self.send_header("Content-Length", str(len(content) if reply.length is None else reply.length))
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = reply.length is not None

            def log_message(self, *args: object) -> None:
                """Stay silent."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def replies(self, *replies: Reply) -> None:
        """Give these answers in turn, the last one for ever."""
        left = list(replies)
        self.route = lambda request: left.pop(0) if len(left) > 1 else left[0]

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def start() -> Server:
        servers.append(Server())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(serve: Callable[[], Server]) -> Server:
    return serve()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


class Patience:
    """A policy whose pauses are written down instead of slept through; its clock moves with them."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def policy(self, **settings: Any) -> RetryPolicy:
        return RetryPolicy(sleep=self.sleep, clock=lambda: self.now, **settings)


@pytest.fixture
def patience() -> Patience:
    return Patience()


@pytest.fixture
def connection() -> Callable[..., SimpleNamespace]:
    """Make an object with the fields of an Airflow connection."""

    def make(conn_id: str = "some_api", *, extra: dict[str, Any] | None = None, **fields: Any) -> SimpleNamespace:
        unset = dict.fromkeys(("host", "schema", "login", "password", "port"))
        return SimpleNamespace(conn_id=conn_id, extra_dejson=extra or {}, **{**unset, **fields})

    return make
