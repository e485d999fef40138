"""One table, filled every day. Put your source in the place of the records."""

from __future__ import annotations

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.quality import CountCheck


@phlo_ingestion(
    table_name="readings",
    unique_key="id",
    validation_schema="include.schemas.readings:Reading",
    group="readings",
    cron="0 6 * * *",
    audit=[CountCheck(min_count=1)],
)
def readings(partition_date: str):
    """Readings of a day: any dlt source, or an iterator of records, Arrow tables or data frames."""
    for hour in range(24):
        yield {
            "id": f"{partition_date}-{hour:02}",
            "value": 20 + hour / 2,
            "taken_at": f"{partition_date}T{hour:02}:00Z",
        }


# safe-mode discovery of Airflow looks for the words airflow and dag
dag = readings.dag()
