from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.types import LongType, StringType

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.iceberg.tables.layout import AS_IT_IS, TableLayout
from airflow_provider_phlo.iceberg.tables.settling import Settlement, settle_columns
from airflow_provider_phlo.iceberg.tables.staging import STAGED_SCHEMA
from tests.expect import expect
from tests.lake import open_views, point_with_retention

TABLE = "gold.t"
NOW = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def content(catalog: Catalog, branch: str | None = None) -> list[dict[str, object]]:
    with open_views(catalog, branch=branch) as connection:
        return connection.sql(f"SELECT * FROM {TABLE} ORDER BY 1").to_arrow_table().to_pylist()


def snapshots(catalog: Catalog) -> int:
    return len(catalog.load_table(TABLE).metadata.snapshots)


def test_the_first_write_creates_everything_in_one_snapshot(catalog: Catalog) -> None:
    result = overwrite_if_changed(
        catalog,
        TABLE,
        pa.table({"a": [1, 2]}),
        layout=TableLayout(properties={"owner": "me"}),
        summary={"phlo.run": "r1"},
    )
    table = catalog.load_table(TABLE)
    expect(result, changed=True, rows=2)
    assert result.snapshot_id == table.current_snapshot().snapshot_id
    assert (table.format_version, table.properties["owner"], snapshots(catalog)) == (2, "me", 1)
    assert table.current_snapshot().summary["phlo.run"] == "r1"
    assert not table.schema().find_field("a").required


def test_equal_content_writes_nothing_whatever_its_order(catalog: Catalog) -> None:
    data = pa.table({"a": [2, 1, 1, None], "b": ["x", "y", "y", None], "f": [0.1, float("nan"), None, -0.0]})
    first = overwrite_if_changed(catalog, TABLE, data)
    again = overwrite_if_changed(catalog, TABLE, data.take([3, 0, 2, 1]))
    expect(again, changed=False, snapshot_id=first.snapshot_id, rows=4)
    assert snapshots(catalog) == 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"a": [1, 1, 2], "b": ["x", "y", "y"]}, id="another multiplicity"),
        pytest.param({"a": [1, 2], "b": ["y", "x"]}, id="values between rows"),
        pytest.param({"a": [1, None], "b": ["x", "y"]}, id="a null"),
        pytest.param({"a": [1], "b": ["x"]}, id="a row less"),
    ],
)
def test_any_difference_is_one_overwrite_snapshot(catalog: Catalog, data: dict[str, list[object]]) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1, 2], "b": ["x", "y"]}))
    result = overwrite_if_changed(catalog, TABLE, pa.table(data))
    table = catalog.load_table(TABLE)
    assert result.changed
    assert snapshots(catalog) == 2
    assert table.current_snapshot().summary.operation.value == "overwrite"
    assert connect(catalog).sql(f"SELECT a, b FROM {TABLE}").to_arrow_table().sort_by("b").num_rows == result.rows
    assert overwrite_if_changed(catalog, TABLE, pa.table(data)).changed is False


@pytest.mark.parametrize("data", [{"a": [2]}, {"a": [2], "b": ["x"]}])
def test_case_22_what_another_engine_says_of_main_stays(catalog: Catalog, data: dict[str, list[object]]) -> None:
    first = overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}))
    point_with_retention(catalog, TABLE, "main", first.snapshot_id, min_snapshots_to_keep=5, max_snapshot_age_ms=9)
    assert overwrite_if_changed(catalog, TABLE, pa.table(data)).changed
    main = catalog.load_table(TABLE).metadata.refs["main"]
    assert (main.min_snapshots_to_keep, main.max_snapshot_age_ms) == (5, 9)


def test_volatile_columns_do_not_count(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1], "_at": [NOW]}))
    later = pa.table({"a": [1], "_at": [NOW + dt.timedelta(hours=1)]})
    assert overwrite_if_changed(catalog, TABLE, later, volatile_columns=["_at"]).changed is False
    assert content(catalog)[0]["_at"] == NOW
    assert overwrite_if_changed(catalog, TABLE, later).changed is True


