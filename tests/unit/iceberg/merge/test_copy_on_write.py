from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from decimal import Decimal
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from pyiceberg.transforms import IdentityTransform

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.merge import MergePlan, MergeResult, merge
from airflow_provider_phlo.row_hash import row_hashes
from airflow_provider_phlo.schemas.iceberg import METADATA_FIELDS, arrow_to_iceberg
from tests.expect import expect
from tests.lake import open_lake
from tests.sizes import size

TABLE = "raw.t"
DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")
LAST = MergePlan(key=("k",))


class Lake:
    """One table in a catalog of its own, and runs that write to it as the operators do."""

    def __init__(self, home: Path, partition_by: tuple[str, ...] = ("_phlo_partition_date",)) -> None:
        self.catalog = open_lake(home)
        self.partition_by = partition_by
        self.runs = count(1)

    def run(
        self, rows: dict[str, Any] | pa.Table, plan: MergePlan = LAST, day: str = DAYS[0], *, metadata: bool = True
    ) -> MergeResult:
        batch = rows if isinstance(rows, pa.Table) else pa.table(rows)
        token = f"r{next(self.runs)}"
        if metadata:
            batch = with_metadata(batch, day, token)
        schema = arrow_to_iceberg(batch.schema)
        partition_by = self.partition_by if metadata else ()
        tables.ensure_table(self.catalog, TABLE, schema, partition_by=partition_by)
        tables.evolve(self.catalog, TABLE, batch.schema)
        result = merge(self.catalog, TABLE, batch, plan, token=token, partition_date=day)
        assert result.rows == result.inserted + result.updated + result.unchanged + result.duplicates + result.deleted
        before = self.catalog.load_table(TABLE).scan().count()  # as its metadata say: no file is read
        branches.move_main(self.catalog, TABLE, branches.branch_name(token), expected_head=result.head)
        gone = result.deleted + result.replaced + result.deleted_duplicates
        assert self.main_length() == before + result.inserted - gone
        return result

    def main_length(self) -> int:
        return len(self.catalog.load_table(TABLE).scan().to_arrow())

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        names = columns or ("k", "v")
        table = self.catalog.load_table(TABLE).scan().to_arrow().select(list(names))
        return sorted((tuple(row.values()) for row in table.to_pylist()), key=repr)

    def files(self) -> set[str]:
        return {task.file.file_path for task in self.catalog.load_table(TABLE).scan().plan_files()}

    def snapshots(self) -> int:
        return len(self.catalog.load_table(TABLE).metadata.snapshots)


def with_metadata(batch: pa.Table, day: str, run: str) -> pa.Table:
    values = {
        "_dlt_load_id": pa.repeat(pa.scalar(run), len(batch)),
        "_dlt_id": pa.array([f"{run}-{position}" for position in range(len(batch))], pa.string()),
        "_cascade_ingested_at": pa.repeat(pa.scalar(dt.datetime.now(dt.UTC), pa.timestamp("us", "UTC")), len(batch)),
        "_phlo_run_id": pa.repeat(pa.scalar(run), len(batch)),
        "_phlo_partition_date": pa.repeat(pa.scalar(dt.date.fromisoformat(day)), len(batch)),
        "_phlo_row_hash": row_hashes(batch),
    }
    for name, kind, _ in METADATA_FIELDS:
        batch = batch.append_column(name, values[name].cast(kind))
    return batch


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_merge_inserts_updates_and_leaves_alone(lake: Lake) -> None:
    expect(lake.run({"k": [1, 2, 3], "v": ["a", "b", "c"]}), inserted=3, updated=0, unchanged=0, duplicates=0)
    result = lake.run({"k": [2, 3, 4], "v": ["b", "C", "d"]}, day=DAYS[1])
    expect(result, inserted=1, updated=1, unchanged=1, duplicates=0)
    assert lake.rows() == [(1, "a"), (2, "b"), (3, "C"), (4, "d")]
    assert result.snapshot_id == lake.catalog.load_table(TABLE).current_snapshot().snapshot_id


