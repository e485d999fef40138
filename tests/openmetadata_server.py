"""
A server that speaks OpenMetadata's protocol, as far as ``phlo catalog sync`` uses it, on loopback.

It checks each body by OpenMetadata's own JSON schemas, keeps entities in memory, gives versions (ETag) and checks
If-Match, and answers as tests wish before that: errors, pauses, connections that end.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonpatch
import jsonschema
import referencing
from referencing.jsonschema import DRAFT7

SPEC = Path(__file__).parent / "fixtures" / "openmetadata"
TOKEN = "a.bot's-token"
ROOT = "https://open-metadata.org/schema/"
# collection → the schema of what creates one of it
CREATED_BY = {
    "services/databaseServices": "api/services/createDatabaseService.json",
    "databases": "api/data/createDatabase.json",
    "databaseSchemas": "api/data/createDatabaseSchema.json",
    "tables": "api/data/createTable.json",
    "dataQuality/testSuites/basic": "api/tests/createTestSuite.json",
    "dataQuality/testDefinitions": "api/tests/createTestDefinition.json",
    "dataQuality/testCases": "api/tests/createTestCase.json",
    "dataContracts": "api/data/createDataContract.json",
}
HOLDERS = {"databases": "services/databaseServices", "databaseSchemas": "databases", "tables": "databaseSchemas"}
PARENTS = {"databases": "service", "databaseSchemas": "database", "tables": "databaseSchema"}
COLLECTIONS = sorted(CREATED_BY, key=len, reverse=True)


@cache
def _registry() -> referencing.Registry[Any]:
    found = {path: _schema(path) for path in SPEC.rglob("*.json")}
    resources = [
        (ROOT + str(path.relative_to(SPEC)), referencing.Resource(contents=schema, specification=DRAFT7))
        for path, schema in found.items()
    ]
    # what is not here is never sent: see the README beside the schemas
    anything = referencing.Resource(contents={"definitions": _Anything()}, specification=DRAFT7)
    return referencing.Registry(retrieve=lambda _: anything).with_resources(resources)


def _quoted(name: str) -> str:
    return f'"{name}"' if "." in name else name


def _schema(path: Path) -> Any:
    # Java's flag for what Python's patterns do anyway: words are of all alphabets
    return json.loads(path.read_text().replace("(?U)", ""))


class _Anything(dict):  # type: ignore[type-arg]
    def __contains__(self, _: object) -> bool:
        return True

    def __getitem__(self, _: object) -> Any:
        return {}


@cache
def _validator(name: str) -> jsonschema.Draft7Validator:
    schema = _schema(SPEC / name)
    # its own file is the base of its references, whatever it says of itself
    schema["$id"] = ROOT + name
    return jsonschema.Draft7Validator(schema, registry=_registry())


def problem_of(body: Any, schema: str) -> str | None:
    """Return what is wrong with a body, by the schema."""
    error = next(iter(_validator(schema).iter_errors(body)), None)
    return None if error is None else f"{list(error.absolute_path)}: {error.message[:200]}"


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class FakeOpenMetadata:
    """
    What the tests see of the server.

    :ivar answers: what it answers to the next requests instead: ``(status, headers)``, with a body
        of its own as a third part, or ``"hang up"``.
    :ivar calls: the requests, as ``METHOD path``.
    """

    def __init__(self) -> None:
        self.version = "2.0.7"
        self.delay = 0.0
        self.answers: list[Any] = []
        self.calls: list[str] = []
        self.bodies: list[Any] = []
        self.entities: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in CREATED_BY}
        self.lineage: dict[tuple[str, str], dict[str, Any]] = {}
        self.profiles: dict[str, dict[str, Any]] = {}
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.users: dict[str, str] = {}
        self.url = ""
        self.before_patch: Any = None
        self.most_per_page = 100
        self.deleted: set[str] = set()
        self.lock = threading.Lock()

    def table(self, fqn: str) -> dict[str, Any]:
        return self.entities["tables"][fqn]

    def by_id(self, collection: str, entity_id: str) -> dict[str, Any]:
        found = next((each for each in self.entities[collection].values() if each["id"] == entity_id), None)
        if found is None:
            raise Refusal(404, f"{collection} instance for {entity_id} not found")
        return found

    # --- requests

    def handle(self, method: str, path: str, query: dict[str, str], body: Any, headers: Any) -> tuple[Any, str | None]:
        if path == "system/version":
            return {"version": self.version, "revision": "x", "timestamp": 1}, None
        if path == "lineage" and method == "PUT":
            self._valid(body, "api/lineage/addLineage.json")
            edge = body["edge"]
            for end in ("fromEntity", "toEntity"):
                self.by_id("tables", edge[end]["id"])
            self.lineage[edge["fromEntity"]["id"], edge["toEntity"]["id"]] = edge
            return None, None
        if path.startswith("dataQuality/testCases/testCaseResults/"):
            fqn = unquote(path.rpartition("/")[2])
            self._valid(body, "api/tests/createTestCaseResult.json")
            if fqn not in self.entities["dataQuality/testCases"]:
                raise Refusal(404, f"testCase instance for {fqn} not found")
            self.results.setdefault(fqn, []).append(body)
            return body, None
        if path.startswith(("users/name/", "teams/name/")):
            name = unquote(path.rpartition("/")[2])
            if self.users.get(name) != path.partition("/")[0]:
                raise Refusal(404, f"{name} not found")
            return {"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "name": name}, None
        collection = next((each for each in COLLECTIONS if path == each or path.startswith(f"{each}/")), None)
        if collection is None:
            raise Refusal(404, f"HTTP 404 Not Found: {path}")
        rest = path[len(collection) :].lstrip("/")
        return self._entity(method, collection, rest, query, body, headers)

    def _entity(self, method, collection, rest, query, body, headers):
        if method == "GET" and not rest:
            return self._page(collection, query), None
        if method == "GET" and rest == "entity":
            found = [each for each in self.entities[collection].values() if each["entity"]["id"] == query["entityId"]]
            if not found:
                raise Refusal(404, "no contract")
            return found[0], None
        if method == "GET" and rest.startswith("name/"):
            fqn = unquote(rest.removeprefix("name/"))
            if fqn not in self.entities[collection]:
                raise Refusal(404, f"{collection} instance for {fqn} not found")
            found = self.entities[collection][fqn]
            return found, f'"{found["version"]}"'
        if method == "POST" and not rest:
            return self._create(collection, body), None
        if method == "PUT" and rest.endswith("/tableProfile"):
            self._valid(body, "api/data/createTableProfile.json")
            self.profiles[self.by_id("tables", rest.partition("/")[0])["fullyQualifiedName"]] = body
            return None, None
        if method == "PATCH":
            return self._patch(collection, rest, body, headers), None
        raise Refusal(405, f"{method} {rest}")

    def _page(self, collection, query):
        wanted = [each for fqn, each in sorted(self.entities[collection].items())]
        if "database" in query:
            wanted = [each for each in wanted if each["fullyQualifiedName"].startswith(query["database"] + ".")]
        start, limit = int(query.get("after") or 0), min(int(query["limit"]), self.most_per_page)
        paging = {"total": len(wanted), **({"after": str(start + limit)} if start + limit < len(wanted) else {})}
        return {"data": wanted[start : start + limit], "paging": paging}

    def _create(self, collection, body):
        self._valid(body, CREATED_BY[collection])
        fqn = self._fqn(collection, body)
        if fqn in self.entities[collection] or fqn in self.deleted:
            raise Refusal(409, "Entity already exists")
        if collection == "dataContracts" and any(
            each["entity"]["id"] == body["entity"]["id"] for each in self.entities[collection].values()
        ):
            raise Refusal(409, "A data contract already exists for this entity")
        entity = {**body, "id": str(uuid.uuid4()), "fullyQualifiedName": fqn, "version": 0.1}
        self.entities[collection][fqn] = entity
        return entity

    def _fqn(self, collection, body):
        name = body["name"]
        part = _quoted(name)
        parent = body.get(PARENTS.get(collection, ""), "")
        if parent and parent not in self.entities[HOLDERS[collection]]:
            raise Refusal(404, f"{parent} not found")
        if collection == "dataQuality/testCases":
            link = re.fullmatch(r"<#E::table::(.+?)(?:::columns::(.+))?>", body["entityLink"])
            assert link, body["entityLink"]
            if link[1] not in self.entities["tables"]:
                raise Refusal(404, f"table {link[1]} not found")
            if body["testDefinition"] not in self.entities["dataQuality/testDefinitions"]:
                raise Refusal(404, "testDefinition not found")
            names = {each["name"] for each in self.table(link[1])["columns"]}
            if link[2] and link[2] not in names:
                raise Refusal(400, f"Invalid column name {link[2]}")
            parent = link[1] if link[2] is None else f"{link[1]}.{_quoted(link[2])}"
        if collection == "dataContracts":
            parent = self.by_id("tables", body["entity"]["id"])["fullyQualifiedName"]
        return f"{parent}.{part}" if parent else part

    def _patch(self, collection, entity_id, operations, headers):
        if self.before_patch is not None:
            self.before_patch, hook = None, self.before_patch
            hook()
        entity = self.by_id(collection, entity_id)
        if headers["Content-Type"] != "application/json-patch+json":
            raise Refusal(415, "HTTP 415 Unsupported Media Type")
        wanted = headers["If-Match"]
        if wanted is not None and wanted != f'"{entity["version"]}"':
            raise Refusal(412, "The entity was modified")
        patched = jsonpatch.apply_patch(entity, operations)
        if collection == "tables":
            ours = {key: value for key, value in patched.items() if key not in ("id", "fullyQualifiedName", "version")}
            self._valid(ours, CREATED_BY[collection])
        if patched != {**entity, "sourceHash": patched.get("sourceHash")}:
            patched["version"] = round(entity["version"] + 0.1, 1)
        self.entities[collection][entity["fullyQualifiedName"]] = patched
        return patched

    def _valid(self, body, schema):
        problem = problem_of(body, schema)
        if problem:
            raise Refusal(400, problem)


def _handler(server: FakeOpenMetadata) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for an ACK

        def answer(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            with server.lock:
                server.calls.append(f"{self.command} {parts.path}")
                server.bodies.append(body)
                scripted = server.answers.pop(0) if server.answers else None
            time.sleep(server.delay)
            if scripted == "hang up":
                self.close_connection = True
                self.connection.close()
                return
            if scripted is not None:
                said = {"code": scripted[0], "message": "as the test says"} if len(scripted) < 3 else scripted[2]
                self.reply(scripted[0], said, scripted[1])
                return
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self.reply(401, {"code": 401, "message": "Token has expired"}, {})
                return
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            try:
                with server.lock:
                    found, etag = server.handle(
                        self.command, parts.path.removeprefix("/api/v1/"), query, body, self.headers
                    )
            except Refusal as refusal:
                self.reply(refusal.status, {"code": refusal.status, "message": refusal.message}, {})
                return
            self.reply(200, found, {"ETag": etag} if etag else {})

        def reply(self, status: int, body: Any, headers: dict[str, str]) -> None:
            text = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = do_PATCH = answer

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def running_openmetadata() -> Iterator[FakeOpenMetadata]:
    """Run the server; it ends with the block."""
    fake = FakeOpenMetadata()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