def test_emptying_and_refilling(catalog: Catalog) -> None:
    schema = pa.schema([("a", pa.int64())])
    empty, one = schema.empty_table(), pa.table({"a": [1]})
    assert overwrite_if_changed(catalog, TABLE, empty).changed is True
    assert content(catalog) == []
    assert overwrite_if_changed(catalog, TABLE, empty).changed is False
    assert overwrite_if_changed(catalog, TABLE, one).changed is True
    assert content(catalog) == [{"a": 1}]
    assert overwrite_if_changed(catalog, TABLE, empty).changed is True
    assert content(catalog) == []


def test_a_time_that_would_lose_its_nanoseconds_is_refused(catalog: Catalog) -> None:
    rows = pa.table({"at": pa.array([1704164645678901234], pa.timestamp("ns"))})
    with pytest.raises(
        SchemaError, match=r"Column at of gold.t has values of timestamp\[ns\] that do not fit timestamp\[us\]"
    ):
        overwrite_if_changed(catalog, TABLE, rows)
    assert not catalog.table_exists(TABLE)


def test_types_are_mapped(catalog: Catalog) -> None:
    ns = pa.array([1704164645678901000], pa.timestamp("ns", "Europe/Berlin"))
    data = pa.table(
        {
            "ns": ns,
            "naive": pa.array([NOW.replace(tzinfo=None)], pa.timestamp("s")),
            "large": pa.array(["x"], pa.large_string()),
            "dict": pa.array(["y"]).dictionary_encode(),
            "u8": pa.array([255], pa.uint8()),
            "u32": pa.array([2**32 - 1], pa.uint32()),
            "i16": pa.array([-5], pa.int16()),
            "half": pa.array([0.5], pa.float16()),
            "nothing": pa.nulls(1),
            "money": pa.array([Decimal("1.5")], pa.decimal128(10, 2)),
            "items": pa.array([[{"k": 1}]], pa.list_(pa.struct([("k", pa.int16())]))),
        }
    )
    overwrite_if_changed(catalog, TABLE, data)
    kinds = {field.name: str(field.field_type) for field in catalog.load_table(TABLE).schema().fields}
    assert kinds["items"].startswith("list<struct<")
    assert {name: kind for name, kind in kinds.items() if name != "items"} == {
        "ns": "timestamptz",
        "naive": "timestamp",
        "large": "string",
        "dict": "string",
        "u8": "int",
        "u32": "long",
        "i16": "int",
        "half": "float",
        "nothing": "string",
        "money": "decimal(10, 2)",
    }
    assert content(catalog)[0]["items"] == [{"k": 1}]
    assert overwrite_if_changed(catalog, TABLE, data).changed is False


def test_what_iceberg_cannot_store_is_named_without_its_value(catalog: Catalog) -> None:
    with pytest.raises(SchemaError, match=r"Column span of gold\.t .*cast it in the SQL"):
        overwrite_if_changed(catalog, TABLE, pa.table({"span": [dt.timedelta(hours=1)]}))
    with pytest.raises(SchemaError, match="Column big") as caught:
        overwrite_if_changed(catalog, TABLE, pa.table({"big": pa.array([2**64 - 7], pa.uint64())}))
    assert str(2**64 - 7) not in str(caught.value)
    assert not catalog.table_exists(TABLE)


def test_new_columns_are_added_and_types_widened(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": pa.array([1], pa.int32())}))
    before = catalog.load_table(TABLE).schema().find_field("a").field_id
    overwrite_if_changed(catalog, TABLE, pa.table({"b": ["x"], "a": pa.array([2**40], pa.int64())}))
    schema = catalog.load_table(TABLE).schema()
    assert (schema.find_field("a").field_id, str(schema.find_field("a").field_type)) == (before, "long")
    assert content(catalog) == [{"a": 2**40, "b": "x"}]
    # a narrower type later is not a change
    again = overwrite_if_changed(catalog, TABLE, pa.table({"b": ["x"], "a": pa.array([2**40], pa.int64())}))
    assert again.changed is False


def test_on_main_columns_are_replaced_with_the_rows(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1], "b": ["x"]}))
    overwrite_if_changed(catalog, TABLE, pa.table({"a": ["one"]}))
    assert content(catalog) == [{"a": "one"}]
    assert snapshots(catalog) == 2


