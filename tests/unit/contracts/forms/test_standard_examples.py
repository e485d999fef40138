"""The standard's own examples, as they are, over tables of the kind that they are about."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.contracts import read_contract
from airflow_provider_phlo.contracts.enforcement import ContractReport, check_contract
from tests.lake import create_table, open_lake

EXAMPLES = Path(__file__).parents[3] / "fixtures" / "odcs"
TODAY = datetime.now(UTC).date()


def check(folder: Path, example: str, **tables: dict[str, Any]) -> ContractReport:
    catalog = open_lake(folder)
    for name, columns in tables.items():
        create_table(catalog, f"raw.{name}", pa.table(columns))
    return check_contract(catalog, read_contract(EXAMPLES / f"{example}.odcs.yaml"))


def broken(report: ContractReport) -> dict[str, int | None]:
    return {breach.rule: breach.failed for breach in report.breaches if breach.rule != "owner"}


@pytest.mark.parametrize(
    ("example", "column", "values", "wanted"),
    [
        # valid are "", NULL and "n/a": 1 of 20 rows may be another
        ("column-validity", "air_quality_status", [""] * 19 + ["bad"], {"primary key": 18}),
        ("column-validity", "air_quality_status", ["", "bad", "n/a"], {"air_quality_status invalidValues": 1}),
        ("column-accuracy", "DataValue", [0.5, 499.0, None], {}),
        ("column-accuracy", "DataValue", [0.5, 500.0, -1.0], {"DataValue rule 1": None}),
        ("column-completeness", "UniqueID", [1, 2], {}),
        ("column-completeness", "UniqueID", [1, None, 1], {
            "UniqueID required": 1, "UniqueID nullValues": 1, "primary key": 1
        }),
        ("column-custom", "UniqueID", [1, 2], {}),  # rules of another tool are not for this one
    ],
)  # fmt: skip
def test_rules_of_columns(
    tmp_path: Path, example: str, column: str, values: list[Any], wanted: dict[str, int | None]
) -> None:
    # int and float are types of 32 bits, in Iceberg and therefore in a contract about its tables
    kinds = {"DataValue": pa.float32(), "UniqueID": pa.int32()}
    array = pa.array(values, kinds.get(column))
    assert broken(check(tmp_path, example, Air_Quality={column: array})) == wanted


def test_the_full_example(tmp_path: Path) -> None:
    payments = {
        "txn_ref_dt": [TODAY, TODAY - timedelta(days=1), None],
        "rcvr_id": ["a", "b", "b"],
        "rcvr_cntry_code": ["de", None, "fr"],
    }
    receivers = {
        "id": ["a", "a", None],
        "country_code": ["de", "de", "fr"],
        "receiver_name": ["A", "A", "C"],
        "receiver_type": pa.array([None, None, date.min.isoformat()], pa.string()),
    }
    report = check(tmp_path, "full-example", tbl_1=payments, receivers_master=receivers)
    found = {(breach.table, breach.rule): breach.failed for breach in report.breaches}
    assert found == {
        ("raw.tbl_1", "columns"): None,  # it promises that the table is partitioned
        ("raw.tbl_1", "primary key"): 1,
        ("raw.tbl_1", "rcvr_cntry_code nullValues"): 1,
        ("raw.tbl_1", "rowCount"): None,
        ("raw.receivers_master", "id required"): 1,
        ("raw.receivers_master", "id unique"): 1,
        ("raw.receivers_master", "primary key"): 1,
    }
    said = {reason.partition(" of ")[0] for reason in report.not_judged}
    assert {"latency", "retention", "timeOfAvailability"} <= said  # tab1, their table, is not one of the contract
