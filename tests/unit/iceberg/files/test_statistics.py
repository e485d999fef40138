"""Bounds of data files: certain, or absent."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DoubleType, FixedType, IcebergType, NestedField, UUIDType

from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.merge import MergePlan, MergeResult, merge
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.iceberg.tables.layout import TableLayout
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.lake import open_lake
from tests.sizes import size

TABLE = "raw.t"
# Parquet keeps no bounds of a row group with a value that is longer than this
LONGEST_BOUND = 4096


def upsert(catalog: Catalog, rows: pa.Table, run: str, properties: dict[str, str]) -> MergeResult:
    tables.ensure_table(catalog, TABLE, arrow_to_iceberg(rows.schema), properties=properties)
    result = merge(catalog, TABLE, rows, MergePlan(key=("k",)), token=run)
    branches.move_main(catalog, TABLE, branches.branch_name(run), expected_head=result.head)
    return result


def texts(longest: int = 2 * LONGEST_BOUND) -> st.SearchStrategy[str]:
    """Return short texts, and long ones that differ where bounds are cut and where Parquet gives up."""
    short = st.text(max_size=3)
    long = st.builds(
        lambda start, filler, length: start + filler * length,
        short,
        st.sampled_from(["a", "z", "\ud7ff", "\U0010ffff", "é"]),
        st.sampled_from([14, 15, 16, 17, LONGEST_BOUND // 4, LONGEST_BOUND, longest]),
    )
    return st.one_of(short, long)


def exactly(kind: pa.DataType) -> st.SearchStrategy[Any]:
    width = 2 ** (kind.bit_width - 1)
    return st.one_of(st.sampled_from([-width, -width + 1, -1, 0, width - 2, width - 1]), st.integers(-width, width - 1))


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    return st.one_of(st.sampled_from([-most, -1, 0, most]), st.integers(-most, most)).map(
        lambda digits: Decimal(f"{digits}E-{scale}") if digits else Decimal(0)  # scaleb would round to 28 digits
    )


VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), texts()),
    "bytes": (pa.binary(), st.one_of(st.binary(max_size=20), texts().map(str.encode), st.just(b"\xff" * 20))),
    "int": (pa.int32(), exactly(pa.int32())),
    "long": (pa.int64(), exactly(pa.int64())),
    "date": (pa.date32(), st.one_of(st.dates(), st.sampled_from([dt.date.min, dt.date.max]))),
    "moment": (
        pa.timestamp("us", "UTC"),
        st.datetimes(timezones=st.just(dt.UTC)) | st.just(dt.datetime.max.replace(tzinfo=dt.UTC)),
    ),
    "time": (pa.time64("us"), st.times()),
    "boolean": (pa.bool_(), st.booleans()),
    "small": (pa.decimal128(9, 2), decimals(9, 2)),
    "middling": (pa.decimal128(18, 0), decimals(18, 0)),
    "large": (pa.decimal128(38, 4), decimals(38, 4)),
    "float": (pa.float32(), st.floats(width=32)),
    "double": (pa.float64(), st.floats()),
}
CASES = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(st.none() | VALUES[name][1], min_size=1, max_size=12))
)


@pytest.mark.long
@settings(max_examples=size(60, 600), deadline=None)
@given(CASES, st.integers(1, 4), st.sampled_from(["truncate(16)", "truncate(2)", "full"]))
def test_case_08_bounds_hold_for_every_value_of_the_file(
    case: tuple[str, list[Any]], row_group: int, mode: str
) -> None:
    name, values = case
    with TemporaryDirectory() as home:
        catalog = open_lake(Path(home))
        rows = pa.table({"k": pa.array(values, VALUES[name][0])})
        tables.ensure_table(
            catalog,
            TABLE,
            arrow_to_iceberg(rows.schema),
            properties={
                "write.parquet.row-group-limit": str(row_group),
                "write.metadata.metrics.default": mode,
            },
        )
        merge(catalog, TABLE, rows, MergePlan(strategy="append"), token="r1", branch="main")
        _assert_bounds_hold(catalog.load_table(TABLE))


def _assert_bounds_hold(table: Table) -> None:
    [item] = table.schema().fields
    for task in table.scan().plan_files():
        file = task.file
        stored = table.scan().to_arrow()["k"]
        values = [each for each in stored.to_pylist() if each is not None and each == each]
        assert file.null_value_counts[item.field_id] == stored.null_count
        low, high = (
            _value(item.field_type, found.get(item.field_id)) for found in (file.lower_bounds, file.upper_bounds)
        )
        assert low is None or all(low <= _bound_of(each) for each in values)
        assert high is None or all(high >= _bound_of(each) for each in values)


def _value(kind: IcebergType, bound: bytes | None) -> Any:
    return None if bound is None else from_bytes(kind, bound)  # type: ignore[arg-type]


def _bound_of(value: Any) -> Any:
    """Return a value as Iceberg's bounds hold it."""
    if isinstance(value, dt.datetime):
        return (value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    if isinstance(value, dt.date):
        return (value - dt.date(1970, 1, 1)).days
    if isinstance(value, dt.time):
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return value


@pytest.mark.long
@settings(max_examples=20, deadline=None)
@given(st.lists(texts(), min_size=1, max_size=10, unique=True), st.integers(1, 4), st.data())
def test_case_08_a_key_of_any_length_is_found_again(keys: list[str], row_group: int, data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(keys))
    with TemporaryDirectory() as home:
        catalog = open_lake(Path(home))
        properties = {"write.parquet.row-group-limit": str(row_group)}
        upsert(catalog, pa.table({"k": keys, "v": [0] * len(keys)}), "r1", properties)
        result = upsert(catalog, pa.table({"k": [again], "v": [1]}), "r2", properties)
        assert (result.updated, result.inserted) == (1, 0)
        found = catalog.load_table(TABLE).scan().to_arrow()
        assert sorted(found["k"].to_pylist()) == sorted(keys)


def test_case_08_a_long_key_in_the_second_row_group(tmp_path: Path) -> None:
    catalog, properties = open_lake(tmp_path), {"write.parquet.row-group-limit": "2"}
    keys = ["a", "b", "x", "z" * 5000]
    upsert(catalog, pa.table({"k": keys, "v": [0, 0, 0, 0]}), "r1", properties)
    assert upsert(catalog, pa.table({"k": ["x"], "v": [1]}), "r2", properties).updated == 1
    assert len(catalog.load_table(TABLE).scan(row_filter="k == 'x'").to_arrow()) == 1


def test_case_08_a_table_written_whole_has_certain_bounds(tmp_path: Path) -> None:
    catalog = open_lake(tmp_path)
    rows = pa.table({"k": ["a", "b", "x", "z" * 5000]})
    properties = {"write.parquet.row-group-limit": "2"}
    overwrite_if_changed(catalog, TABLE, rows, layout=TableLayout(properties=properties))
    assert len(catalog.load_table(TABLE).scan(row_filter="k == 'x'").to_arrow()) == 1
    overwrite_if_changed(catalog, TABLE, rows.slice(1))
    assert len(catalog.load_table(TABLE).scan(row_filter="k == 'x'").to_arrow()) == 1


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (UUIDType(), [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID(int=2**127)]),
        (FixedType(4), [b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"]),
    ],
)
def test_case_08_bytes_of_one_length(tmp_path: Path, kind: IcebergType, values: list[Any]) -> None:
    catalog = open_lake(tmp_path)
    catalog.create_namespace("raw")
    catalog.create_table(TABLE, Schema(NestedField(1, "k", kind)), properties={"format-version": "2"})
    is_uuid = isinstance(kind, UUIDType)
    stored = pa.array([each.bytes if is_uuid else each for each in values], pa.binary(16 if is_uuid else 4))
    rows = pa.ExtensionArray.from_storage(pa.uuid(), stored) if is_uuid else stored
    merge(catalog, TABLE, pa.table({"k": rows}), MergePlan(strategy="append"), token="r1", branch="main")
    [task] = catalog.load_table(TABLE).scan().plan_files()
    assert task.file.lower_bounds[1] == min(stored.to_pylist())
    assert task.file.upper_bounds[1] == max(stored.to_pylist())


def test_case_08_zeros_of_either_sign_are_within_the_bounds(tmp_path: Path) -> None:
    catalog = open_lake(tmp_path)
    rows = pa.table({"k": [0.0, -0.0, math.nan]})
    tables.ensure_table(catalog, TABLE, arrow_to_iceberg(rows.schema))
    merge(catalog, TABLE, rows, MergePlan(strategy="append"), token="r1", branch="main")
    [task] = catalog.load_table(TABLE).scan().plan_files()
    low, high = (from_bytes(DoubleType(), found[1]) for found in (task.file.lower_bounds, task.file.upper_bounds))
    assert math.copysign(1, low) == -1
    assert math.copysign(1, high) == 1
