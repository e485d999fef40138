"""Dags that are started in every way Airflow knows; each run notes its partition date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import CronPartitionTimetable, PartitionedAssetTimetable, dag

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.assets.iceberg import iceberg_asset, iceberg_asset_ref

START = {"start_date": datetime(2020, 1, 1, tzinfo=UTC), "catchup": False}
BY_DAY = CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")


def noting(name):
    """Return an ingestion that notes its partition date in table ``raw.<name>``."""

    def note(partition_date, context):
        return [{"id": context["run_id"], "day": partition_date}]

    note.__name__ = name
    return phlo_ingestion(name, "id", None, "test", cron="0 6 * * *")(note)


noting("cron_daily").dag()
noting("cron_hourly").dag(schedule="0 * * * *")
noting("every_day").dag(schedule=timedelta(days=1))
noting("untimed").dag(schedule=None)
noting("keyed").dag(schedule=BY_DAY)
noting("after_asset").dag(schedule=[iceberg_asset("untimed")])
noting("after_untimed").dag(schedule=PartitionedAssetTimetable(assets=iceberg_asset_ref("untimed")))
noting("after_key").dag(schedule=PartitionedAssetTimetable(assets=iceberg_asset("keyed")))


@dag(schedule="0 6 * * *", **START)
def by_hand():
    noting("hand_written")()


by_hand()
