"""Receivers of webhooks and mail on loopback: those that work, and those that do what receivers do."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.patience import PATIENCE


@dataclass
class Receiver:
    """
    A receiver.

    :param answers: what it answers, one after the other; the last one from then on.
    :param delay: seconds before it answers.
    :param hangs_up: whether it closes the connection instead.
    """

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(200, {})])
    delay: float = 0.0
    hangs_up: bool = False
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """Return the statuses and titles of what has come."""
        return [f"{body['status']}: {body['title']}" for body in self.bodies]


@contextmanager
def receiver(context: Any = None, **settings: Any) -> Iterator[Receiver]:
    """
    Run a receiver.

    :param context: the TLS context of one that speaks HTTPS.
    """
    found = Receiver(**settings)
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.headers.append(dict(self.headers))
            if found.hangs_up:
                return
            found.bodies.append(json.loads(body))
            status, headers = found.answers.pop(0) if len(found.answers) > 1 else found.answers[0]
            released.wait(found.delay)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    found.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


@contextmanager
def mail_server() -> Iterator[tuple[int, list[Any]]]:
    """Run an SMTP server; yield its port and the mails that have come."""
    from aiosmtpd.controller import Controller

    mails: list[Any] = []

    class Handler:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
            mails.append(envelope)
            return "250 OK"

    controller = Controller(Handler(), hostname="127.0.0.1", port=_free_port())
    controller.start()
    try:
        yield controller.port, mails
    finally:
        controller.stop()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
