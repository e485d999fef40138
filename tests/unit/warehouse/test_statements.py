"""The statements of a load, read by a parser of each dialect."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest
import sqlglot
from pandera.pandas import Field
from sqlglot import exp

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.base import make_model
from airflow_provider_phlo.warehouse.postgres import PostgresDialect
from airflow_provider_phlo.warehouse.snowflake import SnowflakeDialect
from airflow_provider_phlo.warehouse.stage_batches import StageFile
from airflow_provider_phlo.warehouse.statements import load_statements, table_statements
from airflow_provider_phlo.warehouse.tables import StageTable
from tests.unit.warehouse.models import LINES, ORDERS

DIALECTS = {"snowflake": SnowflakeDialect("LAKE.PUBLIC.STAGE"), "postgres": PostgresDialect()}
ORDER_OF_KINDS = ["Create", "Copy", "Merge", "Insert", "TruncateTable", "Commit"]
NASTY = make_model(
    "Nasty",
    {
        'a"b; DROP TABLE x --': (str, {"unique": True}),
        "select": (int | None, {"nullable": True}),
        "Größe in %": (float | None, {"nullable": True}),
        "it's": (str | None, {"nullable": True}),
    },
)


def files(count, entity="orders"):
    return [
        StageFile(
            f"shop/{entity}/org=it's/date=2026-11-28/20261128T1200000000{n % 7}0-00000000-{n:05d}.parquet", 1, 1, 1
        )
        for n in range(count)
    ]


def statements(dialect, count=3, tables=(ORDERS, LINES)):
    parts = [table_statements(dialect, table, files(count, table.entity)) for table in tables]
    return load_statements(dialect, parts, "token1")


def parsed(dialect, statement):
    sql = statement.sql.replace("%s", "NULL")
    # the parser knows neither of the two; PostgreSQL itself does (test_postgres.py)
    sql = sql.removesuffix(" (FORMAT BINARY)").removesuffix(" ON COMMIT DROP")
    return sqlglot.parse_one(sql, dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_statement_is_read_by_a_parser_of_its_dialect_and_is_what_it_says(dialect):
    found = [type(parsed(dialect, statement)).__name__ for statement in statements(DIALECTS[dialect])]
    assert "Command" not in found  # what sqlglot could not read
    places = [found.index(kind) for kind in ORDER_OF_KINDS]
    assert places == sorted(places)
    assert found.count("Copy") == found.count("Merge") == found.count("TruncateTable") == 2
    assert (found.count("Transaction"), found.count("Commit")) == (1, 1)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("count", [1, 1000, 1001, 10_000])
def test_their_number_does_not_depend_on_the_number_of_files(dialect, count):
    assert len(statements(DIALECTS[dialect], count)) == len(statements(DIALECTS[dialect], 1))


def test_snowflake_names_up_to_a_thousand_files_and_else_the_attempts_that_wrote_them():
    few, many = (
        next(each.sql for each in statements(DIALECTS["snowflake"], count) if each.sql.startswith("COPY"))
        for count in (1000, 1001)
    )
    assert few.count("orders/org=it''s/date=2026-11-28/") == 1000
    assert "PATTERN" not in few
    assert "FILES" not in many
    assert "PATTERN = '(.*/)?orders/org=[^/]+/date=[^/]+/(20261128T120000000000-00000000|" in many


@pytest.mark.parametrize("dialect", DIALECTS)
def test_merge_compares_what_is_newer_and_what_differs_and_takes_one_row_per_key(dialect):
    merge = next(each for each in statements(DIALECTS[dialect]) if each.sql.startswith("MERGE"))
    tree = parsed(dialect, merge)
    matched, absent = tree.args["whens"].expressions
    assert matched.args["condition"].find(exp.GTE)
    assert len(list(matched.args["condition"].find_all(exp.NullSafeNEQ))) == 4
    assert tree.find(exp.RowNumber)
    assert isinstance(absent.args["then"], exp.Insert)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_names_are_names_whatever_they_are(dialect):
    table = StageTable("orders", "raw.t", ('a"b; DROP TABLE x --',), NASTY, order_by="select")
    found = statements(DIALECTS[dialect], tables=[table])
    trees = [parsed(dialect, statement) for statement in found]
    assert not [tree for tree in trees if isinstance(tree, exp.Drop)]
    columns = {column.name for tree in trees for column in tree.find_all(exp.Column)}
    assert 'a"b; DROP TABLE x --' in columns
    assert ("SELECT" if dialect == "snowflake" else "select") in columns


def test_snowflake_finds_our_names_without_quotes():
    dialect = DIALECTS["snowflake"]
    assert [dialect.quote(name) for name in ("row_key", "_x$1", "Row", "größe", "a b", "1x")] == [
        '"ROW_KEY"', '"_X$1"', '"Row"', '"größe"', '"a b"', '"1x"',
    ]  # fmt: skip
    copy = next(each.sql for each in statements(dialect) if each.sql.startswith("COPY"))
    assert '$1:"order_id"::VARCHAR' in copy
    assert '"RAW"."ORDERS__STAGE" ("ORDER_ID", ' in copy


@pytest.mark.parametrize(
    ("kind", "found", "takes"),
    [
        (pa.string(), "TEXT", True),
        (pa.string(), "TEXT(16777216)", True),
        (pa.string(), "TEXT(134217728)", True),
        (pa.string(), "TEXT(16777215)", False),
        (pa.string(), "TEXT(10)", False),
        (pa.binary(), "BINARY(8388608)", True),
        (pa.binary(), "BINARY(16)", False),
        (pa.timestamp("us", "UTC"), "TIMESTAMP_LTZ(9)", True),
        (pa.timestamp("us", "UTC"), "TIMESTAMP_TZ(6)", True),
        (pa.timestamp("us", "UTC"), "TIMESTAMP_LTZ(5)", False),
        (pa.timestamp("us", "UTC"), "TIMESTAMP_NTZ(9)", False),
        (pa.timestamp("us"), "TIMESTAMP_NTZ(3)", False),
        (pa.time64("us"), "TIME(0)", False),
        (pa.int64(), "NUMBER(38,0)", True),
        (pa.int64(), "NUMBER(10,0)", False),
        (pa.float64(), "FLOAT", True),
        (pa.list_(pa.string()), "VARIANT", True),
    ],
)
def test_snowflakes_columns_hold_every_value_or_are_refused(kind, found, takes):
    assert DIALECTS["snowflake"].takes(pa.field("c", kind), found) is takes


def test_names_that_snowflake_takes_for_one_are_refused():
    model = make_model("M", {"a": (str, {}), "A": (str, {})})
    with pytest.raises(SchemaError, match=r'raw\.t: snowflake cannot tell its columns apart: "A", "A"'):
        statements(DIALECTS["snowflake"], tables=[StageTable("orders", "raw.t", ("a",), model)])
    statements(DIALECTS["postgres"], tables=[StageTable("orders", "raw.t", ("a",), model)])


def test_names_that_postgres_would_cut_off_are_refused():
    with pytest.raises(SchemaError, match="no names of more than 63 bytes"):
        statements(DIALECTS["postgres"], tables=[dataclasses.replace(LINES, target=f"raw.{'x' * 64}")])
    long = [dataclasses.replace(LINES, target=f"{schema}.{'x' * 63}", entity=schema) for schema in ("a", "b")]
    made = [each.sql for each in statements(DIALECTS["postgres"], tables=long) if "TEMPORARY" in each.sql]
    assert len(set(made)) == 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_model_of_nothing_but_a_key_has_nothing_to_update(dialect):
    class Key(PhloSchema):
        id: str = Field(unique=True)

    found = statements(DIALECTS[dialect], tables=[StageTable("orders", "raw.t", ("id",), Key)])
    merge = next(each for each in found if each.sql.startswith("MERGE"))
    assert len(parsed(dialect, merge).args["whens"].expressions) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_nothing_is_copied_for_no_files(dialect):
    kinds = {type(parsed(dialect, statement)) for statement in statements(DIALECTS[dialect], 0)}
    assert not kinds & {exp.Copy, exp.Merge, exp.TruncateTable}
    assert exp.Insert in kinds


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a.b.c.d", "@a", "a'"])
def test_a_stage_has_the_name_of_a_stage(name):
    with pytest.raises(ConfigurationError, match="name the external stage"):
        SnowflakeDialect(name)