def test_unchanged_rows_make_no_snapshot_and_no_file(lake: Lake) -> None:
    first = lake.run({"k": [1, 2], "v": ["a", "b"]})
    files = lake.files()
    again = lake.run({"k": [2, 1], "v": ["b", "a"]}, day=DAYS[2])
    expect(again, snapshot_id=None, head=first.snapshot_id, files_rewritten=0, bytes_written=0)
    assert (lake.snapshots(), lake.files()) == (1, files)
    assert lake.rows("k", "_phlo_run_id") == [(1, "r1"), (2, "r1")]


def test_a_changed_row_moves_to_the_partition_of_its_run(lake: Lake) -> None:
    lake.run({"k": [1, 2], "v": ["a", "b"]})
    lake.run({"k": [1, 2], "v": ["a", "B"]}, day=DAYS[1])
    assert lake.rows("k", "v", "_phlo_partition_date") == [
        (1, "a", dt.date(2024, 1, 1)),
        (2, "B", dt.date(2024, 1, 2)),
    ]
    partitions = lake.catalog.load_table(TABLE).inspect.partitions().to_pylist()
    assert sorted(str(row["partition"]["_phlo_partition_date"]) for row in partitions) == [DAYS[0], DAYS[1]]


def test_only_files_that_hold_a_changed_row_are_rewritten(lake: Lake) -> None:
    for position, day in enumerate(DAYS):
        lake.run({"k": [position * 10 + at for at in range(10)], "v": ["x"] * 10}, day=day)
    before = lake.files()
    result = lake.run({"k": [15], "v": ["y"]}, day=DAYS[1])
    expect(result, files_read=1, files_rewritten=1, updated=1)
    assert len(before & lake.files()) == 2


def test_one_snapshot_with_the_runs_facts(lake: Lake) -> None:
    lake.run({"k": [1, 2], "v": ["a", "b"]})
    lake.run({"k": [2, 2, 3], "v": ["x", "B", "c"]}, day=DAYS[1])
    table = lake.catalog.load_table(TABLE)
    assert len(table.metadata.snapshots) == 2
    summary = table.current_snapshot().summary
    assert summary.operation.value == "overwrite"
    facts = {name.removeprefix("phlo."): value for name, value in summary.additional_properties.items()}
    assert {name: facts[name] for name in ("token", "strategy", "partition-date", "inserted", "updated")} == {
        "token": "r2",
        "strategy": "merge",
        "partition-date": DAYS[1],
        "inserted": "1",
        "updated": "1",
    }
    assert (facts["unchanged"], facts["duplicates"], facts["deleted-duplicates"]) == ("0", "1", "0")


@pytest.mark.parametrize(
    ("method", "kept"), [("last", "c"), ("first", "a"), ("hash", "c")], ids=["last", "first", "hash"]
)
def test_which_row_of_a_key_is_kept(lake: Lake, method: str, kept: str) -> None:
    plan = MergePlan(key=("k",), method=method)
    result = lake.run({"k": [1, 1, 2, 1, 1], "v": ["a", "a", "z", "b", "c"]}, plan)
    expect(result, inserted=2, updated=0, unchanged=0, duplicates=3)
    assert lake.rows() == [(1, kept), (2, "z")]


def test_shared_keys_without_deduplication_are_refused(lake: Lake) -> None:
    plan = MergePlan(key=("k",), deduplication=False)
    with pytest.raises(SchemaError, match=r"1 row\(s\) share their key"):
        lake.run({"k": [1, 1], "v": ["a", "b"]}, plan)
    assert lake.snapshots() == 0
    expect(lake.run({"k": [1, 2], "v": ["a", "b"]}, plan), inserted=2, updated=0, unchanged=0, duplicates=0)


def test_append_keeps_everything(lake: Lake) -> None:
    plan = MergePlan("append", deduplication=False)
    for _ in range(2):
        expect(
            lake.run({"k": [1, 1, None], "v": ["a", "a", "b"]}, plan), inserted=3, updated=0, unchanged=0, duplicates=0
        )
    assert Counter(lake.rows()) == Counter({(1, "a"): 4, (None, "b"): 2})
    assert lake.catalog.load_table(TABLE).current_snapshot().summary.operation.value == "append"


