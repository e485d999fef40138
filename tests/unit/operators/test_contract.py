"""Contracts that gate: before rows are published, as a part of the audit, and as a task of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk import DAG
from airflow.sdk.api.datamodels._generated import DagRun
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo import phlo_ingestion, phlo_quality
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.contract import ContractCheck, ContractOperator
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.quality import CountCheck
from tests.lake import create_table, open_lake

NOW = datetime.now(UTC)
CONTRACT = """
name: readings
version: 1.0.0
owner: data
table: raw.readings
schema:
  required_columns:
    - {name: id, type: string, constraints: {required: true, unique: true}}
    - {name: value, type: long, constraints: {max: 600}}
sla: {freshness_hours: 24, quality_threshold: 0.9}
consumers: [{name: dashboard}, {name: doctors}]
"""


class Instance:
    """Keeps what a task pushes."""

    dag_id, run_id, task_id, map_index, try_number = "d", "manual", "contract", None, 1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    folder = tmp_path / "include" / "contracts"
    folder.mkdir(parents=True)
    (folder / "glucose.yaml").write_text(CONTRACT)
    create_table(open_lake(tmp_path), "raw.readings", pa.table({"id": ["a", "b"], "value": [100, 700]}))
    return tmp_path


def context() -> dict[str, Any]:
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
        conf={},
        consumed_asset_events=[],
        partition_key=None,
    )
    return {"ti": Instance(), "dag_run": run, "run_id": "manual"}


def operator(project: Path, contract: str = "readings", **arguments: Any) -> ContractOperator:
    dag = DAG("d", schedule=None)
    dag.fileloc = str(project / "dags" / "team" / "file.py")
    return ContractOperator(task_id="contract", contract=contract, dag=dag, **arguments)


def test_a_breach_fails_the_task_and_names_who_relies_on_it(project: Path) -> None:
    given = context()
    with pytest.raises(AirflowFailException) as raised:
        operator(project).execute(given)
    said = str(raised.value)
    assert "readings: value range: value must be <= 600: broken by 1 of 2 rows" in said
    assert "Relied on by dashboard, doctors." in said
    pushed = json.loads(json.dumps(given["ti"].pushed["return_value"]))
    assert (pushed["passed"], pushed["consumers"]) == (False, ["dashboard", "doctors"])
    assert pushed["not_judged"] == ["quality of raw.readings: no run has read rows for it in the last 7 days"]
    kept = open_lake(project).load_table("phlo.check_results").scan().to_arrow().to_pylist()
    assert {(row["check_name"], row["check_type"], row["passed"]) for row in kept} == {
        ("readings: columns", "schema", True),
        ("readings: id required", "not_null", True),
        ("readings: id unique", "unique", True),
        ("readings: value range", "range", False),
        ("readings: freshness", "service_level", True),
    }
    assert json.loads(next(row["metrics"] for row in kept if not row["passed"]))["version"] == "1.0.0"


def test_one_that_does_not_block_only_warns(project: Path) -> None:
    assert operator(project, blocking=False).execute(context())["passed"] is False


def test_a_contract_that_is_not_there_is_an_error_of_the_dag_file(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"There is no contract reading in .*Did you mean readings\?"):
        operator(project, "reading")
    assert operator(project, "include/contracts/glucose.yaml").contract
    folder = project / "include" / "contracts"
    (folder / "twin.yaml").write_text((folder / "glucose.yaml").read_text())
    with pytest.raises(ConfigurationError, match=r"Several contracts are called readings: .*glucose.yaml, .*twin.yaml"):
        operator(project, "readings")


def declared(project: Path, contract: str, **arguments: Any) -> Any:
    """Return an ingestion whose function is in a file of the project."""
    space: dict[str, Any] = {}
    code = "def readings():\n    return [{'id': 'a', 'value': 1}]\n"
    exec(compile(code, str(project / "dags" / "readings.py"), "exec"), space)
    return phlo_ingestion(
        "readings", "id", "include.schemas.glucose:RawGlucoseEntries", "demo", contract=contract, **arguments
    )(space["readings"])


def test_the_audit_enforces_the_contract_of_an_ingestion(project: Path) -> None:
    dag = declared(project, "readings", audit=[CountCheck(1)]).dag()
    audit, publish = dag.get_task("readings.audit"), dag.get_task("readings.publish")
    assert [check.check_name() for check in audit.checks] == ["CountCheck()", "contract readings"]
    assert publish.audit == audit.checks
    (asset,) = publish.outlets
    assert asset.extra["contract"] == "readings"
    assert [check.name for check in audit.lineage().checks] == ["CountCheck()", "contract readings"]
    with pytest.raises(AirflowFailException, match=r"1 of 5 checks failed.*value range.*Relied on by dashboard"):
        QualityCheckOperator(task_id="a", table="readings", checks=audit.checks).execute(context())


def test_it_sees_all_rows_where_the_audit_sees_one_partition(project: Path) -> None:
    quality = phlo_quality("readings", [CountCheck(1)], partition_column="_phlo_partition_date")(lambda: None)
    dag = declared(project, "readings", audit=quality).dag()
    assert [check.check_name() for check in dag.get_task("readings.contract").checks] == ["contract readings"]
    assert dag.get_task("readings.contract").partition_column is None
    assert [check.check_name() for check in dag.get_task("readings.publish").audit_of_all] == ["contract readings"]


def test_a_contract_that_an_ingestion_cannot_have(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"@phlo_ingestion on readings: There is no contract raedings"):
        declared(project, "raedings")
    file = project / "include" / "contracts" / "glucose.yaml"
    check = ContractCheck("readings", file, "raw.others")
    with pytest.raises(ConfigurationError, match=r"readings promises nothing of raw.others: it is about raw.readings"):
        check.parts()
    file.write_text(CONTRACT.replace("max: 600", "maximum: 600"))
    with pytest.raises(AirflowFailException, match=r"constraints.maximum is not known"):
        QualityCheckOperator(task_id="a", table="readings", checks=[check]).execute(context())
