"""What readers of published tables see while a publication runs, whatever changes and however they read."""

from __future__ import annotations

import random
import threading
import time

import psycopg
import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.publishing.postgres import Mart, publish_together
from airflow_provider_phlo.publishing.postgres import tables as postgres_tables

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")

ISOLATION = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
RESULT_TYPE_CHANGED = "cached plan must not change result type"


def mart(version, **columns):
    """Return 10 rows for version 1, 20 for version 2, …, whose column n depends on the version."""
    n = [version * 1000 + number for number in range(10 * version)]
    return pa.table({"version": [version] * len(n), "n": n, **{name: make(n) for name, make in columns.items()}})


def double(n):
    return pa.array(map(float, n))


def text(n):
    return pa.array(map(str, n))


def integer(n):
    return pa.array(n)


OLD = {"a": mart(1, v=integer, gone=text), "b": mart(1, v=integer)}
CHANGES = {
    "rows": {"a": mart(2, v=integer, gone=text), "b": mart(2, v=integer)},
    "a type": {"a": mart(2, v=double, gone=text), "b": mart(2, v=integer)},
    "a type of both": {"a": mart(2, v=double, gone=text), "b": mart(2, v=text)},
    "a type of the second": {"a": mart(2, v=integer, gone=text), "b": mart(2, v=double)},
    "a new column": {"a": mart(2, v=integer, gone=text), "b": mart(2, v=integer, more=double)},
    "a column less": {"a": mart(2, v=integer), "b": mart(2, v=integer)},
    "a column less, one more, a type": {"a": mart(2, v=text, more=integer), "b": mart(2, v=double, gone=text)},
    "a new table": {"a": mart(2, v=integer, gone=text), "b": mart(2, v=integer), "c": mart(2)},
}


def publish_all(connection, tables):
    marts = [Mart(name, rows.schema, lambda rows=rows: rows) for name, rows in tables.items()]
    return publish_together(marts, connection)


def seen(connection, table):
    """Return the version of a table's rows, once they are those of a whole version."""
    query = f"SELECT count(*), min(version), max(version), min(n), max(n) FROM marts.{table}"
    count, low, high, first, last = connection.execute(query).fetchone()
    assert low == high is not None, (count, low, high)
    assert (count, first, last) == (10 * low, low * 1000, low * 1000 + 10 * low - 1)
    return low


def partition(connection, table):
    """Replace the table by one with partitions, two levels of them."""
    connection.execute(f"""
        DROP TABLE marts.{table};
        CREATE TABLE marts.{table} (version bigint, n bigint, v bigint, gone text) PARTITION BY RANGE (n);
        CREATE TABLE marts.{table}_1 PARTITION OF marts.{table} FOR VALUES FROM (0) TO (2005);
        CREATE TABLE marts.{table}_2 PARTITION OF marts.{table} FOR VALUES FROM (2005) TO (9000)
            PARTITION BY HASH (version);
        CREATE TABLE marts."{table} 2 0" PARTITION OF marts.{table}_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE marts."{table} 2 1" PARTITION OF marts.{table}_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    """)


class Publication(threading.Thread):
    """Publishes in a thread of its own; ``join`` raises what it raised."""

    def __init__(self, server, tables):
        super().__init__()
        self.server, self.tables, self.error = server, tables, None

    def run(self):
        try:
            with psycopg.connect(self.server.uri, autocommit=True) as mine:
                publish_all(mine, self.tables)
        except Exception as error:  # noqa: BLE001 - join raises it
            self.error = error

    def join(self, timeout=60):
        super().join(timeout)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


@pytest.fixture
def reader(server):
    """Return a function that opens a transaction; ``first`` is its first query."""
    opened = []

    def begin(isolation, first, **options):
        connection = psycopg.connect(server.uri, **options)
        opened.append(connection)
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        connection.execute(first)
        return connection

    yield begin
    for connection in opened:
        connection.close()


@pytest.mark.long
@pytest.mark.parametrize("partitioned", [False, True], ids=["plain", "partitioned"])
@pytest.mark.parametrize("isolation", ISOLATION)
@pytest.mark.parametrize("change", CHANGES)
def test_case_39_a_reader_sees_the_old_or_the_new(connection, server, reader, change, isolation, partitioned):
    publish_all(connection, OLD)
    if partitioned:
        partition(connection, "a")
        publish_all(connection, OLD)
    connection.execute("CREATE VIEW marts.both AS SELECT a.version AS of_a, b.version AS of_b FROM marts.a, marts.b")
    other = "SELECT count(*) FROM pg_class"
    fresh = [reader(isolation, other) for _ in range(2)]
    on_hold = reader(isolation, "DECLARE held CURSOR WITH HOLD FOR SELECT version FROM marts.a")
    on_hold.commit()
    began = reader(isolation, "SELECT n FROM marts.a LIMIT 1")
    scrolling = reader(isolation, "DECLARE rows CURSOR FOR SELECT version FROM marts.a")
    assert scrolling.execute("FETCH 1 FROM rows").fetchall() == [(1,)]
    publication = Publication(server, CHANGES[change])
    publication.start()
    publication_done = change == "rows"
    if publication_done:
        publication.join()
    else:
        time.sleep(0.2)
    # who has read one table goes on seeing the old one of both; a statement of READ COMMITTED is a reader of its own
    version_of_b = seen(began, "b")
    assert version_of_b == 1 or (isolation == "READ COMMITTED" and publication_done)
    assert scrolling.execute("FETCH ALL FROM rows").fetchall() == [(1,)] * 9
    began.commit()
    scrolling.commit()
    publication.join()
    assert on_hold.execute("FETCH ALL FROM held").fetchall() == [(1,)] * 10
    for older, order in zip(fresh, (("a", "b"), ("b", "a")), strict=True):
        versions = {seen(older, table) for table in (*order, *order)}
        assert len(versions) == 1
        both = older.execute("SELECT DISTINCT of_a, of_b FROM marts.both").fetchall()
        assert both == [(min(versions), min(versions))]
        if change == "a new table" and versions == {2}:
            assert seen(older, "c") == 2
    assert {seen(connection, table) for table in CHANGES[change]} == {2}


