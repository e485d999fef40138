"""Marts in one DuckDB file: all tables of one publication or none, and nobody loses what is open."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from decimal import Decimal
from urllib.parse import quote

import duckdb
import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError, TransientError
from airflow_provider_phlo.publishing.duckdb_file import DuckDBPublisher
from airflow_provider_phlo.publishing.lakehouse import Source


def version(number, rows=1000, **more):
    table = pa.table({"version": [number] * rows, "n": range(rows), **more})
    return Source(table.schema, table.to_reader, comment="its comment", comments={"n": "a 'number'"})


def seen(path, table="marts.a"):
    with duckdb.connect(path, read_only=True) as reader:
        return reader.execute(f"SELECT min(version), max(version), count(*) FROM {table}").fetchone()


def test_all_tables_are_replaced_and_open_readers_keep_the_old_ones(tmp_path):
    path = tmp_path / "new" / "m.duckdb"
    publisher = DuckDBPublisher(path, schema="marts")
    first = publisher.publish({"a": version(1), "b": version(1)})
    assert [(result.table, result.rows) for result in first.values()] == [("marts.a", 1000), ("marts.b", 1000)]
    # of another process, since connections of one process share a file
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout.readline() == "(1,)\n"
        publisher.publish({"a": version(2, 5), "b": version(2, 5)})
        assert reader.communicate("again\n")[0] == "[(1, 1000), (1, 1000)]\n"
    assert seen(path) == seen(path, "marts.b") == (2, 2, 5)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(os.listdir(path.parent)) == [".m.duckdb.lock", "m.duckdb"]
    with duckdb.connect(path, read_only=True) as reader:
        query = "SELECT comment FROM duckdb_tables() WHERE table_name = 'a'"
        assert reader.execute(query).fetchall() == [("its comment",)]
        query = "SELECT comment FROM duckdb_columns() WHERE table_name = 'a' AND column_name = 'n'"
        assert reader.execute(query).fetchall() == [("a 'number'",)]


HOLDS = """
import sys, duckdb
reader = duckdb.connect(sys.argv[1], read_only=True)
print(reader.execute("SELECT max(version) FROM marts.a").fetchone(), flush=True)
sys.stdin.readline()
print(reader.execute("SELECT max(version), count(*) FROM marts.a UNION ALL SELECT max(version), count(*) FROM marts.b")
    .fetchall())
