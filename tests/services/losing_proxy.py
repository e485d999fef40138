"""A proxy that hands a request on and loses the answer, as a network may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from tests.services.running import HOST

_HOP_BY_HOP = {"transfer-encoding", "connection", "content-encoding", "content-length"}


class LosingProxy(ThreadingHTTPServer):
    """
    Listens at a free port.

    :param lose: the answer to the first POST request whose path ends so is lost.
    """

    def __init__(self, target: str, lose: str) -> None:
        super().__init__((HOST, 0), _Handler)
        self.target, self.lose = target, lose
        self.lost = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: LosingProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        # with its Host header, from which the server makes the addresses that it names
        answer = requests.request(
            self.command, self.server.target + self.path, data=body, headers=dict(self.headers), timeout=60
        )
        if self.command == "POST" and self.path.endswith(self.server.lose) and not self.server.lost:
            self.server.lost += 1
            self.close_connection = True
            return
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def losing_proxy(target: str, lose: str) -> Iterator[LosingProxy]:
    proxy = LosingProxy(target, lose)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
