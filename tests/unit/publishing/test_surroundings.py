"""What is around a mart: tables that refer to it or own it, rules, replication, schemas that get other names."""

from __future__ import annotations

import psycopg
import pyarrow as pa
import pytest
from pyiceberg.types import StringType

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, SchemaError
from airflow_provider_phlo.publishing import publish_marts_to_postgres
from airflow_provider_phlo.publishing.postgres import Declaration, tables
from tests.unit.publishing.test_incremental import KEYED, catalog, rows_in, rows_of, some, table  # noqa: F401

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")

PRIMARY = {"m": Declaration(primary_key=("id",))}


@pytest.fixture
def publish(catalog, connection):  # noqa: F811
    def publish(declared=KEYED, schema="marts", name="m"):
        given = {name: declared["m"]}
        tables = {name: "marts.m"}
        results = publish_marts_to_postgres(
            None, None, connection, tables, catalog=catalog, declared=given, schema=schema
        )
        return results[name]

    yield publish
    for schema in ("moved", "100%s", "o'n{1}$note$"):
        connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


@pytest.mark.parametrize(
    "action", ["ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE SET DEFAULT"], ids=lambda text: text[10:]
)
def test_rows_that_refer_to_a_mart_are_never_deleted_nor_emptied(connection, publish, table, action):  # noqa: F811
    publish(PRIMARY)
    connection.execute(f"CREATE TABLE marts.child (id bigint REFERENCES marts.m {action})")
    connection.execute("INSERT INTO marts.child VALUES (1), (2)")
    assert publish(PRIMARY).mode == "unchanged"
    table.overwrite(some(*range(100), t="new"))
    with pytest.raises(SchemaError, match=rf"child_id_fkey of marts.child \({action}\)\. Nothing was written"):
        publish(PRIMARY)
    assert connection.execute("SELECT id FROM marts.child ORDER BY id").fetchall() == [(1,), (2,)]
    connection.execute("ALTER TABLE marts.child DROP CONSTRAINT child_id_fkey")
    connection.execute("ALTER TABLE marts.child ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES marts.m")
    with pytest.raises(SchemaError, match=r"foreign key fk of child would refer to rows.*DEFERRABLE"):
        publish(PRIMARY)
    connection.execute("ALTER TABLE marts.child ALTER CONSTRAINT fk DEFERRABLE INITIALLY DEFERRED")
    assert publish(PRIMARY).inserted == 100
    assert rows_of(connection) == rows_in(table)
    assert connection.execute("SELECT id FROM marts.child ORDER BY id").fetchall() == [(1,), (2,)]
    table.overwrite(some(*range(2, 100)))
    with pytest.raises(SchemaError, match="fk of child would refer to rows that are not there"):
        publish(PRIMARY)


@pytest.mark.parametrize(
    "keeps",
    [
        "CREATE RULE r AS ON DELETE TO marts.m DO INSTEAD NOTHING",
        "CREATE RULE r AS ON DELETE TO marts.m DO INSTEAD UPDATE marts.m SET t = 'gone' WHERE id = OLD.id",
        """CREATE FUNCTION marts.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER t BEFORE DELETE ON marts.m FOR EACH ROW WHEN (OLD.id < 3) EXECUTE FUNCTION marts.f()""",
    ],
    ids=["rule", "soft delete", "trigger"],
)
def test_rows_that_cannot_be_deleted_are_not_there_twice(connection, publish, table, keeps):  # noqa: F811
    publish()
    before = rows_of(connection)
    connection.execute(keeps)
    table.append(some(100))
    with pytest.raises(SchemaError, match=r"marts\.m: a trigger or rule on it keeps rows that are deleted"):
        publish()
    assert rows_of(connection) == before


