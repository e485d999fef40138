"""A table's own properties, which any writer sets, choose neither code nor servers."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.memory import InMemoryCatalog

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.lake import open_lake

MODULE = "code_of_another_writer"
PROPERTIES = {
    "py-io-impl": f"{MODULE}.Files",
    "s3.retry-strategy-impl": f"{MODULE}.Files",
    "s3.endpoint": "http://127.0.0.1:9",
    "s3.secret-access-key": "another",
    "write.py-location-provider.impl": f"{MODULE}.Locations",
}


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a module there that could be imported."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / f"{MODULE}.py").write_text("class Files: ...\nclass Locations: ...\n")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    yield
    assert MODULE not in sys.modules


def another_writers_table(tmp_path: Path) -> str:
    """Return the metadata file of a table whose properties want much."""
    catalog = open_lake(tmp_path)
    overwrite_if_changed(catalog, "raw.t", pa.table({"k": [1]}))
    location = catalog.load_table("raw.t").metadata_location
    path = Path(location.removeprefix("file://"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "properties": PROPERTIES}))
    return location


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """Return a function that opens a REST catalog with the table ``raw.t``, whose server gives these settings."""
    location = another_writers_table(tmp_path)
    settings: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/v1/config"):
                answer: dict[str, Any] = {"defaults": {}, "overrides": {}}
            else:
                metadata = json.loads(Path(location.removeprefix("file://")).read_text())
                answer = {"metadata-location": location, "metadata": metadata, "config": settings}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def opened(**config: str) -> Catalog:
        settings.update(config)
        url = f"http://127.0.0.1:{server.server_address[1]}"
        return open_catalog("served", {"type": "rest", "uri": url, "s3.endpoint": "http://ours"})

    yield opened
    server.shutdown()
    server.server_close()
    thread.join()


def test_tables_of_a_sql_catalog_choose_nothing(tmp_path: Path) -> None:
    location = another_writers_table(tmp_path)
    catalog = open_lake(tmp_path)
    catalog.register_table("raw.again", location)
    table = catalog.load_table("raw.again")
    assert table.scan().to_arrow().to_pylist() == [{"k": 1}]
    assert not PROPERTIES.keys() & table.io.properties.keys()
    assert table.properties == PROPERTIES


def test_tables_of_a_rest_catalog_choose_nothing(served: Any) -> None:
    table = served(**{"s3.region": "eu-west-1"}).load_table("raw.t")
    assert table.scan().to_arrow().to_pylist() == [{"k": 1}]
    assert table.io.properties["s3.endpoint"] == "http://ours"
    assert table.io.properties["s3.region"] == "eu-west-1"  # what the server says counts
    assert table.properties == PROPERTIES


def test_tables_of_other_catalogs_choose_nothing(tmp_path: Path) -> None:
    location = another_writers_table(tmp_path)
    catalog = open_catalog("memory", {"type": "in-memory", "warehouse": str(tmp_path / "memory")})
    assert isinstance(catalog, InMemoryCatalog)
    catalog.create_namespace("raw")
    table = catalog.register_table("raw.again", location)
    assert not PROPERTIES.keys() & table.io.properties.keys()


@pytest.mark.parametrize("name", ["py-io-impl", "s3.retry-strategy-impl"])
def test_a_server_chooses_no_code_either(served: Any, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        served(**{name: f"{MODULE}.Files"}).load_table("raw.t")


def test_a_server_may_choose_between_those_of_pyiceberg(served: Any) -> None:
    table = served(**{"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO"}).load_table("raw.t")
    assert table.scan().to_arrow().to_pylist() == [{"k": 1}]


def test_what_a_server_says_to_clients_in_java_is_not_looked_at(served: Any) -> None:
    """As Nessie does."""
    table = served(**{"io-impl": "org.apache.iceberg.aws.s3.S3FileIO"}).load_table("raw.t")
    assert table.scan().to_arrow().to_pylist() == [{"k": 1}]


def test_such_a_table_is_not_written(tmp_path: Path) -> None:
    location = another_writers_table(tmp_path)
    catalog = open_lake(tmp_path)
    table = catalog.register_table("raw.again", location)
    for write in (
        lambda: overwrite_if_changed(catalog, "raw.again", pa.table({"k": [2]})),
        lambda: table.transaction().set_properties(a="b").commit_transaction(),
    ):
        with pytest.raises(ConfigurationError, match=r"write\.py-location-provider\.impl"):
            write()
    assert catalog.load_table("raw.again").metadata_location == location
