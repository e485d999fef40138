from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, FixedType, IntegerType, LongType, NestedField, StringType, StructType, UUIDType

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.duckdb.sessions import read_only
from airflow_provider_phlo.iceberg.duckdb.statements import assert_read_only, referenced_tables
from airflow_provider_phlo.iceberg.duckdb.views import all_tables, connect, create_view
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.lake import open_lake, open_views

UTC = dt.UTC
ROW = {
    "id": 1,
    "ratio": 1.5,
    "price": Decimal("1.20"),
    "day": dt.date(2024, 1, 2),
    "at": dt.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "local": dt.datetime(2024, 1, 2, 3, 4, 5),
    "time": dt.time(1, 2, 3),
    "blob": b"\x00\x01",
    "flag": True,
    "nested": {"a": 1, "b": ["x", None]},
    "tags": ["p", "q"],
    'we"ird': "it's",
}
ARROW = pa.schema(
    [
        ("id", pa.int32()),
        ("ratio", pa.float32()),
        ("price", pa.decimal128(10, 2)),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", "UTC")),
        ("local", pa.timestamp("us")),
        ("time", pa.time64("us")),
        ("blob", pa.binary()),
        ("flag", pa.bool_()),
        ("nested", pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])),
        ("tags", pa.list_(pa.string())),
        ('we"ird', pa.string()),
    ]
)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    # a space and a quote: paths end up inside SQL
    catalog = open_lake(tmp_path / "a home's")
    catalog.create_namespace("raw")
    return catalog


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[object, ...]]:
    return connection.execute(sql).fetchall()


def append_rows(catalog: Catalog, data: pa.Table) -> None:
    catalog.create_table("raw.t", data.schema).append(data)


def merge_rows(catalog: Catalog, data: pa.Table) -> None:
    catalog.create_table("raw.t", data.schema)
    merge(catalog, "raw.t", data, MergePlan(key=("k",)), token="t", branch="main")


def test_every_type_reads_back(catalog: Catalog) -> None:
    table = catalog.create_table("raw.t", ARROW)
    table.append(pa.Table.from_pylist([ROW], ARROW))
    result = connect(catalog).execute('SELECT * FROM raw."t"').fetchall()
    assert result == [tuple(ROW.values())]


def test_renamed_added_and_widened_columns_read_from_old_files(catalog: Catalog) -> None:
    table = catalog.create_table("raw.t", ARROW)
    table.append(pa.Table.from_pylist([ROW], ARROW))
    with table.update_schema() as update:
        update.rename_column('we"ird', "plain")
        update.rename_column("price", "was_price")
        update.update_column("id", LongType())
        update.update_column("ratio", DoubleType())
        update.delete_column("flag")
        update.add_column("extra", StringType())
    with table.update_schema() as update:
        # the name again, another field: the old values must not show
        update.add_column("price", StringType())
    new = {"id": 2**40, "plain": "new", "extra": "e"}
    table.append(pa.Table.from_pylist([new], table.schema().as_arrow()))
    result = rows(connect(catalog), "SELECT id, plain, was_price, extra, price, ratio FROM raw.t ORDER BY id")
    assert result == [(1, "it's", Decimal("1.20"), None, None, 1.5), (2**40, "new", None, "e", None, None)]


def test_partition_folders_are_not_columns(catalog: Catalog) -> None:
    table = catalog.create_table("raw.t", ARROW)
    with table.update_spec() as update:
        update.add_identity("day")
        update.add_identity('we"ird')
    odd = ROW | {'we"ird': "a/b=c *?[x]", "day": None}
    table.append(pa.Table.from_pylist([ROW, odd], ARROW))
    result = rows(connect(catalog), 'SELECT day, "we""ird" FROM raw.t ORDER BY day')
    assert result == [(ROW["day"], "it's"), (None, "a/b=c *?[x]")]


