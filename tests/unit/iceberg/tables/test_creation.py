from __future__ import annotations

import datetime as dt
import multiprocessing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.iceberg.tables import evolution
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.lake import open_lake
from tests.patience import PATIENCE

TABLE = "raw.t"
# children are forked from a process that has imported the libraries and has no threads
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["airflow_provider_phlo.ingestion.landing", "pyiceberg.catalog.sql", "pytest"])
COLUMNS = pa.schema([("k", pa.int64()), ("name", pa.string()), ("at", pa.timestamp("us", "UTC")), ("day", pa.date32())])


def create(catalog: Catalog, columns: pa.Schema = COLUMNS, **options: Any) -> Any:
    return tables.ensure_table(catalog, TABLE, arrow_to_iceberg(columns), **options)


def kinds(catalog: Catalog) -> dict[str, str]:
    return {item.name: str(item.field_type) for item in catalog.load_table(TABLE).schema().fields}


def test_a_new_table_has_our_properties_unless_others_are_given(catalog: Catalog) -> None:
    table = create(catalog, properties={"write.parquet.compression-codec": "snappy", "owner": "me"})
    assert table.format_version == 2
    assert table.properties["owner"] == "me"
    assert table.properties["write.parquet.compression-codec"] == "snappy"
    assert table.properties["write.metadata.delete-after-commit.enabled"] == "true"


def test_an_existing_table_is_adopted_as_it_is(catalog: Catalog) -> None:
    create(catalog, partition_by="day")
    again = create(catalog, pa.schema([("x", pa.int64())]), partition_by="bucket(2, x)", properties={"owner": "me"})
    assert [item.name for item in again.schema().fields] == COLUMNS.names
    assert [item.name for item in again.spec().fields] == ["day"]
    assert "owner" not in again.properties
    assert tables.find_table(catalog, "raw.none") is None


@pytest.mark.parametrize(
    ("expression", "transform", "name"),
    [
        ("day", "identity", "day"),
        ("at", "day", "at_day"),
        ("identity(name)", "identity", "name"),
        ("hour(at)", "hour", "at_hour"),
        ("month( day )", "month", "day_month"),
        ("year(at)", "year", "at_year"),
        ("bucket(16, k)", "bucket[16]", "k_bucket"),
        ("bucket(k, 16)", "bucket[16]", "k_bucket"),
        ("truncate(10, name)", "truncate[10]", "name_truncate"),
    ],
)
def test_partition_expressions(catalog: Catalog, expression: str, transform: str, name: str) -> None:
    (part,) = create(catalog, partition_by=expression).spec().fields
    assert (str(part.transform), part.name) == (transform, name)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("nothing", r"there is no column 'nothing'; the table has k, name, at, day"),
        ("week(at)", "is not understood"),
        ("bucket(k)", "is not understood"),
        ("hour(2, at)", "is not understood"),
        ("day(at) ", None),
        ("hour(name)", "'name' is string, which hour does not take"),
        ("hour(day)", "'day' is date, which hour does not take"),
        ("k; drop", "is not understood"),
    ],
)
def test_partition_expressions_that_are_wrong(catalog: Catalog, expression: str, message: str | None) -> None:
    if message is None:
        create(catalog, partition_by=expression)
        return
    with pytest.raises(ConfigurationError, match=message):
        create(catalog, partition_by=expression)
    assert not catalog.table_exists(TABLE)


def test_case_22_a_partition_is_called_like_no_column(catalog: Catalog) -> None:
    columns = {"ts": pa.timestamp("us", "UTC"), "ts_day": pa.string(), "TS_DAY_": pa.string(), "day": pa.date32()}
    schema = arrow_to_iceberg(pa.schema([(name, kind) for name, kind in columns.items()]))
    spec = tables.partition_spec(schema, ("day(ts)", "ts_day", "month(day)"))
    assert [item.name for item in spec.fields] == ["ts_day__", "ts_day", "day_month"]


def test_sort_orders(catalog: Catalog) -> None:
    order = create(catalog, sort_by=("k", "at  DESC", "name asc")).sort_order()
    assert [str(item.direction) for item in order.fields] == ["ASC", "DESC", "ASC"]
    schema = arrow_to_iceberg(COLUMNS)
    for wrong in ("k down", "nothing desc"):
        with pytest.raises(ConfigurationError, match=f"sort_by='{wrong}'"):
            tables.sort_order(schema, [wrong])


def test_columns_are_added_and_widened(catalog: Catalog) -> None:
    create(catalog, pa.schema([("i", pa.int32()), ("f", pa.float32()), ("m", pa.decimal128(5, 2)), ("x", pa.int64())]))
    wider = pa.schema([("i", pa.int64()), ("f", pa.float64()), ("m", pa.decimal128(9, 2)), ("x", pa.int16())])
    more = pa.schema([("a.b", pa.string()), ("n", pa.list_(pa.struct([("y", pa.int64())]))), ("nothing", pa.null())])
    before = {item.name: item.field_id for item in catalog.load_table(TABLE).schema().fields}
    table = tables.evolve(catalog, TABLE, pa.unify_schemas([wider, more]))
    assert {item.name: item.field_id for item in table.schema().fields if item.name in before} == before
    found = kinds(catalog)
    assert found.pop("n").startswith("list<struct<")
    assert found == {"i": "long", "f": "double", "m": "decimal(9, 2)", "x": "long", "a.b": "string"}
    location = catalog.load_table(TABLE).metadata_location
    tables.evolve(catalog, TABLE, pa.schema([("i", pa.int32())]))
    assert catalog.load_table(TABLE).metadata_location == location


