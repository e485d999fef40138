"""JSON keeps its digits and shows repeated names, whichever source reads it."""

from __future__ import annotations

import decimal
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from dlt.sources.filesystem import filesystem, read_jsonl
from dlt.sources.rest_api import rest_api_source
from pandera.pandas import Field
from typing_extensions import TypedDict

from airflow_provider_phlo.exceptions import SourceRejectedError
from airflow_provider_phlo.ingestion import staged_batches
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.terms import METADATA_COLUMNS
from tests.patience import PATIENCE

DLT_READERS = sys.modules["dlt.sources.filesystem.readers"]

LINES = [
    '{"id": 1, "price": 12345678901234567.123456789, "note": 0.12345678901234567890, "inside": {"n": 0.123456789}}',
    '{"id": 2, "price": 1.5, "rest": {"deep": [0.12345678901234567890123]}}',
    '{"id": 3, "price": 1, "price": 2}',
    '{"id": 4, "rest": {"a": {"b": 1, "b": 2}}}',
    '{"id": 5, "inside": {"n": 1, "n": 2}}',
]


class Inside(TypedDict):
    n: decimal.Decimal


class Priced(PhloSchema):
    id: int = Field(unique=True)
    price: decimal.Decimal = Field(nullable=True)
    note: str = Field(nullable=True)
    inside: Inside = Field(nullable=True)


EXACT = [
    {
        "id": 1,
        "price": decimal.Decimal("12345678901234567.123456789"),
        "note": "0.12345678901234567890",
        "inside": {"n": decimal.Decimal("0.123456789")},
    },
    {"id": 2, "price": decimal.Decimal("1.5"), "rest": '{"deep":[0.12345678901234567890123]}'},
]


@pytest.fixture
def url() -> Iterator[Callable[[str], str]]:
    """A server that answers any path with one body."""
    body = {"text": ""}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = body["text"].encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Stay silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()

    def serve(text: str) -> str:
        body["text"] = text
        return f"http://127.0.0.1:{http.server_port}"

    yield serve
    http.shutdown()
    http.server_close()


def rest(url: str) -> Any:
    endpoint = {"path": "rows", "paginator": "single_page", "data_selector": "rows"}
    return rest_api_source({"client": {"base_url": url}, "resources": [{"name": "rows", "endpoint": endpoint}]})


def staged(folder: Path, source: Callable[[], Any]) -> staged_batches.StagedBatch:
    batch = stage(
        source,
        StagingPlan("raw.t", key=("id",), declared=model_columns(Priced), strict=False),
        root=folder / "staging",
        token="t1",
        partition_date="2024-01-15",
        run_id="run",
        pipelines_dir=folder / "dlt",
    )
    assert batch is not None
    return batch


@pytest.mark.parametrize("way", ["lines", "bytes", "jsonl", "requests", "rest_api"])
def test_case_13_digits_and_repeated_names_in_every_source(way: str, tmp_path: Path, url: Callable[[str], str]) -> None:
    def source() -> Any:
        if way == "lines":
            return LINES
        if way == "bytes":
            return [line.encode() for line in LINES]
        if way == "jsonl":
            (tmp_path / "a.jsonl").write_text("\n".join(LINES))
            return filesystem(tmp_path.as_uri(), file_glob="a.jsonl") | read_jsonl()
        if way == "requests":
            return requests.get(url(f"[{', '.join(LINES)}]"), timeout=PATIENCE).json()
        return rest(url(f'{{"rows": [{", ".join(LINES)}]}}'))

    of_requests, of_dlt = requests.Response.json, DLT_READERS.json
    batch = staged(tmp_path, source)
    assert (requests.Response.json, DLT_READERS.json) == (of_requests, of_dlt)
    assert (batch.read, batch.rows, batch.quarantined) == (5, 2, 3)
    rows = staged_batches.read_rows(tmp_path / "staging", batch).drop_columns([*METADATA_COLUMNS]).to_pylist()
    assert [{name: value for name, value in row.items() if value is not None} for row in rows] == EXACT


def test_an_object_around_the_records_with_a_name_twice_is_an_error(tmp_path: Path, url: Callable[[str], str]) -> None:
    for body in ('{"rows": [], "rows": [{"id": 1}]}', '{"x": {"a": 1, "a": 2}, "rows": []}'):
        with pytest.raises(SourceRejectedError, match="around its records has the same name twice"):
            staged(tmp_path, lambda body=body: rest(url(body)))
