"""What DuckDB computes is stored as it is, or refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from airflow_provider_phlo.dbt.adapter.lakehouse import Lakehouse
from airflow_provider_phlo.dbt.adapter.opening import catalog_from_environment
from airflow_provider_phlo.exceptions import SchemaError

_NO_COUNTERPART = {
    "TIME WITH TIME ZONE": "'10:00:00+02'::TIMETZ",
    "BIT": "bitstring '101'",
    "INTERVAL": "INTERVAL 1 MONTH",
    "UNION": "union_value(n := 1)",
    "UHUGEINT": "340282366920938463463374607431768211455::UHUGEINT",
    "BIGNUM": "1::BIGNUM",
    "VARIANT": "1::VARIANT",
    "values of more than 38 digits": "170141183460469231731687303715884105727::HUGEINT",
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], list[dict[str, object]]]]:
    """Leave the rows of a query in DuckDB as dbt does, and return what the table then holds."""
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    with duckdb.connect() as connection:
        lakehouse = Lakehouse()
        lakehouse.show_tables(connection)
        connection.execute("CREATE SCHEMA gold")

        def write(value: str) -> list[dict[str, object]]:
            connection.execute("DROP VIEW IF EXISTS gold.t")
            connection.execute(f"CREATE TABLE gold.t AS SELECT {value} AS v")
            lakehouse.store_tables(connection, None)
            return connection.sql("SELECT * FROM gold.t").to_arrow_table().to_pylist()

        yield write


def test_case_11_a_type_without_an_exact_counterpart_is_refused(
    store: Callable[[str], list[dict[str, object]]], tmp_path: Path
) -> None:
    for name, value in _NO_COUNTERPART.items():
        for nested in (value, f"[{value}]", f"{{'x': {value}}}", f"MAP {{'k': [{value}]}}"):
            with pytest.raises(SchemaError, match=rf"Column v of gold\.t .*{name}.*cast it in the SQL") as caught:
                store(nested)
            assert "17014118" not in str(caught.value)
    assert not catalog_from_environment({"PHLO_HOME": str(tmp_path)}).table_exists("gold.t")


def test_case_11_a_type_with_an_exact_counterpart_is_stored(store: Callable[[str], list[dict[str, object]]]) -> None:
    stored: dict[str, object] = {
        "(SELECT sum(range) FROM range(3))": Decimal(3),
        "'a'::ENUM('a', 'b')": "a",
        "[1, 2]::INTEGER[2]": [1, 2],
        "'2024-01-02 03:04:05'::TIMESTAMP_S": dt.datetime(2024, 1, 2, 3, 4, 5),
        "'10:00:00'::TIME_NS": dt.time(10),
        "'0b7d3b5e-7a0c-4b6e-9c36-6f2f5d0f8f11'::UUID": "0b7d3b5e-7a0c-4b6e-9c36-6f2f5d0f8f11",
        "MAP {'k': [1.5::DECIMAL(5, 2)]}": [("k", [Decimal("1.50")])],
        "NULL": None,
    }
    for value, expected in stored.items():
        assert store(value) == [{"v": expected}], value


def test_what_cannot_be_stored_is_in_the_way_of_nothing_else(store: Callable[[str], list[dict[str, object]]]) -> None:
    for value in ("'2024-01-01 00:00:00.123456789'::TIMESTAMP_NS", "['10:00:00.123456789'::TIME_NS]"):
        with pytest.raises(SchemaError, match="do not fit"):
            store(value)
        assert store("1") == [{"v": 1}]