def test_a_branch_leaves_main_alone_until_it_is_published(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}))
    result = overwrite_if_changed(catalog, TABLE, pa.table({"a": [2], "b": ["x"]}), branch="phlo_r")
    assert result.branch == "phlo_r"
    assert content(catalog) == [{"a": 1}]
    assert content(catalog, "phlo_r") == [{"a": 2, "b": "x"}]
    assert branches.move_main(catalog, TABLE, "phlo_r", settlement=result.settlement) == result.snapshot_id
    assert content(catalog) == [{"a": 2, "b": "x"}]
    assert snapshots(catalog) == 2


def test_a_new_table_is_born_on_its_branch(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}), branch="phlo_r")
    assert content(catalog) == []
    assert content(catalog, "phlo_r") == [{"a": 1}]
    # an attempt that failed its tests, then a retry with other rows
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [2]}), branch="phlo_r")
    assert content(catalog, "phlo_r") == [{"a": 2}]
    branches.move_main(catalog, TABLE, "phlo_r")
    assert content(catalog) == [{"a": 2}]


def test_an_empty_table_takes_its_first_branch(catalog: Catalog) -> None:
    catalog.create_namespace("gold")
    catalog.create_table(TABLE, pa.schema([("a", pa.int64())]))
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}), branch="phlo_r")
    assert content(catalog) == []
    branches.move_main(catalog, TABLE, "phlo_r")
    assert content(catalog) == [{"a": 1}]


def test_equal_content_needs_no_branch_and_drops_an_earlier_one(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}))
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [2]}), branch="phlo_r")
    result = overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}), branch="phlo_r")
    assert result.changed is False
    assert list(catalog.load_table(TABLE).refs()) == ["main"]


def test_a_branch_starts_again_when_main_moved(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}))
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [2]}), branch="phlo_r")
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [3]}))
    with pytest.raises(CommitConflictError):
        branches.move_main(catalog, TABLE, "phlo_r")
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [2]}), branch="phlo_r")
    branches.move_main(catalog, TABLE, "phlo_r")
    assert content(catalog) == [{"a": 2}]


def test_on_a_branch_a_dropped_column_stays_until_publication(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1], "b": ["x"]}))
    result = overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}), branch="phlo_r")
    expect(result, changed=True)
    assert (content(catalog), content(catalog, "phlo_r")) == ([{"a": 1, "b": "x"}], [{"a": 1}])
    before = len(catalog.load_table(TABLE).metadata.metadata_log)
    branches.move_main(catalog, TABLE, "phlo_r", settlement=result.settlement)
    assert content(catalog) == [{"a": 1}]
    assert len(catalog.load_table(TABLE).metadata.metadata_log) == before + 1


def test_what_another_version_left_of_a_dropped_column_goes(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1], "b": pa.array([None], pa.string())}))
    again = overwrite_if_changed(catalog, TABLE, pa.table({"a": [1], "b": ["x"]}).select(["a"]), branch="phlo_s")
    branches.move_main(catalog, TABLE, "phlo_s", settlement=again.settlement)
    settle_columns(catalog, TABLE, again.settlement)
    assert catalog.load_table(TABLE).schema().column_names == ["a"]


ORDERS = [["b", "a"], ["a", "new", "b"], ["new", "b", "a"], ["b"], ["c.d", "b", "a"], ["A", "b"]]