PARENTS = {
    "inheritance": (
        "CREATE TABLE marts.p (LIKE marts.m); ALTER TABLE marts.m INHERIT marts.p",
        "UPDATE marts.p SET t = 'by hand' WHERE id < 5",
        "ALTER TABLE marts.m NO INHERIT marts.p",
    ),
    "partition": (
        "CREATE TABLE marts.p (LIKE marts.m) PARTITION BY RANGE (id); "
        "ALTER TABLE marts.p ATTACH PARTITION marts.m FOR VALUES FROM (0) TO (1000)",
        "INSERT INTO marts.p (id) VALUES (777)",
        "ALTER TABLE marts.p DETACH PARTITION marts.m",
    ),
}


@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
@pytest.mark.parametrize("kind", PARENTS)
def test_what_is_written_through_a_parent_is_seen(connection, publish, table, kind, leaves):  # noqa: F811
    """Triggers of a statement are those of the table that it names."""
    join, edit, leave = PARENTS[kind]
    publish()
    for statement in (join, edit, *([leave] if leaves else [])):
        connection.execute(statement)
    found = publish()
    assert found.reason == (
        "the table was altered or rewritten"
        if leaves
        else "it belongs to another table, or a subscription writes to it"
    )
    assert rows_of(connection) == rows_in(table)
    table.append(some(100))
    assert publish().mode == ("incremental" if leaves else "full")
    assert rows_of(connection) == rows_in(table)


def test_a_column_with_another_collation(connection, publish, table):  # noqa: F811
    for declared in ({"m": Declaration()}, {"m": Declaration(key=("t", "id"))}):
        publish(declared)
        connection.execute('ALTER TABLE marts.m ALTER t TYPE text COLLATE "C"')
        table.append(some(200))
        publish(declared)
        table.overwrite(some(*range(95)))
        found = publish(declared)
        assert (found.mode, found.deleted) == ("incremental", 6 if declared["m"].key else 106 - 100)
        assert rows_of(connection) == rows_in(table)
        table.overwrite(some(*range(100)))
        connection.execute("DROP TABLE marts.m")


def test_a_mart_that_moves_to_another_schema(connection, publish, table):  # noqa: F811
    publish()
    connection.execute("CREATE SCHEMA moved; ALTER TABLE marts.m SET SCHEMA moved")
    assert publish(schema="moved").reason == "no publication of it is recorded"
    connection.execute("UPDATE moved.m SET t = 'by hand'")
    assert "has changed its rows" in publish(schema="moved").reason
    assert rows_of(connection, "m", "moved") == rows_in(table)


def test_a_schema_that_gets_another_name(connection, publish, table):  # noqa: F811
    publish()
    connection.execute("ALTER SCHEMA marts RENAME TO moved")
    publish()  # what the old name stands for now
    connection.execute("UPDATE moved.m SET t = 'by hand'")
    assert publish().mode == "unchanged"
    assert publish(schema="moved").reason == "the table was altered or rewritten"
    assert rows_of(connection, "m", "moved") == rows_in(table)
    connection.execute("DROP SCHEMA marts CASCADE")
    connection.execute("UPDATE moved.m SET t = 'by hand'")
    assert "has changed its rows" in publish(schema="moved").reason
    assert publish(schema="moved").mode == "unchanged"


def test_a_renamed_schema_whose_edits_have_nowhere_to_go_is_written_again(connection, publish, table):  # noqa: F811
    publish()
    connection.execute("ALTER SCHEMA marts RENAME TO moved")
    table.append(some(100))
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("UPDATE moved.m SET t = 'by hand'")
    assert publish(schema="moved").mode == "full"
    connection.execute("UPDATE moved.m SET t = 'by hand'")
    assert "has changed its rows" in publish(schema="moved").reason


def test_marts_that_are_replicated(connection, publish, table):  # noqa: F811
    publish({"m": Declaration()})
    connection.execute("CREATE PUBLICATION p FOR TABLE marts.m, marts._phlo_edits, marts._phlo_published")
    table.append(some(100))
    assert publish({"m": Declaration()}).inserted == 1
    table.overwrite(some(1, 2))
    with pytest.raises(SchemaError, match=r"cannot delete from table \"m\".*Declare a primary key"):
        publish({"m": Declaration()})
    connection.execute("ALTER TABLE marts.m REPLICA IDENTITY FULL")
    assert publish({"m": Declaration()}).rows == 2
    assert rows_of(connection) == rows_in(table)


