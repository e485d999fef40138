"""The publisher."""

from __future__ import annotations

import json

import pyarrow as pa
from plugin_module.publishers import PluginClass

from airflow_provider_phlo.publishing.lakehouse import Source


def mart(rows):
    return Source(rows.schema, rows.to_reader)


def test_a_file_has_the_rows_of_its_mart(tmp_path):
    publisher = PluginClass(str(tmp_path / "out"))
    for ids in ([1, 2], [3]):
        assert publisher.publish({"daily": mart(pa.table({"id": ids}))}) == {"daily": len(ids)}
    lines = (tmp_path / "out" / "daily.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"id": 3}]