def test_an_empty_table_has_typed_columns(catalog: Catalog) -> None:
    catalog.create_table("raw.t", ARROW)
    described = rows(connect(catalog), "DESCRIBE raw.t")
    assert [(name, kind) for name, kind, *_ in described][:5] == [
        ("id", "INTEGER"),
        ("ratio", "FLOAT"),
        ("price", "DECIMAL(10,2)"),
        ("day", "DATE"),
        ("at", "TIMESTAMP WITH TIME ZONE"),
    ]
    assert rows(connect(catalog), "SELECT count(*) FROM raw.t") == [(0,)]


def test_a_uuid_column(catalog: Catalog) -> None:
    schema = Schema(NestedField(1, "u", UUIDType()), NestedField(2, "n", IntegerType()))
    table = catalog.create_table("raw.t", schema)
    data = pa.table(
        {"u": pa.array([b"\x01" * 16], pa.uuid().storage_type).cast(pa.binary(16)), "n": pa.array([1], pa.int32())}
    )
    table.append(data.set_column(0, "u", pa.ExtensionArray.from_storage(pa.uuid(), data["u"].combine_chunks())))
    assert rows(connect(catalog), "SELECT u::VARCHAR, n FROM raw.t") == [("01010101-0101-0101-0101-010101010101", 1)]


def test_a_branch_is_read_where_the_table_has_it(catalog: Catalog) -> None:
    schema = pa.schema([("id", pa.int64())])
    for name in ("raw.audited", "raw.other"):
        catalog.create_table(name, schema)
    for name in ("raw.audited", "raw.other"):
        catalog.load_table(name).append(pa.table({"id": [1]}))
    audited = catalog.load_table("raw.audited")
    audited.manage_snapshots().create_branch(audited.current_snapshot().snapshot_id, "phlo_x").commit()
    catalog.load_table("raw.audited").append(pa.table({"id": [2]}), branch="phlo_x")
    overwrite_if_changed(catalog, "raw.born_on_branch", pa.table({"id": [3]}), branch="phlo_x")
    counts = (f"(SELECT count(*) FROM raw.{name})" for name in ("audited", "other", "born_on_branch"))
    sql = f"SELECT {', '.join(counts)}"
    assert rows(connect(catalog, branch="phlo_x"), sql) == [(2, 1, 1)]
    assert rows(connect(catalog), sql) == [(1, 1, 0)]
    assert rows(connect(catalog, branch="phlo_unknown"), sql) == [(1, 1, 0)]


def test_position_deletes_are_respected(catalog: Catalog, tmp_path: Path) -> None:
    """What Trino's MERGE leaves: a delete file beside one of two data files."""
    table = catalog.create_table("raw.t", pa.schema([("id", pa.int64()), ("name", pa.string())]))
    table.append(pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]}))
    table.append(pa.table({"id": [4], "name": ["d"]}))
    target = next(t.file.file_path for t in table.scan("id == 1").plan_files())
    _add_position_deletes(table, target, [1], tmp_path)
    connection = connect(catalog)
    assert rows(connection, "SELECT id, name FROM raw.t ORDER BY id") == [(1, "a"), (3, "c"), (4, "d")]
    assert rows(connection, "SELECT count(*) FROM raw.t") == [(3,)]  # the view can be read again


def _add_position_deletes(table: object, target: str, positions: list[int], folder: Path) -> None:
    ids = {b"PARQUET:field_id": b"2147483546"}, {b"PARQUET:field_id": b"2147483545"}
    schema = pa.schema([pa.field("file_path", pa.string(), False, ids[0]), pa.field("pos", pa.int64(), False, ids[1])])
    path = folder / "delete.parquet"
    pq.write_table(pa.table({"file_path": [target] * len(positions), "pos": positions}, schema), path)
    delete = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=f"file://{path}",
        file_format=FileFormat.PARQUET,
        partition=table.metadata and next(iter(table.scan().plan_files())).file.partition,
        record_count=len(positions),
        file_size_in_bytes=path.stat().st_size,
        sort_order_id=None,
        spec_id=0,
        equality_ids=None,
        key_metadata=None,
    )
    _commit_delete_file(table, delete)


