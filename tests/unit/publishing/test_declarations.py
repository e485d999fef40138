"""What a mart is to have besides its rows: declared by the dbt model, kept where somebody else has declared it."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from pyiceberg.types import StringType

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.publishing import publish_marts_to_postgres
from airflow_provider_phlo.publishing.dbt_models import declarations, declared_by
from airflow_provider_phlo.publishing.postgres import Declaration, Index
from tests.lake import create_table, open_lake

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")

ROWS = pa.table({"id": [1, 2, 3], "day": ["a", "a", "b"], "n": [1.5, None, 2.5]})
MODEL = {
    "resource_type": "model",
    "unique_id": "model.p.m",
    "name": "m",
    "schema": "marts",
    "alias": "m",
    "description": "One row per 'id'.",
    "columns": {"id": {"name": "id", "description": "What it is."}, "gone": {"description": "Not there."}},
    "config": {"indexes": [{"columns": ["day", "id"]}, {"columns": ["n"], "type": "hash"}]},
}


def unique(column="id", **config):
    return {
        "resource_type": "test",
        "attached_node": "model.p.m",
        "column_name": column,
        "test_metadata": {"name": "unique", "kwargs": {}},
        "config": {"severity": "ERROR", "error_if": "!= 0", **config},
    }


def combination(*columns):
    metadata = {"name": "unique_combination_of_columns", "kwargs": {"combination_of_columns": list(columns)}}
    return {**unique(None), "test_metadata": metadata}


def manifest(*tests, **changed):
    nodes = {"model.p.m": {**MODEL, **changed}, **{f"test.{number}": test for number, test in enumerate(tests)}}
    return {"nodes": nodes}


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    catalog = open_lake(tmp_path)
    create_table(catalog, "marts.m", ROWS)
    return catalog


@pytest.fixture
def model(tmp_path):
    """Return a function that leaves a manifest where dbt parses projects to."""

    def write(*tests, project="p", **changed):
        path = tmp_path / "dbt" / project / "duckdb" / "manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest(*tests, **changed)))

    return write


def publish(catalog, connection, **options):
    return publish_marts_to_postgres(None, None, connection, {"m": "marts.m"}, catalog=catalog, **options)["m"]


def indexes(connection):
    query = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'marts' AND tablename = 'm' ORDER BY indexname"
    return [definition.partition(" ON ")[2] for (definition,) in connection.execute(query).fetchall()]


def comments(connection):
    query = "SELECT obj_description(%s::regclass), col_description(%s::regclass, 1), col_description(%s::regclass, 2)"
    return connection.execute(query, ["marts.m"] * 3).fetchone()


@pytest.mark.long
def test_what_the_model_declares_is_there_once(connection, catalog, model):
    model(unique())
    first = publish(catalog, connection)
    wanted = ["marts.m USING btree (day, id)", "marts.m USING btree (id)", "marts.m USING hash (n)"]
    assert sorted(indexes(connection)) == wanted
    assert comments(connection) == ("One row per 'id'.", "What it is.", None)
    assert len(first.altered) == 5
    assert publish(catalog, connection).mode == "unchanged"
    model(unique(), description="Another.", constraints=[{"type": "primary_key", "columns": ["id"]}])
    found = publish(catalog, connection)
    assert (found.mode, found.inserted, found.deleted) == ("incremental", 0, 0)
    assert found.altered == (
        'ALTER TABLE "marts"."m" ADD PRIMARY KEY ("id")',
        """COMMENT ON TABLE "marts"."m" IS 'Another.'""",
    )
    assert publish(catalog, connection).mode == "unchanged"


def test_comments_of_the_source_are_those_of_the_mart_without_a_model(connection, catalog):
    table = catalog.load_table("marts.m")
    with table.update_schema() as update:
        update.update_column("day", doc="The day.")
    with table.transaction() as transaction:
        transaction.set_properties(comment="The source's.")
    publish(catalog, connection)
    assert comments(connection) == ("The source's.", None, "The day.")
    connection.execute("COMMENT ON COLUMN marts.m.id IS 'by hand'")
    publish(catalog, connection)
    assert comments(connection) == ("The source's.", "by hand", "The day.")


KEPT = """
SELECT c.oid, c.relacl::text, c.relrowsecurity,
    (SELECT array_agg(concat_ws(' ', policyname, qual, roles)) FROM pg_policies WHERE tablename = 'm'),
    (SELECT array_agg(indexdef ORDER BY indexname) FROM pg_indexes WHERE tablename = 'm'),
    pg_get_viewdef('marts.v'), (SELECT relacl::text FROM pg_class WHERE oid = 'marts.v'::regclass),
    obj_description(c.oid), (SELECT array_agg(conname ORDER BY conname) FROM pg_constraint WHERE conrelid = c.oid)
