from __future__ import annotations

import datetime
import random
import uuid
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile, DataFileContent, ManifestContent
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from airflow_provider_phlo.exceptions import CommitConflictError, SchemaError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.maintenance import compaction, rolling
from airflow_provider_phlo.iceberg.maintenance.compaction import compact, plan_compaction
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.expect import expect
from tests.unit.position_deletes import commit_deletes, delete_file

TABLE = "raw.t"
SCHEMA = pa.schema([("k", pa.int64()), ("v", pa.string()), ("d", pa.date32())])
DAYS = [datetime.date(2024, 1, 1 + number) for number in range(2)]


def make(catalog: Catalog, schema: pa.Schema = SCHEMA, **options: Any) -> Table:
    return ensure_table(catalog, TABLE, arrow_to_iceberg(schema), **options)


def rows_of(*keys: int, value: str = "x") -> pa.Table:
    return pa.table({"k": list(keys), "v": [value] * len(keys), "d": [DAYS[key % 2] for key in keys]}, schema=SCHEMA)


def run(catalog: Catalog, token: str, rows: pa.Table, **properties: str) -> None:
    merged = merge(catalog, TABLE, rows, MergePlan(key=("k",)), token=token)
    branches.move_main(
        catalog,
        TABLE,
        branches.branch_name(token),
        token=token,
        result={},
        properties=properties,
        expected_head=merged.head,
    )


def content(catalog: Catalog, snapshot_id: int | None = None) -> Counter[str]:
    return Counter(map(repr, catalog.load_table(TABLE).scan(snapshot_id=snapshot_id).to_arrow().to_pylist()))


def files(catalog: Catalog) -> list[DataFile]:
    return [task.file for task in catalog.load_table(TABLE).scan().plan_files()]


def delete_files(catalog: Catalog) -> list[DataFile]:
    table = catalog.load_table(TABLE)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return [
        entry.data_file
        for manifest in snapshot.manifests(table.io)
        if manifest.content == ManifestContent.DELETES
        for entry in manifest.fetch_manifest_entry(table.io)
    ]


def read(file: DataFile) -> pa.Table:
    return pq.read_table(file.file_path.removeprefix("file://"))


def test_small_files_of_each_partition_become_one_in_one_replace_snapshot(catalog: Catalog) -> None:
    make(catalog, partition_by=("d",))
    for number in range(5):
        run(catalog, f"t{number}", rows_of(2 * number, 2 * number + 1), **{"phlo.dlt-state": f"s{number}"})
    table, before = catalog.load_table(TABLE), content(catalog)
    assert plan_compaction(table).totals()["files"] == 10
    result = compact(catalog, TABLE)
    after = catalog.load_table(TABLE)
    expect(result, files=10, files_after=2, skipped=0)
    assert (content(catalog), len(files(catalog))) == (before, 2)
    assert sorted(file.partition[0] for file in files(catalog)) == sorted(
        (day - datetime.date(1970, 1, 1)).days for day in DAYS
    )
    assert len(after.metadata.snapshots) == len(table.metadata.snapshots) + 1
    snapshot = after.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    expect(snapshot, snapshot_id=result.snapshot_id, parent_snapshot_id=branch_head(table))
    assert snapshot.summary.operation == Operation.REPLACE
    assert snapshot.summary["phlo.strategy"] == "compaction"
    assert (snapshot.summary["total-records"], snapshot.summary["total-data-files"]) == ("10", "2")
    assert after.properties == table.properties  # marks and dlt's state among them
    assert find_published_result(after, "t4") == {}


def test_nothing_to_do_leaves_no_trace(catalog: Catalog) -> None:
    make(catalog)
    assert compact(catalog, TABLE).snapshot_id is None
    run(catalog, "t", rows_of(1, 2))
    location = catalog.load_table(TABLE).metadata_location
    assert compact(catalog, TABLE) == compaction.CompactionResult()
    assert catalog.load_table(TABLE).metadata_location == location


def test_files_near_the_target_are_left(catalog: Catalog) -> None:
    make(catalog)
    for number in range(4):
        run(catalog, f"t{number}", rows_of(number))
    size = files(catalog)[0].file_size_in_bytes
    assert plan_compaction(catalog.load_table(TABLE), target_bytes=size).bins == ()
    pairs = plan_compaction(catalog.load_table(TABLE), target_bytes=2 * size + 200).bins
    assert [len(item.tasks) for item in pairs] == [2, 2]
    assert plan_compaction(catalog.load_table(TABLE), min_files=5).bins == ()


def test_the_target_is_the_tables_own(catalog: Catalog) -> None:
    make(catalog, properties={"write.target-file-size-bytes": "1"})
    for number in range(3):
        run(catalog, f"t{number}", rows_of(number))
    assert plan_compaction(catalog.load_table(TABLE)).bins == ()


