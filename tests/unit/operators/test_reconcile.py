"""ReconcileOperator: sources and targets by template, one error, a small result."""

from __future__ import annotations

import json
from datetime import date

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.reconcile import ReconcileOperator
from airflow_provider_phlo.quality.reconciliation import ChecksumReconciliationCheck, KeyParityCheck
from tests.expect import expect
from tests.lake import create_table

DAYS = [date(2024, 1, 15), date(2024, 1, 15), date(2024, 1, 16)]
SOURCE = pa.table({"id": ["a", "b", "c"], "v": [1, 2, 3], "day": DAYS})
TARGET = pa.table({"id": ["a", "b"], "v": [1, 2], "day": DAYS[:2]})


@pytest.fixture
def tables(catalog):
    for name, rows in (("raw.readings", SOURCE), ("bronze.readings", TARGET)):
        create_table(catalog, name, rows)
    return catalog


def operator(**arguments):
    return ReconcileOperator(task_id="reconcile", target="bronze.readings", **arguments)


def execute(task, make_context, **run):
    return task.execute(make_context(task, **run))


def test_row_counts_are_the_default(tables, make_context):
    found = execute(operator(source="readings", blocking=False), make_context)
    assert json.loads(json.dumps(found)) == found
    expect(found, table="bronze.readings", branch="main", passed=False)
    expect(found["results"][0], source_count=3, target_count=2)


def test_a_difference_fails_the_task_for_good_and_is_reported(tables, make_context, caplog):
    task = operator(source="raw.readings", checks=[KeyParityCheck(key_columns="id"), ChecksumReconciliationCheck()])
    context = make_context(task)
    with pytest.raises(AirflowFailException, match=r"2 of 2 checks failed .* 1 missing \(id=c\)"):
        task.execute(context)
    assert [result["missing_count"] for result in context["ti"].pushed["return_value"]["results"]] == [1, 1]
    assert "FAILED   KeyParityCheck" in caplog.text
    assert "1 missing (id=c)" not in caplog.text  # the error says it


@pytest.mark.parametrize(
    "where",
    [{"partition_column": "day", "partition_date": "2024-01-15"}, {"partition_column": "day"}],
    ids=["given", "the run's"],
)
def test_one_partition_of_both(tables, make_context, where):
    task = operator(source="raw.readings", checks=[ChecksumReconciliationCheck(key_columns="id")], **where)
    found = execute(task, make_context, conf={"partition_date": "2024-01-15"})
    assert found["passed"]
    assert found["results"][0]["source_count"] == 2


def test_a_check_keeps_its_own_source(tables, make_context):
    own = KeyParityCheck("bronze.readings", "id", source_filter="v > 0")
    task = operator(source=["raw.readings"], checks=[own, KeyParityCheck(key_columns="id")], blocking=False)
    assert [result["passed"] for result in execute(task, make_context)["results"]] == [True, False]


def test_templates():
    task = operator(source=["raw.{{ name }}"], partition_date="{{ day }}", branch="phlo_{{ name }}")
    task.target = "bronze.{{ name }}"
    task.render_template_fields({"name": "x", "day": "2024-01-15"})
    expect(task, target="bronze.x", source=["raw.x"], partition_date="2024-01-15")
    assert task.branch == "phlo_x"


def test_what_is_wrong_is_said(tables, make_context):
    with pytest.raises(AirflowFailException, match="the operator a source"):
        execute(operator(checks=[KeyParityCheck(key_columns="id")]), make_context)
    with pytest.raises(AirflowFailException, match=r"raw\.nope does not exist"):
        execute(operator(source="raw.nope"), make_context)
    with pytest.raises(ConfigurationError, match="engine='spark'"):
        operator(source="raw.readings", engine="spark")