@pytest.mark.long
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("branch", [None, "phlo_r"])
@pytest.mark.parametrize("rows", [1, 2])
def test_columns_come_in_the_order_of_the_new_content(
    catalog: Catalog, order: list[str], branch: str | None, rows: int
) -> None:
    """Whoever reads them by their place, as UNION ALL does, would take one for another."""
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1], "b": [1]}))
    data = pa.table({name: [1] * rows for name in order})
    done = overwrite_if_changed(catalog, TABLE, data, branch=branch)
    if branch is not None and done.changed:
        branches.move_main(catalog, TABLE, branch, settlement=done.settlement)
    elif branch is not None:
        settle_columns(catalog, TABLE, done.settlement)
    assert [name.lower() for name in catalog.load_table(TABLE).schema().column_names] == [n.lower() for n in order]
    names = catalog.load_table(TABLE).schema().column_names
    assert content(catalog) == [dict.fromkeys(names, 1)] * rows
    metadata = catalog.load_table(TABLE).metadata_location
    settle_columns(catalog, TABLE, done.settlement)
    assert catalog.load_table(TABLE).metadata_location == metadata


PARTITIONED = TableLayout(partition_by=("p",), sort_by=("p",))
OTHER_LAYOUTS = {
    "by another": TableLayout(partition_by=("a",), sort_by=("a",)),
    "by none": TableLayout(partition_by=(), sort_by=()),
}


@pytest.mark.parametrize("branch", [None, "phlo_r"], ids=["main", "branch"])
@pytest.mark.parametrize("layout", OTHER_LAYOUTS.values(), ids=OTHER_LAYOUTS)
def test_a_table_is_no_longer_partitioned_by_a_column_that_goes(
    catalog: Catalog, layout: TableLayout, branch: str | None
) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"p": ["x", "y"], "a": [1, 2]}), layout=PARTITIONED)
    first = catalog.load_table(TABLE).current_snapshot()
    data = pa.table({"a": [1, 2, 3]})
    done = overwrite_if_changed(catalog, TABLE, data, layout=layout, branch=branch)
    if branch is not None:
        branches.move_main(catalog, TABLE, branch, settlement=done.settlement)
    table = catalog.load_table(TABLE)
    assert content(catalog) == data.to_pylist()
    assert table.schema().column_names == ["a"]
    assert [item.name for item in table.spec().fields] == list(layout.partition_by or ())
    assert [item.source_id for item in table.sort_order().fields] == [2][: len(layout.sort_by or ())]
    # what was is still there to be read, and to go back to
    assert first is not None
    assert sorted(row["a"] for row in table.scan(snapshot_id=first.snapshot_id).to_arrow().to_pylist()) == [1, 2]
    assert not overwrite_if_changed(catalog, TABLE, data, layout=layout).changed


@pytest.mark.parametrize("use", ["partition", "sort"])
def test_a_column_that_a_table_needs_keeps_its_type(catalog: Catalog, use: str) -> None:
    layout = TableLayout(**{f"{use}_by": ("p",)})
    overwrite_if_changed(catalog, TABLE, pa.table({"p": ["1", "2"], "a": [1, 2]}), layout=layout)
    before, data = catalog.load_table(TABLE).metadata_location, pa.table({"p": [1, 2], "a": [1, 2]})
    for given in (AS_IT_IS, layout):
        with pytest.raises(SchemaError, match=rf"{use}\w* by p, which"):
            overwrite_if_changed(catalog, TABLE, data, layout=given)
    assert catalog.load_table(TABLE).metadata_location == before


@pytest.mark.parametrize("use", ["partition", "sort"])
@pytest.mark.parametrize("branch", [None, "phlo_r"], ids=["main", "branch"])
def test_a_column_that_a_table_needs_stays(catalog: Catalog, branch: str | None, use: str) -> None:
    layout = TableLayout(**{f"{use}_by": ("p",)})
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1, 2], "p": ["x", "y"]}), layout=layout)
    before = catalog.load_table(TABLE).metadata_location
    with pytest.raises(SchemaError, match=rf"{use}\w* by p, which its new content lacks.*{use}_by"):
        overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}), branch=branch)
    with pytest.raises(SchemaError, match=rf"{use}\w* by p"):
        settle_columns(catalog, TABLE, Settlement(("p",)))
    assert catalog.load_table(TABLE).metadata_location == before