@pytest.mark.parametrize("sort_by", ["k", "k desc"])
def test_the_sort_order_is_kept(catalog: Catalog, sort_by: str) -> None:
    make(catalog, sort_by=(sort_by,))
    keys = random.Random(1).sample(range(1000), 60)
    for number in range(3):
        run(catalog, f"t{number}", rows_of(*keys[number::3]))
    before = content(catalog)
    compact(catalog, TABLE)
    (file,) = files(catalog)
    assert read(file)["k"].to_pylist() == sorted(keys, reverse="desc" in sort_by)
    assert file.sort_order_id == 1
    assert content(catalog) == before


def test_rows_in_null_order(catalog: Catalog) -> None:
    make(catalog, sort_by=("v", "k"))
    for number, value in enumerate(["b", None, "a"]):
        run(catalog, f"t{number}", pa.table({"k": [number], "v": [value], "d": [DAYS[0]]}, schema=SCHEMA))
    compact(catalog, TABLE)
    assert read(files(catalog)[0])["v"].to_pylist() == [None, "a", "b"]


def test_files_of_an_old_spec_go_to_the_new_one(catalog: Catalog) -> None:
    make(catalog)
    for number in range(3):
        run(catalog, f"t{number}", rows_of(2 * number, 2 * number + 1))
    with catalog.load_table(TABLE).update_spec() as update:
        update.add_field("d", IdentityTransform(), "d")
    run(catalog, "new", rows_of(100, 101, 102, 103))
    before = content(catalog)
    while compact(catalog, TABLE).snapshot_id is not None:
        assert content(catalog) == before
    assert len(files(catalog)) == 2
    assert {file.spec_id for file in files(catalog)} == {catalog.load_table(TABLE).metadata.default_spec_id}
    for file in files(catalog):
        assert len(set(read(file)["d"].to_pylist())) == 1


def test_many_partitions_at_once_hold_few_files_open(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "OPEN_FILES", 2)
    monkeypatch.setattr(rolling, "ROW_GROUP_ROWS", 10)
    make(catalog)
    for number in range(3):
        run(catalog, f"t{number}", rows_of(*range(30 * number, 30 * number + 30)))
    with catalog.load_table(TABLE).update_spec() as update:
        update.add_field("k", IdentityTransform(), "k")
    before = content(catalog)
    assert compact(catalog, TABLE).files_after == 90
    assert content(catalog) == before


def test_old_columns_read_as_the_table_has_them_now(catalog: Catalog) -> None:
    make(catalog)
    run(catalog, "t0", rows_of(1))
    with catalog.load_table(TABLE).update_schema() as update:
        update.add_column("w", LongType())
        update.rename_column("v", "renamed")
    catalog.load_table(TABLE).append(
        pa.table(
            {"k": [2], "renamed": ["y"], "d": [DAYS[0]], "w": [5]},
            schema=pa.schema([("k", pa.int64()), ("renamed", pa.string()), ("d", pa.date32()), ("w", pa.int64())]),
        )
    )
    before = content(catalog)
    assert compact(catalog, TABLE).files_after == 1
    assert content(catalog) == before


def everything() -> Schema:
    nested = StructType(NestedField(30, "x", IntegerType()), NestedField(31, "y", StringType()))
    kinds = [
        LongType(), IntegerType(), BooleanType(), FloatType(), DoubleType(), DecimalType(20, 3), DateType(), TimeType(),
        TimestampType(), TimestamptzType(), StringType(), BinaryType(), FixedType(4), UUIDType(), nested,
        ListType(40, StringType(), False), MapType(50, StringType(), 51, LongType(), False),
    ]  # fmt: skip
    return Schema(*(NestedField(number, f"c{number}", kind, False) for number, kind in enumerate(kinds, 1)))


@pytest.mark.parametrize("sort_by", [(), ("c1",), ("c5 desc",)])
def test_every_type_survives(catalog: Catalog, sort_by: tuple[str, ...]) -> None:
    table = ensure_table(catalog, TABLE, everything(), sort_by=sort_by)
    target = table.schema().as_arrow()
    moment = datetime.datetime(2024, 2, 29, 23, 59, 59, 999_999)
    full = [
        3, 2, True, 1.5, float("nan"), Decimal("12.345"), DAYS[0], moment.time(), moment,
        moment.replace(tzinfo=datetime.UTC), "ü", b"\x00\xff", b"abcd", uuid.UUID(int=7).bytes,
        {"x": 1, "y": None}, ["a", None], [("k", 1)],
    ]  # fmt: skip
    for number in range(3):
        row = full if number else [None] * len(full)
        columns = [
            pa.array([value]).cast(kind) if pa.types.is_fixed_size_binary(kind) else pa.array([value], kind)
            for value, kind in zip(row, target.types, strict=True)
        ]
        table.append(pa.table(columns, schema=target))
    before = content(catalog)
    assert compact(catalog, TABLE).files_after == 1
    assert content(catalog) == before