def test_who_may_not_make_temporary_tables_publishes_all_rows(connection, server, publish, table):  # noqa: F811
    publish()
    table.overwrite(some(1, 2))
    connection.execute(f"REVOKE TEMP ON DATABASE {server.dbname} FROM PUBLIC, {server.user}")
    try:
        found = publish()
    finally:
        connection.execute(f"GRANT TEMP ON DATABASE {server.dbname} TO PUBLIC, {server.user}")
    assert (found.mode, found.rows) == ("full", 2)
    assert "may not create temporary tables" in found.reason


def test_a_column_that_postgres_computes_is_not_taken_for_one_of_the_source(connection, publish, table):  # noqa: F811
    publish()
    connection.execute("ALTER TABLE marts.m DROP t; ALTER TABLE marts.m ADD t text GENERATED ALWAYS AS ('x') STORED")
    with pytest.raises(SchemaError, match=r"computes its columns t \(GENERATED ALWAYS\)"):
        publish()


@pytest.mark.parametrize("schema", ["pg_temp", "pg_catalog", "pg_new", "information_schema"])
def test_schemas_of_postgres_are_refused(publish, table, schema):  # noqa: F811
    with pytest.raises(ConfigurationError, match=f"schema {schema} is PostgreSQL's own"):
        publish(schema=schema)


@pytest.mark.parametrize("schema", ["100%s", "o'n{1}$note$"])
def test_any_other_name_of_a_schema(connection, publish, table, schema):  # noqa: F811
    publish(schema=schema)
    connection.execute(f"""UPDATE "{schema}".m SET t = 'by hand'""")
    assert "has changed its rows" in publish(schema=schema).reason
    table.append(some(100))
    assert publish(schema=schema).mode == "incremental"


def test_rows_that_somebody_has_changed_and_not_committed_are_not_waited_for_for_ever(
    connection,
    server,
    publish,
    table,  # noqa: F811
    monkeypatch,
):
    monkeypatch.setattr(tables, "LOCK_SECONDS", 0.5)
    publish()
    table.append(some(100))
    with psycopg.connect(server.uri) as other:
        other.execute("UPDATE marts.m SET t = 'by hand' WHERE id = 1")
        with pytest.raises(CommitConflictError, match=r"held the tables for 0\.5 s: they have changed rows"):
            publish()
    assert "has changed its rows" in publish().reason
    assert rows_of(connection) == rows_in(table)


@pytest.mark.parametrize(
    "body",
    [
        "RAISE EXCEPTION 'secret %', NEW.t",
        "PERFORM 1 / (NEW.id - 100)",
        "PERFORM NEW.t::int",
        "INSERT INTO nothing_of_that_name VALUES (NEW.t)",
    ],
    ids=["raises", "division", "cast", "table"],
)
def test_a_function_of_somebody_that_fails_is_named_and_no_retry_helps(connection, publish, table, body):  # noqa: F811
    publish()
    before = rows_of(connection)
    connection.execute(
        f"""CREATE FUNCTION marts.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
        CREATE TRIGGER t BEFORE INSERT ON marts.m FOR EACH ROW WHEN (NEW.id = 100) EXECUTE FUNCTION marts.f()"""
    )
    table.append(some(100, t="secret"))
    with pytest.raises(SchemaError, match=r"marts\.m: marts\.f\(\), a function .* fails: .*old content stays") as error:
        publish()
    assert "secret" not in str(error.value)
    assert rows_of(connection) == before