OTHER_TYPES = {
    "text": (pa.int64(), pa.string()),
    "narrower": (pa.int64(), pa.int32()),
    "less precise": (pa.float64(), pa.float32()),
    "fewer digits": (pa.decimal128(12, 2), pa.decimal128(9, 2)),
    "struct": (pa.struct({"m": pa.int64()}), pa.struct({"m": pa.int32()})),
    "wider": (pa.int32(), pa.int64()),
}


@pytest.mark.parametrize("branch", [None, "phlo_r"], ids=["main", "branch"])
@pytest.mark.parametrize(("old", "new"), OTHER_TYPES.values(), ids=OTHER_TYPES)
def test_a_column_takes_the_type_of_the_new_content(
    catalog: Catalog, old: pa.DataType, new: pa.DataType, branch: str | None
) -> None:
    value = {"m": 1} if pa.types.is_struct(old) else 1
    before = pa.table({"a": pa.array([value], old)})
    after = pa.table({"a": pa.array(["1"] if new == pa.string() else [value], new)})
    first = overwrite_if_changed(catalog, TABLE, before)
    done = overwrite_if_changed(catalog, TABLE, after, branch=branch)
    if branch is not None:
        assert (content(catalog), content(catalog, branch)) == (before.to_pylist(), after.to_pylist())
        branches.move_main(catalog, TABLE, branch, settlement=done.settlement)
    table = catalog.load_table(TABLE)
    assert str(table.schema().as_arrow().field("a").type).replace("large_", "") == str(new)
    assert content(catalog) == after.to_pylist()
    assert table.scan(snapshot_id=first.snapshot_id).to_arrow().to_pylist() == before.to_pylist()
    assert not overwrite_if_changed(catalog, TABLE, after).changed


def test_a_wider_column_that_a_table_is_partitioned_by_stays(catalog: Catalog) -> None:
    layout = TableLayout(partition_by=("p",))
    overwrite_if_changed(catalog, TABLE, pa.table({"p": pa.array([1], pa.int64())}), layout=layout)
    narrow = pa.table({"p": pa.array([1, 2], pa.int32())})
    assert overwrite_if_changed(catalog, TABLE, narrow, layout=layout).changed
    assert not overwrite_if_changed(catalog, TABLE, narrow, layout=layout).changed
    assert str(catalog.load_table(TABLE).schema().find_type("p")) == "long"


def described(catalog: Catalog) -> tuple[object, ...]:
    """Return what a table is beside its rows."""
    table = catalog.load_table(TABLE)
    properties = {name: value for name, value in table.properties.items() if name != STAGED_SCHEMA}
    return table.schema(), table.spec(), table.sort_order(), properties, content(catalog)


def test_until_a_branch_is_published_its_table_is_as_it_was(catalog: Catalog) -> None:
    """Whoever reads it, or writes to it, meets nothing of a run that may fail."""
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1, 2], "b": ["x", "y"], "c": [1, 2]}))
    before = described(catalog)
    layout = TableLayout(("new",), ("new desc",), {"commit.retry.num-retries": "9"})
    data = pa.table({"new": ["u", "v"], "c": ["1", "2"], "a": pa.array([1, 2], pa.int32())})
    for _ in range(3):  # retries begin from main
        done = overwrite_if_changed(catalog, TABLE, data, branch="phlo_r", layout=layout)
        assert described(catalog) == before
        assert content(catalog, "phlo_r") == data.to_pylist()
    metadata = catalog.load_table(TABLE).metadata
    branches.move_main(catalog, TABLE, "phlo_r", settlement=done.settlement)
    table = catalog.load_table(TABLE)
    assert table.schema().column_names == data.column_names
    assert [item.name for item in table.spec().fields] == ["new"]
    assert len(table.sort_order().fields) == 1
    assert table.properties["commit.retry.num-retries"] == "9"
    assert sorted(row["a"] for row in content(catalog)) == [1, 2]
    assert not overwrite_if_changed(catalog, TABLE, data, layout=layout).changed
    # three attempts have left one of each behind
    schemas = {str(schema.fields) for schema in metadata.schemas}
    assert (len(schemas), len(metadata.partition_specs)) == (len(metadata.schemas), 2)


