"""What a task knows about its run: the partition date it is for, and the token that makes its retries harmless."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

from airflow_provider_phlo.cron import is_cron, schedule
from airflow_provider_phlo.exceptions import ConfigurationError

_HOW = 'trigger with --conf \'{"partition_date": "2024-01-15"}\''
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def partition_date(context: Mapping[str, Any], given: Any = None) -> str:
    """
    Return the run's partition date, ``YYYY-MM-DD``.

    The first of these that is set: ``given``; ``partition_date`` in the run's conf; the partition key; the partition of
    the asset event that triggered the run; the UTC day on which the interval that a scheduled run covers starts; the
    day of the logical date of a manual run; today.

    :param context: Airflow's task context.
    :param given: what the task's own arguments say, if anything.
    :raises ConfigurationError: if it is not a date, or lies in the future.
    """
    run = context["dag_run"]
    configured = (run.conf or {}).get("partition_date")
    if given:
        found = _day(given, "the task's arguments")
    elif configured is not None:
        found = _day(configured, "the run's conf")
    else:
        found = _of_partition_key(run) or _of_asset_events(context) or _of_schedule(context)
    today = datetime.datetime.now(datetime.UTC).date()
    if found > today and not _is_begun_partition(run, found):
        raise ConfigurationError(f"partition_date {found} lies in the future, today (UTC) is {today}: {_HOW}.")
    return found.isoformat()


REPLAY = "phlo_replay"
_SELECTION = ("run_id", "reason", "ids")


def replay(context: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    Return what the run is to replay from a quarantine, or None for an ordinary run.

    :param context: Airflow's task context.
    :returns: ``table``; perhaps ``group``, the task group that fills it; and which records: ``run_id``, ``reason``,
        ``ids``.
    :raises ConfigurationError: if the run's conf has it in another form.
    """
    found = (context["dag_run"].conf or {}).get(REPLAY)
    if found is None:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("table"), str):
        raise ConfigurationError(f'{REPLAY} in the run\'s conf: give {{"{REPLAY}": {{"table": "namespace.table"}}}}.')
    unknown = sorted(set(found) - {"table", "group", *_SELECTION})
    if unknown:
        raise ConfigurationError(f"{REPLAY} has unknown {', '.join(unknown)}: it takes {', '.join(_SELECTION)}.")
    return found


def is_replayed_here(wanted: Mapping[str, Any], context: Mapping[str, Any], table: str) -> bool:
    """Return whether this task is the one to replay: of that table, of that group, and the first if mapped."""
    instance = context["ti"]
    group = wanted.get("group")
    here = group is None or group == instance.task_id.rpartition(".")[0]
    return bool(wanted["table"] == table and here and getattr(instance, "map_index", -1) <= 0)


def token(context: Mapping[str, Any], table: str) -> str:
    """
    Return the token of this run for ``table``.

    All retries of a task have the same one; a run that is cleared and started anew has another.
    """
    run, instance = context["dag_run"], context["ti"]
    group = instance.task_id.rpartition(".")[0]
    parts = (
        run.dag_id, run.run_id, run.clear_number or 0, run.start_date, group, getattr(instance, "map_index", -1), table
    )  # fmt: skip
    return blake2b("\n".join(map(str, parts)).encode(), digest_size=8).hexdigest()


def _day(value: Any, origin: str) -> datetime.date:
    """Return the date that ``YYYY-MM-DD`` names; Python's own parser would accept week dates too."""
    try:
        if not _DAY.fullmatch(str(value)):
            raise ValueError
        return datetime.date.fromisoformat(str(value))
    except ValueError:
        raise ConfigurationError(f"partition_date {value!r} in {origin} is not a date YYYY-MM-DD: {_HOW}.") from None