FROM pg_class c WHERE c.oid = 'marts.m'::regclass
"""


def test_what_somebody_has_declared_stays_however_the_rows_are_written(connection, catalog):
    publish(catalog, connection, key={"m": "id"})
    for statement in (
        "GRANT SELECT ON marts.m TO PUBLIC",
        "CREATE INDEX mine ON marts.m (n) WHERE n > 1",
        "CREATE VIEW marts.v AS SELECT id FROM marts.m",
        "GRANT SELECT ON marts.v TO PUBLIC",
        "ALTER TABLE marts.m ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY only_a ON marts.m FOR SELECT USING (day = 'a')",
        "COMMENT ON TABLE marts.m IS 'mine'",
        "ALTER TABLE marts.m ADD CONSTRAINT positive CHECK (id > 0)",
    ):
        connection.execute(statement)
    kept = connection.execute(KEPT).fetchone()
    table = catalog.load_table("marts.m")
    for number, mode in ((4, "incremental"), (5, "full"), (6, "altered")):
        table.append(pa.table({"id": [number], "day": ["a"], "n": [1.0]}))
        if mode == "full":
            connection.execute("UPDATE marts.m SET n = 0")
        if mode == "altered":
            with table.update_schema() as update:
                update.add_column("more", StringType())
        found = publish(catalog, connection, key={"m": "id"})
        assert (found.mode, bool(found.altered)) == ("incremental" if number == 4 else "full", number == 6)
        assert connection.execute(KEPT).fetchone() == kept
        assert connection.execute("SELECT count(*) FROM marts.v").fetchone() == (number,)


def test_row_security_that_hides_rows_from_the_publisher_is_refused(connection, catalog):
    publish(catalog, connection)
    connection.execute("ALTER TABLE marts.m ENABLE ROW LEVEL SECURITY; ALTER TABLE marts.m FORCE ROW LEVEL SECURITY")
    with pytest.raises(ConfigurationError, match=r"marts\.m: row security hides rows"):
        publish(catalog, connection)


def test_a_key_that_is_not_unique_is_refused_and_nothing_is_published(connection, catalog):
    with pytest.raises(SchemaError, match=r'UNIQUE INDEX ON "marts"."m" .* fails, since rows .* are not unique'):
        publish(catalog, connection, key={"m": "day"})
    assert connection.execute("SELECT to_regclass('marts.m')").fetchone() == (None,)
    with pytest.raises(SchemaError, match="name columns that it does not have: nope"):
        publish(catalog, connection, key={"m": ["id", "nope"]})
    with pytest.raises(ConfigurationError, match="key names tables that are not published: x"):
        publish(catalog, connection, key={"x": "id"})
    with pytest.raises(SchemaError, match=r"USING \"nope\" .* fails \(UndefinedObject"):
        publish(catalog, connection, declared={"m": Declaration(indexes=(Index(("id",), type="nope"),))})
    nullable = Declaration(primary_key=("n",))
    with pytest.raises(SchemaError, match="or lack a value"):
        publish(catalog, connection, declared={"m": nullable})


@pytest.mark.parametrize(
    ("tests", "key"),
    [
        ([unique()], ("id",)),
        ([combination("day", "id")], ("day", "id")),
        ([unique("n"), unique("id")], ("id",)),
        ([unique(severity="warn")], ()),
        ([unique(where="n > 1")], ()),
        ([unique(error_if="> 10")], ()),
        ([unique(enabled=False)], ()),
        ([{**unique(), "attached_node": "model.p.other"}], ()),
        ([{**unique(), "test_metadata": {"name": "not_null"}}], ()),
        ([{**unique(), "test_metadata": None}], ()),
    ],
)
def test_the_key_is_that_of_a_test_that_lets_no_two_rows_be_equal(tests, key):
    parsed = manifest(*tests)
    assert declared_by(parsed, parsed["nodes"]["model.p.m"]).key == key


def test_meta_and_constraints(tmp_path, model):
    model(unique(), meta={"key": ["day", "n"], "primary_key": "id"}, config={"meta": {"indexes": [{"columns": "n"}]}})
    columns = ["id", "day", "n"]
    found = declarations(tmp_path, {"marts.m": columns, "marts.other": columns})
    assert list(found) == ["marts.m"]
    assert found["marts.m"][:3] == (("day", "n"), ("id",), (Index(("n",)),))
    model(project="later", columns={"id": {"constraints": [{"type": "primary_key"}]}}, description="")
    assert declarations(tmp_path, {"marts.m": columns})["marts.m"][1:4] == (
        ("id",),
        (Index(("day", "id")), Index(("n",), type="hash")),
        None,
    )
    for odd in ({"column": ["n"]}, "n", {"columns": []}):
        model(project="later", config={"indexes": [odd]})
        with pytest.raises(ConfigurationError, match="Model m declares an index as"):
            declarations(tmp_path, {"marts.m": columns})


def test_columns_are_found_as_sql_finds_them(tmp_path, model):
    def key(*tests, columns=("id", "day", "n"), **changed):
        model(*tests, **changed)
        return declarations(tmp_path, {"marts.m": columns})["marts.m"].key

    below_the_model = {**unique(None), "test_metadata": {"name": "unique", "kwargs": {"column_name": "ID"}}}
    assert key(unique("ID")) == key(below_the_model) == ("id",)
    assert key(unique('"Id of it"'), columns=["Id of it"]) == ("Id of it",)
    assert key(unique('"say ""hi"""'), columns=['say "hi"']) == ('say "hi"',)
    assert key(combination("DAY", '"id"')) == ("day", "id")
    # an expression, and a column that the table does not have yet
    assert key(unique("day || '-' || id")) == key(combination("lower(day)", "id")) == key(unique("new")) == ()
    assert key(unique("day || '-' || id"), unique("id")) == ("id",)
    assert key(unique("ID"), columns=["id", "Id"]) == ()
    model(
        meta={"primary_key": "ID", "indexes": [{"columns": ["Day", "n"]}]},
        columns={"ID": {"description": "it"}, "gone": {"description": "?"}},
        config={},
    )
    found = declarations(tmp_path, {"marts.m": ["id", "day", "n"]})["marts.m"]
    assert (found.primary_key, found.indexes) == (("id",), (Index(("day", "n")),))
    assert found.comments["id"] == "it"