def test_append_by_hash_skips_what_batch_or_table_has(lake: Lake) -> None:
    plan = MergePlan("append", key=("k",), method="hash")
    expect(lake.run({"k": [1, 1, 2], "v": ["a", "a", "b"]}, plan), inserted=2, updated=0, unchanged=0, duplicates=1)
    result = lake.run({"k": [2, 1, 3, 3], "v": ["b", "A", "c", "c"]}, plan, day=DAYS[1])
    expect(result, inserted=2, updated=0, unchanged=0, duplicates=2)
    assert lake.rows() == [(1, "A"), (1, "a"), (2, "b"), (3, "c")]
    assert lake.run({"k": [3], "v": ["c"]}, plan, day=DAYS[2]).snapshot_id is None


def test_append_by_key_deduplicates_the_batch_only(lake: Lake) -> None:
    plan = MergePlan("append", key=("k",), method="first")
    expect(lake.run({"k": [1, 1], "v": ["a", "b"]}, plan), inserted=1, updated=0, unchanged=0, duplicates=1)
    expect(lake.run({"k": [1], "v": ["a"]}, plan), inserted=1, updated=0, unchanged=0, duplicates=0)
    assert lake.rows() == [(1, "a"), (1, "a")]


def test_replace_takes_the_runs_partition_whole(lake: Lake) -> None:
    plan = MergePlan("replace")
    for day in DAYS:
        lake.run({"k": [1, 2], "v": [day, day]}, plan, day=day)
    result = lake.run({"k": [2, 3, 3], "v": ["x", "y", "y"]}, plan, day=DAYS[1])
    expect(result, inserted=3, updated=0, unchanged=0, duplicates=0, replaced=2)
    assert Counter(row[1] for row in lake.rows()) == Counter({DAYS[0]: 2, DAYS[2]: 2, "x": 1, "y": 2})
    again = lake.run({"k": [3, 2, 3], "v": ["y", "x", "y"]}, plan, day=DAYS[1])
    expect(again, snapshot_id=None, unchanged=3)


def test_replace_by_nothing_empties_the_partition(lake: Lake) -> None:
    plan = MergePlan("replace", key=("k",))
    lake.run({"k": [1, 1], "v": ["a", "b"]}, plan)
    lake.run({"k": [1], "v": ["c"]}, plan, day=DAYS[1])
    empty = pa.schema([("k", pa.int64()), ("v", pa.string())]).empty_table()
    result = lake.run(empty, plan)
    expect(result, replaced=1, inserted=0)
    assert lake.rows() == [(1, "c")]


def test_replace_finds_its_rows_in_files_of_several_days(tmp_path: Path) -> None:
    lake = Lake(tmp_path, partition_by=())
    mixed = pa.concat_tables(
        with_metadata(pa.table({"k": [position], "v": [day]}), day, "old") for position, day in enumerate(DAYS)
    )
    plan = MergePlan("append", deduplication=False)
    tables.ensure_table(lake.catalog, TABLE, arrow_to_iceberg(mixed.schema))
    merge(lake.catalog, TABLE, mixed, plan, token="old")
    branches.move_main(lake.catalog, TABLE, "phlo_old")
    lake.run({"k": [7], "v": ["new"]}, MergePlan("replace"), day=DAYS[1])
    assert lake.rows() == [(0, DAYS[0]), (2, DAYS[2]), (7, "new")]


def test_replace_refuses_rows_of_another_day(lake: Lake) -> None:
    lake.run({"k": [1], "v": ["a"]}, MergePlan("replace"))
    stranger = with_metadata(pa.table({"k": [1], "v": ["b"]}), DAYS[1], "x")
    with pytest.raises(SchemaError, match=r"1 row\(s\) of the batch are not of 2024-01-01"):
        merge(lake.catalog, TABLE, stranger, MergePlan("replace"), token="x", partition_date=DAYS[0])
    with pytest.raises(ConfigurationError, match="needs a partition_date"):
        merge(lake.catalog, TABLE, stranger, MergePlan("replace"), token="x")


