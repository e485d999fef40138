"""The DAGs that the API of public events starts, without GitHub."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from airflow_provider_phlo.events.terms import INGEST_DAG, LOAD_DAG, LOAD_TASK
from airflow_provider_phlo.operators.file_load import FileLoadOperator

for dag_id in (INGEST_DAG, LOAD_DAG):
    with DAG(dag_id, schedule=None, start_date=datetime(2020, 1, 1, tzinfo=UTC), catchup=False) as dag:
        FileLoadOperator(task_id=LOAD_TASK)
    globals()[dag_id] = dag
