"""What was written into an asset that is not a table, such as a mart in Postgres: its events in Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow_provider_phlo.metrics.loads import COUNTS, Load, TableLoads

if TYPE_CHECKING:
    from airflow_provider_phlo.airflow_api.client import AirflowApi
    from airflow_provider_phlo.metrics.figures import Period


def asset_loads(api: AirflowApi, name: str, period: Period) -> TableLoads | None:
    """
    Return what the events of an asset say of the period, and the last event before it ended.

    :param name: of the asset.
    :return: None if Airflow does not know the asset.
    """
    query = urlencode({"name_pattern": name, "only_active": "true"})
    assets = [asset for asset in api.pages(f"/assets?{query}", "assets") if asset["name"] == name]
    if not assets:
        return None
    asset = urlencode({"asset_id": assets[0]["id"], "timestamp_lt": period.until.isoformat()})
    last = api.call("GET", f"/assets/events?{asset}&order_by=-timestamp&limit=2")["asset_events"]
    since = urlencode({"timestamp_gte": period.since.isoformat(), "order_by": "timestamp"})
    events = [*api.pages(f"/assets/events?{asset}&{since}", "asset_events"), *last]
    loads = _loads(events)
    rows = next((event["extra"]["rows"] for event in last if _is_count((event["extra"] or {}).get("rows"))), None)
    return TableLoads(name, loads, known_since=None, undone=0, total_rows=rows)


def _loads(events: Iterable[Mapping[str, Any]]) -> tuple[Load, ...]:
    """Return one for each task that emitted events: one with a day as its key has a twin without."""
    by_task = {
        (event["source_dag_id"], event["source_run_id"], event["source_task_id"], event["source_map_index"]): event
        for event in events
    }
    return tuple(sorted(map(_load, by_task.values()), key=lambda load: load.at))


def _load(event: Mapping[str, Any]) -> Load:
    extra = event["extra"] or {}
    counts = {name: extra[name] for name in COUNTS if _is_count(extra.get(name))}
    at = datetime.fromisoformat(event["timestamp"]).astimezone(UTC)
    return Load(at, "", event["source_run_id"] or "", str(extra.get("partition_date") or ""), counts)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
