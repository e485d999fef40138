"""What a task knows about its run: the partition date it is for, and the token that makes its retries harmless."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError

_HOW = 'trigger with --conf \'{"partition_date": "2024-01-15"}\''


def partition_date(context: Mapping[str, Any]) -> str:
    """
    Return the run's partition date, ``YYYY-MM-DD``.

    The first that there is of: ``partition_date`` in the run's conf; the partition key; the partition of the asset
    event that triggered the run; the UTC day on which the interval that a scheduled run covers starts; the day of the
    logical date of a manual run; today.

    :param context: Airflow's task context.
    :raises ConfigurationError: if it is not a date, or lies in the future.
    """
    run = context["dag_run"]
    given = (run.conf or {}).get("partition_date")
    found = (
        _parsed(given, "the run's conf")
        if given is not None
        else _of_partition_key(run) or _of_asset_events(context) or _of_schedule(context)
    )
    today = datetime.datetime.now(datetime.UTC).date()
    if found > today:
        raise ConfigurationError(f"partition_date {found} lies in the future, today (UTC) is {today}: {_HOW}.")
    return found.isoformat()


def token(context: Mapping[str, Any], table: str) -> str:
    """
    Return the token of this run for ``table``.

    Every retry of a task has the same one; a run that is cleared and started anew has another.
    """
    run, instance = context["dag_run"], context["ti"]
    group = instance.task_id.rpartition(".")[0]
    parts = (
        run.dag_id, run.run_id, run.clear_number or 0, run.start_date, group, getattr(instance, "map_index", -1), table
    )  # fmt: skip
    return blake2b("\n".join(map(str, parts)).encode(), digest_size=8).hexdigest()


def _parsed(value: Any, origin: str) -> datetime.date:
    try:
        if len(str(value)) != len("2024-01-15"):
            raise ValueError
        return datetime.date.fromisoformat(str(value))
    except ValueError:
        raise ConfigurationError(f"partition_date {value!r} in {origin} is not a date YYYY-MM-DD: {_HOW}.") from None


def _of_partition_key(run: Any) -> datetime.date | None:
    if getattr(run, "partition_date", None) is not None:
        return _utc_day(run.partition_date)
    key = getattr(run, "partition_key", None)
    return _parsed(key[:10], "the partition key") if key else None


def _of_asset_events(context: Mapping[str, Any]) -> datetime.date | None:
    """Return the newest partition among the events that triggered the run."""
    days = []
    for events in (context.get("triggering_asset_events") or {}).values():
        for event in events:
            given = (event.extra or {}).get("partition_date") or getattr(event, "partition_key", None)
            if given:
                days.append(_parsed(str(given)[:10], f"the event of asset {event.asset.uri}"))
    return max(days, default=None)


def _of_schedule(context: Mapping[str, Any]) -> datetime.date:
    run = context["dag_run"]
    if run.logical_date is None:
        return _utc_day(run.run_after)
    if str(getattr(run.run_type, "value", run.run_type)) not in ("scheduled", "backfill"):
        return _utc_day(run.logical_date)
    start, end = run.data_interval_start, run.data_interval_end
    if start is not None and start != end:
        return _utc_day(start)
    return _utc_day(_previous_tick(context["dag"].timetable, run.logical_date))


def _previous_tick(timetable: Any, moment: datetime.datetime) -> datetime.datetime:
    """
    Return the tick before ``moment``.

    Airflow 3's cron timetables give a run an empty interval at its tick; what it covers began one tick earlier.
    """
    several = getattr(timetable, "timetables", None)
    if several:
        return max(_previous_tick(each, moment) for each in several)
    delta = getattr(timetable, "delta", None)
    if delta is not None:
        return moment - delta  # type: ignore[no-any-return]
    expression = getattr(timetable, "expression", None)
    if expression is None:
        return moment
    from croniter import croniter
    from pendulum import timezone

    zone = timetable.timezone
    local = moment.astimezone(timezone(zone) if isinstance(zone, str) else zone)
    return croniter(expression, local).get_prev(datetime.datetime)  # type: ignore[no-any-return]


def _utc_day(moment: datetime.datetime) -> datetime.date:
    return moment.astimezone(datetime.UTC).date()
