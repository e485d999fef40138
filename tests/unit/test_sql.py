from __future__ import annotations

import multiprocessing

import duckdb
import pytest

from airflow_provider_phlo.sql import _parsing_database, literal, open_parser, quote, quote_identifier
from tests.patience import PATIENCE


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("glucose", '"glucose"'),
        ("raw.glucose", '"raw"."glucose"'),
        ("sales.eu.orders", '"sales.eu"."orders"'),
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


def test_a_fork_parses_and_ends_as_its_parent_does() -> None:
    """A DuckDB with threads of its own would wait for them for good, as a fork lacks them."""
    with open_parser() as parser:
        assert parser.execute("SELECT 1").fetchall() == [(1,)]
    process = multiprocessing.get_context("fork").Process(target=parse_and_end)
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0


def parse_and_end() -> None:
    with open_parser() as parser:
        assert parser.execute("SELECT 2").fetchall() == [(2,)]
    _parsing_database.cache_clear()  # that of the parent too
