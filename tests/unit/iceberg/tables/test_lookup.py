"""Every table of a catalog, also where namespaces lie inside others, as servers of REST catalogs answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest
from pyiceberg.exceptions import BadRequestError

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.catalogs import nessie
from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.iceberg.tables.lookup import namespaces, table_names
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.lake import open_lake

SCHEMA = arrow_to_iceberg(pa.schema([("id", pa.int64())]))
TREE = {"": [["raw"], ["sales"]], "sales": [["sales", "eu"]], "sales\x1feu": [["sales", "eu", "x"]]}


@pytest.fixture
def ask() -> Iterator[Any]:
    """Return a function that lists the namespaces of a server, given what it answers by parent."""
    answers: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path == "/v1/config":
                self.answer(200, {"defaults": {}, "overrides": {nessie.API_URI: f"http://{self.headers['Host']}"}})
                return
            if asked.path == "/v2/trees":
                self.answer(200, {"references": [], "hasMore": True, "token": "again"})
                return
            answer = answers.get(parse_qs(asked.query).get("parent", [""])[0], [])
            if isinstance(answer, int):
                self.answer(answer, {"error": {"message": "no", "type": "x", "code": answer}})
            else:
                self.answer(200, {"namespaces": answer})

        def answer(self, status: int, body: Any) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    catalog = open_catalog("rest", {"type": "rest", "uri": f"http://127.0.0.1:{server.server_address[1]}"})

    def ask(**given: Any) -> list[str]:
        answers.clear()
        answers.update(given["tree"])
        return [".".join(each) for each in namespaces(catalog)]

    ask.catalog = catalog  # type: ignore[attr-defined]
    yield ask
    catalog.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_namespaces_inside_others(ask: Any) -> None:
    assert ask(tree=TREE) == ["raw", "sales", "sales.eu", "sales.eu.x"]


@pytest.mark.parametrize("status", [400, 404, 501])
def test_a_server_that_knows_one_level_only(ask: Any, status: int) -> None:
    assert ask(tree={"": TREE[""], "raw": status, "sales": status}) == ["raw", "sales"]


def test_a_server_that_does_not_look_at_the_parent_has_an_end(ask: Any) -> None:
    assert ask(tree={"": TREE[""], "raw": TREE[""], "sales": TREE[""]}) == ["raw", "sales"]


def test_case_31_a_list_of_branches_that_has_no_end(ask: Any) -> None:
    with pytest.raises(ConfigurationError, match="list of branches has no end"):
        nessie.run_branches(ask.catalog)


def test_what_a_server_refuses_altogether_is_an_error(ask: Any) -> None:
    with pytest.raises(BadRequestError):
        ask(tree={"": 400})


def test_every_table_is_listed_and_named_once(tmp_path: Path) -> None:
    catalog = open_lake(tmp_path)
    for name in ("a.t", "a.b.t", "a.b.c.t", "a_b.t"):
        ensure_table(catalog, name, SCHEMA)
    assert sorted(table_names(catalog)) == ["a.b.c.t", "a.b.t", "a.t", "a_b.t"]
    with pytest.raises(ConfigurationError, match=r"a\.b\.t and a\.B\.t differ in nothing but case"):
        ensure_table(catalog, "a.B.t", SCHEMA)
