"""Hashes that all differ prove that keys do: equal keys of every type have one hash, and nothing else is proven."""

from __future__ import annotations

import duckdb
import pytest

from airflow_provider_phlo.quality.engines import distinct_hashes, open_duckdb
from airflow_provider_phlo.quality.engines.distinct_hashes import HASHED_TYPES, are_proven_distinct
from airflow_provider_phlo.sql import Query

# values of each type that are equal to each other, though some are not written alike
MIDNIGHT = ["'2024-01-15'", "'2024-01-15 00:00:00.000'"]
EQUAL = {
    "BOOLEAN": ["true", "'t'"],
    **{kind: ["7", "'007'"] for kind in sorted(HASHED_TYPES) if kind.endswith(("INT", "INTEGER"))},
    **{kind: ["0.0", "'-0.0'"] for kind in ("FLOAT", "DOUBLE")},
    "DECIMAL": ["1.5", "'1.500'"],
    "VARCHAR": ["'a'", "'a'"],
    "BLOB": ["'a\\x00'", "'a\\x00'"],
    "UUID": ["'6BA7B810-9DAD-11D1-80B4-00C04FD430C8'", "'6ba7b8109dad11d180b400c04fd430c8'"],
    "DATE": ["'2024-01-15'", "'2024-1-15'"],
    "TIME": ["'01:02:03'", "'01:02:03.000000'"],
    **{kind: MIDNIGHT for kind in ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")},
    "TIMESTAMP WITH TIME ZONE": ["'2024-01-15 00:00:00+00'", "'2024-01-15 01:00:00+01'"],
}
SPECIAL = {"FLOAT": ["'nan'", "-'nan'::FLOAT"], "DOUBLE": ["'nan'", "-'nan'::DOUBLE"]}


@pytest.fixture
def connection(monkeypatch):
    monkeypatch.setattr(distinct_hashes, "FEWEST", 0)
    with open_duckdb() as opened:
        yield opened


def values(kind: str, written: list[str]) -> Query:
    rows = ", ".join(f"(CAST({value} AS {kind}))" for value in written)
    return Query(f"(VALUES {rows}) AS v(a)")


def test_every_type_that_is_hashed_is_gone_through():
    assert set(EQUAL) == HASHED_TYPES


@pytest.mark.parametrize(
    ("kind", "written"), [*EQUAL.items(), *SPECIAL.items()], ids=[*EQUAL, *(f"{kind} special" for kind in SPECIAL)]
)
def test_equal_values_are_never_proven_distinct(connection, kind, written):
    rows = values(kind, written)
    assert connection.execute(f"SELECT count(*) FROM (SELECT a FROM {rows.sql} GROUP BY a)").fetchall() == [(1,)]
    assert not are_proven_distinct(connection, rows, ["a"])
    assert are_proven_distinct(connection, values(kind, written[:1]), ["a"])


@pytest.mark.parametrize(
    "kind", ["INTEGER[]", "STRUCT(a INTEGER)", "MAP(INTEGER, INTEGER)", "INTERVAL", "TIMETZ", "JSON"]
)
def test_other_types_are_left_to_a_query(connection, kind):
    assert not are_proven_distinct(connection, Query(f"(SELECT NULL::{kind} AS a)"), ["a"])


@pytest.mark.long
@pytest.mark.parametrize("at_once", [3, 100, 10_000])
def test_many_keys_are_looked_at_in_turns(connection, monkeypatch, at_once):
    monkeypatch.setattr(distinct_hashes, "AT_ONCE", at_once)
    monkeypatch.setattr(distinct_hashes, "MOST_TIMES", 1000)
    rows = "(SELECT i // 10 AS a, i % 10 AS b FROM range(?) AS r(i)) AS v"
    assert are_proven_distinct(connection, Query(rows, (1000,)), ["a", "b"])
    twice = f"(SELECT * FROM {rows} UNION ALL SELECT 70, 3) AS w"
    assert not are_proven_distinct(connection, Query(twice, (1000,)), ["a", "b"])
    # a row with a NULL in its key has none
    holed = f"(SELECT * FROM {rows} UNION ALL SELECT NULL, 3 UNION ALL SELECT NULL, 3) AS w"
    assert are_proven_distinct(connection, Query(holed, (1000,)), ["a", "b"])


def test_few_rows_and_very_many_are_left_to_a_query(connection, monkeypatch):
    rows = Query("(SELECT i AS a FROM range(1000) AS r(i)) AS v")
    assert are_proven_distinct(connection, rows, ["a"])
    monkeypatch.setattr(distinct_hashes, "FEWEST", 1001)
    assert not are_proven_distinct(connection, rows, ["a"])
    monkeypatch.setattr(distinct_hashes, "FEWEST", 0)
    monkeypatch.setattr(distinct_hashes, "AT_ONCE", 1000 // distinct_hashes.MOST_TIMES - 1)
    assert not are_proven_distinct(connection, rows, ["a"])


def test_what_cannot_be_read_raises(connection):
    with pytest.raises(duckdb.Error):
        are_proven_distinct(connection, Query("(SELECT 1 AS a)"), ["missing"])
