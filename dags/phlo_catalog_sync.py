"""
Bring OpenMetadata up to date every night.

Paused until there is one: set OPENMETADATA_HOST and the connection openmetadata_default, then unpause it.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_phlo.operators.catalog_sync import CatalogSyncOperator

with DAG(
    "phlo_catalog_sync",
    schedule="0 3 * * *",
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    tags=["phlo"],
):
    CatalogSyncOperator(
        task_id="sync",
        quality_checks=True,
        contracts=True,
        dbt_projects=["include/dbt"],
        retries=3,
        retry_delay=timedelta(minutes=5),
    )
