"""Every task of ours leads to its tables in Airflow's pages."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from airflow_provider_phlo.dbt.rendering.operators import DbtModelOperator
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.links import TableLink
from airflow_provider_phlo.operators.maintenance import MaintenanceOperator
from airflow_provider_phlo.operators.merge import MergeOperator
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.operators.publish_branch import PublishBranchOperator, PublishTogetherOperator
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.operators.reconcile import ReconcileOperator
from airflow_provider_phlo.sensors.partition import PhloPartitionSensor

KEY = {"table": "readings", "unique_key": "id"}


@pytest.mark.parametrize(
    ("operator_class", "arguments", "wanted"),
    [
        (IngestOperator, {**KEY, "source": lambda: None}, "raw.readings"),
        (MergeOperator, {**KEY, "staged": {}}, "raw.readings"),
        (PublishBranchOperator, {**KEY, "merged": {}}, "raw.readings"),
        (QualityCheckOperator, {"table": "gold.daily", "checks": []}, "gold.daily"),
        (ReconcileOperator, {"source": "raw.readings", "target": "gold.daily"}, "gold.daily"),
        (DbtModelOperator, {"model": "m", "table": "gold.m", "project_dir": "x"}, "gold.m"),
        (PublishOperator, {"tables": {"a": "marts.mrt_daily", "b": "marts.mrt_days"}}, "marts.mrt_da"),
        (MaintenanceOperator, {"tables": "raw.*"}, "raw."),
        (PhloPartitionSensor, {"table": "readings"}, "raw.readings"),
    ],
)
def test_the_link_leads_to_the_tables(operator_class, arguments, wanted):
    task = operator_class(task_id="a_task", **arguments)
    (link,) = [each for each in task.operator_extra_links if isinstance(each, TableLink)]
    running = SimpleNamespace(log_url="http://airflow/dags/d/runs/r/tasks/a_task?try_number=1")
    assert link.get_link(task, ti_key=running) == f"http://airflow/assets?name_pattern={wanted}"


def test_tables_without_a_common_name_lead_to_all():
    with DAG("together", schedule=None):
        tables = ("bronze.a", "silver.b")
        merges = [MergeOperator(task_id=name, staged={}, table=name, unique_key="id") for name in tables]
        task = PublishTogetherOperator(task_id="publish", merges=merges)
    running = SimpleNamespace(log_url="http://airflow/dags/d/runs/r/tasks/publish")
    assert TableLink().get_link(task, ti_key=running) == "http://airflow/assets"
