"""Whatever a source returns becomes chunks of rows, and its errors keep their meaning and lose their secrets."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dlt
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import pytest
import requests
from dlt.extract.exceptions import ResourceExtractionError
from dlt.sources.filesystem import filesystem, read_csv, read_jsonl, read_parquet
from dlt.sources.rest_api import rest_api_source

from airflow_provider_phlo.exceptions import (
    ConfigurationError,
    SchemaError,
    SourceRejectedError,
    SourceUnavailableError,
)
from airflow_provider_phlo.ingestion.extraction import chunks, plain_errors
from airflow_provider_phlo.schemas.conversion.records import Malformed
from tests.patience import PATIENCE

ROWS = [{"id": number, "name": f"n{number}"} for number in range(7)]
TABLE = pa.Table.from_pylist(ROWS)
Record = namedtuple("Record", ["id", "name"])


@dataclasses.dataclass
class Data:
    id: int
    name: str


class Model(pydantic.BaseModel):
    id: int
    name: str


def drawn(yielded: Any, size: int = 50_000) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for chunk in chunks(yielded, "raw.t", size):
        assert 0 < len(chunk) <= size
        found += chunk.to_pylist() if isinstance(chunk, pa.Table) else [dict(record) for record in chunk]
    return found


def generator() -> Iterator[Any]:
    yield from ROWS


def pages() -> Iterator[Any]:
    yield ROWS[:3]
    yield []
    yield None
    yield tuple(ROWS[3:6])
    yield ROWS[6]


def mixed() -> Iterator[Any]:
    yield ROWS[0]
    yield TABLE.slice(1, 2)
    yield [ROWS[3], TABLE.slice(4, 1)]
    yield pd.DataFrame(ROWS[5:])


class OwnFrame:
    """A data frame of another library: all it has is Arrow's C stream."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return TABLE.__arrow_c_stream__(requested_schema)


async def _later() -> Any:
    for row in ROWS:
        await asyncio.sleep(0)
        yield row


SOURCES: dict[str, Callable[[], Any]] = {
    "list": lambda: ROWS,
    "tuple": lambda: tuple(ROWS),
    "generator": generator,
    "pages": pages,
    "mixed": mixed,
    "ordered dicts": lambda: [OrderedDict(row) for row in ROWS],
    "named tuples": lambda: [Record(**row) for row in ROWS],
    "pages of named tuples": lambda: [[Record(**row) for row in ROWS]],
    "dataclasses": lambda: (Data(**row) for row in ROWS),
    "pydantic": lambda: [Model(**row) for row in ROWS],
    "table": lambda: TABLE,
    "batches": lambda: TABLE.to_batches(max_chunksize=2),
    "one batch": lambda: TABLE.to_batches()[0],
    "reader": lambda: TABLE.to_reader(max_chunksize=3),
    "yielded reader": lambda: iter([TABLE.to_reader(max_chunksize=3)]),
    "pandas": lambda: pd.DataFrame(ROWS),
    "pandas pages": lambda: (pd.DataFrame(ROWS[start : start + 3]) for start in (0, 3, 6)),
    "own frame": OwnFrame,
    "duckdb": lambda: duckdb.connect().from_arrow(TABLE),
    "resource": lambda: dlt.resource(generator, name="r"),
    "resource of pages": lambda: dlt.resource(pages, name="r"),
    "resource of tables": lambda: dlt.resource(iter([TABLE]), name="r"),
    "asynchronous resource": lambda: dlt.resource(_later, name="r"),
    "mapped resource": lambda: dlt.resource(iter([ROWS]), name="r").add_map(lambda row: {**row}),
}


@pytest.mark.parametrize("size", [1, 3, 50])
@pytest.mark.parametrize("name", SOURCES)
def test_everything_that_yields_rows(name: str, size: int) -> None:
    assert drawn(SOURCES[name](), size) == ROWS


@pytest.mark.parametrize(
    "nothing", [[], iter(()), [[]], iter([None]), TABLE.slice(0, 0), pd.DataFrame(), [TABLE.slice(0, 0)]]
)
def test_sources_that_yield_nothing(nothing: Any) -> None:
    assert drawn(nothing) == []


def test_one_record() -> None:
    assert drawn(ROWS[0]) == drawn(Record(**ROWS[0])) == drawn(Model(**ROWS[0])) == ROWS[:1]


def test_chunks_are_as_long_as_they_may_be() -> None:
    small = (TABLE.slice(number, 1) for number in range(7))
    assert [len(chunk) for chunk in chunks(small, "raw.t", 3)] == [3, 3, 1]
    assert [len(chunk) for chunk in chunks(iter([TABLE, TABLE]), "raw.t", 4)] == [4, 4, 4, 2]
    assert [len(chunk) for chunk in chunks(pages(), "raw.t", 5)] == [5, 2]