@pytest.mark.parametrize(
    ("declares", "named"),
    [
        ("ALTER TABLE marts.m ADD CHECK (v > 0)", "constraint m_v_check on table marts.m"),
        ("CREATE INDEX i ON marts.m (id) WHERE v > 0", "index marts.i"),
        ("CREATE INDEX i ON marts.m ((v + 1))", "index marts.i"),
        ("CREATE TABLE marts.o (v float8 PRIMARY KEY); INSERT INTO marts.o VALUES (1.5);"
         "ALTER TABLE marts.m ADD FOREIGN KEY (v) REFERENCES marts.o", "constraint m_v_fkey on table marts.m"),
    ],
    ids=["check", "partial index", "index of an expression", "foreign key"],
)  # fmt: skip
def test_what_does_not_go_with_another_type_is_named(connection, publish, table, declares, named):  # noqa: F811
    publish()
    before = rows_of(connection)
    connection.execute(declares)
    with table.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("v")
    with table.update_schema() as update:
        update.add_column("v", StringType())
    with pytest.raises(SchemaError, match=r"\(v\), which does not go with what is declared on them .*: ") as error:
        publish()
    assert f"): {named}. The old content stays" in str(error.value)
    assert rows_of(connection) == before


def test_what_goes_with_a_column_is_said(connection, publish, table):  # noqa: F811
    publish()
    connection.execute(
        """CREATE INDEX i ON marts.m (id, v); CREATE INDEX stays ON marts.m (t);
        CREATE STATISTICS marts.s ON id, v FROM marts.m;
        ALTER TABLE marts.m ADD CONSTRAINT c CHECK (v + id > -5)"""
    )
    with table.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("v")
    assert publish().altered == (
        'DROP COLUMN "v"',
        "-- constraint c on table marts.m goes with its column",
        "-- index marts.i goes with its column",
        "-- statistics object marts.s goes with its column",
    )
    assert publish().mode == "unchanged"


def test_tables_that_refer_to_each_other_change_their_columns_together(connection, catalog, table):  # noqa: F811
    child = catalog.create_table("marts.child", pa.schema([("m", pa.int64())]))
    child.append(pa.table({"m": [1, 2]}))
    both = {"child": "marts.child", "m": "marts.m"}

    def publish(*names):
        tables = {name: both[name] for name in names}
        found = publish_marts_to_postgres(None, None, connection, tables, catalog=catalog, declared=PRIMARY)
        return {name: result.mode for name, result in found.items()}

    publish(*both)
    connection.execute("ALTER TABLE marts.child ADD FOREIGN KEY (m) REFERENCES marts.m DEFERRABLE INITIALLY DEFERRED")
    with table.update_schema() as update:
        update.add_column("more", StringType())
    # the child holds its snapshot already, and is emptied with what it refers to
    assert publish(*both) == {"child": "full", "m": "full"}
    assert publish(*both) == {"child": "unchanged", "m": "unchanged"}
    with table.update_schema() as update:
        update.add_column("even more", StringType())
    with pytest.raises(SchemaError, match=r"another table refers to: child_m_fkey of marts\.child\. Nothing was"):
        publish("m")
    assert connection.execute("SELECT m FROM marts.child ORDER BY m").fetchall() == [(1,), (2,)]


def test_what_is_not_declared_on_a_table_of_somebody_else_is_said(connection, publish, table):  # noqa: F811
    connection.execute("CREATE ROLE publisher; GRANT publisher TO CURRENT_USER")
    try:
        publish()
        connection.execute(
            "DROP INDEX marts.m_id_idx; GRANT ALL ON SCHEMA marts TO publisher; GRANT ALL ON marts.m TO publisher"
        )
        table.append(some(1))
        connection.execute("SET ROLE publisher")
        found = publish()
    finally:
        connection.execute("RESET ROLE; DROP OWNED BY publisher; DROP ROLE publisher")
    assert (found.mode, found.rows) == ("full", 101)
    assert found.reason == (
        "the role that publishes does not own it; for the same reason, this is not declared: "
        'CREATE UNIQUE INDEX ON "marts"."m" USING "btree" ("id")'
    )
