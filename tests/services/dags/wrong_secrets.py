"""Tasks whose connections have a wrong secret, each in a way of its own."""

import logging

from airflow.sdk import DAG, task

from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.quality import CountCheck

CONNECTIONS = ("postgres", "postgres_address", "s3", "rest", "rest_address", "rest_token")


@task
def careless():
    """Log everything there is to know."""
    for name in CONNECTIONS:
        logging.getLogger(__name__).warning("%s: %s", name, PhloIcebergHook(f"wrong_{name}").properties)


with DAG("wrong_secrets", schedule=None):
    for name in CONNECTIONS:
        QualityCheckOperator(
            task_id=name, table="raw.t", checks=[CountCheck(min_count=1)], iceberg_conn_id=f"wrong_{name}", retries=0
        )
    # the staging area's connection is a wrong one too
    IngestOperator(task_id="staging", table="t", unique_key="k", source=lambda: [{"k": 1}], retries=0)

with DAG("careless", schedule=None):
    careless()
