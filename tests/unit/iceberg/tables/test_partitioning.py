"""Every transform of every type, at both ends of its range."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.iceberg.merge import MergePlan, MergeResult, merge
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.expect import expect
from tests.lake import open_lake, open_views

TABLE = "raw.t"
Value = decimal.Decimal


def upsert(catalog: Catalog, rows: pa.Table, run: str, *key: str) -> MergeResult:
    result = merge(catalog, TABLE, rows, MergePlan(key=key), token=run)
    branches.move_main(catalog, TABLE, branches.branch_name(run), expected_head=result.head)
    return result


def whole(kind: pa.DataType) -> pa.Array:
    most = 2 ** (kind.bit_width - 1)
    ends = [-most, -most + 1, -most + 7, -most + 8, -11, -10, -9, -1, 0, 1, 9, 10, most - 2, most - 1, None]
    return pa.array(ends, kind)


def digits(precision: int, scale: int) -> pa.Array:
    most = 10**precision - 1
    ends = [-most, -most + 1, -11, -10, -9, -1, 0, 1, 9, 10, most - 1, most]
    with decimal.localcontext(prec=50):
        return pa.array([Value(each).scaleb(-scale) for each in ends] + [None], pa.decimal128(precision, scale))


def moments(zone: str | None) -> pa.Array:
    ends = [dt.datetime.min, dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(1970, 1, 1), dt.datetime.max]
    return pa.array([*ends, None], pa.timestamp("us")).cast(pa.timestamp("us", zone) if zone else pa.timestamp("us"))


def uuids(*numbers: int) -> pa.Array:
    stored = pa.array([uuid.UUID(int=each).bytes for each in numbers] + [None], pa.binary(16))
    return pa.ExtensionArray.from_storage(pa.uuid(), stored)


FLOATS = [-math.inf, -1.5, -0.0, 1.5, math.inf, math.nan, None]
VALUES: dict[str, pa.Array] = {
    "boolean": pa.array([True, False, None]),
    "int": whole(pa.int32()),
    "long": whole(pa.int64()),
    "float": pa.array(FLOATS, pa.float32()),
    "double": pa.array(FLOATS),
    "decimal(2)": digits(2, 0),
    "decimal(9)": digits(9, 0),
    "decimal(9, 2)": digits(9, 2),
    "decimal(18)": digits(18, 0),
    "decimal(38)": digits(38, 0),
    "date": pa.array([dt.date.min, dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date.max, None]),
    "time": pa.array([dt.time.min, dt.time(10), dt.time.max, None], pa.time64("us")),
    "timestamp": moments(None),
    "timestamptz": moments("UTC"),
    "text": pa.array(["", " ", "a" * 20, "é" * 20, "\U0010ffff" * 20, "a/b=c", None]),
    "bytes": pa.array([b"", b"\x00", b"\xff" * 20, None]),
    "uuid": uuids(0, 1, 2**127, 2**128 - 1),
}
TRANSFORMS = (
    "k",
    "identity(k)",
    "year(k)",
    "month(k)",
    "day(k)",
    "hour(k)",
    "bucket(4, k)",
    "truncate(1, k)",
    "truncate(10, k)",
    "truncate(2147483647, k)",
)


_NO_TIME = {"boolean", "int", "long", "float", "double", "text", "bytes", "uuid", "time"} | {
    each for each in VALUES if each.startswith("decimal")
}
REFUSED = {
    *((kind, transform) for kind in _NO_TIME for transform in ("year", "month", "day", "hour")),
    *((kind, "bucket") for kind in ("boolean", "float", "double")),
    *((kind, "truncate") for kind in ("boolean", "float", "double", "date", "time", "timestamp", "timestamptz")),
    ("date", "hour"),
    ("uuid", "truncate"),
}


def _schema(rows: pa.Table) -> Schema:
    return arrow_to_iceberg(rows.schema)


@pytest.mark.long
@pytest.mark.parametrize("partition_by", TRANSFORMS)
@pytest.mark.parametrize("kind", VALUES)
def test_case_09_and_14_every_transform_of_every_value(tmp_path: Path, kind: str, partition_by: str) -> None:
    catalog, values = open_lake(tmp_path), VALUES[kind]
    rows = pa.table({"n": pa.array(range(len(values)), pa.int64()), "k": values, "v": [0] * len(values)})
    try:
        tables.ensure_table(catalog, TABLE, _schema(rows), partition_by=partition_by)
    except ConfigurationError:  # refused before there is a table
        assert tables.find_table(catalog, TABLE) is None
        assert (kind, partition_by.partition("(")[0]) in REFUSED
        return
    # as a value in the partition
    expect(upsert(catalog, rows, "r1", "n"), inserted=len(rows))
    expect(upsert(catalog, rows, "r2", "n"), unchanged=len(rows))
    assert _stored(catalog) == _by_n(rows)
    # as the key
    keyed = rows.filter(rows["k"].is_valid())
    expect(upsert(catalog, keyed, "r3", "k"), unchanged=len(keyed), inserted=0)
    changed = keyed.set_column(2, "v", pa.array([1] * len(keyed)))
    ends = {0, 1, len(changed) - 2, len(changed) - 1}
    changed = changed.take(sorted(each for each in ends if each >= 0))
    for row in range(len(changed)):  # one at a time: every other file is left out by its partition
        expect(upsert(catalog, changed.slice(row, 1), f"s{row}", "k"), updated=1, inserted=0)
    compact(catalog, TABLE)
    assert sorted(_stored(catalog)) == sorted(_by_n(rows))
    with open_views(catalog) as connection:
        assert connection.execute(f"SELECT sum(v) FROM {TABLE}").fetchone() == (len(changed),)


def _by_n(rows: pa.Table) -> dict[int, str]:
    storage = rows["k"].combine_chunks()
    storage = storage.storage if isinstance(storage, pa.ExtensionArray) else storage
    return dict(zip(rows["n"].to_pylist(), map(repr, storage.to_pylist()), strict=True))


def _stored(catalog: Catalog) -> dict[int, str]:
    return _by_n(catalog.load_table(TABLE).scan().to_arrow())


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64()])
def test_case_09_ranges_find_the_smallest_number(tmp_path: Path, kind: pa.DataType) -> None:
    catalog, smallest = open_lake(tmp_path), -(2 ** (kind.bit_width - 1))
    rows = pa.table({"k": pa.array([smallest, smallest + 1, 0], kind)})
    tables.ensure_table(catalog, TABLE, _schema(rows), partition_by="truncate(10, k)")
    upsert(catalog, rows, "r1", "k")
    table = catalog.load_table(TABLE)
    for condition, count in (("k < 0", 2), ("k >= 0", 1), (f"k > {smallest + 100}", 1)):
        assert len(table.scan(row_filter=condition).to_arrow()) == count


@pytest.mark.parametrize("width", [2**31, 10**30])
def test_case_09_a_width_beyond_icebergs_is_refused(tmp_path: Path, width: int) -> None:
    schema = Schema(NestedField(1, "k", LongType()))
    with pytest.raises(ConfigurationError, match="2147483647"):
        tables.ensure_table(open_lake(tmp_path), TABLE, schema, partition_by=f"truncate({width}, k)")
