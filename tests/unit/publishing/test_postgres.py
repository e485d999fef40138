"""Publishing: what readers see meanwhile, what survives it, what a crash leaves."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time

import psycopg
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, SchemaError, TransientError
from airflow_provider_phlo.publishing.postgres import Mart, loading, publish, publish_together
from airflow_provider_phlo.publishing.postgres import tables as postgres_tables
from tests.expect import expect

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")


def version(number, rows=1000):
    return pa.table({"version": pa.array([number] * rows, pa.int32()), "n": range(rows)})


def content(connection, columns="*"):
    return connection.execute(f"SELECT {columns} FROM marts.daily").fetchall()


def test_creates_schema_and_table_then_replaces(connection):
    first = publish(version(1, 10), connection, "daily")
    expect(first, table="marts.daily", rows=10, columns=2, created=True)
    again = publish(version(2, 3), connection, "daily")
    expect(again, rows=3, created=False, altered=())
    assert content(connection) == [(2, 0), (2, 1), (2, 2)]
    assert publish(version(2, 0), connection, "daily").rows == 0
    assert content(connection) == []


def test_other_schemas_and_odd_names(connection):
    rows = pa.table({'a "b" %s': [1], "ORDER": [2]})
    publish(rows, connection, 'T "x"', schema='odd "schema"')
    assert connection.execute('SELECT "a ""b"" %s", "ORDER" FROM "odd ""schema"""."T ""x"""').fetchall() == [(1, 2)]
    connection.execute('DROP SCHEMA "odd ""schema""" CASCADE')


ODD_NAMES = ["first-name", "a.b", "1st", "select", "Order", "é", "名前", "it's", 'say "hi"', "%s {x}", "\\", "x" * 63]
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=15)
_DISTINCT = st.lists(st.one_of(st.sampled_from(ODD_NAMES), NAME), min_size=1, max_size=4, unique=True)


@settings(max_examples=200 if "PHLO_SOAK" in os.environ else 10, deadline=None, database=None)
@given(_DISTINCT, _DISTINCT)
@example(ODD_NAMES, ODD_NAMES[::-1])
def test_case_01_any_name_of_a_column_is_published(server, names, later):
    """Also when the columns of the next version have other names, in another order."""
    with psycopg.connect(server.uri, autocommit=True) as connection:
        for number, columns in enumerate((names, later)):
            rows = pa.table({name: [number * 10 + at, None] for at, name in enumerate(columns)})
            publish(rows, connection, "daily")
            found = connection.execute("SELECT * FROM marts.daily")
            present = [item.name for item in found.description]
            assert sorted(present) == sorted(columns)
            expected = list(zip(*(rows[name].to_pylist() for name in present), strict=True))
            assert sorted(found.fetchall(), key=repr) == sorted(expected, key=repr)
        connection.execute("DROP SCHEMA marts CASCADE")


@pytest.mark.parametrize("name", ["x" * 64, "名" * 22])
def test_case_01_a_name_that_postgres_would_cut_is_refused(connection, name):
    with pytest.raises((ConfigurationError, SchemaError), match="63"):
        publish(pa.table({name: [1]}), connection, "daily")


def test_grants_indexes_comments_views_and_own_columns_survive(connection):
    publish(version(1), connection, "daily")
    for statement in (
        "GRANT SELECT ON marts.daily TO PUBLIC",
        "CREATE UNIQUE INDEX by_n ON marts.daily (n)",
        "COMMENT ON TABLE marts.daily IS 'ours'",
        "COMMENT ON COLUMN marts.daily.n IS 'number'",
        "CREATE VIEW marts.top AS SELECT n FROM marts.daily WHERE n < 2",
        "ALTER TABLE marts.daily ADD COLUMN doubled bigint GENERATED ALWAYS AS (n * 2) STORED",
        "ALTER TABLE marts.daily ADD COLUMN loaded timestamptz DEFAULT now()",
    ):
        connection.execute(statement)
    before = describe(connection)
    result = publish(version(2).append_column("more", pa.array(["x"] * 1000)), connection, "daily")
    assert result.altered == ('ADD COLUMN "more" text',)
    publish(version(3).append_column("more", pa.array(["x"] * 1000)), connection, "daily")
    assert describe(connection) == before
    assert connection.execute("SELECT * FROM marts.top ORDER BY n").fetchall() == [(0,), (1,)]
    query = "SELECT sum(doubled), count(loaded), min(version), min(more) FROM marts.daily"
    assert connection.execute(query).fetchone() == (999_000, 1000, 3, "x")


