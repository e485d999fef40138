"""What is added to requests, seen at the other end of a real connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests

from airflow_provider_phlo.iceberg.catalogs.rest import LastColumnIds

NESTED = {
    "type": "struct",
    "fields": [
        {"id": 1, "name": "k", "type": "long"},
        {"id": 2, "name": "tags", "type": {"type": "list", "element-id": 9, "element": "string"}},
        {"id": 3, "name": "m", "type": {"type": "map", "key-id": 4, "key": "string", "value-id": 5, "value": "long"}},
    ],
}


@pytest.fixture
def send() -> Iterator[Any]:
    """Return a function that posts JSON and gives what arrived."""
    arrived: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    session = requests.Session()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    session.mount(url, LastColumnIds())

    def post(body: Any) -> Any:
        session.post(url, data=json.dumps(body, separators=(",", ":")).encode())
        return arrived.pop()

    yield post
    session.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_new_schema_says_its_highest_column_id(send: Any) -> None:
    update = {"action": "add-schema", "schema": NESTED}
    assert send({"updates": [update]}) == {"updates": [{**update, "last-column-id": 9}]}


def test_ids_of_columns_that_are_gone_count(send: Any) -> None:
    requirement = {"type": "assert-last-assigned-field-id", "last-assigned-field-id": 12}
    commit = {"requirements": [requirement], "updates": [{"action": "add-schema", "schema": NESTED}]}
    assert send(commit)["updates"][0]["last-column-id"] == 12


def test_what_is_there_stays(send: Any) -> None:
    for body in (
        {"updates": [{"action": "add-schema", "schema": NESTED, "last-column-id": 20}]},
        {"updates": [{"action": "set-properties", "updates": {"a": '"add-schema"'}}]},
        {"anything": ["else"]},
    ):
        assert send(body) == body