def _commit_delete_file(table: object, delete: DataFile) -> None:
    """PyIceberg has no call that adds a delete file: write its manifest by hand and add it to an append."""
    from pyiceberg.manifest import ManifestContent, ManifestEntry, ManifestEntryStatus, ManifestWriterV2
    from pyiceberg.table.update.snapshot import _FastAppendFiles

    class DeleteManifest(ManifestWriterV2):
        def content(self) -> ManifestContent:
            return ManifestContent.DELETES

        @property
        def _meta(self) -> dict[str, str]:
            return {**super()._meta, "content": "deletes"}

    class AppendDeletes(_FastAppendFiles):
        def _manifests(self) -> list[object]:
            output = self.new_manifest_output()
            metadata = self._transaction.table_metadata
            with DeleteManifest(metadata.spec(), metadata.schema(), output, self._snapshot_id, "gzip") as writer:
                writer.add(
                    ManifestEntry.from_args(
                        status=ManifestEntryStatus.ADDED, snapshot_id=self._snapshot_id, data_file=delete
                    )
                )
            return [*super()._manifests(), writer.to_manifest_file()]

    with table.transaction() as transaction:
        from pyiceberg.table.snapshots import Operation

        AppendDeletes(Operation.APPEND, transaction, transaction._table.io).commit()


def test_adopted_files_without_field_ids(catalog: Catalog, tmp_path: Path) -> None:
    pq.write_table(pa.table({"b": ["x"], "a": [1]}), tmp_path / "foreign.parquet")
    table = catalog.create_table("raw.t", pa.schema([("a", pa.int64()), ("b", pa.string())]))
    table.add_files([f"file://{tmp_path / 'foreign.parquet'}"])
    table.append(pa.table({"a": [2], "b": ["y"]}))
    assert rows(connect(catalog), "SELECT a, b FROM raw.t ORDER BY a") == [(1, "x"), (2, "y")]


def test_a_struct_that_grew(catalog: Catalog) -> None:
    table = catalog.create_table("raw.t", ARROW)
    table.append(pa.Table.from_pylist([ROW], ARROW))
    with table.update_schema() as update:
        update.add_column(("nested", "c"), StringType())
        update.rename_column(("nested", "a"), "z")
    assert rows(connect(catalog), "SELECT nested FROM raw.t") == [({"z": 1, "b": ["x", None], "c": None},)]


@pytest.mark.long
@pytest.mark.parametrize("namespace", ["memory", "temp", "system", "Temp", "pg_catalog", "information_schema"])
def test_case_03_a_namespace_that_duckdb_takes_for_its_own(catalog: Catalog, namespace: str) -> None:
    """Others have such tables: they are refused by name, and the other tables are read."""
    overwrite_if_changed(catalog, f"{namespace}.t", pa.table({"id": [1]}))
    overwrite_if_changed(catalog, "gold.t", pa.table({"id": [2]}))
    with pytest.raises(ConfigurationError, match=rf"{namespace}\.t cannot be read with DuckDB"):
        connect(catalog, tables=[f"{namespace}.t"])
    with pytest.raises(ConfigurationError, match="another namespace"):
        create_view(duckdb.connect(), catalog, f"{namespace}.t")
    assert rows(connect(catalog), "SELECT id FROM gold.t") == [(2,)]


def test_only_the_named_tables(catalog: Catalog) -> None:
    for name in ("raw.a", "raw.b"):
        catalog.create_table(name, ARROW)
    assert all_tables(catalog) == ["raw.a", "raw.b"]
    connection = connect(catalog, tables=["raw.a"])
    with pytest.raises(duckdb.CatalogException):
        connection.execute("SELECT * FROM raw.b")
    with pytest.raises(ConfigurationError, match=r"raw\.none does not exist"):
        connect(catalog, tables=["raw.none"])


