"""Somebody who is notified: a webhook on loopback that keeps what arrives, for the demo."""

from __future__ import annotations

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from airflow_provider_phlo.services.machine.ports import HOST

#: The variable that the examples' destination reads its address from.
WEBHOOK_VARIABLE = "PHLO_ALERT_WEBHOOK"
_MOST_BYTES = 1_000_000


class AlertReceiver:
    """
    A server in this process; its address is a secret, as that of any webhook.

    :param messages: what has arrived, as text; a reader may take it away.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._path = f"/{secrets.token_urlsafe(16)}"
        self._server = ThreadingHTTPServer((HOST, 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Return the address."""
        return f"http://{HOST}:{self._server.server_port}{self._path}"

    def taken(self) -> list[str]:
        """Return what has arrived since the last call."""
        found, self.messages = self.messages, []
        return found

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(min(length, _MOST_BYTES))
                taken = self.path == receiver._path and receiver._keep(body)
                self.send_response(204 if taken else 404)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Say nothing: the path is a secret."""

        return Handler

    def _keep(self, body: bytes) -> bool:
        try:
            text = json.loads(body)["text"]
        except (ValueError, KeyError, TypeError):
            return False
        self.messages.append(str(text))
        return True
