"""Incremental publication: only what differs is written, and never on a guess."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from pyiceberg.types import StringType

from airflow_provider_phlo.exceptions import SchemaError, TransientError
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.publishing import publish_marts_to_postgres
from airflow_provider_phlo.publishing.postgres import Declaration, tables
from tests.lake import open_lake

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("v", pa.float64()),
        ("t", pa.string()),
        ("d", pa.decimal128(9, 2)),
        ("l", pa.list_(pa.int64())),
    ]
)
KEYED = {"m": Declaration(key=("id",))}
TABLES = {"m": "marts.m"}


def some(*ids, v=1.5, t="text"):
    rows = [{"id": n, "v": v, "t": t, "d": Decimal(n or 0), "l": [n, None]} for n in ids]
    return pa.Table.from_pylist(rows, SCHEMA)


@pytest.fixture
def catalog(tmp_path):
    catalog = open_lake(tmp_path)
    ensure_namespace(catalog, "marts")
    return catalog


@pytest.fixture
def table(catalog):
    table = catalog.create_table("marts.m", SCHEMA)
    table.append(some(*range(100)))
    return table


def publish(catalog, connection, declared=None, tables=TABLES):
    return publish_marts_to_postgres(None, None, connection, tables, catalog=catalog, declared=declared)["m"]


def rows_of(connection, table="m", schema="marts"):
    query = f"SELECT id, v, t, d, l FROM {schema}.{table}"
    return sorted(map(repr, connection.execute(query, prepare=False).fetchall()))


def rows_in(table):
    rows = table.scan().to_arrow().to_pylist()
    return sorted(repr((row["id"], row["v"], row["t"], row["d"], row["l"])) for row in rows)


@pytest.mark.long
@pytest.mark.parametrize("declared", [None, KEYED], ids=["whole rows", "key"])
def test_only_what_differs_is_written(connection, catalog, table, declared):
    first = publish(catalog, connection, declared)
    assert (first.mode, first.created, first.rows) == ("full", True, 100)
    again = publish(catalog, connection, declared)
    assert (again.mode, again.rows) == ("unchanged", 100)
    assert "holds snapshot" in again.reason
    untouched = connection.execute("SELECT ctid, xmin FROM marts.m WHERE id = 50").fetchone()
    table.overwrite(pa.concat_tables([some(1, t="new"), some(*range(2, 90)), some(200, 201)]))
    found = publish(catalog, connection, declared)
    assert (found.mode, found.inserted, found.deleted, found.rows) == ("incremental", 3, 12, 91)
    assert rows_of(connection) == rows_in(table)
    assert connection.execute("SELECT ctid, xmin FROM marts.m WHERE id = 50").fetchone() == untouched
    table.append(some(300))
    assert publish(catalog, connection, declared).summary == "1 rows inserted and 0 deleted, of 92 now"
    assert rows_of(connection) == rows_in(table)


EDITS = {
    "update": ("UPDATE marts.m SET t = 'by hand' WHERE id = 7", "has changed its rows"),
    "insert": ("INSERT INTO marts.m (id) VALUES (-1)", "has changed its rows"),
    "delete": ("DELETE FROM marts.m WHERE id = 7", "has changed its rows"),
    "truncate": ("TRUNCATE marts.m", "has changed its rows"),
    "an edit that is undone": ("BEGIN; DELETE FROM marts.m; ROLLBACK", None),
    "an edit behind the trigger's back": (
        """ALTER TABLE marts.m DISABLE TRIGGER ALL; UPDATE marts.m SET t = 'by hand' WHERE id = 7;
        ALTER TABLE marts.m ENABLE TRIGGER USER; ALTER TABLE marts.m ENABLE ALWAYS TRIGGER "phlo notes edits" """,
        "altered or rewritten",
    ),
    "no trigger": (
        """DROP TRIGGER "phlo notes edits" ON marts.m; UPDATE marts.m SET t = 'by hand'""",
        "altered or rewritten",
    ),
    "another trigger function": (
        """CREATE OR REPLACE FUNCTION marts._phlo_note_edit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RETURN NULL; END $$; UPDATE marts.m SET t = 'by hand'""",
        "altered or rewritten",
    ),
    "types there and back": (
        """ALTER TABLE marts.m ALTER v TYPE int USING 7;
        ALTER TABLE marts.m ALTER v TYPE double precision""",
        "altered or rewritten",
    ),
    "columns that change names": (
        """ALTER TABLE marts.m ADD w double precision DEFAULT 7; ALTER TABLE marts.m DROP v;
        ALTER TABLE marts.m RENAME w TO v""",
        "altered or rewritten",
    ),
    "a table like it": (
        "CREATE TABLE marts.n (LIKE marts.m); DROP TABLE marts.m; ALTER TABLE marts.n RENAME TO m",
        "no publication of it is recorded",
    ),
    "a trigger of somebody's": (
        """CREATE FUNCTION marts.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.t = 'x'; RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE UPDATE ON marts.m FOR EACH ROW EXECUTE FUNCTION marts.f()""",
        "triggers, rules or child tables",
    ),
    "unlogged": ("ALTER TABLE marts.m SET UNLOGGED", "survives a crash"),
    "a child": (
        "CREATE TABLE marts.child () INHERITS (marts.m)",
        "triggers, rules or child tables",
    ),
    "no records": ("DROP TABLE marts._phlo_published, marts._phlo_edits", "no publication of it is recorded"),
    "an index": ("CREATE INDEX ON marts.m (t)", None),
}


@pytest.mark.long
@pytest.mark.parametrize("edit", EDITS)
def test_what_somebody_has_changed_is_written_as_a_whole(connection, catalog, table, edit):
    statement, reason = EDITS[edit]
    publish(catalog, connection, KEYED)
    connection.execute(statement)
    table.append(some(100))
    found = publish(catalog, connection, KEYED)
    assert found.mode == ("full" if reason else "incremental")
    assert (reason or "") in found.reason
    assert rows_of(connection) == rows_in(table)
    table.append(some(101))
    lasting = edit in ("a trigger of somebody's", "unlogged", "a child")
    assert publish(catalog, connection, KEYED).mode == ("full" if lasting else "incremental")
    assert rows_of(connection) == rows_in(table)


@pytest.mark.long
def test_what_differs_in_the_source_is_written_as_a_whole(connection, catalog, table):
    publish(catalog, connection)
    other = catalog.create_table("marts.other", SCHEMA)
    other.append(some(1, 2))
    found = publish(catalog, connection, tables={"m": "marts.other"})
    assert (found.mode, found.reason) == ("full", "it was filled from another table, or other columns")
    assert rows_of(connection) == rows_in(other)
    publish(catalog, connection)
    table.overwrite(some(*range(50_000)))
    assert "most of its rows differ" in publish(catalog, connection).reason
    snapshot = table.current_snapshot().snapshot_id
    table.append(some(-1))
    table.maintenance.expire_snapshots().by_id(snapshot).commit()
    found = publish(catalog, connection)
    assert (found.mode, found.reason) == ("full", f"snapshot {snapshot} of its source has expired")
    with table.update_schema() as update:
        update.rename_column("t", "new")
    with table.update_schema() as update:
        update.add_column("t", StringType())
    found = publish(catalog, connection)
    assert (found.mode, found.altered) == ("full", ('ADD COLUMN "new" text',))
    assert connection.execute("SELECT count(t), count(new) FROM marts.m").fetchone() == (0, 50_001)


def test_another_column_under_an_old_name_is_seen(connection, catalog, table):
    """The names and types stay, the field ids do not: old files have other values for them."""
    publish(catalog, connection)
    with table.update_schema() as update:
        update.delete_column("t")
    with table.update_schema() as update:
        update.add_column("t", StringType())
    found = publish(catalog, connection)
    assert (found.mode, found.reason) == ("full", "it was filled from another table, or other columns")
    assert rows_of(connection) == rows_in(table)


def test_a_key_with_null_and_equal_rows_and_signs_of_zero(connection, catalog, table):
    publish(catalog, connection, KEYED)
    table.append(pa.concat_tables([some(None, t="a"), some(None, t="b"), some(1000, v=0.0)]))
    assert publish(catalog, connection, KEYED).inserted == 3
    table.overwrite(pa.concat_tables([some(None, t="b"), some(1000, v=-0.0), some(*range(100))]))
    assert publish(catalog, connection, KEYED).deleted == 2
    assert rows_of(connection) == rows_in(table)
    table.append(pa.concat_tables([some(5), some(5)]))
    with pytest.raises(SchemaError, match=r"marts.m: PostgreSQL rejects the new content \(UniqueViolation: m_id_idx\)"):
        publish(catalog, connection, KEYED)


def test_equal_rows_without_a_key(connection, catalog, table):
    publish(catalog, connection)
    table.append(some(5, 5, 5, None, None))
    assert publish(catalog, connection).inserted == 5
    table.overwrite(some(*range(100), 5, None, None))
    found = publish(catalog, connection)
    assert (found.mode, found.deleted, found.inserted) == ("incremental", 2, 0)
    assert rows_of(connection) == rows_in(table)


def test_who_writes_meanwhile_is_not_undone_in_silence(connection, server, catalog, table, monkeypatch):
    monkeypatch.setattr(tables, "LOCK_SECONDS", 0.5)
    publish(catalog, connection, KEYED)
    table.append(some(100))
    with psycopg.connect(server.uri) as other:
        other.execute("INSERT INTO marts.m (id) VALUES (-1)")
        found = publish(catalog, connection)
        assert (found.mode, found.reason) == ("full", "others write to it meanwhile")
        other.commit()
    assert connection.execute("SELECT count(*) FROM marts.m").fetchone() == (102,)
    assert publish(catalog, connection, KEYED).reason == "no publication of it is recorded"
    assert rows_of(connection) == rows_in(table)


def test_an_edit_by_a_snapshot_older_than_the_publication_is_noted(connection, server, catalog, table):
    publish(catalog, connection, KEYED)
    connection.execute("UPDATE marts.m SET t = 'by hand' WHERE id = 7")
    with psycopg.connect(server.uri) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        assert "phlo has changed its rows" in publish(catalog, connection, KEYED).reason
        other.execute("INSERT INTO marts.m (id) VALUES (-1)")
        other.commit()
    assert "phlo has changed its rows" in publish(catalog, connection, KEYED).reason
    assert rows_of(connection) == rows_in(table)


def test_a_rollback_of_the_source_is_a_change_like_any_other(connection, catalog, table):
    first = table.current_snapshot().snapshot_id
    table.append(some(100, 101))
    publish(catalog, connection)
    table.manage_snapshots().set_current_snapshot(snapshot_id=first).commit()
    found = publish(catalog, connection)
    assert (found.mode, found.deleted, found.rows) == ("incremental", 2, 100)
    assert rows_of(connection) == rows_in(table)


def test_all_tables_come_from_one_transaction_whatever_each_needs(connection, catalog, table):
    other = catalog.create_table("marts.other", SCHEMA)
    both = {"m": "marts.m", "o": "marts.other"}
    publish(catalog, connection, tables=both)
    other.append(some(1))
    results = publish_marts_to_postgres(None, None, connection, both, catalog=catalog)
    assert {name: result.mode for name, result in results.items()} == {"m": "unchanged", "o": "incremental"}
    assert rows_of(connection, "o") == rows_in(other)
    with table.update_schema() as update:
        update.add_column("more", StringType())
    other.append(some(2))
    results = publish_marts_to_postgres(None, None, connection, both, catalog=catalog)
    assert {name: result.mode for name, result in results.items()} == {"m": "full", "o": "full"}
    assert rows_of(connection, "o") == rows_in(other)


@pytest.mark.parametrize("key", [(), ("phlo copies", "found")], ids=["whole rows", "key"])
def test_case_01_any_name_of_a_column_differs_like_any_other(connection, catalog, key):
    names = [
        "phlo copies",
        "phlo copies ",
        *["found", "place", "content", "copy", "rows", "gone", "t", "g"],
        'a"b',
        "100%s",
    ]

    def same(*numbers):
        return pa.table({name: pa.array(numbers, pa.int64()) for name in names})

    odd = catalog.create_table("marts.m", same().schema)
    declared = {"m": Declaration(key=key)}
    odd.append(same(*range(20)))
    publish(catalog, connection, declared)
    odd.overwrite(same(*range(5, 21)))
    found = publish(catalog, connection, declared)
    assert (found.mode, found.inserted, found.deleted, found.rows) == ("incremental", 1, 5, 16)
    content = connection.execute('SELECT "phlo copies", "100%s" FROM marts.m', prepare=False).fetchall()
    assert sorted(content) == [(number, number) for number in range(5, 21)]


@pytest.mark.parametrize("lost", ["a data file", "the manifest list"])
def test_a_snapshot_that_is_in_pieces_does_not_stand_in_the_way_of_a_whole_one(connection, catalog, table, lost):
    publish(catalog, connection, KEYED)
    (file,) = [task.file.file_path for task in table.scan().plan_files()]
    before = table.current_snapshot()
    table.overwrite(some(*range(50)))
    Path((file if lost == "a data file" else before.manifest_list).removeprefix("file://")).unlink()
    found = publish(catalog, connection, KEYED)
    assert (found.mode, found.reason) == (
        "full",
        f"what differs from snapshot {before.snapshot_id} of its source cannot be read",
    )
    assert rows_of(connection) == rows_in(table)
    (file,) = [task.file.file_path for task in table.scan().plan_files()]
    table.append(some(60))
    Path(file.removeprefix("file://")).unlink()
    with pytest.raises(TransientError, match=r"data file .* is missing"):
        publish(catalog, connection, KEYED)