def test_a_column_that_comes_again_has_none_of_its_old_values(catalog: Catalog) -> None:
    """What a failed run staged is taken up again only as long as no row has it."""
    both, one = pa.table({"a": [1], "b": ["old"]}), pa.table({"a": [1]})
    overwrite_if_changed(catalog, TABLE, one)
    for data in (both, one, both, one):
        for _ in range(2):
            done = overwrite_if_changed(catalog, TABLE, data, branch="phlo_r")
        branches.move_main(catalog, TABLE, "phlo_r", settlement=done.settlement)
        assert content(catalog) == data.to_pylist()
    ids = [
        item.field_id
        for schema in catalog.load_table(TABLE).metadata.schemas
        for item in schema.fields
        if item.name == "b"
    ]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("change", ["column", "partition", "another run"])
def test_what_others_change_of_a_table_meanwhile_is_a_conflict(catalog: Catalog, change: str) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}))
    data, layout = pa.table({"a": [1], "b": [2]}), TableLayout(partition_by=("b",))
    done = overwrite_if_changed(catalog, TABLE, data, branch="phlo_r", layout=layout)
    if change == "column":
        with catalog.load_table(TABLE).update_schema() as columns:
            columns.add_column("theirs", StringType())
    elif change == "partition":
        with catalog.load_table(TABLE).update_spec() as spec:
            spec.add_identity("a")
    else:
        other = overwrite_if_changed(catalog, TABLE, pa.table({"a": [1], "c": [2]}), branch="phlo_s")
        branches.move_main(catalog, TABLE, "phlo_s", settlement=other.settlement)
    before = described(catalog)
    with pytest.raises(CommitConflictError):
        branches.move_main(catalog, TABLE, "phlo_r", settlement=done.settlement)
    assert described(catalog) == before


def test_two_runs_that_add_a_schema_at_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1], "b": [1], "c": [1]}))
    theirs, ours = pa.table({"a": [2], "b": [2]}), pa.table({"a": [3], "c": [3]})
    commit, calls = type(catalog).commit_table, iter([True])

    def second(self: Catalog, table: Table, *given: object) -> object:
        if next(calls, False):
            overwrite_if_changed(catalog, TABLE, theirs, branch="phlo_s")
        return commit(self, table, *given)  # type: ignore[arg-type]

    branches.create(catalog, TABLE, "phlo_r")
    monkeypatch.setattr(type(catalog), "commit_table", second)
    with pytest.raises(CommitConflictError):
        overwrite_if_changed(catalog, TABLE, ours, branch="phlo_r")
    ids = [schema.schema_id for schema in catalog.load_table(TABLE).metadata.schemas]
    assert len(ids) == len(set(ids))
    overwrite_if_changed(catalog, TABLE, ours, branch="phlo_r")
    assert content(catalog, "phlo_r") == ours.to_pylist()
    assert content(catalog, "phlo_s") == theirs.to_pylist()


def test_a_partitioned_table_keeps_its_partitions(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1], "day": [NOW.date()]}))
    with catalog.load_table(TABLE).update_spec() as update:
        update.add_identity("day")
    data = pa.table({"a": [1, 2], "day": [NOW.date(), dt.date(2025, 1, 1)]})
    overwrite_if_changed(catalog, TABLE, data)
    assert content(catalog) == data.to_pylist()
    files = list(catalog.load_table(TABLE).scan().plan_files())
    assert len(files) == 2
    assert {file.file.spec_id for file in files} == {1}