def test_replace_without_a_key_drops_exact_copies_by_hash(lake: Lake) -> None:
    expect(
        lake.run({"k": [1, 1], "v": ["a", "a"]}, MergePlan("replace", method="hash")),
        inserted=1,
        updated=0,
        unchanged=0,
        duplicates=1,
    )


NOW = dt.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)


@pytest.mark.long
@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(pa.array([-(2**63), 0, 2**63 - 1]), id="long"),
        pytest.param(pa.array([1, 2, 3], pa.int32()), id="int"),
        pytest.param(pa.array(["", "ä" * 40, "\U0001f600" + "z" * 40]), id="string"),
        pytest.param(pa.array(["x" * 100 + "a", "x" * 100 + "b", "x" * 100 + "c"]), id="long common prefix"),
        pytest.param(pa.array([0.0, math.inf, math.nan]), id="float"),
        pytest.param(pa.array([dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(9999, 1, 1)]), id="date"),
        pytest.param(pa.array([NOW, NOW.replace(year=1900), NOW.replace(microsecond=0)]), id="timestamp"),
        pytest.param(pa.array([Decimal("1.10"), Decimal("-1.10"), Decimal("0.00")]), id="decimal"),
        pytest.param(pa.array([dt.time(0), dt.time(1), dt.time(23, 59, 59, 999999)]), id="time"),
        pytest.param(pa.array([b"", b"\x00", b"\xff" * 40]), id="binary"),
        pytest.param(pa.array([{"a": 1, "b": "x"}, {"a": 2, "b": None}, {"a": None, "b": "x"}]), id="struct"),
        pytest.param(pa.array([[1], [], [1, 2]]), id="list"),
    ],
)
def test_keys_of_every_type(lake: Lake, keys: pa.Array) -> None:
    lake.run({"k": keys, "v": ["a", "b", "c"]})
    order = pa.array([2, 0, 1])
    result = lake.run({"k": keys.take(order), "v": ["c", "A", "b"]}, day=DAYS[1])
    expect(result, inserted=0, updated=1, unchanged=2, duplicates=0)
    assert sorted(row[1] for row in lake.rows()) == ["A", "b", "c"]


def test_minus_zero_is_zero_and_nan_is_nan(lake: Lake) -> None:
    lake.run({"k": [0.0, math.nan], "v": [math.nan, 0.0]})
    result = lake.run({"k": [-0.0, math.nan], "v": [math.nan, -0.0]})
    expect(result, inserted=0, updated=0, unchanged=2, duplicates=0)


def test_composite_keys(lake: Lake) -> None:
    plan = MergePlan(key=("k", "d"))
    # pairs that read alike when their parts are put side by side
    keys = {"k": ["a", "ab", "a"], "d": ["bc", "c", "b"]}
    lake.run({**keys, "v": [1, 2, 3]}, plan)
    result = lake.run({"k": ["ab", "a", "x", "a"], "d": ["c", "bc", "c", "bc"], "v": [2, 0, 9, 7]}, plan, day=DAYS[1])
    expect(result, inserted=1, updated=1, unchanged=1, duplicates=1)
    assert lake.rows("k", "d", "v") == [("a", "b", 3), ("a", "bc", 7), ("ab", "c", 2), ("x", "c", 9)]


def test_duplicate_keys_in_the_table_become_one(lake: Lake) -> None:
    append = MergePlan("append", deduplication=False)
    lake.run({"k": [1, 1, 2], "v": ["a", "b", "x"]}, append)
    lake.run({"k": [1, 3, 3], "v": ["c", "y", "y"]}, append, day=DAYS[1])
    result = lake.run({"k": [1, 3], "v": ["new", "y"]}, day=DAYS[2])
    expect(result, inserted=0, updated=1, unchanged=1, duplicates=0, deleted_duplicates=3)
    assert lake.rows() == [(1, "new"), (2, "x"), (3, "y")]


