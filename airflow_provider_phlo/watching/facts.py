"""What is kept of a table between rounds: what verdicts need of its metadata, and no more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.metrics.loads import TableLoads, table_loads
from airflow_provider_phlo.quality.freshness import CLOCK_SKEW, TablePolicy, table_policy
from airflow_provider_phlo.terms import PartitionDate

if TYPE_CHECKING:
    from pyiceberg.table import Table

# the rows of a day are compared with those of twelve weeks before it
DAYS_KEPT = 90
_QUARANTINE_WINDOW = timedelta(days=1)


@dataclass(frozen=True)
class DayRead:
    """What the runs of one day have read: how many records, in how many publications."""

    read: int
    loads: int


@dataclass(frozen=True)
class TableFacts:
    """
    What verdicts on a table rest on.

    :param policy: what stands with the table; None if nothing does.
    :param problem: why its policy cannot be read; empty if it can.
    :param current_as_of: see :meth:`~..metrics.loads.TableLoads.current_as_of`.
    :param known_since: what was published before has expired; None if everything is known.
    :param days: what was read for each of the last days, by partition date; only of this package's runs.
    :param read: records that were read in the day up to the newest publication.
    :param quarantined: how many of those were set aside.
    :param is_final: whether no publication is ahead of the clock: then the same metadata gives the same facts later.
    """

    table: str
    policy: TablePolicy | None
    problem: str
    current_as_of: datetime | None
    known_since: datetime | None
    days: Mapping[PartitionDate, DayRead]
    read: int
    quarantined: int
    snapshot_id: int | None
    is_final: bool


def facts_of(table: Table, now: datetime) -> TableFacts:
    """Return the facts about a table; only its metadata is read."""
    name = ".".join(table.name())
    loads = table_loads(table)
    policy, problem = None, ""
    try:
        policy = table_policy(name, table.properties)
    except ConfigurationError as error:
        problem = str(error)
    read, quarantined = _last_day(loads)
    snapshot = table.current_snapshot()
    return TableFacts(
        name,
        policy,
        problem,
        loads.current_as_of(now),
        loads.known_since,
        _days(loads),
        read,
        quarantined,
        snapshot.snapshot_id if snapshot else None,
        all(load.at <= now + CLOCK_SKEW for load in loads.loads),
    )


def _days(loads: TableLoads) -> dict[PartitionDate, DayRead]:
    """Return what was read for each day that is known whole."""
    found: defaultdict[PartitionDate, list[int]] = defaultdict(list)
    for load in loads.loads:
        if load.partition_date and not load.replay and "read" in load.counts:
            found[load.partition_date].append(load.counts["read"])
    first = (
        "" if loads.known_since is None else (loads.known_since.astimezone(UTC) + timedelta(days=1)).date().isoformat()
    )
    newest = sorted(day for day in found if day >= first)[-DAYS_KEPT:]
    return {day: DayRead(sum(found[day]), len(found[day])) for day in newest}


def _last_day(loads: TableLoads) -> tuple[int, int]:
    """Return how many records were read, and how many of them set aside, in the day up to the newest publication."""
    counted = [load for load in loads.loads if "read" in load.counts and not load.replay]
    recent = [load for load in counted if load.at > counted[-1].at - _QUARANTINE_WINDOW]
    return sum(load.counts["read"] for load in recent), sum(load.counts.get("quarantined", 0) for load in recent)