def test_an_old_file_that_vanished_meanwhile_is_a_conflict(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}))
    first, second = (open_catalog("phlo", dict(catalog.properties)) for _ in range(2))
    load, seen = first.load_table, [first.load_table(TABLE)] * 2
    overwrite_if_changed(second, TABLE, pa.table({"a": [2]}))
    # what a slow process still sees when it looks and when it plans
    first.load_table = lambda name: seen.pop() if seen else load(name)  # type: ignore[method-assign]
    with pytest.raises(CommitConflictError, match="changed by another writer"):
        overwrite_if_changed(first, TABLE, pa.table({"a": [3]}))
    assert content(catalog) == [{"a": 2}]


@pytest.mark.parametrize("branch", [None, "phlo_r"], ids=["main", "branch"])
def test_case_03_a_column_in_another_case_is_the_same_column(catalog: Catalog, branch: str | None) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"Id": [1], "_At": [NOW]}))
    later = pa.table({"id": [1], "_at": [NOW + dt.timedelta(hours=1)]})
    again = overwrite_if_changed(catalog, TABLE, later, branch=branch, volatile_columns=["_at"])
    expect(again, changed=False, settlement=Settlement((), ("Id", "_At")))
    overwrite_if_changed(catalog, TABLE, pa.table({"iD": [2], "_AT": [NOW], "v": [3]}), branch=branch)
    assert content(catalog, branch) == [{"Id": 2, "_At": NOW, "v": 3}]


@pytest.mark.parametrize("branch", [None, "phlo_r"], ids=["main", "branch"])
def test_case_03_names_of_the_data_that_differ_in_case(catalog: Catalog, branch: str | None) -> None:
    twins = [pa.table({"a": [1], "A": [2]}), pa.table({"p": pa.array([{"a": 1, "A": 2}])})]
    for data in twins:
        with pytest.raises(ConfigurationError, match="'a' and 'A', which differ in nothing but case"):
            overwrite_if_changed(catalog, TABLE, data, branch=branch)
    assert not catalog.table_exists(TABLE)
    overwrite_if_changed(catalog, TABLE, pa.table({"a": [1]}))
    before = catalog.load_table(TABLE).metadata
    for data in twins:
        with pytest.raises(ConfigurationError, match="'a' and 'A', which differ in nothing but case"):
            overwrite_if_changed(catalog, TABLE, data, branch=branch)
    assert catalog.load_table(TABLE).metadata == before


def test_case_03_a_table_with_names_that_differ_in_case_is_mended(catalog: Catalog) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"Id": [1]}))
    with catalog.load_table(TABLE).update_schema() as update:
        update.add_column("id", LongType())
    overwrite_if_changed(catalog, TABLE, pa.table({"id": [2]}))
    assert content(catalog) == [{"id": 2}]


_TEXTS = pa.list_(pa.string())
_ALIKE: list[tuple[pa.DataType, list[object]]] = [
    (_TEXTS, [None, [], [None], ["NULL"], [""], ["a, b"], ["a", "b"]]),
    (pa.struct([("x", pa.string())]), [None, {"x": None}, {"x": "NULL"}]),
    (pa.list_(_TEXTS), [None, [], [None], [[]], [["a"], ["b"]], [["a", "b"]], [["a", "b"], []], [[], ["a", "b"]]]),
    (pa.struct([("t", _TEXTS), ("u", _TEXTS)]), [{"t": ["a"], "u": ["b"]}, {"t": ["a", "b"], "u": []}]),
    (pa.map_(pa.string(), pa.string()), [None, [], [("a", None)], [("a", "NULL")]]),
]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "values"), _ALIKE, ids=[str(kind) for kind, _ in _ALIKE])
def test_nested_values_that_hash_alike_are_told_apart(
    catalog: Catalog, kind: pa.DataType, values: list[object]
) -> None:
    overwrite_if_changed(catalog, TABLE, pa.table({"v": pa.array(values[-1:], kind)}))
    for value in values:  # each after one that is like it
        data = pa.table({"v": pa.array([value], kind)})
        assert overwrite_if_changed(catalog, TABLE, data).changed, value
    assert content(catalog) == data.to_pylist()
    assert not overwrite_if_changed(catalog, TABLE, data).changed