"""


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("relative", [True, False])
def test_case_39_a_link_to_the_file_stays_one(tmp_path, exists, relative):
    shared = tmp_path / "shared"
    shared.mkdir()
    real, link = shared / "m.duckdb", tmp_path / "m.duckdb"
    if exists:
        DuckDBPublisher(real, schema="marts").publish({"a": version(1)})
    link.symlink_to("shared/m.duckdb" if relative else real)
    DuckDBPublisher(link, schema="marts").publish({"a": version(2, 5)})
    assert link.is_symlink()
    assert seen(real) == seen(link) == (2, 2, 5)
    assert sorted(os.listdir(shared)) == [".m.duckdb.lock", "m.duckdb"]
    assert sorted(os.listdir(tmp_path)) == ["m.duckdb", "shared"]


def test_what_else_is_in_the_file_stays(tmp_path):
    path = tmp_path / "m.duckdb"
    publisher = DuckDBPublisher(path, schema="marts")
    publisher.publish({"a": version(1), "b": version(1)})
    with duckdb.connect(path) as owner:
        owner.execute("CREATE TABLE mine (n INTEGER PRIMARY KEY); INSERT INTO mine VALUES (7)")
        owner.execute("CREATE VIEW latest AS SELECT max(version) AS v FROM marts.a")
    publisher.publish({"a": version(2)})
    DuckDBPublisher(path, schema="other").publish({"a": version(3)})
    with duckdb.connect(path) as owner:
        query = "SELECT (SELECT max(version) FROM marts.b), (SELECT v FROM latest), (SELECT max(version) FROM other.a)"
        assert owner.execute(query).fetchone() == (1, 2, 3)
        with pytest.raises(duckdb.ConstraintException):
            owner.execute("INSERT INTO mine VALUES (7)")


@pytest.mark.parametrize(
    ("made", "used"),
    [
        ("CREATE MACRO twice(x) AS 2 * x", "SELECT twice(21)"),
        ("CREATE MACRO answers() AS TABLE SELECT 42", "FROM answers()"),
        ("CREATE SEQUENCE numbers START 41; SELECT nextval('numbers')", "SELECT nextval('numbers')"),
        ("CREATE TYPE sizes AS ENUM ('42')", "SELECT '42'::sizes::INTEGER"),
        ("CREATE SCHEMA empty", "SELECT 42 FROM duckdb_schemas() WHERE schema_name = 'empty'"),
    ],
    ids=["macro", "table macro", "sequence", "type", "schema"],
)
def test_what_is_not_a_table_stays_too(tmp_path, made, used):
    path = tmp_path / "m.duckdb"
    publisher = DuckDBPublisher(path, schema="marts")
    publisher.publish({"a": version(1)})
    with duckdb.connect(path) as owner:
        owner.execute(made)
    publisher.publish({"a": version(2)})
    with duckdb.connect(path, read_only=True) as reader:
        assert reader.execute("SELECT max(version) FROM marts.a").fetchone() == (2,)
    with duckdb.connect(path) as owner:
        assert owner.execute(used).fetchone() == (42,)


def test_indexes_and_comments_on_what_is_published_stay(tmp_path, caplog):
    path = tmp_path / "m.duckdb"
    publisher = DuckDBPublisher(path, schema="my s")
    publisher.publish({'a"b': version(1, more=range(1000))})
    with duckdb.connect(path) as owner:
        owner.execute(
            """CREATE INDEX "i 1" ON "my s"."a""b"(n, (version + 1)); CREATE UNIQUE INDEX u ON "my s"."a""b"(n);
            CREATE INDEX goes ON "my s"."a""b"(more); COMMENT ON COLUMN "my s"."a""b".version IS 'mine'"""
        )
    publisher.publish({'a"b': version(2)})
    with duckdb.connect(path, read_only=True) as reader:
        assert reader.execute("SELECT index_name FROM duckdb_indexes() ORDER BY 1").fetchall() == [("i 1",), ("u",)]
        found = reader.execute("SELECT column_name, comment FROM duckdb_columns() WHERE comment IS NOT NULL ORDER BY 1")
        assert found.fetchall() == [("n", "a 'number'"), ("version", "mine")]
        assert reader.execute("SELECT comment FROM duckdb_tables()").fetchall() == [("its comment",)]
    assert 'Index goes of my s.a"b goes with its column' in caplog.text
    twice = pa.table({"version": [3, 3], "n": [1, 1]})
    with pytest.raises(SchemaError, match=r'the index u of my s\.a"b is unique, and the new rows are not'):
        publisher.publish({'a"b': Source(twice.schema, twice.to_reader)})
    with duckdb.connect(path) as owner:
        assert owner.execute('SELECT max(version) FROM "my s"."a""b"').fetchone() == (2,)
        owner.execute(
            """DROP INDEX "my s"."i 1"; DROP INDEX "my s".u; ALTER TABLE "my s"."a""b" ALTER n SET NOT NULL"""
        )
    publisher.publish({'a"b': version(3)})
    assert 'Constraints and defaults of my s.a"b are not kept: NOT NULL' in caplog.text


def test_any_name_of_the_file_and_a_folder_that_duckdb_cannot_open(tmp_path):
    for name in ("a?b.duckdb", "a[b]*.duckdb", "100%#.duckdb", "é'\".duckdb"):
        left = tmp_path / f".{quote(name)}.new-x"
        left.mkdir()
        for number in (1, 2):
            DuckDBPublisher(tmp_path / name, schema="marts").publish({"a": version(number), "b": version(number)})
        assert seen(tmp_path / name) == (2, 2, 1000)
        assert not left.exists()
    with pytest.raises(ConfigurationError, match=r"folder with \? in its name"):
        DuckDBPublisher(tmp_path / "a?" / "b.duckdb").publish({"a": version(1)})


def test_a_source_that_breaks_off_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.duckdb"
    publisher = DuckDBPublisher(path, schema="marts")
    publisher.publish({"a": version(1), "b": version(1)})

    def broken():
        def batches():
            yield pa.record_batch({"version": [2]})
            raise OSError("connection lost")

        return pa.RecordBatchReader.from_batches(pa.schema([("version", pa.int64())]), batches())

    with pytest.raises(TransientError, match="The old file stays"):
        publisher.publish({"a": version(2), "b": Source(pa.schema([("version", pa.int64())]), broken)})
    assert seen(path) == seen(path, "marts.b") == (1, 1, 1000)
    assert sorted(os.listdir(tmp_path)) == [".m.duckdb.lock", "m.duckdb"]


def test_what_is_not_a_file_of_duckdb_or_is_written_to_is_refused(tmp_path):
    path = tmp_path / "m.duckdb"
    path.write_text("something else, of some length, which is not a database" * 100)
    with pytest.raises(ConfigurationError, match="is not a DuckDB file"):
        DuckDBPublisher(path, schema="marts").publish({"a": version(1)})
    assert path.read_text().startswith("something else")
    path.write_bytes(b"")
    DuckDBPublisher(path, schema="marts").publish({"a": version(1)})
    (tmp_path / "m.duckdb.wal").touch()
    with pytest.raises(ConfigurationError, match=r"m.duckdb.wal is there"):
        DuckDBPublisher(path, schema="marts").publish({"a": version(2)})
    with pytest.raises(ConfigurationError, match="for the schema or for the file"):
        DuckDBPublisher(tmp_path / "Marts.duckdb", schema="marts").publish({"a": version(1)})
    with pytest.raises(ConfigurationError, match="differ in nothing but"):
        DuckDBPublisher(tmp_path / "x.duckdb").publish({"a": version(1), "A": version(1)})
    with pytest.raises(TransientError, match="The old file stays"):
        DuckDBPublisher(path / "x.duckdb").publish({"a": version(1)})


def test_publishers_of_one_file_lose_nothing_of_each_other(tmp_path):
    path = tmp_path / "m.duckdb"
    threads = [
        threading.Thread(target=DuckDBPublisher(path, schema="marts").publish, args=[{name: version(1, 10)}])
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [seen(path, f"marts.{name}") for name in "abcd"] == [(1, 1, 10)] * 4


KILLED = """
import sys, time, pathlib, pyarrow as pa
from airflow_provider_phlo.publishing.duckdb_file import DuckDBPublisher
from airflow_provider_phlo.publishing.lakehouse import Source
schema = pa.schema([("version", pa.int64())])
def read():
    def batches():
        yield pa.record_batch({"version": [2] * 300_000})
        print("half", flush=True)
        time.sleep(60)
    return pa.RecordBatchReader.from_batches(schema, batches())