def _of_partition_key(run: Any) -> datetime.date | None:
    """A key that is a day means that day, in whatever zone its timetable counts days; any other means a moment."""
    key, moment = _partition(run)
    if key and _DAY.fullmatch(key):
        return _day(key, "the partition key")
    if moment is not None:
        return _utc_day(moment)
    day = _of_text(key) if key else None
    if key and day is None:
        raise ConfigurationError(f"The partition key {key!r} does not contain a date: {_HOW}.")
    return day


def _is_begun_partition(run: Any, day: datetime.date) -> bool:
    """Return whether ``day`` is the run's key and has begun: east of Greenwich it does so before the UTC day does."""
    key, moment = _partition(run)
    return moment is not None and key == day.isoformat() and moment <= datetime.datetime.now(datetime.UTC)


def _partition(run: Any) -> tuple[str | None, datetime.datetime | None]:
    # Airflow 3.2 has no partition_date
    return run.partition_key, getattr(run, "partition_date", None)


def _of_asset_events(context: Mapping[str, Any]) -> datetime.date | None:
    """
    Return the partition of the events that triggered the run.

    :raises ConfigurationError: if they are of several days: one run is for one day, and none may be left out.
    """
    days = sorted(set(_days_of_events(context)))
    if len(days) > 1:
        dag_id = context["dag_run"].dag_id
        raise ConfigurationError(
            f"The asset events that triggered this run are of {len(days)} days, and a run is for one: nothing was "
            f"done. Run each of them ({', '.join(map(str, days))}), as in: airflow dags trigger {dag_id} --conf "
            f'\'{{"partition_date": "{days[0]}"}}\'. Scheduled by PartitionedAssetTimetable(assets=…), the DAG gets '
            "one run per day by itself."
        )
    return days[0] if days else None


def _days_of_events(context: Mapping[str, Any]) -> Iterator[datetime.date]:
    for events in (context.get("triggering_asset_events") or {}).values():
        for event in events:
            given = (event.extra or {}).get("partition_date")
            if given:
                yield _day(given, f"the event of asset {event.asset.uri}")
            elif event.partition_key and (day := _of_text(event.partition_key)):  # others partition by other things
                yield day


def _of_text(text: str) -> datetime.date | None:
    """Return the day of an ISO date or time, in UTC if it names a zone."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.date() if moment.tzinfo is None else _utc_day(moment)


def _of_schedule(context: Mapping[str, Any]) -> datetime.date:
    run = context["dag_run"]
    if run.logical_date is None:
        return _utc_day(run.run_after)
    if run.run_type not in ("scheduled", "backfill"):
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
    within = _argument(timetable, "timetable")  # inside a schedule of time or assets
    if within:
        return _previous_tick(within, moment)
    several = _argument(timetable, "timetables")
    if several:
        return max(_previous_tick(each, moment) for each in several)
    delta = _argument(timetable, "delta")
    if delta:
        return moment - delta
    expression = _argument(timetable, "expression")
    return _previous_cron_tick(expression, _argument(timetable, "timezone"), moment) if expression else moment


def _previous_cron_tick(expression: str, zone: Any, moment: datetime.datetime) -> datetime.datetime:
    from pendulum import timezone

    return schedule(expression, timezone(zone) if isinstance(zone, str) else zone).before(moment)


def cron_and_zone(context: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the cron expression that schedules a run's DAG and the name of its zone; None if none, or several, do."""
    timetable = getattr(context.get("dag"), "timetable", None)
    timetable = _argument(timetable, "timetable") or timetable  # inside a schedule of time or assets
    expression, zone = _argument(timetable, "expression"), _argument(timetable, "timezone")
    name = zone if isinstance(zone, str) else getattr(zone, "name", None)
    return (expression, name) if isinstance(expression, str) and name and is_cron(expression) else None


def _argument(timetable: Any, name: str) -> Any:
    """Return an argument of a timetable; those of ``airflow.timetables`` keep it in a private attribute."""
    return getattr(timetable, name, None) or getattr(timetable, f"_{name}", None)


def _utc_day(moment: datetime.datetime) -> datetime.date:
    return moment.astimezone(datetime.UTC).date()