def test_tables_of_different_shape_stay_apart() -> None:
    other = TABLE.append_column("more", pa.array([0] * 7))
    assert [chunk.num_columns for chunk in chunks([TABLE, TABLE, other, TABLE], "raw.t", 50)] == [2, 3, 2]


def test_a_source_is_drawn_lazily() -> None:
    seen = []

    def endless() -> Iterator[Any]:
        for number in range(10**9):
            seen.append(number)
            yield {"id": number}

    assert len(next(chunks(endless(), "raw.t", 10))) == 10
    assert len(seen) <= 11


def test_frames_of_mixed_values_become_records() -> None:
    frame = pd.DataFrame({"id": [1, "two", None]})
    assert drawn(frame) == [{"id": 1}, {"id": "two"}, {"id": None}]


def test_frames_with_repeated_columns() -> None:
    with pytest.raises(SchemaError, match=r"raw\.t: .* two columns of the same name"):
        drawn(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_frames_with_a_named_index() -> None:
    frame = pd.DataFrame({"id": [1, 2], "part": ["a", "b"], "v": [0.5, None]})
    expected = frame.to_dict("records")
    for indexed in (
        frame.set_index("id"),
        frame.set_index(["id", "part"]),
        frame.set_index("id", drop=False),
        frame.set_index(pd.Index([7, 8])),
        frame.set_index([pd.Index([7, 8]), "part"]),
        frame.astype({"v": object}).set_index("part"),
    ):
        assert pd.DataFrame(drawn(indexed))[["id", "part", "v"]].equals(pd.DataFrame(expected))
    summed = pd.DataFrame({"day": ["a", "a", "b"], "v": [1, 2, 3]}).groupby("day").sum()
    assert drawn(summed) == [{"day": "a", "v": 3}, {"day": "b", "v": 3}]


def test_frames_whose_index_and_columns_share_a_name() -> None:
    frame = pd.DataFrame({"id": [1, 2]})
    for index in (pd.Index([3, 4], name="id"), pd.MultiIndex.from_arrays([[1, 2], [3, 4]], names=["k", "k"])):
        with pytest.raises(SchemaError, match=r"raw\.t: .* whose index has a level '(id|k)'"):
            drawn(frame.set_index(index))


@pytest.mark.parametrize("wrong", [5, "text", b"text", generator, object(), _later(), Data])
def test_what_is_not_a_source(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"raw\.t: the source returned a .*: return a dlt source"):
        drawn(wrong)


@pytest.mark.parametrize("wrong", [[object()], [pd.Series([1])], [Data], np.arange(3)])
def test_what_is_not_a_row(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"raw\.t: the source yielded a .*: yield records"):
        drawn(wrong)


@pytest.mark.parametrize("item", [b"x", "[]", 5, True, [ROWS], [None]])
def test_what_stands_in_place_of_a_record_is_counted(item: Any) -> None:
    [[found]] = chunks(iter([item, *ROWS[:0]]) if not isinstance(item, list) else [item], "raw.t", 50)
    assert isinstance(found, Malformed)


def test_what_is_missing_from_a_returned_list_is_counted() -> None:
    [[first, second, third]] = chunks([ROWS[0], None, ROWS[1]], "raw.t", 50)
    assert (first, third) == (ROWS[0], ROWS[1])
    assert isinstance(second, Malformed)


def test_lines_of_json_are_records() -> None:
    lines = [json.dumps(row) for row in ROWS]
    assert drawn(lines) == drawn(line.encode() for line in lines) == ROWS


def test_records_of_megabytes_make_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_phlo.ingestion.extraction.CHUNK_BYTES", 1000)
    monkeypatch.setattr("airflow_provider_phlo.ingestion.extraction.PIECE", 1)
    rows = [{"x": "a" * 400}, {"x": {"y": "a" * 400}}, {"x": ["a" * 400]}, {"x": 1}, {"x": 2}]
    assert [len(chunk) for chunk in chunks(iter(rows), "raw.t", 50)] == [2, 3]
    lines = [b"a" * 600] * 5
    assert [len(chunk) for chunk in chunks(iter(lines), "raw.t", 50)] == [2, 2, 1]
    tables = [pa.table({"x": ["a" * 600]})] * 5
    assert [len(chunk) for chunk in chunks(iter(tables), "raw.t", 50)] == [2, 2, 1]


# --- dlt's own sources


@dlt.source(name="several")
def several() -> Any:
    numbers = dlt.resource(iter([{"n": 1}, {"n": 2}]), name="numbers")

    @dlt.transformer(data_from=numbers, name="squares")
    def squares(row: dict[str, int]) -> Iterator[dict[str, int]]:
        yield {"n": row["n"], "square": row["n"] ** 2}

    return numbers, squares


def test_a_source_of_several_resources_is_refused_with_how_to_choose() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'several' has the resources numbers, squares; .*with_resources\('numbers'\)"
    ):
        drawn(several())
    with pytest.raises(ConfigurationError, match="has the resources none"):
        drawn(several().with_resources())


