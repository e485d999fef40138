"""Loads into Iceberg: what breaks a model, and the audit before publication."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.exceptions import QualityCheckError, ValidationError
from airflow_provider_phlo.warehouse.iceberg import IcebergWarehouse
from airflow_provider_phlo.warehouse.stage import Stage
from tests.lake import open_lake
from tests.unit.warehouse.models import LINES, ORDERS, lines, order, orders
from tests.unit.warehouse.test_stage import DAY, write

RUN = {"run_id": "manual__1", "partition_date": DAY}


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "stage", "shop")


@pytest.fixture
def catalog(tmp_path):
    return open_lake(tmp_path)


@pytest.fixture
def warehouse(catalog, tmp_path):
    return IcebergWarehouse(catalog, tmp_path / "staging", tmp_path / "dlt")


def rows_of(catalog, table, *columns):
    found = catalog.load_table(table).scan(selected_fields=columns).to_arrow().to_pylist()
    return sorted(tuple(row[name] for name in columns) for row in found)


def test_a_row_that_breaks_its_model_fails_the_load_and_no_table_is_published(warehouse, stage, catalog):
    batch = write(stage, orders=[orders(order("x", 1, -1.0))], lines=[lines((1, "x", 1))])
    with pytest.raises(ValidationError, match=r"raw\.orders: 1 row"):
        warehouse.load(stage, [LINES, ORDERS], [batch], "token1", **RUN)
    assert not catalog.table_exists("raw.order_lines")


def test_or_it_is_set_aside(catalog, stage, tmp_path):
    warehouse = IcebergWarehouse(catalog, tmp_path / "staging", tmp_path / "dlt", strict=False)
    batch = write(stage, orders=[orders(order("x", 1, -1.0), order("y", 1))])
    load = warehouse.load(stage, [ORDERS], [batch], "token1", **RUN)[0]
    assert (load.rows, load.inserted, load.quarantined) == (2, 1, 1)
    assert rows_of(catalog, "raw.orders", "order_id") == [("y",)]
    assert len(catalog.load_table("raw.orders__quarantine").scan().to_arrow()) == 1


def test_no_table_is_published_before_all_have_passed_their_audit(catalog, stage, tmp_path):
    audited = []

    def audit(table, branch):
        audited.append(table)
        if table == "raw.order_lines":
            raise QualityCheckError("too few")

    warehouse = IcebergWarehouse(catalog, tmp_path / "staging", tmp_path / "dlt", audit=audit)
    batch = write(stage, orders=[orders(order("x", 1))], lines=[lines((1, "x", 1))])
    with pytest.raises(QualityCheckError):
        warehouse.load(stage, [ORDERS, LINES], [batch], "token1", **RUN)
    assert audited == ["raw.orders", "raw.order_lines"]
    assert rows_of(catalog, "raw.orders", "order_id") == rows_of(catalog, "raw.order_lines", "line_id") == []