@pytest.mark.parametrize("plan", [LAST, MergePlan(key=("d", "k")), MergePlan("append", ("k",))], ids=str)
def test_null_keys_are_refused(lake: Lake, plan: MergePlan) -> None:
    lake.run({"k": [1], "d": [1], "v": ["a"]}, plan)
    with pytest.raises(SchemaError, match=r"Key column 'k' has 1 NULL\(s\)"):
        lake.run({"k": pa.array([None, 2]), "d": [1, 2], "v": ["secret", "b"]}, plan)
    assert lake.rows() == [(1, "a")]


def test_rows_with_null_keys_that_others_wrote_stay(lake: Lake) -> None:
    lake.run({"k": [None, 1], "d": ["x", "x"], "v": ["a", "b"]}, MergePlan("append", deduplication=False))
    for plan in (LAST, MergePlan(key=("k", "d"))):
        lake.run({"k": [1], "d": ["x"], "v": [str(plan.key)]}, plan)
    assert lake.rows() == [(1, "('k', 'd')"), (None, "a")]


def test_a_key_that_is_not_a_column_is_named(lake: Lake) -> None:
    with pytest.raises(ConfigurationError, match=r"raw\.t has no key column\(s\) Id: .*the table has k, v"):
        lake.run({"k": [1], "v": ["a"]}, MergePlan(key=("k", "Id")))


@pytest.mark.parametrize("strategy", ["merge", "append", "replace"])
def test_empty_batches_change_nothing(lake: Lake, strategy: str) -> None:
    plan = MergePlan(strategy, ("k",), method="hash")
    empty = pa.schema([("k", pa.float64()), ("v", pa.string())]).empty_table()
    result = lake.run(empty, plan)
    expect(result, inserted=0, updated=0, unchanged=0, duplicates=0, snapshot_id=None, head=None)
    lake.run({"k": [1.0], "v": ["a"]}, plan)
    if strategy != "replace":
        assert lake.run(empty, plan).snapshot_id is None
        assert lake.run(pa.table({}), plan, metadata=False).snapshot_id is None
    assert lake.snapshots() == 1


def test_new_columns_and_wider_types(lake: Lake) -> None:
    lake.run({"k": pa.array([1, 2], pa.int32()), "v": pa.array([1.5, 2.5], pa.float32())})
    result = lake.run({"k": [2, 2**40], "v": [2.5, 0.1], "note": [None, "n"]}, day=DAYS[1])
    # a column that is still NULL changes no row
    expect(result, inserted=1, updated=0, unchanged=1, duplicates=0)
    result = lake.run({"k": [1, 2], "v": [1.5, 2.5], "note": ["new", None]}, day=DAYS[2])
    expect(result, inserted=0, updated=1, unchanged=1, duplicates=0)
    assert lake.rows("k", "v", "note") == [(1, 1.5, "new"), (1099511627776, 0.1, "n"), (2, 2.5, None)]


def test_a_new_column_can_be_the_key(lake: Lake) -> None:
    lake.run({"k": [1], "v": ["a"]})
    result = lake.run({"k": [1], "v": ["b"], "id": ["x"]}, MergePlan(key=("id",)), day=DAYS[1])
    expect(result, inserted=1, updated=0, unchanged=0, duplicates=0)
    assert lake.rows("id", "v") == [("x", "b"), (None, "a")]


def test_a_missing_optional_column_becomes_null(lake: Lake) -> None:
    lake.run({"k": [1, 2], "v": ["a", "b"], "w": ["x", None]})
    expect(lake.run({"k": [1, 2], "v": ["a", "b"]}, day=DAYS[1]), inserted=0, updated=1, unchanged=1, duplicates=0)
    assert lake.rows("k", "w") == [(1, None), (2, None)]