def test_resources_and_transformers_of_a_source() -> None:
    assert drawn(several().with_resources("numbers")) == [{"n": 1}, {"n": 2}]
    assert drawn(several().with_resources("squares")) == [{"n": 1, "square": 1}, {"n": 2, "square": 4}]
    assert drawn(several().squares) == [{"n": 1, "square": 1}, {"n": 2, "square": 4}]


def test_a_write_disposition_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        drawn(dlt.resource(generator, name="r", write_disposition="replace"))
    assert "write_disposition='replace' of the dlt resource has no effect" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        drawn(dlt.resource(generator, name="r"))
    assert "write_disposition" not in caplog.text


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,name,score\n1,x,0.5\n2,,\n")
    (tmp_path / "b.jsonl").write_text('{"id": 3, "name": {"first": "y"}}\n')
    import pyarrow.parquet as pq

    pq.write_table(TABLE, tmp_path / "c.parquet")
    url = tmp_path.as_uri()
    first, second = drawn(filesystem(url, file_glob="*.csv") | read_csv())
    assert first == {"id": 1, "name": "x", "score": 0.5}
    assert second["id"] == 2
    assert drawn(filesystem(url, file_glob="*.jsonl") | read_jsonl()) == [{"id": 3, "name": {"first": "y"}}]
    assert drawn(filesystem(url, file_glob="*.parquet") | read_parquet()) == ROWS


# --- a web server


@pytest.fixture
def server() -> Iterator[Any]:
    """A server of 7 rows in pages of 3; ``/status/<code>`` answers with that code."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            status = int(path.rsplit("/", 1)[1]) if path.startswith("/status/") else 200
            page = int(dict(pair.split("=") for pair in query.split("&") if pair).get("page", 1))
            content = requests.compat.json.dumps({"rows": ROWS[3 * page - 3 : 3 * page]}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Stay silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def rest(url: str, path: str) -> Any:
    paging = {"type": "page_number", "base_page": 1, "total_path": None}
    return rest_api_source(
        {
            "client": {"base_url": url, "paginator": paging},
            "resources": [
                {"name": "rows", "endpoint": {"path": path, "params": {"token": "s3cret"}, "data_selector": "rows"}}
            ],
        }
    )


def test_a_rest_api(server: str) -> None:
    assert drawn(rest(server, "rows"), 2) == ROWS


def test_an_answer_that_needs_a_person_shows_no_secret(server: str) -> None:
    with pytest.raises(SourceRejectedError, match=r"raw\.t: 127\.0\.0\.1/status/401 answered 401") as caught:
        drawn(rest(server, "status/401"))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, SourceRejectedError),
        (404, SourceRejectedError),
        (429, SourceUnavailableError),
        (503, SourceUnavailableError),
    ],
)
def test_what_http_errors_mean(server: str, status: int, error: type[Exception]) -> None:
    def source() -> Iterator[Any]:
        requests.get(f"{server}/status/{status}?token=s3cret", timeout=PATIENCE).raise_for_status()
        yield {}

    for yielded in (source(), dlt.resource(source, name="r")):
        with pytest.raises(error, match=rf"/status/{status} answered {status}") as caught:
            drawn(yielded)
        assert "s3cret" not in str(caught.value)


def test_a_server_that_is_down() -> None:
    with pytest.raises(SourceUnavailableError, match=r"127\.0\.0\.1/x did not answer"), plain_errors("raw.t"):
        requests.get("http://127.0.0.1:9/x?token=s3cret", timeout=PATIENCE)


def test_our_own_errors_come_out_of_dlts_wrapping() -> None:
    def refused() -> Iterator[Any]:
        yield {"id": 1}
        raise SourceRejectedError("the token is wrong")

    for yielded in (refused(), dlt.resource(refused, name="r")):
        with pytest.raises(SourceRejectedError, match=r"^the token is wrong$"):
            drawn(yielded)


def test_other_errors_stay_what_they_are() -> None:
    def broken() -> Iterator[Any]:
        yield {"id": 1}
        raise KeyError("id")

    with pytest.raises(KeyError):
        drawn(broken())
    with pytest.raises(ResourceExtractionError):
        drawn(dlt.resource(broken, name="r"))
