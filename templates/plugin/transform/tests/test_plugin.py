"""The transform."""

from __future__ import annotations

import pyarrow as pa
from plugin_module.transforms import plugin_name


def test_spaces_around_texts_go():
    rows = pa.table({"id": [1, 2], "name": ["  Ann", None]})
    assert plugin_name(rows).to_pydict() == {"id": [1, 2], "name": ["Ann", None]}


def test_no_rows_stay_no_rows():
    rows = pa.table({"id": pa.array([], pa.int64()), "name": pa.array([], pa.string())})
    assert plugin_name(rows) == rows