@pytest.mark.long
@pytest.mark.parametrize(
    "partition_by",
    [
        (),
        ("at",),
        ("hour(at)",),
        ("month(at)", "bucket(4, k)"),
        ("bucket(3, v)",),
        ("truncate(2, v)",),
        ("truncate(10, k)",),
        ("_phlo_partition_date", "bucket(2, k)"),
    ],
    ids=" ".join,
)
def test_partition_transforms(tmp_path: Path, partition_by: tuple[str, ...]) -> None:
    at = [NOW + dt.timedelta(hours=7 * position) for position in range(12)]
    for key in (("k",), ("v",), ("k", "at")):
        lake, plan = Lake(tmp_path / "-".join(key), partition_by), MergePlan(key=key)
        text = [f"v{position:02}" for position in range(12)]
        lake.run({"k": list(range(12)), "v": text, "at": at, "n": [str(key)] * 12}, plan)
        changed = {"k": [3, 11, 20], "v": ["v03", "v11", "w"], "at": [at[3], at[11], at[0]], "n": ["x"] * 3}
        result = lake.run(changed, plan, day=DAYS[1])
        assert (result.inserted + result.updated, result.unchanged) == (3, 0)
        assert Counter(row[0] for row in lake.rows("n")) == Counter({str(key): 10, "x": 3})


def test_files_are_sorted_as_declared(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    batch = with_metadata(pa.table({"k": [3, 1, 2], "v": ["a", "b", None]}), DAYS[0], "r")
    tables.ensure_table(lake.catalog, TABLE, arrow_to_iceberg(batch.schema), sort_by=("k desc",))
    lake.run(batch.select(["k", "v"]))
    lake.run({"k": [4, 2], "v": ["d", "B"]})
    for task in lake.catalog.load_table(TABLE).scan().plan_files():
        keys = pa.parquet.read_table(task.file.file_path.removeprefix("file://"), columns=["k"])["k"].to_pylist()
        assert keys == sorted(keys, reverse=True)


def make_elsewhere(catalog: Catalog, rows: pa.Table, partition: str | None = None) -> None:
    catalog.create_namespace_if_not_exists("raw")
    table = catalog.create_table(TABLE, rows.schema)
    if partition:
        with table.update_spec() as update:
            update.add_field(partition, IdentityTransform())
    catalog.load_table(TABLE).append(rows)


def test_a_table_made_elsewhere_is_adopted(lake: Lake) -> None:
    make_elsewhere(lake.catalog, pa.table({"k": [1, 2], "v": ["a", "b"], "p": ["x", "y"]}), "p")
    result = lake.run({"k": [2, 1, 3], "v": ["b", "A", "c"], "p": ["y", "x", "y"]})
    expect(result, inserted=1, updated=1, unchanged=1, duplicates=0)
    table = lake.catalog.load_table(TABLE)
    assert [item.name for item in table.spec().fields] == ["p"]
    assert lake.rows("k", "v", "_phlo_run_id") == [(1, "A", "r1"), (2, "b", None), (3, "c", "r1")]


def test_rows_that_others_wrote_count_when_appending_by_hash(lake: Lake) -> None:
    make_elsewhere(lake.catalog, pa.table({"k": [1, 2], "v": ["a", "b"]}))
    plan = MergePlan("append", method="hash")
    expect(lake.run({"k": [2, 3], "v": ["b", "c"]}, plan), inserted=1, updated=0, unchanged=0, duplicates=1)


def test_a_table_whose_partitioning_changed_keeps_its_old_files(lake: Lake) -> None:
    lake.run({"k": [1, 2, 3], "v": ["a", "b", "c"]})
    with lake.catalog.load_table(TABLE).update_spec() as update:
        update.add_field("k", IdentityTransform())
    result = lake.run({"k": [2], "v": ["B"]}, day=DAYS[1])
    expect(result, inserted=0, updated=1, unchanged=0, duplicates=0)
    assert lake.rows() == [(1, "a"), (2, "B"), (3, "c")]


def test_without_metadata_columns_hashes_are_computed(lake: Lake) -> None:
    rows = {"k": [1, 2], "v": [Decimal("1.50"), None]}
    lake.run(rows, metadata=False)
    assert lake.run(rows, metadata=False).snapshot_id is None
    expect(
        lake.run({"k": [2, 3], "v": [Decimal("2.00")] * 2}, metadata=False),
        inserted=1,
        updated=1,
        unchanged=0,
        duplicates=0,
    )
    append = MergePlan("append", method="hash")
    expect(
        lake.run({"k": [3, 3, 4], "v": [Decimal("2.00")] * 3}, append, metadata=False),
        inserted=1,
        updated=0,
        unchanged=0,
        duplicates=2,
    )
    assert [item.name for item in lake.catalog.load_table(TABLE).schema().fields] == ["k", "v"]


def test_a_batch_without_metadata_in_a_table_that_has_it(lake: Lake) -> None:
    lake.run({"k": [1, 2], "v": ["a", "b"]})
    expect(
        lake.run({"k": [1, 2, 3], "v": ["a", "B", "c"]}, metadata=False),
        inserted=1,
        updated=1,
        unchanged=1,
        duplicates=0,
    )
    append = MergePlan("append", method="hash")
    expect(
        lake.run({"k": [3, 4, 5], "v": ["c", "d", "e"]}, append, metadata=False),
        inserted=2,
        updated=0,
        unchanged=0,
        duplicates=1,
    )
    expect(lake.run({"k": [4], "v": ["d"]}, day=DAYS[1]), inserted=0, updated=0, unchanged=1, duplicates=0)
    assert lake.rows() == [(1, "a"), (2, "B"), (3, "c"), (4, "d"), (5, "e")]


def test_large_and_nested_values(lake: Lake) -> None:
    text = "ä" * 1_000_000
    nested = pa.array([[{"x": 1, "y": "a"}], None])
    lake.run({"k": [1, 2], "v": [text, "b"], "n": nested})
    result = lake.run({"k": [1, 2], "v": [text, "b"], "n": pa.array([[{"y": "a", "x": 1}], [{"y": "", "x": 0}]])})
    expect(result, inserted=0, updated=1, unchanged=1, duplicates=0)
    assert [len(row[0]) for row in lake.rows("v")] == [1, 1_000_000]


def test_what_an_earlier_attempt_left_on_the_branch_is_dropped(lake: Lake) -> None:
    lake.run({"k": [1], "v": ["a"]})
    plan = MergePlan("append", deduplication=False)
    for _ in range(2):
        batch = with_metadata(pa.table({"k": [2], "v": ["b"]}), DAYS[0], "x")
        merge(lake.catalog, TABLE, batch, plan, token="x")
    branches.move_main(lake.catalog, TABLE, "phlo_x")
    assert lake.rows() == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "upsert", "key": ("k",)}, "merge_strategy='upsert': choose one of merge, append, replace"),
        ({"method": "newest", "key": ("k",)}, "deduplication_method='newest': choose one of last, first, hash"),
        ({}, "needs a unique_key"),
    ],
)
def test_plans_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MergePlan(**arguments)


