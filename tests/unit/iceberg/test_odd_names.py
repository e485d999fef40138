"""Any name that Iceberg allows works in every place, or is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.cli.lake.query import run as run_query
from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.lake import create_table, open_lake, open_views

T = "raw.t"
ODD = ["order-id", "a.b", ".x", "with space", "order desc", "名前", "1st", "select", 'q"q', "it's", "bucket(4, x)"]


@pytest.fixture
def lake(tmp_path: Path) -> Catalog:
    return open_lake(tmp_path)


def read(lake: Catalog) -> list[tuple]:
    with open_views(lake, tables=[T]) as connection:
        return sorted(connection.execute(f"SELECT * FROM {T}").fetchall())


@pytest.mark.long
@pytest.mark.parametrize("name", ODD)
def test_case_02_odd_names_of_key_order_sort_and_partition(lake: Catalog, name: str) -> None:
    schema = pa.schema([(name, pa.int64()), (name + "2", pa.int64()), ("gone", pa.bool_()), ("v", pa.string())])
    tables.ensure_table(lake, T, arrow_to_iceberg(schema), partition_by=[name], sort_by=[f"{name}2 desc", name])
    plan = MergePlan("merge", key=(name,), order_by=name + "2", hard_delete="gone")

    def run(*rows: tuple, token: str) -> None:
        columns = [pa.array(values, item.type) for values, item in zip(zip(*rows, strict=True), schema, strict=True)]
        merge(lake, T, pa.table(columns, schema=schema), plan, token=token, branch="main")

    run((1, 1, None, "a"), (2, 1, None, "b"), (3, 1, None, "c"), token="one")
    run((1, 0, None, "late"), (2, 2, None, "B"), (3, 3, True, None), token="two")
    assert read(lake) == [(1, 1, None, "a"), (2, 2, None, "B")]
    compact(lake, T, min_files=1)
    assert read(lake) == [(1, 1, None, "a"), (2, 2, None, "B")]


def test_case_02_an_unknown_name_is_refused_before_the_table_is_made(lake: Catalog) -> None:
    schema = arrow_to_iceberg(pa.schema([("k", pa.int64())]))
    for options in ({"sort_by": "order-id"}, {"partition_by": "order-id"}, {"partition_by": "bucket(4, order-id)"}):
        with pytest.raises(ConfigurationError, match="order-id"):
            tables.ensure_table(lake, T, schema, **options)
    assert not lake.namespace_exists("raw")


def test_case_03_tables_that_differ_in_case(lake: Catalog) -> None:
    schema = pa.schema([("k", pa.int64())])
    tables.ensure_table(lake, T, arrow_to_iceberg(schema))
    for other in ("raw.T", "RAW.t"):
        with pytest.raises(ConfigurationError, match=f"raw.t and {other} differ in nothing but case"):
            tables.ensure_table(lake, other, arrow_to_iceberg(schema))
    create_table(lake, "raw.T", pa.table({"k": [1]}))
    create_table(lake, "raw.u", pa.table({"k": [2]}))
    for sql in ("SELECT * FROM raw.t", 'SELECT * FROM raw."T"'):
        with pytest.raises(ConfigurationError, match="differ in nothing but case"):
            run_query(lake, sql)
    assert run_query(lake, "SELECT * FROM raw.u").rows == [(2,)]


@pytest.mark.parametrize(
    "schema",
    [
        pa.schema([("v", pa.int64()), ("V", pa.int64())]),
        pa.schema([("p", pa.struct([("v", pa.int64()), ("V", pa.int64())]))]),
        pa.schema([("l", pa.list_(pa.struct([("é", pa.int64()), ("É", pa.int64())])))]),
    ],
    ids=["columns", "members", "in a list"],
)
def test_case_03_names_that_differ_in_case(lake: Catalog, schema: pa.Schema) -> None:
    twins = pa.table([pa.nulls(1, item.type) for item in schema], schema=schema)
    with pytest.raises(ConfigurationError, match="differ in nothing but case"):
        tables.ensure_table(lake, T, arrow_to_iceberg(schema))
    assert not lake.namespace_exists("raw")
    create_table(lake, T, pa.table({"k": [1]}))
    with pytest.raises((ConfigurationError, SchemaError), match="differ in nothing but case"):
        tables.evolve(lake, T, twins.schema)
    assert lake.load_table(T).schema().column_names == ["k"]
    create_table(lake, "raw.twins", twins)
    with pytest.raises(ConfigurationError, match="differ in nothing but case"):
        connect(lake, tables=["raw.twins"])
    with connect(lake) as connection:
        assert connection.execute(f"SELECT * FROM {T}").fetchall() == [(1,)]


def test_case_03_a_column_beside_one_that_differs_in_case(lake: Catalog) -> None:
    create_table(lake, T, pa.table({"v": [1], "p": pa.array([{"a": 1}])}))
    for batch in (pa.table({"V": [1]}), pa.table({"p": pa.array([{"A": 1}])})):
        with pytest.raises(SchemaError, match="differ in nothing but case"):
            tables.require_fit(batch, lake.load_table(T).schema(), T)
        with pytest.raises(SchemaError, match="differ in nothing but case"):
            tables.evolve(lake, T, batch.schema)


@pytest.mark.parametrize(
    "value", ["ж" * 43, "/" * 100, "a" * 300, "🦆" * 2000], ids=["Cyrillic", "/", "long", "4 bytes"]
)
def test_case_05_a_partition_whose_folder_has_a_long_name(lake: Catalog, value: str) -> None:
    schema = pa.schema([("k", pa.string()), ("v", pa.int64())])
    tables.ensure_table(lake, T, arrow_to_iceberg(schema), partition_by="k")
    plan = MergePlan("merge", key=("k",))
    for number, name in enumerate([value, value + "!", value]):
        batch = pa.table({"k": [name], "v": [number]}, schema=schema)
        merge(lake, T, batch, plan, token=f"run{number}", branch="main")
    assert read(lake) == sorted([(value, 2), (value + "!", 1)])
    compact(lake, T, min_files=1)
    assert read(lake) == sorted([(value, 2), (value + "!", 1)])
