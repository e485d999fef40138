"""The rules of ``docs/reconciliation.md``, as they stand there, on DuckDB."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from airflow_provider_phlo.quality.engines import xxhash64
from airflow_provider_phlo.quality.reconciliation.canonical import FORMS
from airflow_provider_phlo.quality.reconciliation.value_types import parse_type
from tests.unit.quality.reconciliation.documented_rules import PAGE, TYPES, Rule, judge, rules, texts


@pytest.mark.parametrize("found", rules(), ids=lambda found: found.title)
def test_rule(found: Rule) -> None:
    tables = {"tables": {"source": found.table("source")}, "table": "target"}
    judge(found, found.check("source").execute(found.table("target"), tables))


@pytest.mark.parametrize(("kind", "value", "text"), texts())
def test_text_of_a_value(kind: str, value: str, text: str) -> None:
    arrow, convert = TYPES[kind]
    rows = pa.table({"x": pa.array([convert(value)], arrow)})
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        ((found,),) = connection.execute("SELECT typeof(x) FROM rows").fetchall()
        parsed = parse_type(found)
        assert parsed is not None
        made = connection.execute(f"SELECT {FORMS['duckdb'].text('x', parsed, parsed)} FROM rows").fetchall()
    assert made == [(text,)]


def test_row_of_the_page() -> None:
    with duckdb.connect() as connection:
        xxhash64.register(connection)
        integer, text = parse_type("BIGINT"), parse_type("VARCHAR")
        assert integer is not None
        assert text is not None
        values = [("7", integer, integer), ("'a'", text, text), ("NULL::VARCHAR", text, text)]
        ((made,),) = connection.execute(f"SELECT {FORMS['duckdb'].row_text(values)}").fetchall()
    assert f"`{made}`" in PAGE.read_text()


def test_the_page_has_rules_for_every_check() -> None:
    assert {found.kind for found in rules()} == {"checksum", "keys", "rowcount", "aggregate"}
    assert len(rules()) >= 30
    assert len(texts()) >= 12
