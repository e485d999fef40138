"""Data is read by field id: never by name, by position, or by what is stored about rows that have changed since."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from pyiceberg.types import DoubleType, IntegerType, ListType, LongType, NestedField, StringType, StructType

from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.iceberg.branches.rollback import plan_rollback, rollback
from airflow_provider_phlo.iceberg.files.reading import read_file
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.iceberg.merge import MergePlan, MergeResult, merge
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.lake import open_lake, open_views
from tests.sizes import size

T = "raw.t"
EXAMPLES = 150 if "PHLO_SOAK" in os.environ else 8
PLAN = MergePlan("merge", key=("k",))
HASH = "_phlo_row_hash"
NAMES = [
    "first-name",
    "first name",
    "first.name",
    "1st",
    "_",
    "select",
    "Order",
    "namespace",
    "é",
    "名前",
    "it's",
    'say "hi"',
    "a{b}",
    "emoji 🦆",
    "x" * 300,
    "element",
    "key",
]


class Lake:
    """A catalog, and ways to read and write its one table."""

    def __init__(self, home: Path) -> None:
        self.catalog: Catalog = open_lake(home)
        self.runs = 0

    @property
    def table(self) -> Any:
        return self.catalog.load_table(T)

    def create(self, schema: pa.Schema, **options: Any) -> None:
        tables.ensure_table(self.catalog, T, arrow_to_iceberg(schema), **options)

    def merge(self, rows: pa.Table, plan: MergePlan = PLAN) -> MergeResult:
        self.runs += 1
        return merge(self.catalog, T, rows, plan, token=f"run{self.runs}", branch="main")

    def append_elsewhere(self, rows: list[dict[str, Any]]) -> None:
        """Append as another writer would: by PyIceberg."""
        schema = self.table.schema().as_arrow()
        self.table.append(pa.Table.from_pylist(rows, schema=schema))

    def reads(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rows as each of our ways to read gives them, and as PyIceberg does."""
        table = self.table
        names = [item.name for item in table.schema().fields]
        ours = [each for task in table.scan().plan_files() for each in read_file(table, task, names)]
        with open_views(self.catalog) as connection:
            duckdb = connection.sql(f"SELECT * FROM {T}").to_arrow_table()
        found = {
            "read_file": [row for rows in ours for row in rows.to_pylist()],
            "duckdb": duckdb.to_pylist(),
            "pyiceberg": table.scan().to_arrow().to_pylist(),
        }
        return {way: sorted(rows, key=lambda row: row["k"]) for way, rows in found.items()}

    def holds(self, rows: list[dict[str, Any]]) -> None:
        """Check what every way reads; PyIceberg loses odd names in lists of lists, reading and writing."""
        for way, found in self.reads().items():
            for one, other in zip(found, rows, strict=True):
                left_out = {"ll"} if way == "pyiceberg" else set()
                assert {name: one[name] for name in one.keys() - left_out} == {
                    name: other[name] for name in other.keys() - left_out
                }, way