def describe(connection):
    return connection.execute(
        "SELECT c.oid, c.relacl::text, obj_description(c.oid), col_description(c.oid, 2), "
        "(SELECT array_agg(indexdef) FROM pg_indexes WHERE tablename = 'daily'), pg_get_viewdef('marts.top') "
        "FROM pg_class c WHERE c.oid = 'marts.daily'::regclass"
    ).fetchone()


def test_the_table_follows_its_source(connection):
    publish(pa.table({"a": pa.array([1], pa.int32()), "gone": [1], "c": ["x"]}), connection, "daily")
    result = publish(pa.table({"c": [None, "y"], "a": pa.array([2**40, 1]), "new": [1.5, None]}), connection, "daily")
    assert result.altered == (
        'ADD COLUMN "new" double precision',
        'DROP COLUMN "gone"',
        'ALTER COLUMN "a" TYPE bigint USING NULL',
    )
    assert content(connection, "a, c, new") == [(2**40, None, 1.5), (1, "y", None)]
    # the order of columns is not a change
    assert publish(pa.table({"new": [2.5], "a": [1], "c": ["z"]}), connection, "daily").altered == ()


USERS = {
    "view marts.v": "CREATE VIEW marts.v AS SELECT version FROM marts.daily",
    "materialized view marts.v": "CREATE MATERIALIZED VIEW marts.v AS SELECT sum(version) FROM marts.daily",
    "policy p on table marts.daily": "CREATE POLICY p ON marts.daily USING (version > 0)",
    "function marts.f": """CREATE FUNCTION marts.f() RETURNS bigint LANGUAGE sql
        BEGIN ATOMIC SELECT max(version) FROM marts.daily; END""",
}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "change", [pa.table({"n": [1]}), pa.table({"version": ["text"], "n": [1]})], ids=["go", "text"]
)
def test_what_uses_a_column_that_has_to_change_is_named_before_anything_is_written(connection, change, user):
    publish(version(1, 2), connection, "daily")
    if "ATOMIC" in USERS[user] and connection.info.server_version < 140_000:
        pytest.skip("functions whose body PostgreSQL has parsed came with 14")
    connection.execute(USERS[user])
    with pytest.raises(SchemaError, match=rf"its columns have to change .*version.*used by {user}.*\. Nothing"):
        publish(change, connection, "daily")
    assert content(connection) == [(1, 0), (1, 1)]


def test_a_constraint_that_the_rows_break_leaves_the_old_content_and_shows_no_value(connection):
    publish(version(1, 2), connection, "daily")
    connection.execute("ALTER TABLE marts.daily ADD CONSTRAINT one_each UNIQUE (n) DEFERRABLE INITIALLY DEFERRED")
    with pytest.raises(SchemaError, match="UniqueViolation: one_each") as caught:
        publish(pa.table({"version": pa.array([2, 2], pa.int32()), "n": [4711, 4711]}), connection, "daily")
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert content(connection) == [(1, 0), (1, 1)]


def trigger(connection, body, when="BEFORE"):
    connection.execute(
        f"CREATE FUNCTION marts.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$; "
        f"CREATE TRIGGER t {when} INSERT ON marts.daily FOR EACH ROW EXECUTE FUNCTION marts.f()"
    )


@pytest.mark.parametrize("more", [{}, {"x": ["new column"] * 3}], ids=["rows", "columns"])
@pytest.mark.parametrize(
    ("when", "body", "left"),
    [
        ("BEFORE", "RETURN NULL;", 0),
        ("BEFORE", "IF NEW.n = 1 THEN RETURN NULL; END IF; RETURN NEW;", 2),
        ("AFTER", "DELETE FROM marts.daily WHERE n = 1; RETURN NULL;", 2),
    ],
)
def test_rows_that_a_trigger_swallows_are_an_error(connection, more, when, body, left):
    publish(version(1, 2), connection, "daily")
    trigger(connection, body, when)
    rows = pa.table({"version": pa.array([2] * 3, pa.int32()), "n": range(3), **more})
    with pytest.raises(SchemaError, match=rf"marts\.daily: 3 rows .* has {left} afterwards: a trigger or rule on it"):
        publish(rows, connection, "daily")
    assert content(connection) == [(1, 0), (1, 1)]


def test_rows_that_a_trigger_moves_to_a_child_of_the_table_are_all_there(connection):
    publish(version(1, 2), connection, "daily")
    connection.execute("CREATE TABLE marts.child () INHERITS (marts.daily)")
    trigger(connection, "INSERT INTO marts.child VALUES (NEW.*); RETURN NULL;")
    for number in (2, 3):
        assert publish(version(number, 3), connection, "daily").rows == 3
        assert content(connection) == [(number, 0), (number, 1), (number, 2)]


