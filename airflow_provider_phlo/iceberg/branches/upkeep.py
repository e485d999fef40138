"""
What every publication does for its table, so that its thousandth run costs what its tenth did: expire snapshots.

It is part of the commit that publishes, and touches metadata only: files are left to :mod:`.maintenance.orphans`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Mapping, Sequence

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    SetPropertiesUpdate,
    TableRequirement,
    TableUpdate,
)

from airflow_provider_phlo.iceberg.branches.expiry import (
    AGE_PROPERTY,
    DAY_MS,
    KEEP_PROPERTY,
    MOST_DAYS,
    ExpiryPlan,
    Retention,
    expiry_updates,
    left_main,
    plan_expiry,
    whole_number,
)
from airflow_provider_phlo.iceberg.branches.run_branches import Upkeep, no_upkeep
from airflow_provider_phlo.iceberg.catalogs.opening import is_nessie
from airflow_provider_phlo.iceberg.tables.properties import may_collect
from airflow_provider_phlo.iceberg.tables.refs import snapshots_by_id

# a catalog's property; everything else means that tables are kept in shape
UPKEEP_PROPERTY = "phlo.upkeep"
# of snapshots that are younger than the table's retention, no more than this many stay
MOST_PROPERTY = "phlo.max-snapshots"
DEFAULT_AGE_MS = 7 * DAY_MS
DEFAULT_KEEP = 100
DEFAULT_MOST = 200
# for each hour in which snapshots expired early: the manifest list of the first of them, whose files stay
HELD_PROPERTY = "phlo.held-manifest-lists"
HOUR_MS = 3_600_000


def upkeep_of(catalog: Catalog) -> Upkeep:
    """Return what publications into the catalog's tables do beside; nothing where it is switched off, or on Nessie."""
    off = catalog.properties.get(UPKEEP_PROPERTY, "true").lower() == "false"
    return no_upkeep if off or is_nessie(catalog) else expire_with


def expire_with(table: Table, branch: str) -> tuple[Sequence[TableRequirement], Sequence[TableUpdate]]:
    """Return what a commit needs and does to expire what the table's own retention says; see :func:`plan_upkeep`."""
    now = datetime.datetime.now(datetime.UTC)
    plan = plan_upkeep(table, branch, now)
    if not plan.snapshots and not plan.branches:
        return (), ()
    # tags, and branches that other engines made, may come to need what is not needed now
    refs = table.metadata.refs.items()
    kept = [(name, ref) for name, ref in refs if name in plan.branches or ref.snapshot_ref_type == SnapshotRefType.TAG]
    needed = [AssertRefSnapshotId(ref=name, snapshot_id=ref.snapshot_id) for name, ref in kept]
    held = _held_after(table, plan, int(now.timestamp() * 1000))
    return needed, [*expiry_updates(table, plan), *held]


def plan_upkeep(table: Table, branch: str, now: datetime.datetime) -> ExpiryPlan:
    """
    Return what expires as runs go: what is older than the table's retention, and what is beyond its number.

    :param branch: the one that becomes main; it stays out of what is dropped.
    """
    properties, count = table.properties, len(table.metadata.snapshots)
    keep = max(1, whole_number(properties, KEEP_PROPERTY, DEFAULT_KEEP))
    if count <= keep or not may_collect(properties):
        return ExpiryPlan()
    age = min(whole_number(properties, AGE_PROPERTY, DEFAULT_AGE_MS) / DAY_MS, MOST_DAYS)
    most = max(keep, whole_number(properties, MOST_PROPERTY, DEFAULT_MOST))
    plan = plan_expiry(table, Retention(age, keep), now, most)
    return ExpiryPlan(plan.snapshots, tuple(name for name in plan.branches if name != branch))


def held_manifest_lists(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the manifest lists of expired snapshots whose files queries may still read, by the hour they expired."""
    held: dict[str, str] = json.loads(properties.get(HELD_PROPERTY, "{}"))
    return held


def held_updates(table: Table, *, without: Collection[str]) -> list[TableUpdate]:
    """
    Return what a commit does so that the table holds some manifest lists no longer.

    :param without: the hours that they are held for.
    """
    if not without:
        return []
    held = {hour: path for hour, path in held_manifest_lists(table.properties).items() if hour not in without}
    return [SetPropertiesUpdate(updates={HELD_PROPERTY: json.dumps(held)})]


def _held_after(table: Table, plan: ExpiryPlan, now: int) -> list[TableUpdate]:
    """
    Hold the files that early expiry would leave to the orphan job though a query of a week ago may read them.

    What an expired snapshot has beyond the first one of its hour was written in that hour: its own age protects
    it, as it protects files that a writer has not committed.
    """
    age = whole_number(table.properties, AGE_PROPERTY, DEFAULT_AGE_MS)
    before = held_manifest_lists(table.properties)
    held = {hour: path for hour, path in before.items() if (int(hour) + 1) * HOUR_MS + age >= now}
    left, snapshots = left_main(table.metadata), snapshots_by_id(table.metadata)
    for snapshot_id in plan.snapshots:
        snapshot = snapshots.get(snapshot_id)
        moved_on = left.get(snapshot_id)
        if snapshot is not None and moved_on is not None and moved_on + age >= now:
            held.setdefault(str(moved_on // HOUR_MS), snapshot.manifest_list)
    return [SetPropertiesUpdate(updates={HELD_PROPERTY: json.dumps(held)})] if held != before else []
