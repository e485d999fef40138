"""Data files without field ids, which another writer has added as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table
from pyiceberg.types import LongType

from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.files.reading import read_file
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from tests.lake import open_lake

T = "raw.t"
MEMBERS = pa.struct([("a", pa.int64())])
SCHEMA = pa.schema(
    [
        ("k", pa.int64()),
        ("l", pa.list_(MEMBERS)),
        ("m", pa.map_(pa.string(), MEMBERS)),
        ("s", pa.struct([("x", pa.list_(MEMBERS)), ("ml", pa.map_(pa.string(), pa.list_(MEMBERS)))])),
        ("ll", pa.list_(pa.list_(MEMBERS))),
    ]
)
ROWS: list[dict[str, Any]] = [
    {"k": 1, "l": [{"a": 1}], "m": [("q", {"a": 1})], "s": {"x": [], "ml": []}, "ll": [[], [{"a": 1}]]},
    {"k": 2, "l": None, "m": None, "s": None, "ll": None},
    {"k": 3, "l": [None], "m": [("q", None)], "s": {"x": None, "ml": [("q", None)]}, "ll": [None, [None]]},
    {"k": 4, "l": [], "m": [], "s": {"x": [None], "ml": None}, "ll": []},
]


@pytest.mark.parametrize("evolved", [False, True], ids=["as added", "with a new member"])
def test_case_06_null_lists_of_structs_in_files_without_field_ids_stay_null(tmp_path: Path, evolved: bool) -> None:
    catalog = open_lake(tmp_path)
    ensure_namespace(catalog, "raw")
    table = catalog.create_table(T, SCHEMA)
    for number, rows in enumerate((ROWS[:2], ROWS[2:])):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
        table.add_files([str(path)])
    if evolved:
        with table.update_schema() as update:
            update.add_column(("l", "element", "b"), LongType())
            update.add_column(("m", "value", "b"), LongType())
            update.add_column(("s", "x", "element", "b"), LongType())
            update.add_column(("ll", "element", "element", "b"), LongType())

    def stored() -> list[dict[str, Any]]:
        table: Table = catalog.load_table(T)
        with connect(catalog) as connection:
            view = connection.sql(f"SELECT * FROM {T} ORDER BY k").to_arrow_table().to_pylist()
        tasks = table.scan().plan_files()
        parts = [
            part for task in tasks for part in read_file(table, task, [item.name for item in table.schema().fields])
        ]
        rows = sorted((row for part in parts for row in part.to_pylist()), key=lambda row: row["k"])
        assert _without(view) == _without(rows)
        return _without(rows)

    assert stored() == ROWS
    new = pa.Table.from_pylist([{"k": 5}, {"k": 1}], SCHEMA)
    merge(catalog, T, new, MergePlan("merge", key=("k",)), token="one", branch="main")
    nothing = dict.fromkeys(SCHEMA.names)
    expected = [nothing | {"k": 1}, *ROWS[1:], nothing | {"k": 5}]
    assert stored() == expected
    assert compact(catalog, T).files > 1
    assert stored() == expected


def _without(value: Any) -> Any:
    """Return a value without the members that the files lack, which are NULL, and without metadata columns."""
    if isinstance(value, dict):
        assert value.get("b") is None
        return {name: _without(each) for name, each in value.items() if name != "b" and not name.startswith("_")}
    return type(value)(map(_without, value)) if isinstance(value, list | tuple) else value
