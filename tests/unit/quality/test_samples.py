"""Failed checks name rows by their keys, a few, and never a value of a pii column."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from airflow_provider_phlo.iceberg.branches.declared import declare_columns, declared_columns
from airflow_provider_phlo.quality import (
    CustomSQLCheck,
    NullCheck,
    PatternCheck,
    RangeCheck,
    ThresholdCheck,
    UniqueCheck,
)
from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck
from airflow_provider_phlo.quality.scan import run_checks

ROWS = pa.table(
    {
        "id": [*range(9, -1, -1)],
        "email": ["secret@example.org"] * 10,
        "v": [100.0] * 5 + [900.0, None] + [900.0] * 3,
        "text": ["x" * 100] * 10,
    }
)


@pytest.fixture
def table(catalog):
    catalog.create_namespace("raw")
    table = catalog.create_table("raw.t", ROWS.schema)
    table.append(ROWS)
    declare_columns(catalog, table, ["id"], ["email"])
    return "raw.t"


def result_of(catalog, table, check, **where):
    (result,) = run_checks(catalog, table, [check], **where)
    assert not result.passed
    return result


@pytest.mark.parametrize(
    ("check", "ids"),
    [
        (RangeCheck("v", 0, 500), [0, 1, 2, 4]),
        (RangeCheck("v", 0, 500, samples=2), [0, 1]),
        (RangeCheck("v", 0, 500, samples=0), []),
        (NullCheck(["v", "id"]), [3]),
        (PatternCheck("text", "y"), [0, 1, 2, 3, 4]),
        (ThresholdCheck("v", 500), [0, 1, 2, 4]),
    ],
)
def test_the_first_failing_rows_are_named_by_the_tables_key(catalog, table, check, ids):
    result = result_of(catalog, table, check)
    assert [sample["id"] for sample in result.samples] == ids
    assert all(sample.keys() == {"id"} for sample in result.samples)
    assert (f"; for example id {ids[0]}" in result.message) if ids else ("example" not in result.message)


def test_only_rows_of_the_partition_under_check_are_named(catalog, table):
    assert result_of(catalog, table, RangeCheck("v", 0, 500), partition_column="id", partition="2").samples == (
        {"id": 2},
    )


def test_a_key_held_twice_is_named_by_its_own_columns(catalog, table):
    result = result_of(catalog, table, UniqueCheck(["v"]))
    assert result.samples == ({"v": 100.0}, {"v": 900.0})
    assert result.message == "9 rows share 2 values of v; for example v 100.0, v 900.0"


@pytest.mark.parametrize(
    "check",
    [
        UniqueCheck("email"),
        UniqueCheck(["v", "email"]),
        RangeCheck("v", 0, 500, key_columns=["id", "email"]),
        CustomSQLCheck("SELECT * FROM t"),
    ],
)
def test_what_has_pii_or_no_known_key_is_only_counted(catalog, table, check):
    result = result_of(catalog, table, check)
    assert result.failed
    assert result.samples == ()
    assert "secret" not in json.dumps(result.to_dict())
    assert "example" not in result.message


def test_a_key_that_is_not_there_is_said():
    result = RangeCheck("v", 0, 500, key_columns="nope").execute(ROWS)
    assert not result.passed
    assert result.message == "key_columns: there is no column nope"


def test_a_check_may_name_the_key_itself(catalog, table):
    assert result_of(catalog, table, RangeCheck("v", 0, 500, key_columns=["v", "id"], samples=1)).samples == (
        {"v": 900.0, "id": 0},
    )
    frame = RangeCheck("v", 0, 500, key_columns="id", samples=1).execute(ROWS)
    assert frame.samples == ({"id": 0},)
    assert RangeCheck("v", 0, 500).execute(ROWS).samples == ()


def test_long_values_are_cut_and_nulls_are_called_so(catalog, table):
    assert result_of(catalog, table, UniqueCheck("text")).samples[0]["text"] == "x" * 60 + "…"
    assert result_of(catalog, table, NullCheck("v", key_columns="v")).message.endswith("; for example v NULL")


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_case_78_a_key_that_json_lacks_is_not_called_null(catalog, kind, number):
    rows = pa.table({"v": pa.array([float(number)] * 2, kind)})
    catalog.create_namespace("raw")
    catalog.create_table("raw.t", rows.schema).append(rows)
    [result] = run_checks(catalog, "raw.t", [UniqueCheck(["v"])])
    assert not result.passed
    assert result.message.endswith(f"for example v {number}")
    assert result.samples == ({"v": number},)
    json.dumps(result.samples, allow_nan=False)


def test_one_more_query_for_a_failed_check_and_none_for_others(catalog, table, monkeypatch):
    queries = []
    fetch = RowsUnderCheck.fetch
    monkeypatch.setattr(RowsUnderCheck, "fetch", lambda self, query: queries.append(query) or fetch(self, query))
    run_checks(catalog, table, [NullCheck("id"), RangeCheck("v", 0, 500), RangeCheck("id", 0), NullCheck("v")])
    assert len(queries) == 3


def test_what_is_declared_is_written_when_it_differs(catalog, table):
    first = catalog.load_table(table)
    declare_columns(catalog, first, ["id"], ["email"])
    declare_columns(catalog, first, ["id"], None)
    assert catalog.load_table(table).metadata_location == first.metadata_location
    declare_columns(catalog, first, ["v", "id"], [])
    assert declared_columns(catalog.load_table(table)) == (("v", "id"), frozenset())
    assert declared_columns(catalog.create_table("raw.bare", ROWS.schema)) == ((), frozenset())