def test_create_view_renews(catalog: Catalog) -> None:
    table = catalog.create_table("raw.t", pa.schema([("a", pa.int64())]))
    connection = connect(catalog)
    table.append(pa.table({"a": [1]}))
    assert rows(connection, "SELECT count(*) FROM raw.t") == [(0,)]
    create_view(connection, catalog, "raw.t")
    assert rows(connection, "SELECT count(*) FROM raw.t") == [(1,)]
    with pytest.raises(NoSuchTableError):
        create_view(connection, catalog, "raw.none")


def test_filters_reach_the_files(catalog: Catalog) -> None:
    table = catalog.create_table("raw.t", pa.schema([("a", pa.int64()), ("b", pa.string())]))
    table.append(pa.table({"a": [1], "b": ["x"]}))
    plan = rows(connect(catalog), "EXPLAIN SELECT b FROM raw.t WHERE a = 5")[0][1]
    assert "Filters: a = 5" in str(plan)
    assert "Projections: b" in str(plan)


NAN = float("nan")
NOT_A_NUMBER = [
    f"{compared} {condition}"
    for compared in ("d", "f", "p.d", "l[1]", "m['a']")
    for condition in ("> 2", ">= 1.5", "!= 1", "= 'nan'", "NOT IN (1, 2)", "IS DISTINCT FROM 1", "NOT BETWEEN 0 AND 9")
]
NOT_A_NUMBER += [f"{each}({compared})" for compared in ("d", "f", "p.d") for each in ("isnan", "NOT isfinite")]


@pytest.mark.long
@pytest.mark.parametrize("other", [1.0, -1.0, None, NAN])
@pytest.mark.parametrize("written", [merge_rows, append_rows])
def test_case_08_no_filter_loses_rows_that_are_not_a_number(
    catalog: Catalog, written: Callable[[Catalog, pa.Table], None], other: float | None
) -> None:
    """Bounds in Parquet leave NaN out, which DuckDB takes for the largest number."""
    floats = [1.0, NAN, other]
    data = pa.table(
        {
            "k": [1, 2, 3],
            "d": pa.array(floats, pa.float64()),
            "f": pa.array(floats, pa.float32()),
            "p": pa.array([{"d": one} for one in floats], pa.struct([("d", pa.float64())])),
            "l": [[one] for one in floats],
            "m": pa.array([[("a", one)] for one in floats], pa.map_(pa.string(), pa.float32())),
        }
    )
    written(catalog, data)
    ours, oracle = connect(catalog), duckdb.connect().register("data", data)
    for condition in NOT_A_NUMBER:
        asked = f"SELECT count(*), count(*) FILTER (WHERE {condition}), (SELECT list(k) FROM {{0}} WHERE {condition})"
        asked += ", max(d), max(f), max(p.d), min(d) FROM {0}"
        assert str(rows(ours, asked.format("raw.t"))) == str(rows(oracle, asked.format("data"))), condition


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("select * from raw.t", {"raw.t"}),
        (
            'SELECT * FROM RAW.T a JOIN gold.x USING (id) WHERE y IN (SELECT 1 FROM "c.b".z)',
            {"RAW.T", "gold.x", "c.b.z"},
        ),
        ('with a as (select * from raw.t) select * from a, "ra.w".x, bare', {"raw.t", "ra.w.x", "bare"}),
        ("with t as (select 1) select * from raw.t", {"raw.t"}),
        ("describe raw.t", {"raw.t"}),
        ("summarize raw.t;", {"raw.t"}),
        ("explain analyze from raw.t", {"raw.t"}),
        ("select 'from raw.t' -- raw.u", set()),
    ],
)
def test_referenced_tables(sql: str, tables: set[str]) -> None:
    assert referenced_tables(sql) == tables
    assert_read_only(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "selec 1",
        "select 1; select 2",
        "delete from raw.t",
        "create table x (a int)",
        "copy raw.t to 'f'",
        "attach 'x'",
        "set threads = 1",
        "pragma version",
        "install httpfs",
        "explain analyze delete from raw.t",
        "explain (analyze) copy raw.t to 'f'",
        "explain /* */ analyze copy raw.t to 'f'",
        "with d as (copy (select 1) to 'f') select 1",
        "select * from (with d as materialized (delete from raw.t returning *) select * from d)",
        "select * from query('select 1')",
        "select * from system.main.QUERY('select 1')",
        "select * from json_execute_serialized_sql('{}')",
        "select * from enable_logging(storage => 'file')",
    ],
)
def test_anything_else_is_refused(sql: str) -> None:
    with pytest.raises(ConfigurationError):
        assert_read_only(sql)