def test_what_cannot_be_published_is_refused_before_anything_is_written(connection, server):
    publish(version(1, 1), connection, "daily")
    connection.execute("CREATE VIEW marts.v AS SELECT 1 AS n")
    with pytest.raises(ConfigurationError, match="not a table"):
        publish(version(1), connection, "v")
    with pytest.raises(ConfigurationError, match="truncates names"):
        publish(version(1), connection, "d" * 64)
    with pytest.raises(SchemaError, match="two columns"):
        publish(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), connection, "daily")
    with psycopg.connect(server.uri) as busy:
        busy.execute("SELECT 1")
        with pytest.raises(ConfigurationError, match="open transaction"):
            publish(version(1), busy, "daily")
        busy.rollback()
        assert publish(version(9, 1), busy, "daily").rows == 1
        assert not busy.autocommit
    assert content(connection) == [(9, 0)]


def test_a_source_that_breaks_off_leaves_the_old_content(connection):
    publish(version(1, 2), connection, "daily")

    def batches():
        yield version(2, 500).to_batches()[0]
        raise OSError("connection lost")

    reader = pa.RecordBatchReader.from_batches(version(2).schema, batches())
    with pytest.raises(OSError, match="connection lost"):
        publish(reader, connection, "daily")
    assert content(connection) == [(1, 0), (1, 1)]
    assert publish(version(3, 1), connection, "daily").rows == 1


def test_readers_see_whole_versions_only_and_never_wait(connection, server):
    publish(version(0), connection, "daily")
    stop, seen, waits = threading.Event(), set(), []

    def read():
        with psycopg.connect(server.uri, autocommit=True) as reader:
            while not stop.is_set():
                started = time.perf_counter()
                query = "SELECT count(*), count(DISTINCT version), min(version), max(n) FROM marts.daily"
                seen.add(reader.execute(query).fetchone())
                waits.append(time.perf_counter() - started)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    with psycopg.connect(server.uri) as old:  # one that began before sees its version to the end
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert old.execute("SELECT 1").fetchone() == (1,)
        for number in range(1, 16):
            publish(version(number, 1000 + number), connection, "daily")
        assert old.execute("SELECT count(*), max(version) FROM marts.daily").fetchone() == (1000, 0)
    stop.set()
    for thread in readers:
        thread.join()
    assert seen <= {(1000 + number, 1, number, 999 + number) for number in range(16)}
    assert len(seen) > 3
    assert max(waits) < 10


def test_two_publishers_take_turns(connection, server):
    results = []

    def run(number):
        with psycopg.connect(server.uri) as mine:
            for _ in range(5):
                results.append(publish(version(number, 2000), mine, "daily"))

    threads = [threading.Thread(target=run, args=[number]) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 15
    assert sum(result.created for result in results) == 1
    query = "SELECT count(*), count(DISTINCT version), count(DISTINCT n) FROM marts.daily"
    assert connection.execute(query).fetchone() == (2000, 1, 2000)


KILLED = """
import sys, time, psycopg, pyarrow as pa
from airflow_provider_phlo.publishing.postgres import Mart, loading, publish, publish_together
rows = pa.table({"version": pa.array([2] * 100_000, pa.int32()), "n": range(100_000)})
if sys.argv[2] == "changed":
    rows = rows.append_column("more", rows["n"])
def batches():
    yield from rows.to_batches(40_000)
    print("half", flush=True)
    time.sleep(60)
publish(pa.RecordBatchReader.from_batches(rows.schema, batches()), psycopg.connect(sys.argv[1]), "daily")
"""


@pytest.mark.long
@pytest.mark.parametrize("columns", ["same", "changed"])
def test_kill_9_in_the_middle_leaves_the_old_content_and_nothing_else(connection, server, columns):
    publish(version(1, 2), connection, "daily")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, server.uri, columns], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "half\n"
        assert content(connection) == [(1, 0), (1, 1)]
        os.kill(child.pid, signal.SIGKILL)
    assert content(connection) == [(1, 0), (1, 1)]
    assert publish(version(3, 1), connection, "daily").rows == 1
    assert content(connection) == [(3, 0)]
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'phlo publish%'"
    assert connection.execute(left).fetchone() == (0,)