KEYS = {"int": st.integers(0, 6), "str": st.sampled_from(["a", "b", "ab", "", "c", "zz"])}
VALUES = st.sampled_from([None, 0.0, -0.0, 1.5, math.nan, math.inf])


@st.composite
def sequences(draw: st.DrawFn) -> tuple[tuple[str, ...], list[tuple[MergePlan, str, list[tuple[Any, Any]]]]]:
    keys = KEYS[draw(st.sampled_from(sorted(KEYS)))]
    partition_by = draw(st.sampled_from([("_phlo_partition_date",), (), ("bucket(2, k)",), ("truncate(2, k)",)]))
    plans = st.one_of(
        st.builds(
            MergePlan, st.just("merge"), st.just(("k",)), st.just(True), st.sampled_from(["last", "first", "hash"])
        ),
        st.sampled_from([MergePlan("append", deduplication=False), MergePlan("append", method="hash")]),
        st.sampled_from([MergePlan("replace"), MergePlan("replace", ("k",))]),
    )
    batch = st.lists(st.tuples(keys, VALUES), max_size=8)
    steps = st.lists(st.tuples(plans, st.sampled_from(DAYS), batch), min_size=2, max_size=4)
    return partition_by, draw(steps)


def plain(value: Any) -> Any:
    """Return what two values that count as equal have in common."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def expected(plan: MergePlan, day: str, batch: list[tuple[Any, Any]], before: list[tuple[Any, ...]]) -> Counter[Any]:
    """Return keys and values of the table after a batch, by the rules of the manual, on plain lists."""
    old = [(key, value) for key, value, _ in before]
    if plan.strategy == "append" and plan.method == "hash":
        return Counter(old) + Counter(set(batch) - set(old))
    if plan.strategy == "append":
        return Counter(old) + Counter(batch)
    new = batch
    if plan.key:
        new = list(dict(batch if plan.method != "first" else reversed(batch)).items())
    if plan.strategy == "replace":
        return Counter((key, value) for key, value, at in before if at != day) + Counter(new)
    touched = {key for key, _ in new}
    return Counter([row for row in old if row[0] not in touched]) + Counter(new)


def check_days(plan: MergePlan, day: str, before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> None:
    """A row of a merge keeps its day where it did not change, and has the run's where it did."""
    known = {(key, value): {at for k, v, at in before if (k, v) == (key, value)} for key, value, _ in before}
    for key, value, at in after:
        assert at in known.get((key, value), set()) | {day}
        if plan.strategy == "merge" and len([row for row in before if row[0] == key]) == 1 and (key, value) in known:
            assert at in known[key, value]


