"""MaintenanceOperator: what it hands on, what it returns, and which errors Airflow retries."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg.maintenance import planning
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.operators.maintenance import MaintenanceOperator
from tests.expect import expect

ROWS = pa.table({"k": [1]})


@pytest.fixture
def catalog(catalog):
    for name in ("raw.readings", "raw.other", "marts.daily"):
        ensure_namespace(catalog, name.partition(".")[0])
        table = catalog.create_table(name, ROWS.schema)
        for _ in range(3):
            table.append(ROWS)
    return catalog


def execute(make_context, **arguments):
    task = MaintenanceOperator(task_id="maintenance", **arguments)
    return json.loads(json.dumps(task.execute(make_context(task))))


def files(catalog, table="raw.readings"):
    return len(list(catalog.load_table(table).scan().plan_files()))


def test_it_maintains_the_tables_of_a_pattern(catalog, make_context):
    result = execute(make_context, tables=["raw.*"], snapshot_days=0, keep_last=1, force=True)
    assert result["dry_run"] is False
    assert set(result["tables"]) == {"raw.readings", "raw.other"}
    jobs = result["tables"]["raw.readings"]
    assert (jobs["compaction"]["files_after"], jobs["expiry"]) == (1, {"snapshots": 2, "branches": []})
    assert (files(catalog), files(catalog, "marts.daily")) == (1, 3)


def test_a_bare_name_is_of_the_default_namespace(catalog, make_context):
    result = execute(make_context, tables="readings", jobs=["compaction"], dry_run=True)
    assert result["dry_run"] is True
    assert result["tables"]["raw.readings"]["compaction"]["files"] == 3
    assert files(catalog) == 3


def test_templates():
    task = MaintenanceOperator(task_id="maintenance", tables=["{{ name }}.*"], jobs=["{{ job }}"])
    task.render_template_fields({"name": "raw", "job": "expiry"})
    expect(task, tables=["raw.*"], jobs=["expiry"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tables": "nope"}, r"No table is named raw\.nope"),
        ({"tables": "readings", "orphan_days": 0}, "running writer"),
        ({"tables": "readings", "snapshot_days": 0}, "running query"),
        ({"tables": "readings", "jobs": ["vacuum"]}, "name some of"),
        ({"tables": "readings", "keep_last": 0}, "keep_last"),
        ({"tables": "readings", "iceberg_conn_id": "elsewhere"}, "'elsewhere' is not set"),
    ],
)
def test_what_a_retry_cannot_cure_fails_at_once(catalog, make_context, arguments, message):
    with pytest.raises(AirflowFailException, match=message):
        execute(make_context, **arguments)
    assert files(catalog) == 3


def test_busy_tables_are_retried_after_the_others_are_done(catalog, make_context, monkeypatch):
    works = planning.run

    def run(catalog, table, *args, **options):
        if table == "raw.other":
            raise CommitConflictError("raw.other is busy")
        return works(catalog, table, *args, **options)

    monkeypatch.setattr(planning, "run", run)
    with pytest.raises(CommitConflictError, match=r"raw\.other is busy"):
        execute(make_context, tables=["raw.*"])
    assert files(catalog) == 1