def test_a_large_bin_is_split_and_streamed(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "ROW_GROUP_ROWS", 500)
    make(catalog)
    run(catalog, "t0", rows_of(*range(4000)))
    table = catalog.load_table(TABLE)
    commit_deletes(catalog, TABLE, delete_file(table, {files(catalog)[0]: [0, 3999]}))
    before = content(catalog)
    size = files(catalog)[0].file_size_in_bytes
    result = compact(catalog, TABLE, target_bytes=size // 3)
    assert result.files_after in (3, 4)
    assert {pq.ParquetFile(file.file_path.removeprefix("file://")).num_row_groups for file in files(catalog)} <= {
        1,
        2,
        3,
    }
    assert content(catalog) == before
    assert sum(before.values()) == 3998


# --- deleted rows -------------------------------------------------------------------------------------------------


@pytest.fixture
def deleted(catalog: Catalog) -> Catalog:
    make(catalog, partition_by=("d",))
    run(catalog, "t0", rows_of(*range(10)))
    run(catalog, "t1", rows_of(*range(10, 20)))
    first, second = sorted(files(catalog), key=lambda file: (file.partition[0], file.file_path))[:2]
    table = catalog.load_table(TABLE)
    commit_deletes(catalog, TABLE, delete_file(table, {first: [0, 2], second: [1]}), delete_file(table, {first: [4]}))
    return catalog


def test_deletes_go_away_and_so_do_their_files(deleted: Catalog) -> None:
    before = content(deleted)
    assert (sum(before.values()), len(delete_files(deleted))) == (16, 2)
    result = compact(deleted, TABLE)
    assert result.delete_files == 2
    assert (content(deleted), delete_files(deleted)) == (before, [])
    snapshot = deleted.load_table(TABLE).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    totals = {name: snapshot.summary[f"total-{name}"] for name in ("records", "delete-files", "position-deletes")}
    assert totals == {"records": "16", "delete-files": "0", "position-deletes": "0"}
    assert compact(deleted, TABLE).snapshot_id is None


def test_a_single_file_is_rewritten_for_its_deletes(catalog: Catalog) -> None:
    make(catalog)
    run(catalog, "t0", rows_of(1, 2, 3))
    commit_deletes(catalog, TABLE, delete_file(catalog.load_table(TABLE), {files(catalog)[0]: [0, 1, 2]}))
    result = compact(catalog, TABLE)
    expect(result, files=1, files_after=0, delete_files=1)
    assert content(catalog) == Counter()


def test_delete_files_that_others_need_stay(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    make(catalog, partition_by=("d",))
    run(catalog, "t0", rows_of(0, 2, 4, 1, 3))
    even, odd = sorted(files(catalog), key=lambda file: file.partition[0])
    table = catalog.load_table(TABLE)
    commit_deletes(catalog, TABLE, delete_file(table, {even: [0]}), delete_file(table, {odd: [0]}))
    before = content(catalog)
    monkeypatch.setattr(compaction, "_partitions", lambda tasks: [[t for t in tasks if t.file == even]])
    assert compact(catalog, TABLE).delete_files == 1
    assert (content(catalog), len(delete_files(catalog))) == (before, 1)


def test_equality_deletes_are_refused(catalog: Catalog) -> None:
    make(catalog)
    run(catalog, "t0", rows_of(1, 2))
    found = delete_file(catalog.load_table(TABLE), {files(catalog)[0]: [0]}, content=DataFileContent.EQUALITY_DELETES)
    commit_deletes(catalog, TABLE, found)
    with pytest.raises(SchemaError, match=r"equality deletes.*Trino"):
        plan_compaction(catalog.load_table(TABLE))


# --- others write meanwhile ------------------------------------------------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, *actions: Any) -> None:
    """Let others act, one after the other, each just before the compaction commits."""
    commit, left = compaction.commit_changes, list(actions)

    def commit_changes(*args: Any, **options: Any) -> Any:
        if left:
            left.pop(0)()
        return commit(*args, **options)

    monkeypatch.setattr(compaction, "commit_changes", commit_changes)


def data_on_disk(catalog: Catalog) -> set[str]:
    root = Path(catalog.load_table(TABLE).location().removeprefix("file://")) / "data"
    return {path.name for path in root.rglob("*.parquet")}


def test_what_is_still_there_is_compacted_on_top_of_others(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    make(catalog, partition_by=("d",))
    for number in range(3):
        run(catalog, f"t{number}", rows_of(2 * number, 2 * number + 1))
    meanwhile(
        monkeypatch,
        lambda: run(catalog, "append", rows_of(100)),  # a new file: both bins are still there
        lambda: run(catalog, "update", rows_of(0, value="changed")),  # takes a file of the even bin
    )
    result = compact(catalog, TABLE)
    expect(result, files=3, files_after=1, skipped=3)
    assert content(catalog) == Counter(
        map(repr, [*rows_of(*range(1, 6), 100).to_pylist(), *rows_of(0, value="changed").to_pylist()])
    )
    # what was written for nothing is gone
    written = {name for name in data_on_disk(catalog) if "compacted" in name}
    assert written == {Path(file.file_path).name for file in files(catalog) if "compacted" in file.file_path}


def test_a_delete_meanwhile_is_not_lost(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    make(catalog)
    run(catalog, "t0", rows_of(1, 2))
    run(catalog, "t1", rows_of(3))
    two = next(file for file in files(catalog) if file.record_count == 2)
    table = catalog.load_table(TABLE)
    meanwhile(monkeypatch, lambda: commit_deletes(catalog, TABLE, delete_file(table, {two: [0]})))
    assert compact(catalog, TABLE).snapshot_id is None
    assert sum(content(catalog).values()) == 2


def test_commits_to_branches_do_not_disturb(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    make(catalog)
    for number in range(3):
        run(catalog, f"t{number}", rows_of(number))
    meanwhile(monkeypatch, lambda: merge(catalog, TABLE, rows_of(7), MergePlan(key=("k",)), token="other"))
    assert compact(catalog, TABLE).files == 3
    with pytest.raises(CommitConflictError):  # so the writer merges again on top, as when another has published
        branches.move_main(catalog, TABLE, "phlo_other", token="other")


def test_a_new_spec_meanwhile_gives_all_up(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    make(catalog, pa.schema([("k", pa.int64()), ("v", pa.string()), ("d", pa.timestamp("us"))]))
    rows = pa.table({"k": [1], "v": ["x"], "d": [datetime.datetime(2024, 1, 1)]})
    for number in range(2):
        run(catalog, f"t{number}", rows.set_column(0, "k", pa.array([number])))

    def partition() -> None:
        with catalog.load_table(TABLE).update_spec() as update:
            update.add_field("d", DayTransform(), "day")

    meanwhile(monkeypatch, lambda: (partition(), run(catalog, "other", rows.set_column(0, "k", pa.array([9])))))
    with pytest.raises(CommitConflictError, match="partitioned anew meanwhile"):
        compact(catalog, TABLE)
    assert not any("compacted" in name for name in data_on_disk(catalog))


def test_a_commit_that_was_made_and_not_answered_keeps_its_files(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(catalog)
    for number in range(3):
        run(catalog, f"t{number}", rows_of(number))
    before, commit_table = content(catalog), catalog.commit_table

    def unanswered(*args: Any) -> None:
        monkeypatch.setattr(catalog, "commit_table", commit_table)
        catalog.commit_table(*args)
        raise ConnectionError("the connection was lost")

    monkeypatch.setattr(catalog, "commit_table", unanswered)
    with pytest.raises(ConnectionError):
        compact(catalog, TABLE)
    assert (content(catalog), len(files(catalog))) == (before, 1)


def test_a_full_disk_leaves_nothing(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    make(catalog, partition_by=("d",))
    for number in range(3):
        run(catalog, f"t{number}", rows_of(2 * number, 2 * number + 1))
    before, on_disk = content(catalog), data_on_disk(catalog)
    write, left = compaction.write_tasks, [1]

    def write_tasks(*args: Any) -> Any:
        if not left:
            raise OSError(28, "No space left on device")
        left.pop()
        return write(*args)

    monkeypatch.setattr(compaction, "write_tasks", write_tasks)
    with pytest.raises(OSError, match="No space"):
        compact(catalog, TABLE)
    assert (content(catalog), data_on_disk(catalog)) == (before, on_disk)


def test_main_that_never_rests_ends_with_an_error(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "COMMIT_ROUNDS", 3)
    make(catalog)
    for number in range(2):
        run(catalog, f"t{number}", rows_of(number))
    meanwhile(monkeypatch, *[lambda n=n: run(catalog, f"a{n}", rows_of(100 + n)) for n in range(3)])
    with pytest.raises(CommitConflictError, match="other writers were faster 3 times"):
        compact(catalog, TABLE)
    assert sum(content(catalog).values()) == 5
    assert not any("compacted" in name for name in data_on_disk(catalog))