def test_a_reader_that_holds_the_table_does_not_hold_a_change_of_columns_for_ever(connection, server, monkeypatch):
    monkeypatch.setattr(postgres_tables, "LOCK_SECONDS", 1)
    publish(version(1, 1), connection, "daily")
    with psycopg.connect(server.uri) as idle:
        idle.execute("SELECT * FROM marts.daily")
        with pytest.raises(CommitConflictError, match="Nothing was written"):
            publish(pa.table({"n": [1]}), connection, "daily")
        assert publish(version(2, 1), connection, "daily").rows == 1  # content alone needs no lock


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["ctid"], "every PostgreSQL table has columns of its own named ctid"),
        (["xmin", "n", "tableoid"], "named tableoid, xmin"),
        ([f"c{number}" for number in range(1601)], "has 1601 columns, a PostgreSQL table has at most 1600"),
        ([], "has no columns"),
        ([""], "no names that are empty"),
        (["a\0b"], r"or have U\+0000"),
        (["x" * 63 + "a", "x" * 63 + "b"], "truncates names after 63 bytes"),
    ],
)
def test_columns_that_postgres_cannot_have_are_refused_before_anything_is_written(connection, columns, message):
    rows = pa.table({name: [1] for name in columns})
    with pytest.raises((ConfigurationError, SchemaError), match=rf"Cannot publish marts\.daily.*{message}"):
        publish(rows, connection, "daily")
    assert connection.execute("SELECT to_regnamespace('marts')").fetchone() == (None,)


def test_as_many_columns_as_postgres_can_have(connection):
    rows = pa.table({f"c{number}": [number % 2 == 0] for number in range(1600)})
    assert publish(rows, connection, "daily").columns == 1600
    rows = rows.rename_columns([f"d{number}" for number in range(1600)])
    with pytest.raises(SchemaError, match=r"tables can have at most 1600 columns.*columns that were dropped count too"):
        publish(rows, connection, "daily")
    assert connection.execute("SELECT c0 FROM marts.daily").fetchall() == [(True,)]


def test_a_row_that_is_too_long_is_refused(connection):
    rows = pa.table({f"c{number}": ["x" * 30] for number in range(1500)})
    with pytest.raises(SchemaError, match="row is too big"):
        publish(rows, connection, "daily")


def test_the_server_ends_in_the_middle(connection, server):
    publish(version(1, 2), connection, "daily")
    with psycopg.connect(server.uri, autocommit=True) as mine:

        def batches():
            yield from version(2, 200_000).to_batches(20_000)
            connection.execute("SELECT pg_terminate_backend(%s)", [mine.info.backend_pid])
            yield from version(2, 200_000).to_batches(20_000)

        rows = pa.RecordBatchReader.from_batches(version(2).schema, batches())
        with pytest.raises(TransientError, match=r"marts\.daily: PostgreSQL: .*The old content stays") as caught:
            publish(rows, mine, "daily")
        assert caught.value.__suppress_context__
    assert content(connection) == [(1, 0), (1, 1)]
    assert publish(version(3, 1), connection, "daily").rows == 1


def test_a_full_disk_says_which(connection, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    publish(version(1, 2), connection, "daily")
    monkeypatch.setattr(loading, "_spool", full)
    with pytest.raises(TransientError, match="the disk for temporary files is full"):
        publish(pa.table({"n": [1]}), connection, "daily")
    assert content(connection) == [(1, 0), (1, 1)]


def test_who_may_not_write_learns_why(connection, server):
    publish(version(1, 2), connection, "daily")
    with (
        psycopg.connect(server.uri, options="-c default_transaction_read_only=on", autocommit=True) as reader,
        pytest.raises(ConfigurationError, match=r"does not let this connection write.*ReadOnlySqlTransaction"),
    ):
        publish(version(2, 2), reader, "daily")
    connection.execute("REVOKE INSERT ON marts.daily FROM phlo")
    with pytest.raises(ConfigurationError, match=r"does not let this connection write.*InsufficientPrivilege"):
        publish(version(2, 2), connection, "daily")
    assert content(connection) == [(1, 0), (1, 1)]


def test_publishers_of_the_same_tables_in_any_order_never_deadlock(connection, server):
    """Each publishes three tables in an order of its own, some with other columns."""
    problems = []

    def run(number):
        choose = random.Random(number)
        try:
            with psycopg.connect(server.uri, autocommit=True) as mine:
                for turn in range(6):
                    rows = version(number * 10 + turn, 50)
                    if choose.random() < 0.4:
                        rows = rows.append_column("more", rows["n"])
                    names = choose.sample("abc", 3)
                    publish_together([Mart(name, rows.schema, lambda rows=rows: rows) for name in names], mine)
        except Exception as error:  # noqa: BLE001 - asserted below
            problems.append(error)

    threads = [threading.Thread(target=run, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    query = "SELECT (SELECT max(version) FROM marts.{}), (SELECT count(*) FROM marts.{})"
    assert len({connection.execute(query.format(name, name)).fetchone() for name in "abc"}) == 1