def test_a_locked_connection_reads_its_tables_and_nothing_else(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    table = catalog.create_table("raw.t", pa.schema([("a", pa.int64())]))
    table.append(pa.table({"a": [1]}))
    connection = connect(catalog, locked=True)
    assert rows(connection, "SELECT a FROM raw.t") == [(1,)]
    for sql in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"SELECT * FROM read_text('{tmp_path}/a home''s/../secret.csv')",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/x.db'",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SELECT * FROM table",
        "INSTALL httpfs",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(sql)


def test_read_only_without_folders_reads_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    connection = duckdb.connect()
    read_only(connection)
    assert rows(connection, "SELECT 1") == [(1,)]
    with pytest.raises(duckdb.PermissionException):
        connection.execute(f"SELECT * FROM read_csv('{tmp_path}/x.csv')")


@pytest.mark.parametrize(
    "values", [["a", None], [None, "a", None], ["", ""], ["x" * 40, None], [None, None], ["a", "b"]]
)
def test_a_filter_knows_null_from_the_only_text_of_a_column(catalog: Catalog, values: list[str | None]) -> None:
    """DuckDB 2.0 takes the one for the other in Parquet without a dictionary, as columns and members had it."""
    rows = pa.table(
        {
            "id": range(len(values)),
            "odd name": pa.array(values, pa.string()),
            "b": pa.array([value and value.encode() for value in values], pa.binary()),
            "s": pa.array([{"t": value, "deep": {"t.u": value}} for value in values]).cast(
                pa.struct([("t", pa.string()), ("deep", pa.struct([("t.u", pa.string())]))])
            ),
        }
    )
    overwrite_if_changed(catalog, "raw.texts", rows)
    with open_views(catalog) as connection:
        for column in ('"odd name"', "b", "s.t", 's.deep."t.u"'):
            found = connection.execute(f"SELECT id FROM raw.texts WHERE {column} IS NULL ORDER BY id").fetchall()
            assert found == [(at,) for at, value in enumerate(values) if value is None], column
            found = connection.execute(f"SELECT id FROM raw.texts WHERE {column} IS DISTINCT FROM NULL").fetchall()
            assert len(found) == sum(value is not None for value in values), column


def test_a_filter_knows_null_from_the_only_bytes_of_a_fixed_length(catalog: Catalog) -> None:
    member = NestedField(4, "f", FixedType(2), required=False)
    fields = [
        NestedField(1, "id", LongType()),
        NestedField(2, "f", FixedType(2)),
        NestedField(3, "s", StructType(member)),
    ]
    catalog.create_namespace_if_not_exists("raw")
    catalog.create_table("raw.bytes", Schema(*fields))
    values = pa.array([b"ab", None, b"ab"], pa.binary(2))
    rows = pa.table({"id": range(3), "f": values, "s": pa.StructArray.from_arrays([values], names=["f"])})
    merge(catalog, "raw.bytes", rows, MergePlan(key=("id",)), token="t", branch="main")
    with open_views(catalog) as connection:
        for column in ("f", "s.f"):
            assert connection.execute(f"SELECT id FROM raw.bytes WHERE {column} IS NULL").fetchall() == [(1,)]
