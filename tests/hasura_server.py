"""
A server that speaks Hasura's metadata API as Hasura 2 does, errors too, and takes no metadata that Hasura would not.

Answers are those of its documentation and of reports of its users:
https://hasura.io/docs/2.0/api-reference/metadata-api/manage-metadata/,
https://github.com/hasura/graphql-engine/issues/7324 (conflict). What a table may say is checked by the types of the npm
package ``@hasura/metadata`` (``fixtures/hasura/table_entry.json``).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_TYPES = json.loads((Path(__file__).parent / "fixtures" / "hasura" / "table_entry.json").read_text())["types"]
EMPTY: dict[str, Any] = {"version": 3, "sources": []}


def wrong_parts(value: Any, kind: Mapping[str, Any], place: str = "$") -> list[str]:
    """Return the places where a value is not of a type of ``@hasura/metadata``."""
    if "ref" in kind:
        return wrong_parts(value, _TYPES[kind["ref"]], place)
    if "one_of" in kind:
        found = [wrong_parts(value, each, place) for each in kind["one_of"] if each != {"is": "absent"}]
        return [] if any(not each for each in found) else min(found, key=len)
    if "values" in kind:
        return [] if value in kind["values"] else [place]
    if "list" in kind:
        if not isinstance(value, list):
            return [place]
        return [
            wrong
            for number, each in enumerate(value)
            for wrong in wrong_parts(each, kind["list"], f"{place}[{number}]")
        ]
    if "is" in kind:
        types = {"string": str, "number": (int, float), "boolean": bool, "any": object, "null": type(None)}
        return [] if isinstance(value, types[kind["is"]]) else [place]
    # the package does not know the lists of _and and _or, which Hasura's documentation has
    if place.endswith((".filter._and", ".filter._or")) and isinstance(value, list):
        return []
    if not isinstance(value, dict):
        return [place]
    wrong = [
        f"{place}.{name}"
        for name, each in kind["properties"].items()
        if name not in value and {"is": "absent"} not in each.get("one_of", ())
    ]
    for name, item in value.items():
        wrong += wrong_parts(item, kind["properties"].get(name, kind["others"]), f"{place}.{name}")
    return wrong


class Hasura:
    """
    The server's state, and what it is to answer next.

    :param views: the views of its database, with their columns.
    """

    def __init__(self, views: Mapping[str, set[str]], secret: str = "geheim") -> None:
        self.views = views
        self.secret = secret
        self.metadata: dict[str, Any] = deepcopy(EMPTY)
        self.version = 1
        self.requests: list[dict[str, Any]] = []
        #: each takes the place of one answer; None lets the request pass
        self.next: list[Callable[[], tuple[int, dict[str, str], Any] | None]] = []

    def answer(self, secret: str | None, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and body."""
        self.requests.append(body)
        if self.next and (said := self.next.pop(0)()) is not None:
            return said
        if secret != self.secret:
            error = 'invalid "x-hasura-admin-secret"/"x-hasura-access-key"'
            return 401, {}, {"path": "$", "error": error, "code": "access-denied"}
        if body["type"] == "export_metadata":
            return 200, {}, {"resource_version": self.version, "metadata": deepcopy(self.metadata)}
        return self._replace(body)

    def _replace(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if body.get("resource_version") != self.version:
            error = (
                f"metadata resource version referenced ({body.get('resource_version')}) did not match current version"
            )
            return 409, {}, {"path": "$", "error": error, "code": "conflict"}
        document = body["args"]["metadata"]
        tables = [table for source in document["sources"] for table in source["tables"]]
        wrong = [
            place for table in tables for place in wrong_parts(table, {"ref": "TableEntry"}, str(table.get("table")))
        ]
        if wrong:
            error = f"parsing Hasura.RQL.Types.Metadata failed, at {wrong[0]}"
            return 400, {}, {"path": "$.args.metadata", "error": error, "code": "parse-failed"}
        if inconsistent := [each for table in tables for each in self._inconsistent(table)]:
            error = "cannot continue due to inconsistent metadata"
            return 400, {}, {"path": "$.args", "error": error, "code": "unexpected", "internal": inconsistent}
        self.metadata, self.version = deepcopy(document), self.version + 1
        return 200, {}, {"message": "success"}

    def _inconsistent(self, table: Mapping[str, Any]) -> list[dict[str, Any]]:
        name = f"{table['table']['schema']}.{table['table']['name']}"
        if name not in self.views:
            reason = f'Inconsistent object: no such table/view exists in source: "{name}"'
            return [{"type": "table", "name": f"table {name} in source default", "reason": reason}]
        return [
            {
                "type": "select_permission",
                "name": f"select permission of {each['role']} on {name}",
                "reason": f'Inconsistent object: in table "{name}": column "{column}" does not exist',
            }
            for each in table.get("select_permissions", ())
            for column in each["permission"]["columns"]
            if column not in self.views[name]
        ]


def hang(seconds: float) -> Callable[[], None]:
    """Return what lets a client wait."""
    return lambda: time.sleep(seconds)


def say(status: int, body: Any = None, **headers: str) -> Callable[[], tuple[int, dict[str, str], Any]]:
    """Return what answers so."""
    return lambda: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


class Running:
    """A server on loopback."""

    def __init__(self, hasura: Hasura) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length))
                if self.path != "/v1/metadata":
                    status, headers, said = 404, {}, "not found"
                else:
                    status, headers, said = hasura.answer(self.headers.get("X-Hasura-Admin-Secret"), body)
                text = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(status)
                kind = "text/html" if isinstance(said, str) else "application/json; charset=utf-8"
                for name, value in {"Content-Type": kind, "Content-Length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
