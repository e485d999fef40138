from __future__ import annotations

import duckdb
import pytest

from airflow_provider_phlo.sql import literal, quote, quote_identifier


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("glucose", '"glucose"'),
        ("raw.glucose", '"raw"."glucose"'),
        ('we"ird', '"we""ird"'),
        ('a"; DROP TABLE b; --', '"a""; DROP TABLE b; --"'),
    ],
)
def test_quote(name: str, quoted: str) -> None:
    assert quote(name) == quoted


def test_an_identifier_keeps_its_dots() -> None:
    assert quote_identifier("a.b") == '"a.b"'


@pytest.mark.parametrize("text", ["plain", "it's", "''", 'a"b', "';--", "\\'", "a\nb"])
def test_a_literal_reads_back(text: str) -> None:
    assert duckdb.connect().sql(f"SELECT {literal(text)}").fetchall() == [(text,)]


@pytest.mark.parametrize("name", ["select", "a b", 'q"q', "ü", "x.y"])
def test_an_identifier_reads_back(name: str) -> None:
    assert duckdb.connect().sql(f"SELECT 1 AS {quote_identifier(name)}").columns == [name]
