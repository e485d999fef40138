"""Each plugin by itself."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pyarrow as pa
import pytest
from phlo_example.commands import GROUP
from phlo_example.publishers import CsvFiles
from phlo_example.quality import ThresholdCheck
from phlo_example.sources import RESOURCES, jsonplaceholder
from phlo_example.transforms import uppercase

from airflow_provider_phlo.exceptions import ConfigurationError, SourceRejectedError
from airflow_provider_phlo.publishing.lakehouse import Source

POSTS = [{"userId": 1, "id": 1, "title": "sunt aut"}]


@pytest.fixture
def site():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(POSTS if self.path == "/posts" else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_source_yields_the_records_of_a_resource(site):
    assert list(jsonplaceholder("posts", site)) == [POSTS]


def test_an_answer_that_is_not_a_list_is_refused(site):
    with pytest.raises(SourceRejectedError, match="not a list of objects"):
        list(jsonplaceholder("users", site))


def test_a_resource_that_does_not_exist_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="choose one of albums"):
        jsonplaceholder("post")


def test_the_check_counts_violations():
    result = ThresholdCheck("value", 10, tolerance=0.3).execute(pd.DataFrame({"value": [1, 2, 11, None]}))
    assert (result.passed, result.violations, result.total) == (False, 1, 3)
    assert ThresholdCheck("value", 10, tolerance=0.5).execute(pd.DataFrame({"value": [1, 2, 11]})).passed


def test_the_transform_changes_texts_only():
    rows = pa.table({"id": [1, 2], "name": ["Zoë", None]})
    assert uppercase(rows).to_pydict() == {"id": [1, 2], "name": ["ZOË", None]}


def test_the_publisher_replaces_files(tmp_path):
    publisher = CsvFiles(str(tmp_path))
    for names in (["a", "b"], ["c,d"]):
        rows = pa.table({"name": names})
        assert publisher.publish({"names": Source(rows.schema, rows.to_reader)}) == {"names": len(names)}
    assert (tmp_path / "names.csv").read_text() == '"name"\n"c,d"\n'
    with pytest.raises(ConfigurationError, match="absolute"):
        CsvFiles("here")


def test_the_commands_list_the_resources(capsys):
    import argparse
    import importlib

    (command,) = GROUP.commands
    module, _, name = command.path.rpartition(".")
    getattr(importlib.import_module(module), name)(argparse.Namespace(output="json"))
    assert [row["resource"] for row in json.loads(capsys.readouterr().out)] == list(RESOURCES)