@pytest.mark.long
@pytest.mark.parametrize("statement", ["SELECT * FROM marts.a", "SELECT v FROM marts.a", "SELECT version FROM marts.a"])
@pytest.mark.parametrize("isolation", ISOLATION)
@pytest.mark.parametrize("change", CHANGES)
def test_case_39_a_prepared_statement_sees_the_new_or_says_to_be_prepared_again(
    connection, server, change, isolation, statement
):
    publish_all(connection, OLD)
    with psycopg.connect(server.uri, autocommit=True) as mine:
        mine.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {isolation}")
        mine.execute(f"PREPARE mine AS {statement}")
        for _ in range(6):  # from the sixth on it may have a generic plan
            assert len(mine.execute("EXECUTE mine").fetchall()) == 10
        publish_all(connection, CHANGES[change])
        names = [column.name for column in mine.execute(statement).description]
        try:
            found = mine.execute("EXECUTE mine").fetchall()
        except psycopg.errors.FeatureNotSupported as error:
            # PostgreSQL fixes the types of a prepared statement's result
            assert error.diag.message_primary == RESULT_TYPE_CHANGED  # noqa: PT017
            assert set(names) != {"version"}
            mine.execute("DEALLOCATE mine")
            mine.execute(f"PREPARE mine AS {statement}")
            found = mine.execute("EXECUTE mine").fetchall()
        assert len(found) == 20


def test_case_39_busy_readers_see_whole_versions_of_all_tables(connection, server):
    """Random changes one after another, while readers of every isolation level join, scroll and read one by one."""
    choose = random.Random(39)
    publish_all(connection, {"a": mart(1), "b": mart(1)})
    stop, problems, rounds = threading.Event(), [], []

    def read(isolation):
        with psycopg.connect(server.uri) as mine:
            while not stop.is_set():
                try:
                    mine.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
                    mine.execute("SELECT 1")
                    query = (
                        "SELECT (SELECT min(version) FROM marts.a), (SELECT count(*) FROM marts.a), "
                        "(SELECT max(version) FROM marts.b), (SELECT count(*) FROM marts.b)"
                    )
                    first = mine.execute(query).fetchone()
                    assert first == (first[0], 10 * first[0], first[0], 10 * first[0])
                    if isolation != "READ COMMITTED":
                        time.sleep(choose.random() / 100)
                        assert seen(mine, "b") == seen(mine, "a") == first[0]
                    else:
                        seen(mine, "b"), seen(mine, "a")
                    mine.commit()
                    rounds.append(first[0])
                except Exception as error:  # noqa: BLE001 - join raises it
                    problems.append((isolation, error))
                    return

    readers = [threading.Thread(target=read, args=[isolation]) for isolation in ISOLATION]
    for thread in readers:
        thread.start()
    for version in range(2, 27):
        tables = {
            name: mart(version, **{extra: choose.choice([double, text, integer]) for extra in choose.sample("vwx", 2)})
            for name in ("a", "b")
        }
        publish_all(connection, tables if choose.random() < 0.7 else {"a": mart(version), "b": mart(version)})
    stop.set()
    for thread in readers:
        thread.join()
    assert problems == []
    assert len(set(rounds)) > 10


def test_case_39_a_row_without_a_partition_is_named_and_the_old_content_stays(connection):
    publish_all(connection, OLD)
    partition(connection, "a")
    publish_all(connection, OLD)
    rows = mart(2, v=double, gone=text)
    far = rows.set_column(1, "n", pa.array([*rows["n"].to_pylist()[:-1], 99_999]))
    with pytest.raises(SchemaError, match=r"marts\.a: 1 of 20 rows belong to no partition"):
        publish_all(connection, {"b": CHANGES["rows"]["b"], "a": far})
    assert (seen(connection, "a"), seen(connection, "b")) == (1, 1)


def test_case_39_a_change_of_one_table_that_fails_leaves_all(connection, server, monkeypatch):
    monkeypatch.setattr(postgres_tables, "LOCK_SECONDS", 0.5)
    publish_all(connection, OLD)
    with psycopg.connect(server.uri) as holds:
        holds.execute("SELECT * FROM marts.b")
        with pytest.raises(Exception, match="Nothing was written"):
            publish_all(connection, CHANGES["a type"])
        started = time.monotonic()
        assert seen(connection, "a") == seen(connection, "b") == 1
        assert time.monotonic() - started < 10
