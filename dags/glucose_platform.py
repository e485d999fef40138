"""Glucose readings from Nightscout to audited marts in Postgres, every day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Param, dag

from airflow_provider_phlo import phlo_ingestion, phlo_quality
from airflow_provider_phlo.dbt import phlo_dbt_task_group
from airflow_provider_phlo.operators.contract import ContractOperator
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.operators.reconcile import ReconcileOperator
from airflow_provider_phlo.quality import FreshnessCheck, NullCheck, RangeCheck, RowCountAnomalyCheck, UniqueCheck
from airflow_provider_phlo.quality.reconciliation import (
    AggregateSpec,
    KeyParityCheck,
    MultiAggregateConsistencyCheck,
    ReconciliationCheck,
)


@phlo_ingestion(
    table_name="glucose_entries",
    unique_key="_id",
    validation_schema="include.schemas.glucose:RawGlucoseEntries",
    group="glucose",
    cron="0 6 * * *",
    strict_validation=False,
    audit=[
        NullCheck(columns=["_id", "sgv"]),
        RangeCheck(column="sgv", min_value=1, max_value=1000),
        RowCountAnomalyCheck(severity="warn"),
        FreshnessCheck(column="_cascade_ingested_at", max_age_hours=36, severity="warn"),
    ],
    resources={"site": "nightscout_default"},
)
def glucose_entries(partition_date, context, site):
    """Fetch the day's readings, and those of ``lookback_days`` days before it."""
    from airflow_provider_phlo.sources.nightscout import connection_arguments, day_window, nightscout

    start, end = day_window(partition_date)
    start -= timedelta(days=context["params"]["lookback_days"])
    return nightscout(**connection_arguments(site), start=start, end=end)


@phlo_quality(
    table="raw.glucose_entries",
    checks=[NullCheck(columns=["_id", "sgv", "date"]), UniqueCheck(columns=["_id"])],
    group="glucose",
)
def glucose_quality():
    """Nothing downstream runs on a table with missing or double readings."""


def reconcile_readings():
    """Every raw reading is in bronze, under the day of the run that brought it."""
    return ReconcileOperator(
        task_id="reconcile_readings",
        source="raw.glucose_entries",
        target="bronze.stg_glucose_entries",
        checks=[
            ReconciliationCheck(
                partition_column="partition_date", source_columns={"partition_date": "_phlo_partition_date"}
            ),
            KeyParityCheck(key_columns=["entry_id"], source_columns={"entry_id": "_id"}),
        ],
    )


def reconcile_days():
    """The daily figures are those of the readings."""
    return ReconcileOperator(
        task_id="reconcile_days",
        source="silver.fct_glucose_readings",
        target="gold.fct_daily_glucose_metrics",
        checks=[
            MultiAggregateConsistencyCheck(
                group_by="reading_date",
                aggregates=[
                    AggregateSpec("readings", "count(*)", "reading_count"),
                    AggregateSpec("mean", "avg(glucose_mg_dl)", "avg_glucose_mg_dl", tolerance=1e-9),
                    AggregateSpec("lowest", "min(glucose_mg_dl)", "min_glucose_mg_dl"),
                    AggregateSpec("highest", "max(glucose_mg_dl)", "max_glucose_mg_dl"),
                ],
            )
        ],
    )


def contract():
    """Those who rely on the readings hear of a broken promise; values that are states of a sensor stop nothing."""
    return ContractOperator(task_id="contract", contract="glucose_readings", blocking=False)


@dag(
    schedule="0 6 * * *",
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["glucose"],
    params={"lookback_days": Param(0, type="integer", minimum=0, maximum=366, description="days before the partition")},
    doc_md=__doc__,
)
def glucose_platform():
    quality = glucose_quality()
    (
        glucose_entries()
        >> quality
        >> phlo_dbt_task_group(select="path:models/glucose", group_id="glucose_models")
        >> [reconcile_readings(), reconcile_days()]
        >> PublishOperator(
            task_id="publish_marts",
            tables={
                "mrt_glucose_overview": "marts.mrt_glucose_overview",
                "mrt_glucose_hourly_patterns": "marts.mrt_glucose_hourly_patterns",
            },
        )
    )
    quality >> contract()  # stops nothing, so nothing waits for it


glucose_platform()