DuckDBPublisher(pathlib.Path(sys.argv[1]), schema="marts").publish({"b": Source(schema, read)})
"""


@pytest.mark.long
def test_kill_9_leaves_the_old_file_and_the_next_publication_cleans_up(tmp_path):
    path = tmp_path / "m.duckdb"
    DuckDBPublisher(path, schema="marts").publish({"b": version(1)})
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "half\n"
        os.kill(child.pid, signal.SIGKILL)
    assert seen(path, "marts.b") == (1, 1, 1000)
    assert len(os.listdir(tmp_path)) == 3
    DuckDBPublisher(path, schema="marts").publish({"b": version(3)})
    assert seen(path, "marts.b") == (3, 3, 1000)
    assert sorted(os.listdir(tmp_path)) == [".m.duckdb.lock", "m.duckdb"]


def test_types_arrive_as_they_are(tmp_path):
    rows = pa.table(
        {
            "d": pa.array([Decimal("1.50")], pa.decimal128(9, 2)),
            "at": pa.array([0], pa.timestamp("us", "UTC")),
            "l": pa.array([[1, None]], pa.list_(pa.int64())),
            "u": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16))),
            "odd ' name": pa.array([b"\0"]),
        }
    )
    DuckDBPublisher(tmp_path / "m.duckdb").publish({"t": Source(rows.schema, rows.to_reader)})
    with duckdb.connect(tmp_path / "m.duckdb") as reader:
        found = reader.sql("SELECT * FROM t")
        assert list(map(str, found.types)) == ["DECIMAL(9,2)", "TIMESTAMP WITH TIME ZONE", "BIGINT[]", "UUID", "BLOB"]
        assert found.to_arrow_table().column("d").to_pylist() == [Decimal("1.50")]
