"""Random queries: the lineage is the one they were written with, and DuckDB shows no influence that it lacks."""

from __future__ import annotations

import os
from collections import Counter

import duckdb
import pytest

from airflow_provider_phlo.lineage.sql import analyse_sql, table_relation
from airflow_provider_phlo.sql import quote_identifier

from .random_sql import TABLES, Rel, Writer

SOAK = "PHLO_SOAK" in os.environ
QUERIES = 20_000 if SOAK else 100
TAINTED = 3_000 if SOAK else 25
ROWS = 12


def known(parts):
    name = ".".join(parts)
    return table_relation(name, TABLES[name], complete=True)


def written(seed: int, dialect: str) -> Rel:
    return Writer(seed, dialect).statement()


@pytest.mark.long
@pytest.mark.parametrize("dialect", ["duckdb", "trino"])
def test_the_lineage_is_the_one_the_query_was_written_with(dialect):
    for seed in range(QUERIES):
        rel = written(seed, dialect)
        found = analyse_sql(rel.sql, dialect, known)
        assert [column.name for column in found.columns] == [col.name for col in rel.cols], rel.sql
        for column, col in zip(found.columns, rel.cols, strict=True):
            assert column.value.unknown is None, (column.value.unknown, rel.sql)
            assert set(column.value.origins) == col.origins, (seed, column.name, rel.sql)
        assert set(found.effects) == rel.effects, (seed, rel.sql)
        assert not found.rests


COLUMNS = [(table, column) for table, columns in TABLES.items() for column in columns]


@pytest.fixture(scope="module")
def database():
    """A schema with the tables, and one for each column with other values in it."""
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA raw; SELECT setseed(0.4)")
    for table, columns in TABLES.items():
        values = ", ".join(f"(random() * 5)::INTEGER AS {quote_identifier(column)}" for column in columns)
        connection.execute(f"CREATE TABLE {table} AS SELECT {values} FROM range({ROWS})")
    for number, (table, column) in enumerate(COLUMNS):
        connection.execute(f"CREATE SCHEMA other{number}")
        name = quote_identifier(column)
        other = f"* REPLACE (CASE WHEN {name} > 2 THEN NULL ELSE {name} * 7 - 3 END AS {name})"
        for each in TABLES:
            shown = other if each == table else "*"
            connection.execute(f"CREATE TABLE {elsewhere(each, number)} AS SELECT {shown} FROM {each}")
    yield connection
    connection.close()


def elsewhere(sql, number):
    return sql.replace("raw.", f"other{number}.")


@pytest.mark.long
def test_no_column_changes_with_one_that_is_not_in_its_lineage(database):
    """Change the values of one column of a table after the other, and look which columns of the result change."""
    seen = 0
    for seed in range(TAINTED):
        rel = written(seed, "duckdb")
        found = analyse_sql(rel.sql, "duckdb", known)
        before = contents(database, rel.sql)
        for number, origin in enumerate(COLUMNS):
            after = contents(database, elsewhere(rel.sql, number))
            changed = [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
            seen += len(changed)
            for at in changed:
                assert origin in {*found.columns[at].value.origins, *found.effects}, (seed, origin, rel.sql)
    assert seen > TAINTED, "the changes are hardly ever seen: the test shows nothing"


def contents(database, sql):
    """Return the values of each column of a result, in no order."""
    rows = database.execute(sql).fetchall()
    return [Counter(row[at] for row in rows) for at in range(len(database.description))]
