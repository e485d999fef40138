"""What is kept of results, and how people and Airflow read it."""

from __future__ import annotations

import copy
import json
import pickle
import threading

import pyarrow as pa
import pytest
from airflow.providers.common.sql.operators.sql import SQLCheckResult

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality import (
    CountCheck,
    CustomSQLCheck,
    FreshnessCheck,
    NullCheck,
    QualityCheck,
    QualityCheckResult,
    ThresholdCheck,
    UniqueCheck,
)
from airflow_provider_phlo.quality.check_results import TABLE, Occasion, record
from airflow_provider_phlo.quality.report import as_table
from airflow_provider_phlo.quality.scan import run_checks
from tests.expect import expect
from tests.lake import open_lake

ROWS = pa.table({"id": ["a", "b", "b"], "v": [1.0, None, 1200.0]})


class Own(QualityCheck):
    def execute(self, df, context=None):
        return QualityCheckResult(True, metrics={"mean": df["v"].mean()})


@pytest.fixture
def results(catalog):
    catalog.create_namespace("raw")
    catalog.create_table("raw.t", ROWS.schema, properties={"phlo.key": '["id"]'}).append(ROWS)
    return run_checks(catalog, "raw.t", [CountCheck(1), UniqueCheck("id", severity="warn"), NullCheck("v"), Own()])


def kept(catalog):
    return catalog.load_table(TABLE).scan().to_arrow().to_pylist()


def test_every_result_is_a_row(catalog, results):
    record(catalog, Occasion("d", "r", "t", -1, 2, "phlo_x", "2024-01-15"), results)
    rows = kept(catalog)
    assert [row["check_name"] for row in rows] == ["CountCheck()", "UniqueCheck(id)", "NullCheck(v)", "Own()"]
    row = rows[1]
    assert row.pop("checked_at") is not None
    assert row.pop("execution_time_seconds") > 0
    assert row == {
        **{"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 2},
        **{"branch": "phlo_x", "partition": "2024-01-15", "table_name": "raw.t"},
        "snapshot_id": catalog.load_table("raw.t").current_snapshot().snapshot_id,
        **{"check_type": "unique", "check_name": "UniqueCheck(id)", "columns": ["id"], "severity": "warn"},
        **{"passed": False, "failed": 2, "row_count": 3, "expected": None, "actual": "2 rows fail"},
        "message": "2 rows share one value of id; for example id b",
        "metrics": '{"duplicate_count": 1}',
        "samples": '[{"id": "b"}]',
    }
    assert json.loads(rows[3]["metrics"]) == {"mean": 600.5}
    assert [str(field.transform) for field in catalog.load_table(TABLE).spec().fields] == ["day"]


def test_an_occasion_is_recorded_once(catalog, results):
    first, later = (Occasion("d", "r", "t", -1, number) for number in (1, 2))
    for occasion in (first, first, later, first):
        record(catalog, occasion, results)
    assert len(kept(catalog)) == 2 * len(results)
    assert len(catalog.load_table(TABLE).snapshots()) == 2
    record(catalog, Occasion("d", "r", "t", -1, 3), [])
    assert len(kept(catalog)) == 2 * len(results)


def test_runs_record_at_once(home, catalog, results):
    record(catalog, Occasion("d", "first", "t", -1, 1), results)
    failures = []

    def write(run):
        try:
            mine = open_lake(home)
            for task in range(3):
                record(mine, Occasion("d", run, f"t{task}", -1, 1), results)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"r{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(kept(catalog)) == len(results) * 19


def test_a_result_is_airflows_record_of_a_check(results):
    record = SQLCheckResult(**results[1].to_sql_check_result())
    assert record == SQLCheckResult(
        name="UniqueCheck(id)",
        check_type="unique",
        success=False,
        severity="warn",
        column="id",
        table="raw.t",
        actual="2 rows fail",
        description="2 rows share one value of id; for example id b",
        params={"duplicate_count": 1, "failed": 2, "row_count": 3},
    )
    assert json.dumps(record.params)


def test_metrics_are_attributes(results):
    assert results[1].duplicate_count == 1
    assert results[3].mean == 600.5
    for copied in (copy.copy(results[1]), pickle.loads(pickle.dumps(results[1]))):
        assert copied == results[1]
    with pytest.raises(AttributeError, match="result of UniqueCheck"):
        results[1].nothing  # noqa: B018


def test_people_read_an_aligned_table(results):
    lines = as_table(results).splitlines()
    assert [line.split()[0] for line in lines] == ["outcome", "passed", "WARNING", "FAILED", "passed"]
    places = {line.index(word) for line, word in zip(lines[1:4], ("3 rows", "2 rows", "NULL"), strict=True)}
    assert places == {lines[0].index("message")}


def test_what_was_found_is_shown_beside_what_was_wanted():
    assert CountCheck(1, 2).execute(ROWS).actual == "3 rows"
    fresh = FreshnessCheck("at", 5).execute(pa.table({"at": ["2024-01-01"]}))
    assert fresh.actual == f"{fresh.age_hours} h old"


def test_a_threshold_tolerates_a_share():
    frame = pa.table({"v": [1.0, 2.0, 9.0, float("nan"), None]})
    result = ThresholdCheck("v", max_value=5, tolerance=0.5).execute(frame)
    assert (result.passed, result.violations, result.total) == (True, 2, 4)
    found = ThresholdCheck("v", max_value=5, tolerance=0.4).execute(frame)
    expect(found, passed=False, message="2 of 4 values are above 5 (the share that may be is 0.4)")
    assert ThresholdCheck("v", 5).execute(frame.slice(0, 0)).passed
    with pytest.raises(ConfigurationError, match="a share from 0 to 1"):
        ThresholdCheck("v", 5, tolerance=7)


def test_every_column_can_be_named_without_quotes(catalog, results):
    record(catalog, Occasion("d", "r", "t", -1, 1, "main", None), results)
    names = ", ".join(item.name for item in catalog.load_table(TABLE).schema().fields)
    (result,) = run_checks(catalog, TABLE, [CustomSQLCheck(f"SELECT {names} FROM {TABLE} WHERE false")])
    assert result.passed, result.message