WORDS = st.builds(
    str.__add__,
    st.sampled_from(["", "a" * 15, "a" * 14 + "\U0001f600", "\U0010ffff" * 16, "\u00e9" * 8, "x" * 20]),
    st.text(st.sampled_from("a\x00\x7f\u00e9\ud7ff\ue000\uffff\U0001f600\U0010ffffz"), max_size=3),
)


@pytest.mark.long
@given(st.lists(st.dictionaries(WORDS, st.integers(0, 5), min_size=1, max_size=6), min_size=2, max_size=5))
@settings(max_examples=size(25, 250), deadline=None)
def test_text_keys_are_found_whatever_their_bounds(batches: list[dict[str, int]]) -> None:
    """Iceberg keeps 16 characters of a bound, the last one raised; keys are spread over many small files."""
    model: dict[str, int] = {}
    with TemporaryDirectory() as home:
        lake = Lake(Path(home), ("bucket(7, v)",))
        for batch in batches:
            lake.run({"k": pa.array(list(batch), pa.string()), "v": pa.array(list(batch.values()), pa.int64())})
            model.update(batch)
            rows = lake.catalog.load_table(TABLE).scan().to_arrow()
            assert dict(zip(rows["k"].to_pylist(), rows["v"].to_pylist(), strict=True)) == model
            assert len(rows) == len(model)


@pytest.mark.long
@settings(max_examples=size(12, 250), deadline=None)
@given(sequences())
def test_any_sequence_of_batches_agrees_with_a_model(
    sequence: tuple[tuple[str, ...], list[tuple[MergePlan, str, list[tuple[Any, Any]]]]],
) -> None:
    partition_by, steps = sequence
    kind = pa.string() if any(isinstance(key, str) for _, _, rows in steps for key, _ in rows) else pa.int64()
    with TemporaryDirectory() as home:
        lake = Lake(Path(home), partition_by)
        before: list[tuple[Any, ...]] = []
        for plan, day, batch in steps:
            snapshots = lake.snapshots() if lake.catalog.table_exists(TABLE) else 0
            rows = pa.table(
                {"k": pa.array([key for key, _ in batch], kind), "v": pa.array([v for _, v in batch], pa.float64())}
            )
            result = lake.run(rows, plan, day)
            after = [(k, plain(v), str(at)) for k, v, at in lake.rows("k", "v", "_phlo_partition_date")]
            compared = [(key, plain(value)) for key, value in batch]
            assert Counter((key, value) for key, value, _ in after) == expected(plan, day, compared, before)
            check_days(plan, day, before, after)
            assert (result.snapshot_id is None) == (lake.snapshots() == snapshots)
            before = after
