"""Which day a run is for, as its tasks themselves decide, of what Airflow's API says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from airflow_provider_phlo.airflow_api.client import run_path
from airflow_provider_phlo.cron import is_cron
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.runs import partition_date

_MOMENTS = ("logical_date", "data_interval_start", "data_interval_end", "run_after", "partition_date")
_BY_ASSETS = "asset_triggered"
_DELTA = re.compile(r"(?:(?P<days>\d+) days?, )?(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d)(?:\.\d+)?")


class RunDays:
    """
    The days that runs of a DAG are for.

    :param assets: the Airflow that has the DAG.
    """

    def __init__(self, assets: AssetMap, dag_id: str) -> None:
        self._assets = assets
        self._dag_id = dag_id

    def of(self, run: Mapping[str, Any]) -> str | None:
        """
        Return the day of a run, ``YYYY-MM-DD``; None if its tasks refuse to be for a day.

        :param run: as the API has it.
        """
        moments = {name: _moment(run.get(name)) for name in _MOMENTS}
        events = {"": self._events(run)} if run["run_type"] == _BY_ASSETS else {}
        context = {
            "dag_run": SimpleNamespace(**{**run, **moments}),
            "dag": self,
            "triggering_asset_events": events,
        }
        try:
            return partition_date(context)
        except ConfigurationError:
            return None

    @cached_property
    def timetable(self) -> SimpleNamespace:
        """The schedule, as far as its summary says what it is."""
        summary = str(self._assets.details(self._dag_id)["timetable_summary"] or "")
        return _timetable(summary, self._assets.schedule_zone(self._dag_id))

    def _events(self, run: Mapping[str, Any]) -> list[SimpleNamespace]:
        found = self._assets.api.call("GET", f"{run_path(self._dag_id, run['dag_run_id'])}/upstreamAssetEvents")
        return [
            SimpleNamespace(
                extra=event["extra"],
                partition_key=event.get("partition_key"),
                asset=SimpleNamespace(uri=event.get("uri")),
            )
            for event in found["asset_events"]
        ]


def _timetable(summary: str, zone: tzinfo) -> SimpleNamespace:
    summary = summary.removeprefix("Asset or ")
    crons = summary.split(", ")
    if all(map(is_cron, crons)):
        return SimpleNamespace(timetables=[SimpleNamespace(expression=cron, timezone=zone) for cron in crons])
    delta = _DELTA.fullmatch(summary)
    if delta is None:
        return SimpleNamespace()
    return SimpleNamespace(delta=timedelta(**{name: int(value or 0) for name, value in delta.groupdict().items()}))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
