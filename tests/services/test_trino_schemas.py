"""Columns that Trino adds, drops, renames, widens and adds again, also in structs: read and written by field id."""

from __future__ import annotations

import os
import random
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.files.manifests import live_tasks
from airflow_provider_phlo.iceberg.files.reading import read_file
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.expect import expect

# in one worker: the groups "trino" and "trino checks" at once are enough for Trino
pytestmark = pytest.mark.xdist_group("trino")

SEEDS = 25 if "PHLO_SOAK" in os.environ else 2
STEPS = 6
MEMBERS = [("a", pa.int32()), ("b", pa.string()), ("keep", pa.int64())]
START = pa.schema([("k", pa.int64()), *MEMBERS, ("p", pa.struct(MEMBERS))])
# Trino folds names to lower case
NAMES = ["a", "b", "select", "first-name", "名前", "a b"]


class History:
    """A table whose columns Trino changes, step by step, as a seed says."""

    def __init__(self, trino: Any, lake: Any, name: str, seed: int) -> None:
        self.trino, self.lake, self.name, self.random = trino, lake, name, random.Random(seed)
        self.keys = 0
        tables.ensure_table(lake, name, arrow_to_iceberg(START))

    @property
    def schema(self) -> pa.Schema:
        return self.lake.load_table(self.name).schema().as_arrow()

    def change(self) -> None:
        """Add, drop, rename, widen, or drop and add again a column or a member of the struct."""
        inside = self.random.random() < 0.5
        fields = list(self.schema.field("p").type) if inside else list(self.schema)
        present = [item for item in fields if item.name not in ("k", "p", "keep")]
        free = [name for name in NAMES if name not in {item.name for item in fields}]
        kind = self.random.choice(["add", "drop", "rename", "widen", "readd"])
        if not present or (kind == "add" and free):
            self._alter(f"ADD COLUMN {_path(inside, free[0])} {self.random.choice(['bigint', 'varchar', 'integer'])}")
            return
        item = self.random.choice(present)
        path = _path(inside, item.name)
        if kind == "rename" and free:
            self._alter(f"RENAME COLUMN {path} TO {_quoted(self.random.choice(free))}")
        elif kind == "widen" and pa.types.is_int32(item.type):
            self._alter(f"ALTER COLUMN {path} SET DATA TYPE bigint")
        else:
            self._alter(f"DROP COLUMN {path}")
            if kind == "readd":
                self._alter(f"ADD COLUMN {path} {self.random.choice(['bigint', 'varchar'])}")

    def _alter(self, change: str) -> None:
        self.trino.query(f"ALTER TABLE {self.name} {change}")

    def row(self) -> dict[str, Any]:
        self.keys += 1
        return _value(pa.struct(list(self.schema)), self.keys) | {"k": self.keys}

    def write(self) -> None:
        """Write a row by Trino, and one by a merge."""
        literal = _literal(pa.struct(list(self.schema)), self.row())
        self.trino.query(f"INSERT INTO {self.name} SELECT * FROM (VALUES {literal})")
        self.merge(self.row())

    def merge(self, row: dict[str, Any]) -> Any:
        batch = pa.Table.from_pylist([row], schema=self.schema)
        return merge(self.lake, self.name, batch, MergePlan(key=("k",)), token=f"r{self.keys}", branch="main")

    def require_equal_reads(self) -> list[list[Any]]:
        """Check that Trino, PyIceberg, DuckDB and our own reading agree, and return the rows."""
        table = self.lake.load_table(self.name)
        names = [item.name for item in table.schema().fields]
        files = [part for task in live_tasks(table, branch_head(table)) for part in read_file(table, task, names)]
        with connect(self.lake, tables=[self.name]) as connection:
            by_duckdb = connection.sql(f"SELECT * FROM {self.name}").to_arrow_table()
        found = {
            "files": _rows(pa.concat_tables(files).to_pylist()),
            "duckdb": _rows(by_duckdb.to_pylist()),
            "pyiceberg": _rows(table.scan().to_arrow().to_pylist()),
        }
        expected = sorted(_plain(list(row)) for row in self.trino.query(f"SELECT * FROM {self.name}"))
        for way, rows in found.items():
            assert rows == expected, way
        return expected


def _quoted(name: str) -> str:
    return '"' + name + '"'


def _path(inside: bool, name: str) -> str:
    return f"p.{_quoted(name)}" if inside else _quoted(name)


def _value(kind: pa.DataType, key: int) -> Any:
    if pa.types.is_struct(kind):
        return {item.name: _value(item.type, key) for item in kind}
    return key if pa.types.is_integer(kind) else f"s{key}"


def _literal(kind: pa.DataType, value: Any) -> str:
    """Return a value as SQL."""
    if pa.types.is_struct(kind):
        return f"ROW({', '.join(_literal(item.type, value[item.name]) for item in kind)})"
    of = "bigint" if pa.types.is_int64(kind) else "integer" if pa.types.is_integer(kind) else "varchar"
    return f"CAST('{value}' AS {of})"


def _rows(rows: list[dict[str, Any]]) -> list[list[Any]]:
    return sorted(_plain(row) for row in rows)


def _plain(value: Any) -> Any:
    """Return structs as lists of their values."""
    if isinstance(value, dict):
        return [_plain(each) for each in value.values()]
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("seed", range(SEEDS))
def test_case_06_and_07_schemas_that_trino_changes(trino, lake, table_name, seed):
    history = History(trino, lake, table_name, seed)
    history.write()
    for _ in range(STEPS):
        history.change()
        history.write()
    before = history.require_equal_reads()
    changed = history.row() | {"k": 1}
    expect(history.merge(changed), updated=1, inserted=0)
    after = history.require_equal_reads()
    assert [row for row in after if 1 not in row[:1] and row not in before] == []
    assert len(after) == len(before)
    compact(lake, table_name)
    assert history.require_equal_reads() == after
