"""QualityCheckOperator: all checks run, one error, a small result."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from airflow.sdk.api.datamodels._generated import DagRun
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.quality import CountCheck, NullCheck, UniqueCheck
from tests.expect import expect
from tests.lake import create_table, open_lake

NOW = datetime.now(UTC)
ROWS = pa.table({"id": ["a", "b", None], "_phlo_partition_date": [date(2024, 1, 15)] * 2 + [date(2024, 1, 16)]})


class Instance:
    """Keeps what a task pushes."""

    dag_id, run_id, task_id, map_index, try_number = "d", "manual", "check", None, 1
    log_url = "http://localhost:8080/base/dags/d/runs/manual%2B1/tasks/check?try_number=1"

    def __init__(self):
        self.pushed = {}

    def xcom_push(self, key, value):
        self.pushed[key] = value


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    catalog = open_lake(tmp_path)
    create_table(catalog, "raw.readings", ROWS)
    run = DagRun(
        dag_id="d",
        run_id="manual",
        run_type="manual",
        state="running",
        logical_date=None,
        data_interval_start=None,
        data_interval_end=None,
        run_after=NOW,
        start_date=NOW,
        end_date=None,
        conf={"partition_date": "2024-01-15"},
        consumed_asset_events=[],
        partition_key=None,
    )
    return {"ti": Instance(), "dag_run": run, "run_id": "manual"}


def operator(*checks, **arguments):
    return QualityCheckOperator(task_id="check", table="readings", checks=checks, **arguments)


def test_returns_what_was_found(context):
    found = json.loads(json.dumps(operator(CountCheck(3), UniqueCheck("id")).execute(context)))
    expect(found, table="raw.readings", branch="main", passed=True)
    assert [result["check_name"] for result in found["results"]] == ["CountCheck()", "UniqueCheck(id)"]
    assert found["results"][0]["row_count"] == 3


def test_a_blocking_failure_fails_the_task_for_good_and_is_reported(context):
    with pytest.raises(AirflowFailException, match=r"1 of 2 checks failed on raw.readings: NullCheck\(id\)"):
        operator(CountCheck(3), NullCheck("id")).execute(context)
    report = context["ti"].pushed["return_value"]
    assert [result["passed"] for result in report["results"]] == [True, False]


def test_a_failure_that_does_not_block_is_a_warning(context, capsys):
    found = operator(NullCheck("id"), blocking=False).execute(context)
    assert not found["passed"]
    assert "not blocking" in capsys.readouterr().out
    assert not operator(NullCheck("id", severity="warn")).execute(context)["passed"]


@pytest.mark.parametrize(
    "where",
    [{"partition_date": "2024-01-15"}, {"partition_column": "_phlo_partition_date"}],
    ids=["given", "the run's"],
)
def test_one_partition(context, where):
    assert operator(CountCheck(2, 2), NullCheck("id"), **where).execute(context)["passed"]


def test_templates(context):
    found = operator(CountCheck(1), branch="phlo_{{ run_id }}", partition_date="{{ day }}")
    found.render_template_fields({"run_id": "x", "day": "2024-01-15"})
    expect(found, branch="phlo_x", partition_date="2024-01-15")


def test_a_missing_table_fails_for_good(context):
    with pytest.raises(AirflowFailException, match=r"raw\.nope does not exist"):
        QualityCheckOperator(task_id="check", table="nope", checks=[CountCheck(1)]).execute(context)


def kept(tmp_path):
    catalog = open_lake(tmp_path)
    return catalog.load_table("phlo.check_results").scan().to_arrow().to_pylist()


def test_the_log_shows_a_table(context, caplog):
    caplog.set_level("INFO")
    operator(CountCheck(3), NullCheck("id", severity="warn")).execute(context)
    (shown,) = [message for message in caplog.messages if message.startswith("Checks of raw.readings, branch main:")]
    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["outcome", "passed", "WARNING"]


def test_results_are_kept_whatever_comes_out(context, tmp_path):
    operator(CountCheck(3)).execute(context)
    with pytest.raises(AirflowFailException):
        operator(NullCheck("id"), partition_date="2024-01-16").execute(context)
    rows = kept(tmp_path)
    assert {(row["check_name"], row["passed"], row["partition"], row["branch"]) for row in rows} == {
        ("CountCheck()", True, None, "main"),
        ("NullCheck(id)", False, "2024-01-16", "main"),
    }
    assert {(row["dag_id"], row["run_id"], row["task_id"], row["try_number"]) for row in rows} == {
        ("d", "manual", "check", 1)
    }


def test_results_are_not_kept_where_that_is_switched_off(context, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PHLO__CHECK_RESULTS", "False")
    operator(CountCheck(3)).execute(context)
    assert not open_lake(tmp_path).table_exists("phlo.check_results")


def test_results_that_cannot_be_kept_are_a_warning(context, tmp_path, caplog):
    catalog = open_lake(tmp_path)
    ensure_namespace(catalog, "phlo")
    catalog.create_table("phlo.check_results", pa.schema([("checked_at", pa.string())]))
    assert operator(CountCheck(3)).execute(context)["passed"]
    (warning,) = [message for message in caplog.messages if "not recorded in phlo.check_results" in message]
    assert "check_results = False" in warning


def test_links_lead_to_the_results_and_to_the_table(context):
    task = operator(CountCheck(3))
    links = {link.name: link.get_link(task, ti_key=context["ti"]) for link in task.operator_extra_links}
    assert links == {
        "Check results": "http://localhost:8080/base/dags/d/runs/manual%2B1/tasks/check/xcom",
        "Table": "http://localhost:8080/base/assets?name_pattern=raw.readings",
    }


def test_an_engine_that_is_not_known_is_refused(context, monkeypatch):
    with pytest.raises(ConfigurationError, match="engine='spark'"):
        operator(CountCheck(3), engine="spark")
    monkeypatch.setenv("AIRFLOW__PHLO__ENGINE", "spark")
    with pytest.raises(AirflowFailException, match="engine='spark'"):
        operator(CountCheck(3)).execute(context)


def test_a_killed_task_ends_its_query():
    task = operator(CountCheck(3))
    task.on_kill()
    ended = []
    task._trino = type("Queries", (), {"cancel": lambda self: ended.append(True)})()
    task.on_kill()
    assert ended == [True]