@pytest.mark.parametrize(
    ("present", "batch"),
    [
        (pa.int64(), pa.string()),
        (pa.string(), pa.int64()),
        (pa.int64(), pa.float64()),
        (pa.float64(), pa.int64()),
        (pa.timestamp("us", "UTC"), pa.timestamp("us")),
        (pa.timestamp("us"), pa.date32()),
        (pa.decimal128(9, 2), pa.decimal128(9, 3)),
        (pa.bool_(), pa.int32()),
        (pa.string(), pa.list_(pa.string())),
        (pa.list_(pa.string()), pa.list_(pa.int64())),
        (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.string())])),
    ],
    ids=lambda kind: str(kind),
)
def test_other_changes_are_refused_before_anything_is_written(
    catalog: Catalog, present: pa.DataType, batch: pa.DataType
) -> None:
    location = create(catalog, pa.schema([("c", present)])).metadata_location
    with pytest.raises(SchemaError, match=r"raw\.t: column 'c[.\w]*' is .* in the table and .* in the batch"):
        tables.evolve(catalog, TABLE, pa.schema([("new", pa.string()), ("c", batch)]))
    assert catalog.load_table(TABLE).metadata_location == location


def test_rows_take_the_tables_columns_order_and_types(catalog: Catalog) -> None:
    nested = pa.struct([("a", pa.int64()), ("b", pa.string())])
    columns = pa.schema([("k", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("s", nested), ("w", pa.float64())])
    table = create(catalog, columns)
    nanoseconds = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "Europe/Berlin"))
    rows = pa.table({"s": [{"b": "x"}], "at": nanoseconds, "k": pa.array([1], pa.int8()), "nothing": pa.nulls(1)})
    (row,) = tables.fit(rows, table).to_pylist()
    at = dt.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=dt.UTC)
    assert row == {"k": 1, "at": at, "s": {"a": None, "b": "x"}, "w": None}
    assert tables.fit(pa.table({}), table).num_rows == 0


def test_values_that_do_not_fit_are_not_in_the_message(catalog: Catalog) -> None:
    table = create(catalog, pa.schema([("big", pa.decimal128(20, 0))]))
    with pytest.raises(SchemaError, match=r"column 'big' has values of decimal128\(38, 0\)") as caught:
        evolution._cast(
            pa.chunked_array([pa.array([10**30], pa.decimal128(38, 0))]), pa.field("big", pa.int64()), TABLE
        )
    assert "1000" not in str(caught.value)
    with pytest.raises(SchemaError, match=r"raw\.t has no column\(s\) other"):
        tables.fit(pa.table({"other": [1]}), table)


def test_required_columns(catalog: Catalog) -> None:
    schema = Schema(NestedField(1, "k", LongType(), required=True), NestedField(2, "must", StringType(), required=True))
    table = tables.ensure_table(catalog, TABLE, schema)
    with pytest.raises(SchemaError, match=r"required column 'must' has 2 NULL\(s\) in a batch of 2 rows"):
        tables.fit(pa.table({"k": [1, 2]}), table)
    with pytest.raises(SchemaError, match=r"required column 'k' has 1 NULL\(s\)"):
        tables.fit(pa.table({"k": [1, None], "must": ["a", "b"]}), table)
    assert tables.fit(pa.table({"must": ["a"], "k": [1]}), table).column_names == ["k", "must"]
    assert len(tables.fit(pa.table({"k": pa.array([], pa.int64())}), table)) == 0


def create_and_evolve(home: Path, number: int, barrier: Any, outcome: Any) -> None:
    catalog = open_lake(home)
    barrier.wait()
    try:
        create(catalog)
        for column in range(3):
            barrier.wait()
            tables.evolve(catalog, TABLE, pa.schema([("shared", pa.int64()), (f"c{number}_{column}", pa.string())]))
    except Exception as error:  # noqa: BLE001  # reported to the test
        outcome.put(repr(error))
    else:
        outcome.put("ok")


def test_processes_create_and_evolve_one_table_at_once(tmp_path: Path) -> None:
    barrier, outcome = PROCESSES.Barrier(3, timeout=PATIENCE), PROCESSES.Queue()
    processes = [
        PROCESSES.Process(target=create_and_evolve, args=(tmp_path, number, barrier, outcome)) for number in range(3)
    ]
    for process in processes:
        process.start()
    assert [outcome.get(timeout=PATIENCE) for _ in processes] == ["ok"] * 3
    for process in processes:
        process.join()
    wanted = {*COLUMNS.names, "shared", *(f"c{number}_{column}" for number in range(3) for column in range(3))}
    assert set(kinds(open_lake(tmp_path))) == wanted


def test_members_are_added_and_widened_at_any_depth(catalog: Catalog) -> None:
    create(catalog, pa.schema([("c", pa.list_(pa.struct([("a", pa.int32())])))]))
    wider = pa.list_(pa.struct([("a", pa.int64()), ("b", pa.struct([("d", pa.string())]))]))
    tables.evolve(catalog, "raw.t", pa.schema([("c", wider)]))
    kind = catalog.load_table("raw.t").schema().find_field("c").field_type
    assert str(kind.element_type.fields[0].field_type) == "long"
    assert [member.name for member in kind.element_type.fields] == ["a", "b"]