@contextmanager
def new_lake() -> Iterator[Lake]:
    folder = Path(tempfile.mkdtemp())
    try:
        yield Lake(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def nested(names: list[str]) -> pa.Schema:
    """Return a schema with the names in every place: a column, members, in a list, in a map, two levels deep."""
    inner = pa.struct([(name, pa.int64()) for name in names])
    outer = pa.struct([(name, inner) for name in names])
    column = "top " + names[0]
    deep = [("l", pa.list_(inner)), ("m", pa.map_(pa.string(), inner)), ("ll", pa.list_(pa.list_(inner)))]
    return pa.schema([("k", pa.int64()), (column, pa.string()), ("p", outer), *deep])


def row_of(names: list[str], k: int, salt: int = 0) -> dict[str, Any]:
    inner = {name: k + at + salt for at, name in enumerate(names)}
    return {
        "k": k,
        "top " + names[0]: f"t{k}",
        "p": {name: inner if at % 2 == 0 else None for at, name in enumerate(names)},
        "l": [inner, None],
        "m": [("one", inner)],
        "ll": [[inner], []],
    }


def distinct(names: list[str]) -> bool:
    return len({name.lower() for name in names}) == len(names)


def all_paths(lake: Lake, names: list[str]) -> None:
    """Take rows through every path: written, appended elsewhere, beside a merge of another row, compacted, set back."""
    schema = nested(names)
    lake.create(schema)
    rows = [row_of(names, k) for k in (1, 2, 3)]
    lake.merge(pa.Table.from_pylist(rows, schema=schema))
    rows.append(row_of(names, 4) | {"ll": None})
    lake.append_elsewhere(rows[3:])
    lake.holds(rows)
    first, before = lake.table.current_snapshot().snapshot_id, list(rows)
    for k in (1, 4):
        rows[k - 1] = row_of(names, k, salt=10)
        assert lake.merge(pa.Table.from_pylist([rows[k - 1]], schema=schema)).updated == 1
    lake.holds(rows)
    assert lake.merge(pa.Table.from_pylist(rows, schema=schema)).unchanged == 4
    assert compact(lake.catalog, T).files == 2
    lake.holds(rows)
    assert lake.merge(pa.Table.from_pylist(rows, schema=schema)).unchanged == 4
    rollback(lake.catalog, plan_rollback(lake.catalog, T, to_snapshot=first))
    lake.holds(before)
    assert lake.merge(pa.Table.from_pylist(rows, schema=schema)).updated == 2


@pytest.mark.long
@pytest.mark.parametrize("names", [NAMES[:9], NAMES[9:]], ids=["plain", "odd"])
def test_case_01_names_inside_nested_columns(lake: Lake, names: list[str]) -> None:
    all_paths(lake, names)


ANY_NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@pytest.mark.long
@settings(max_examples=size(8, 200), deadline=None, database=None)
@given(st.lists(st.one_of(st.sampled_from(NAMES), ANY_NAME), min_size=1, max_size=4).filter(distinct))
def test_case_01_any_name_in_any_place(names: list[str]) -> None:
    with new_lake() as lake:
        all_paths(lake, names)


def test_case_06_a_member_that_was_dropped_and_added_again(lake: Lake) -> None:
    schema = pa.schema([("k", pa.int64()), ("p", pa.struct([("x", pa.int64()), ("y", pa.int64())]))])
    lake.create(schema)
    lake.merge(pa.Table.from_pylist([{"k": k, "p": {"x": k, "y": 10 * k}} for k in (1, 2)], schema=schema))
    with lake.table.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column(("p", "y"))
    with lake.table.update_schema() as update:
        update.add_column(("p", "y"), LongType())
    rows = [{"k": k, "p": {"x": k, "y": None}} for k in (1, 2)]
    lake.holds(rows)
    rows.append({"k": 3, "p": {"x": 3, "y": 33}})
    lake.append_elsewhere(rows[2:])
    lake.holds(rows)
    rows[0] = {"k": 1, "p": {"x": 5, "y": 6}}
    assert lake.merge(pa.Table.from_pylist(rows[:1], schema=schema)).updated == 1
    lake.holds(rows)
    compact(lake.catalog, T)
    lake.holds(rows)


def hashed(rows: list[dict[str, Any]], kind: pa.DataType) -> pa.Table:
    table = pa.Table.from_pylist(rows, schema=pa.schema([("k", pa.int64()), ("v", kind)]))
    return table.append_column(HASH, pa.nulls(len(rows), pa.string()))


def values(lake: Lake) -> dict[int, Any]:
    found = {way: {row["k"]: row["v"] for row in rows} for way, rows in lake.reads().items()}
    assert found["read_file"] == found["duckdb"] == found["pyiceberg"]
    return found["duckdb"]


def drop_and_add(lake: Lake) -> None:
    with lake.table.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("v")
    with lake.table.update_schema() as update:
        update.add_column("v", StringType())


def test_case_07_a_column_that_was_dropped_and_added_is_filled(lake: Lake) -> None:
    lake.create(hashed([], pa.int64()).schema)
    lake.merge(hashed([{"k": 1, "v": 5}, {"k": 2, "v": 6}], pa.int64()))
    drop_and_add(lake)
    result = lake.merge(hashed([{"k": 1, "v": "5"}, {"k": 2, "v": "6"}], pa.string()))
    assert (result.updated, values(lake)) == (2, {1: "5", 2: "6"})
    assert lake.merge(hashed([{"k": 1, "v": "5"}], pa.string())).unchanged == 1


@pytest.mark.parametrize("path", ["merge", "compaction"])
def test_case_07_hashes_of_rows_that_are_only_carried_along_are_made_anew(lake: Lake, path: str) -> None:
    lake.create(hashed([], pa.int64()).schema)
    lake.merge(hashed([{"k": 1, "v": 5}, {"k": 2, "v": 6}], pa.int64()))
    drop_and_add(lake)
    if path == "merge":
        lake.merge(hashed([{"k": 2, "v": "7"}], pa.string()))
    else:
        lake.merge(hashed([{"k": 3, "v": "7"}], pa.string()))
        assert compact(lake.catalog, T).files == 2
    assert lake.merge(hashed([{"k": 1, "v": "5"}], pa.string())).updated == 1
    assert values(lake)[1] == "5"


@pytest.mark.parametrize("plan", [PLAN, MergePlan("append", method="hash")], ids=["merge", "append"])
def test_case_07_a_value_that_another_engine_updated(lake: Lake, plan: MergePlan) -> None:
    lake.create(hashed([], pa.int64()).schema)
    batch = hashed([{"k": 1, "v": 5}, {"k": 2, "v": 6}], pa.int64())
    lake.merge(batch, plan)
    there = lake.table.scan().to_arrow()
    changed = there.set_column(1, there.schema.field(1), pa.array([50, 60], pa.int64()))
    lake.table.overwrite(changed.cast(there.schema))
    result = lake.merge(batch, plan)
    assert (result.unchanged, result.duplicates) == (0, 0)
    assert {row["v"] for row in lake.reads()["duckdb"]} >= {5, 6}


def test_case_07_a_copied_mark_is_worth_nothing(lake: Lake) -> None:
    """Another writer may carry the Parquet metadata of our file along, too."""
    lake.create(hashed([], pa.int64()).schema)
    batch = hashed([{"k": 1, "v": 5}], pa.int64())
    lake.merge(batch)
    [task] = lake.table.scan().plan_files()
    path = task.file.file_path.removeprefix("file://")
    ours = pq.read_metadata(path).metadata
    assert b"phlo.row-hash" in ours
    lake.table.overwrite(pa.table({"k": [1], "v": [50], HASH: lake.table.scan().to_arrow()[HASH]}))
    [task] = lake.table.scan().plan_files()
    other = Path(task.file.file_path.removeprefix("file://"))
    theirs = pq.read_table(other)
    with pq.ParquetWriter(other, theirs.schema) as writer:
        writer.write_table(theirs)
        writer.add_key_value_metadata({b"phlo.row-hash": ours[b"phlo.row-hash"]})
    assert lake.merge(batch).updated == 1


@pytest.mark.parametrize("change", ["add", "widen", "none"])
def test_case_07_stored_hashes_are_read_where_they_are_true(
    lake: Lake, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that is still empty, and a wider type, change no hash: nothing but keys and hashes is read."""
    lake.create(hashed([], pa.int32()).schema)
    lake.merge(hashed([{"k": 1, "v": 5}], pa.int32()))
    with lake.table.update_schema() as update:
        if change == "add":
            update.add_column("w", StringType())
        elif change == "widen":
            update.update_column("v", LongType())
    read: list[Any] = []
    whole = pq.ParquetFile.read_row_group

    def noted(self: Any, i: int, columns: list[str], **options: Any) -> pa.Table:
        read.append(columns)
        return whole(self, i, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    assert lake.merge(hashed([{"k": 1, "v": 5}], pa.int32())).unchanged == 1
    assert read == [["k"], [HASH]]


# one change of a schema each, of a column or in a struct, a list of structs, a struct in a struct
PLACES = [(), ("p",), ("l", "element"), ("p", "in")]
KINDS = ["add", "drop", "rename", "readd", "widen", "move"]


def start_schema() -> pa.Schema:
    inner = pa.struct([("a", pa.int32()), ("b", pa.string()), ("keep", pa.int64())])
    members = [("a", pa.int32()), ("b", pa.string()), ("keep", pa.int64())]
    return pa.schema([("k", pa.int64()), *members, ("p", pa.struct([*members, ("in", inner)])), ("l", pa.list_(inner))])


def struct_at(schema: Any, place: tuple[str, ...]) -> StructType:
    found: Any = schema.as_struct()
    for step in place:
        found = found.element_type if isinstance(found, ListType) else found.field_by_name(step).field_type
    return found


def change(lake: Lake, kind: str, place: tuple[str, ...], number: int) -> None:
    """Change the members at a place by PyIceberg; those named ``keep``, ``in`` and the key stay."""
    members = struct_at(lake.table.schema(), place).fields
    present = [item for item in members if item.field_type.is_primitive and item.name not in ("k", "keep")]
    taken = {item.name for item in members}
    fresh = next(name for name in (f"n{number}" + "-" * tries for tries in range(9)) if name not in taken)
    with lake.table.update_schema(allow_incompatible_changes=True) as update:
        if kind == "add" or not present:
            update.add_column((*place, fresh), LongType())
            return
        item = present[number % len(present)]
        path = (*place, item.name)
        if kind in ("drop", "readd"):
            update.delete_column(path)
        elif kind == "rename":
            update.rename_column(path, fresh)
        elif kind == "widen" and isinstance(item.field_type, IntegerType):
            update.update_column(path, LongType())
        elif kind == "move":
            update.move_first(path)
    if kind == "readd":
        again = StringType() if number % 2 else item.field_type
        with lake.table.update_schema() as update:
            update.add_column(path, again)


def value_of(kind: Any, k: int) -> Any:
    if isinstance(kind, StructType):
        return {item.name: value_of(item.field_type, k) for item in kind.fields}
    if isinstance(kind, ListType):
        return [value_of(kind.element_type, k), None]
    return f"s{k}" if isinstance(kind, StringType) else float(k) if isinstance(kind, DoubleType) else k


def new_row(lake: Lake, k: int) -> pa.Table:
    fields: list[NestedField] = list(lake.table.schema().fields)
    row = {item.name: value_of(item.field_type, k) for item in fields} | {"k": k}
    return pa.Table.from_pylist([row], schema=lake.table.schema().as_arrow())


STEP = st.tuples(st.sampled_from(KINDS), st.sampled_from(PLACES), st.integers(0, 7))


@pytest.mark.long
@settings(max_examples=size(8, 200), deadline=None, database=None)
@given(st.lists(STEP, min_size=1, max_size=5))
def test_case_06_any_history_of_a_schema(steps: list[tuple[str, tuple[str, ...], int]]) -> None:
    """After every change our reads are PyIceberg's, and writing again what nobody changed does not change it."""
    with new_lake() as lake:
        lake.create(start_schema())
        lake.merge(pa.concat_tables([new_row(lake, k) for k in (1, 2)]))
        for number, (kind, place, which) in enumerate(steps):
            change(lake, kind, place, which)
            before = lake.reads()
            assert before["read_file"] == before["duckdb"] == before["pyiceberg"]
            k = 10 + number
            (lake.merge if number % 2 else lake.table.append)(new_row(lake, k))
            lake.merge(new_row(lake, 2))
            after = lake.reads()
            assert after["read_file"] == after["duckdb"] == after["pyiceberg"]
            assert [row for row in after["duckdb"] if row["k"] not in (2, k)] == [
                row for row in before["duckdb"] if row["k"] != 2
            ]
        before, written = lake.reads(), lake.table.current_snapshot().snapshot_id
        compact(lake.catalog, T)
        assert lake.reads() == before
        first = lake.table.metadata.snapshots[0].snapshot_id
        for target in (first, written):  # back over all changes of the schema, and forth
            rollback(lake.catalog, plan_rollback(lake.catalog, T, to_snapshot=target))
            found = lake.reads()
            assert found["read_file"] == found["duckdb"] == found["pyiceberg"]
        assert found == before
